# SPDX-License-Identifier: GPL-2.0-or-later
"""A lab lends a partition of its PCs' own disks. Over two nights: the image fetched ahead in the first is there and
verified in the second, nothing of it is sent again, a VM starts on it; and outside of the partition no bit changes."""
import hashlib
import json
import os
import pathlib
import subprocess

from tests.rig import QemuPC, School
from tests.rig.lab import IMAGES
from tests.rig.wait import until

MIB = 1 << 20
SCRATCH_MIB, TAIL_MIB = 2048, 1
LABEL = "night-scratch"


class Disk:
    """A PC's disk with a third partition for the lab, and a little of nobody's behind it."""

    def __init__(self, path: pathlib.Path):
        self.path = path
        self.begin = path.stat().st_size // MIB
        self.end = self.begin + SCRATCH_MIB
        os.truncate(path, (self.end + TAIL_MIB) * MIB)
        subprocess.run(["sfdisk", "-q", "--append", str(path)], text=True, check=True,
                       input=f"start={self.begin * 2048}, size={SCRATCH_MIB * 2048}, type=83\n")
        with open(path, "r+b") as f:
            f.seek(self.end * MIB)
            f.write(os.urandom(TAIL_MIB * MIB))
        self.part = path.with_suffix(".part")
        with open(self.part, "wb") as f:
            f.truncate(SCRATCH_MIB * MIB)
        subprocess.run(["mkfs.ext4", "-q", "-L", LABEL, str(self.part)], check=True)
        self._copy(self.part, path, 0, self.begin)

    @staticmethod
    def _copy(from_: pathlib.Path, to: pathlib.Path, skip: int, seek: int) -> None:
        subprocess.run(["dd", f"if={from_}", f"of={to}", "bs=1M", f"skip={skip}", f"seek={seek}", f"count={SCRATCH_MIB}",
                        "conv=notrunc,sparse", "status=none"], check=True)

    def outside(self) -> str:
        """Digest of everything but the partition."""
        digest = hashlib.sha256()
        with open(self.path, "rb") as f:
            digest.update(f.read(self.begin * MIB))
            f.seek(self.end * MIB)
            digest.update(f.read())
        return digest.hexdigest()

    def check(self) -> str:
        """The partition as it was left: unmounted and whole. Its files as `debugfs` lists them."""
        self.part.unlink()
        self._copy(self.path, self.part, self.begin, 0)
        checked = subprocess.run(["e2fsck", "-fn", str(self.part)], capture_output=True, text=True, check=False)
        assert checked.returncode == 0 and "recovering journal" not in checked.stdout, checked.stdout + checked.stderr
        return subprocess.run(["debugfs", "-R", "ls -p /nightclass/images", str(self.part)], capture_output=True, text=True,
                              check=True).stdout


def sent_to(pc: QemuPC) -> int:
    """Bytes that the lab's switch has sent to the PC."""
    links = json.loads(pc.lab.ns.run("ip", "-s", "-j", "link", "show", "dev", pc.tap).stdout)
    return links[0]["stats64"]["tx"]["bytes"]


def row(pc: QemuPC) -> dict:
    return pc.lab.api("GET", f"/pcs/{pc.name}")


def held(pc: QemuPC, digest: str) -> bool:
    return any(i["digest"] == digest and i["have"] == i["total"] > 0 for i in row(pc)["images"])


def lend(lab) -> None:
    """The lab's policy names the partition; its controller is started anew with it."""
    conf = lab.dir / "nightclass.conf"
    conf.write_text(conf.read_text(encoding="utf-8").replace(
        "[controller]", f"scratch_label = {LABEL}\npreload = mpi\n\n[controller]"), encoding="utf-8")
    lab.controller.stop()
    lab.start_controller()


def begin(lab, pc: QemuPC, digest: str) -> tuple[int, int]:
    """A night until the image is whole on the PC: bytes sent to it before it was a host, and after."""
    before = sent_to(pc)
    lab.cli("night", "start", "--for", "2h", "--no-wait")
    lab.wait_pcs("host", 600)
    booted = sent_to(pc)
    try:
        until(lambda: held(pc, digest), 300, "the image on the PC")
    except TimeoutError as late:
        raise TimeoutError(f"{late}\n{row(pc)}\n{pc.console_text()[-2000:]}") from late
    return booted - before, sent_to(pc) - booted


def end(lab, pc: QemuPC) -> None:
    lab.cli("night", "end", "--no-wait")
    lab.wait_pcs("desktop", 600)
    until(lambda: lab.show("night", "list")[-1]["state"] == "done", 60, "the night's end")
    pc.power_off()


def test_images_outlive_the_day_on_the_partition_that_the_lab_lends():
    with School(pathlib.Path(os.environ["NIGHTCLASS_BUILD"]) / "e2e-scratch") as school:
        lab = school.lab("north")
        lend(lab)
        lab.cli("image", "import", "mpi", str(IMAGES / "mpi"), "--level", "3")
        digest = lab.show("image", "show", "mpi")["digest"]
        pc = QemuPC(lab, "pc1")
        disk = Disk(pc.disk)
        outside = disk.outside()

        first = begin(lab, pc, digest)
        assert first[1] > 40 * MIB, f"the image was sent: {first}"
        seen = row(pc)
        assert 1000 < seen["scratch"]["mib"] <= SCRATCH_MIB * 4 // 5 and not seen["scratch"]["trouble"], seen["scratch"]
        assert seen["kept"] == [digest]
        end(lab, pc)
        assert digest in disk.check()
        assert disk.outside() == outside
        assert row(pc)["kept"] == [digest], "remembered over the day"

        second = begin(lab, pc, digest)
        print(f"sent before the host was up, and after it: first night {first}, second {second}")
        assert second[1] < 2 * MIB, f"nothing of the image was sent again: {second}"
        plan = lab.api("POST", "/clusters?dry_run=1", {"name": "alice", "n": 1, "image": "mpi", "memory_mib": 384})
        assert [vm["image_there"] for vm in plan["vms"]] == [True]
        lab.cli("cluster", "create", "alice", "-n", "1", "--image", "mpi", "--memory", "384MiB", timeout=300)
        end(lab, pc)
        assert digest in disk.check()
        assert disk.outside() == outside
