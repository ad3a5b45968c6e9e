# SPDX-License-Identifier: GPL-2.0-or-later
"""The installed product under a real systemd: this machine's own files with `make install` over them (an overlay in
memory), booted in a container. What the units forbid is forbidden here, so a sandbox that is too tight is seen."""
import contextlib
import fcntl
import json
import pathlib
import shutil
import subprocess

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
UNITS = ("nightclass-netd.service", "nightclassd.service", "nightclass-reader.socket")

# As the manual tells an administrator to do it; each line of the result is a JSON string.
SCRIPT = """#!/bin/bash
say() { /usr/bin/python3 -c 'import json, sys; print(json.dumps([sys.argv[1], sys.stdin.read()]))' "$1" >>/result; }
ip link add lan type bridge; ip link set lan up; ip addr add 10.71.0.1/24 dev lan
sed -i 's/^lan_interface.*/lan_interface = lan/; /^uplink_interface/d' /etc/nightclass/netd.conf
id nightclass >/dev/null 2>&1 || adduser --quiet --system --group nightclass
timeout 90 systemctl start nightclass-netd nightclassd 2>&1 | say start
systemctl is-active """ + " ".join(UNITS) + """ | say active
head -c 3000000 /dev/urandom >/srv/x.raw; truncate -s 8M /srv/x.raw
timeout 90 nightclass -o json image import x /srv/x.raw 2>&1 >/dev/null | say import
nightclass -o json image list 2>&1 | say images
nightclass pc add pc1 --mac 52:54:00:00:00:01 --address 10.71.0.11 2>&1 | say pc
timeout 60 nightclass night start --for 2h --no-wait 2>&1 | say night
timeout 60 nightclass -o json night list 2>&1 | say nights
(cd /var/lib/nightclass-netd && ls dnsmasq.tftp && grep -h ^tftp-root dnsmasq.conf) 2>&1 | say tftp
ps -C nightclassd,nightclass-netd -o comm=,user= | say processes
journalctl --no-pager -o cat -u 'nightclass-reader@*' | say reader
timeout 60 systemctl stop nightclassd nightclass-netd 2>&1 | say stop
systemctl --failed --no-legend --plain 2>&1 | say failed
journalctl --no-pager -u nightclassd -u nightclass-netd -u 'nightclass-reader@*' | say journal
"""
SERVICE = """[Unit]
After=basic.target
SuccessAction=poweroff-force
FailureAction=poweroff-force
[Service]
Type=oneshot
ExecStart=/night.sh
"""


@pytest.fixture
def container(tmp_path):
    """This machine's files, writable in memory, with the product installed."""
    if not shutil.which("systemd-nspawn"):
        pytest.skip("systemd-nspawn is not installed (package systemd-container)")
    top, root = tmp_path / "memory", tmp_path / "root"
    for folder in (top, root):
        folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2g", "memory", top], check=True)
    for name in ("changes", "work"):
        (top / name).mkdir()
    subprocess.run(["mount", "-t", "overlay", "overlay", "-o", f"lowerdir=/,upperdir={top}/changes,workdir={top}/work", root],
                   check=True)
    yield root
    for folder in (root, top):
        subprocess.run(["umount", "-l", folder], check=True)


@contextlib.contextmanager
def one_container_at_a_time():
    """Whoever runs these tests on this machine: all containers have the same cgroups."""
    with open(shutil.which("systemd-nspawn"), "rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def test_the_units_start_and_work(container):
    """Installed, started and used as the manual says: both daemons come up, a foreign image is read under another user,
    a night begins, all is stopped without a failed unit."""
    # As a user has it: without the sanitizers, which a unit's sandbox would not let work.
    subprocess.run(["make", "-s", "install", f"DESTDIR={container}"], cwd=ROOT, check=True, capture_output=True, timeout=300)
    (container / "night.sh").write_text(SCRIPT)
    (container / "night.sh").chmod(0o755)
    (container / "etc/systemd/system/night-test.service").write_text(SERVICE)
    (container / "etc/machine-id").write_text("")
    with one_container_at_a_time():
        subprocess.run(["systemd-nspawn", "--quiet", f"--directory={container}", "--boot", "--private-network", "--register=no",
                        "--keep-unit", "--link-journal=no", "--console=pipe", "systemd.unit=night-test.service"],
                       stdin=subprocess.DEVNULL, capture_output=True, timeout=400, check=False)
    told = dict(map(json.loads, (container / "result").read_text().splitlines()))
    journal = told["journal"]
    assert told["active"].split() == ["active"] * len(UNITS), journal
    assert [one["name"] for one in json.loads(told["images"])["items"]] == ["x"], told["import"] + journal
    assert "Deactivated successfully" in told["reader"] and "Failed" not in told["reader"], "the jail was not used"
    assert [one["id"] for one in json.loads(told["nights"])["items"]] == [1], told["night"] + journal
    assert told["tftp"].split() == ["snponly.efi", "undionly.kpxe", "tftp-root=/var/lib/nightclass-netd/dnsmasq.tftp"], journal
    users = {line.split()[0]: line.split()[1:] for line in told["processes"].splitlines()}
    assert users["nightclassd"][0].startswith("nightcl") and users["nightclass-netd"][0] == "root"
    assert not told["failed"].strip(), told["failed"] + journal
