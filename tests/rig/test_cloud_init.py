# SPDX-License-Identifier: GPL-2.0-or-later
"""A stock cloud-init image, with nothing of ours inside, takes the same seed as the default image: the VM becomes what
its context says and tells the host when it is ready."""
import json
import re
import sqlite3

import pytest

from tests.rig import NamespacePC, School
from tests.rig.lab import IMAGES
from tests.rig.wait import until

pytestmark = pytest.mark.skipif(not (IMAGES / "cloud" / "disk.raw").exists(),
                                reason="no stock image: make build/images/cloud/disk.raw")

ASK = "uname -n; id -un; ip -4 -o addr show; ip link show; cat /etc/hosts; ls /usr/sbin /usr/bin"


def night_keys(lab) -> dict:
    """The keys of cluster alice, as the controller keeps them for the night."""
    with sqlite3.connect(f"file:{lab.state}/nightclass.db?mode=ro", uri=True) as db:
        return json.loads(db.execute("SELECT keys FROM cluster WHERE name = 'alice'").fetchone()[0])


def log_in(lab, ip: str, keys: dict, command: str) -> str:
    """Output of a command in the VM, by the night's key; its host key must be the night's as well."""
    key, known = lab.dir / "night.key", lab.dir / "known_hosts"
    key.touch(0o600)
    key.write_text(keys["user_key"], encoding="ascii")
    known.write_text(keys["known_hosts"], encoding="ascii")
    return lab.ns.run("ssh", "-F", "none", "-i", str(key), "-o", "IdentitiesOnly=yes", "-o", "BatchMode=yes",
                      "-o", "StrictHostKeyChecking=yes", "-o", f"UserKnownHostsFile={known}", "-o", "ConnectTimeout=60",
                      f"night@{ip}", command).stdout


def test_stock_image_takes_the_seed(tmp_path):
    with School(tmp_path / "logs") as school:
        lab = school.lab("north")
        lab.cli("image", "import", "cloud", str(IMAGES / "cloud"))
        pc = NamespacePC(lab, "pc1")
        lab.cli("night", "start", "--for", "2h", "--no-wait")
        lab.wait_pcs("host", 120)
        lab.cli("cluster", "create", "alice", "-n", "1", "--image", "cloud", "--memory", "512MiB", "--no-wait")

        def settled():
            row = lab.api("GET", "/clusters/alice")
            return row if row["state"] in ("ready", "partly", "failed") else None

        try:
            cluster = until(settled, 300, "the stock VM says ready")
            vm = cluster["vms"][0]
            assert cluster["state"] == "ready", vm
        finally:
            for log in school.dir.rglob("console.log"):
                print("".join(log.read_text(encoding="utf-8", errors="replace").splitlines(True)[-40:]))
        said = log_in(lab, vm["ip"], night_keys(lab), ASK)
        name, user = said.splitlines()[:2]
        assert (name, user) == (vm["id"], "night")
        assert re.search(rf" inet {re.escape(vm['ip'])}/\d+ ", said) and vm["mac"] in said
        assert f"\n{vm['ip']} {vm['id']}\n" in said
        assert "nightclass" not in said.replace(vm["id"], ""), "the image is not a stock one"
        assert pc.running()
