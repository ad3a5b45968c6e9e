# SPDX-License-Identifier: GPL-2.0-or-later
"""VMs that start before their image has arrived: hostd, libvirt, QEMU and nbdkit on a namespace PC, and a guest that
reads its disk through all of them while the rest comes slowly behind."""
import hashlib
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess

import pytest

from tests.rig.lab import BUILD
from tests.rig.test_hostd import (IMPORT, MPI, boot, controller, initrd_with_agent, machine, needs_vms,  # noqa: F401
                                  pytestmark as of_hostd, run, states, vm, wire)
from tests.rig.wait import until

PLUGIN = pathlib.Path(BUILD).resolve() / "nightclass-base.so"
SIZE = 64 << 20
ROOM = 256 << 20  # what an image may take on a host whose memory is promised to VMs

pytestmark = [*of_hostd, needs_vms,
              pytest.mark.skipif(not shutil.which("nbdkit"), reason="nbdkit is not installed")]


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> dict:
    """Images of noise whose guests read them: "vm" of SIZE, "large" of more than ROOM (and its guest takes little of the
    memory that its VM is given)."""
    folder = tmp_path_factory.mktemp("lazy")
    found, initrd = {"dir": folder / "store"}, initrd_with_agent(folder)
    for name, size, words in (("vm", SIZE, ""), ("large", ROOM + (16 << 20), "mem=320M")):
        disk = folder / f"{name}.raw"
        disk.write_bytes(os.urandom(size))
        done = run(str(IMPORT), "--no-sync", "--store", str(found["dir"]), "--name", name, "--revision", "1", "--kernel",
                   str(MPI / "vmlinuz"), "--initrd", str(initrd), "--cmdline",
                   f"console=ttyS0 quiet panic=-1 mitigations=off reads {words}", str(disk), timeout=300)
        said = json.loads(done.stdout.splitlines()[-1])
        found[name] = {"digest": said["digest"], "disk": disk, "sum": hashlib.sha256(disk.read_bytes()).hexdigest()}
    return found


def servers(host) -> list[int]:
    """The disk servers that are children of this hostd."""
    done = subprocess.run(["pgrep", "-x", "nbdkit", "-P", str(host.hostd.process.pid)], capture_output=True, text=True)
    return [int(word) for word in done.stdout.split()]


def held(report: dict, digest: str) -> dict:
    return {image["digest"]: image for image in report["images"]}[digest]


def test_ready_long_before_the_image_is_here(boot, controller, machine, store):
    digest = store["vm"]["digest"]
    host = boot(controller, machine.argv, base_plugin=PLUGIN)
    complete = host.dir / "images" / digest / "complete"
    console = host.dir / "vm" / "alice-001" / "console.log"
    controller.want(1)
    controller.wait_report(lambda r: r["generation"] == 1, 60, "a report")
    controller.chunk_delay = 0.1
    controller.want(2, [vm(1, digest)])
    host.hostd.wait_for("its disk is served while it comes", 60)
    controller.chunk_delay = 1.0  # 256 chunks, four at a time: more than a minute
    report = controller.wait_report(lambda r: states(r) == {"alice-001": "ready"}, 180, "VM ready")
    assert not complete.exists(), "ready only after all was here"
    assert "disk server has ended" not in host.hostd.text() and "nbdkit: " not in host.hostd.text()
    part = hashlib.sha256(store["vm"]["disk"].read_bytes()[40 << 20:41 << 20]).hexdigest()
    assert f"part {part}" in console.read_text()
    trace = until(lambda: controller.traces.get(digest), 20, "the boot trace")
    assert [n for n in trace if 160 <= n < 164] == [160, 161, 162, 163] and len(trace) < 200, trace
    assert held(report, digest)["have"] < held(report, digest)["total"]
    number = machine.virsh("domid", "nc-alice-001").stdout

    # Both ends of the road die while the guest reads; it notices nothing.
    first = until(lambda: servers(host), 20, "a disk server")
    os.kill(first[0], signal.SIGKILL)
    host.hostd.wait_for("it is started again", 20)
    until(lambda: servers(host) not in ([], first), 20, "another disk server")
    host.hostd.kill(signal.SIGKILL)
    # As if it had died before its new server listened.
    (host.dir / "vm" / f"base-{digest[:16]}.sock").unlink(missing_ok=True)
    host.hostd.start()
    until(lambda: servers(host), 30, "a disk server of the next hostd")
    controller.chunk_delay = 0
    said = until(lambda: re.search(r"whole ([0-9a-f]{64})", console.read_text()), 120, "the guest has read it all")
    assert said[1] == store["vm"]["sum"]
    until(complete.exists, 60, "the image is whole")
    assert machine.virsh("domid", "nc-alice-001").stdout == number

    # The next VM stands on the file.
    controller.want(3, [vm(1, digest), vm(2, digest)])
    controller.wait_report(lambda r: states(r) == {"alice-001": "ready", "alice-002": "ready"}, 180, "both ready")
    assert "protocol='nbd'" in machine.virsh("dumpxml", "nc-alice-001").stdout
    assert "protocol='nbd'" not in machine.virsh("dumpxml", "nc-alice-002").stdout
    controller.want(4)
    controller.wait_report(lambda r: r["generation"] == 4 and not r["vms"] and not r["images"], 90, "all gone")
    assert list((host.dir / "vm").iterdir()) == [] and list((host.dir / "images").iterdir()) == []
    assert servers(host) == []


def test_a_boot_is_recorded_where_the_image_was_whole_before(boot, controller, machine, store):
    """Preloaded PCs have all of a revision before its first VM. They show in which order a boot reads it all the same,
    and tell it when the controller is there again."""
    digest = store["vm"]["digest"]
    host = boot(controller, machine.argv, base_plugin=PLUGIN)
    image = {"name": "vm", "revision": 1, "digest": digest, "peers": [], "record": True}
    controller.want(1, images=[image])
    until((host.dir / "images" / digest / "complete").exists, 60, "the image is whole")
    controller.busy = 2
    controller.want(2, [vm(1, digest)], images=[image])
    controller.wait_report(lambda r: states(r) == {"alice-001": "ready"}, 180, "VM ready")
    host.hostd.wait_for("its boot trace was not told, trying again: ", 20)
    trace = until(lambda: controller.traces.get(digest), 30, "the boot trace")
    assert controller.busy == 0
    assert [n for n in trace if 160 <= n < 164] == [160, 161, 162, 163] and len(trace) < 200, trace

    # One recording is enough, whatever an old goal says.
    controller.want(3, [vm(1, digest), vm(2, digest)], images=[image])
    controller.wait_report(lambda r: states(r) == {"alice-001": "ready", "alice-002": "ready"}, 180, "both ready")
    assert "protocol='nbd'" in machine.virsh("dumpxml", "nc-alice-001").stdout
    assert "protocol='nbd'" not in machine.virsh("dumpxml", "nc-alice-002").stdout
    controller.want(4)
    controller.wait_report(lambda r: r["generation"] == 4 and not r["vms"] and not r["images"], 90, "all gone")


def test_a_disk_that_never_fits(boot, controller, machine, store):
    digest = store["large"]["digest"]
    host = boot(controller, machine.argv, base_plugin=PLUGIN)
    folder = host.dir / "images" / digest
    console = host.dir / "vm" / "alice-001" / "console.log"
    controller.want(1)
    facts = controller.wait_report(lambda r: r["generation"] == 1, 60, "a report")["facts"]
    # With the eighth that the host keeps for itself, nothing is left for the image but the least it gets.
    controller.want(2, [{**vm(1, digest), "memory_mib": facts["memory_mib"] * 7 // 8}])
    controller.wait_report(lambda r: states(r) == {"alice-001": "ready"}, 180, "VM ready")
    most = 0

    def whole() -> re.Match | None:
        nonlocal most
        most = max(most, (folder / "disk.raw").stat().st_blocks * 512)
        return re.search(r"whole ([0-9a-f]{64})", console.read_text())

    said = until(whole, 240, "the guest has read it all", every=0.05)
    assert said[1] == store["large"]["sum"]
    # What went to make room was brought again; connections that bring a chunk each may not see the others'.
    assert ROOM // 2 < most <= ROOM + (1 << 20)
    assert not (folder / "complete").exists()
    assert "disk server has ended" not in host.hostd.text()
    controller.want(3)
    controller.wait_report(lambda r: r["generation"] == 3 and not r["vms"] and not r["images"], 90, "all gone")
