# SPDX-License-Identifier: GPL-2.0-or-later
"""How images come to a host and how much of its memory they take: hostd with a cast that fills it, and with an image
that is larger than what its VMs leave. No VM is started: its hypervisor is libvirt's test driver."""
import contextlib
import json
import os
import pathlib
import shutil
import subprocess

import pytest

from tests.rig.lab import BUILD
from tests.rig.test_hostd import (IMPORT, MPI, boot, controller, pytestmark as of_hostd, run, vm, wire)  # noqa: F401
from tests.rig.wait import until

CAST = pathlib.Path(BUILD).resolve() / "nightclass-cast"
PLUGIN = pathlib.Path(BUILD).resolve() / "nightclass-base.so"
ROOM = 256 << 20  # what an image may take on a host whose memory is promised to VMs
PORT = 7867

pytestmark = [*of_hostd, pytest.mark.skipif(not (MPI / "vmlinuz").exists(), reason="no kernel for an image (make images)")]


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> dict:
    """Two images of noise: one that fits anywhere, one of more than ROOM."""
    folder = tmp_path_factory.mktemp("hold")
    found = {"dir": folder / "store"}
    for name, size in (("small", 16 << 20), ("large", ROOM + (16 << 20))):
        disk = folder / "disk.raw"
        disk.write_bytes(os.urandom(size))
        done = run(str(IMPORT), "--no-sync", "--store", str(found["dir"]), "--name", name, "--revision", "1", "--kernel",
                   str(MPI / "vmlinuz"), "--cmdline", "quiet", str(disk), timeout=300)
        found[name] = json.loads(done.stdout.splitlines()[-1])["digest"]
        disk.unlink()
    return found


@contextlib.contextmanager
def cast(store: dict, name: str, log: pathlib.Path):
    with open(log, "wb") as out, subprocess.Popen(
            [CAST, "send", "--store", store["dir"], "--group", "239.255.79.1", "--port", str(PORT), "--interface", "10.79.0.1",
             "--rate", "100000000", store[name]], stdout=out, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL) as sender:
        try:
            until(lambda: "receivers" in log.read_text(), 60, "the sender's first words")
            yield
        finally:
            sender.kill()


def images(report: dict) -> dict:
    return {image["digest"]: image for image in report["images"]}


def test_a_cast_brings_an_image(boot, controller, store, tmp_path):
    digest = store["small"]
    host = boot(controller, libvirt_uri="test:///default")
    with cast(store, "small", tmp_path / "cast.log"):
        controller.want(1, images=[{"name": "small", "revision": 1, "digest": digest}], cast=f"10.79.0.1:{PORT}")
        controller.wait_report(lambda r: (i := images(r).get(digest)) and i["have"] == i["total"] > 16 << 20, 120, "the image")
    assert host.hostd.wait_for("fetch image .*: done", 20)
    assert (host.dir / "images" / digest / "complete").exists()
    assert controller.chunks_asked < 10, "by the cast, or what of it was lost"


@pytest.mark.skipif(not shutil.which("nbdkit"), reason="nbdkit is not installed")
@pytest.mark.parametrize("by_cast", [False, True], ids=["by HTTP", "from a cast"])
def test_an_image_larger_than_what_the_vms_leave(boot, controller, store, tmp_path, by_cast):
    digest = store["large"]
    host = boot(controller, libvirt_uri="test:///default", base_plugin=PLUGIN)
    folder = host.dir / "images" / digest
    controller.want(1)
    facts = controller.wait_report(lambda r: r["generation"] == 1, 60, "a report")["facts"]
    all_of_it = {**vm(1, digest), "memory_mib": facts["memory_mib"]}
    with cast(store, "large", tmp_path / "cast.log") if by_cast else contextlib.nullcontext():
        controller.want(2, [all_of_it], **({"cast": f"10.79.0.1:{PORT}"} if by_cast else {}))
        most = 0

        def ended() -> bool:
            nonlocal most
            with contextlib.suppress(FileNotFoundError):
                most = max(most, (folder / "disk.raw").stat().st_blocks * 512)
            return "fetch image" in host.hostd.text()

        until(ended, 240, "the end of the fetch", every=0.05)
    assert host.hostd.wait_for("fetch image .*: done", 1)
    report = controller.wait_report(lambda r: images(r)[digest]["have"] > ROOM // 2, 20, "what is held")
    allowed = ROOM + (1 << 20)  # connections that bring a chunk each may not see the others'
    assert images(report)[digest]["have"] <= allowed < images(report)[digest]["total"]
    assert ROOM // 2 < most <= allowed
    assert not (folder / "complete").exists() and (folder / "kernel").stat().st_mode & 0o777 == 0o444
