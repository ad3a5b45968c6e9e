# SPDX-License-Identifier: GPL-2.0-or-later
"""What somebody waits for goes before the rest of a cast: kernel and initrd to a PC that comes late, and what a VM reads."""
import random
import shutil

import pytest

from tests.rig import test_cast as cast
from tests.rig.test_base import Base
from tests.rig.test_cast import lab, whole  # noqa: F401
from tests.rig.test_chain import CHUNK, import_ok
from tests.rig.wait import until

DISK, START = 24 << 20, {"kernel": 1 << 20, "initrd": 3 << 20}


@pytest.fixture(scope="module")
def image(tmp_path_factory):
    """(store, digest, disk) of an image with kernel and initrd, which lie beside the store; nothing of it packs."""
    place = tmp_path_factory.mktemp("image")
    noise = random.Random(23)
    for name, size in {"disk.raw": DISK, **START}.items():
        (place / name).write_bytes(noise.randbytes(size))
    digest = import_ok(place / "store", place / "disk.raw", "--kernel", place / "kernel", "--initrd", place / "initrd")["digest"]
    return place / "store", digest, (place / "disk.raw").read_bytes()


def held(folder) -> int:
    """Bytes of the disk that are in place."""
    return (folder / "disk.raw").stat().st_blocks * 512


def test_kernel_and_initrd_come_first_to_the_late_too(lab, image, tmp_path):  # noqa: F811
    """A PC comes when a third has gone by: it has what a VM starts with long before the rest."""
    _, _, receive = lab(["pc-1", "pc-2"], rate=12)
    first = receive("pc-1", "--alone")
    first.wait_line(lambda line: line.get("have", 0) > DISK // 3)
    late, folder = receive("pc-2", "--alone"), tmp_path / "pc-2" / image[1]
    late.wait_line(lambda line: line.get("total"))
    until(lambda: all((folder / name).read_bytes() == (image[0].parent / name).read_bytes() for name in START), cast.PATIENCE,
          "kernel and initrd", every=0.02)
    assert held(folder) < DISK * 2 // 3, "they came when most of the disk had"
    for name, program in (("pc-1", first), ("pc-2", late)):
        whole(program, tmp_path / name, image)


def test_who_begins_with_the_cast_has_them_once(lab, image, tmp_path):  # noqa: F811
    """The plan begins with them, so nobody has to ask."""
    _, _, receive = lab(["pc-1"])
    program = receive("pc-1", "--alone")
    whole(program, tmp_path / "pc-1", image)
    last = program.lines()[-1]
    twice = DISK + 2 * sum(START.values())
    assert last["packets"] * 1464 < twice - (1 << 20) + 3 * 1464 * last["missed"]


@pytest.mark.skipif(not shutil.which("nbdkit"), reason="nbdkit is not installed")
def test_what_a_vm_reads_overtakes_the_cast(lab, image, tmp_path):  # noqa: F811
    """A VM's disk server whose servers are dead: the chunk can come by the cast only, and does, long before its turn."""
    _, _, receive = lab(["pc-1"], rate=12)
    program, last = receive("pc-1", "--alone"), DISK // CHUNK - 2
    program.wait_line(lambda line: line.get("have", 0) > DISK // 8)
    with Base(None, image[1], tmp_path / "pc-1", "http://127.0.0.1:9") as base:
        assert base.read(last) == image[2][last * CHUNK:(last + 1) * CHUNK]
        assert held(tmp_path / "pc-1" / image[1]) < DISK * 9 // 10, "it came in its turn"
    whole(program, tmp_path / "pc-1", image)
