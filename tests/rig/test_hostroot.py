# SPDX-License-Identifier: GPL-2.0-or-later
"""The host's root image by the cast: eight PCs for about the price of one on the server's port, and real PCs that boot by
it or, where their port passes no multicast, by HTTP."""
import json
import pathlib
import re
import subprocess

import pytest

from tests.rig import QemuPC, School
from tests.rig.lab import BUILD, IMAGES
from tests.rig.test_cast import PATIENCE, PORT, SERVER, SIZE, image, lab  # noqa: F401
from tests.rig.wait import until

ROOT = pathlib.Path(BUILD).resolve() / "nightclass-root"
PCS = [f"pc-{n}" for n in range(1, 9)]

needs_root = pytest.mark.skipif(not ROOT.exists(), reason=f"{ROOT} is not built")


def sent(port: str) -> int:
    """Bytes that came out of the namespace at the other end of this port."""
    return json.loads(subprocess.run(["ip", "-s", "-j", "link", "show", "dev", port], capture_output=True, text=True,
                                     check=True).stdout)[0]["stats64"]["rx"]["bytes"]


def start(name: str, folder: pathlib.Path, digest: str, server: str = f"{SERVER}:{PORT}", held: bool = False) -> subprocess.Popen:
    """`held`: it says "ready" and begins when its input ends."""
    wait = ["sh", "-c", 'echo ready; read -r word; exec "$@"', "sh"] if held else []
    return subprocess.Popen(["ip", "netns", "exec", name, *wait, str(ROOT), server, digest, name, str(folder / name)],
                            stdin=subprocess.PIPE if held else subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)


@needs_root
def test_eight_pcs_cost_the_server_about_one_copy(lab, image, tmp_path):
    lab(PCS)
    for attempt in range(3):  # who stands still for seconds goes on by HTTP, which init does, not this program: once more
        before = sent("castsrv")
        programs = {name: start(name, tmp_path / str(attempt), image[1], held=True) for name in PCS}
        for program in programs.values():
            assert program.stdout.readline() == "ready\n"
        for program in programs.values():  # all at once
            program.stdin.close()
            program.stdin = None
        said = {name: program.communicate(timeout=PATIENCE)[0] for name, program in programs.items()}
        failed = {name: said[name] for name, program in programs.items() if program.returncode != 0}
        if not failed:
            break
    assert not failed, failed
    for name in PCS:
        assert (tmp_path / str(attempt) / name / image[1] / "disk.raw").read_bytes() == image[2]
    # One copy, and what those who started a moment later had missed; by HTTP it would be eight.
    assert sent("castsrv") - before < SIZE * 2.5


@needs_root
def test_a_deaf_pc_is_told_within_seconds(lab, image, tmp_path):
    """What init waits for before it fetches by HTTP."""
    segment, _, _ = lab(["pc-1"])
    segment.deafen("pc-1")
    deaf = start("pc-1", tmp_path, image[1])
    said = deaf.communicate(timeout=PATIENCE)[0]
    assert deaf.returncode == 1 and "no multicast reaches this PC" in said
    nobody = start("pc-1", tmp_path, image[1], f"{SERVER}:{PORT + 1}")
    said = nobody.communicate(timeout=PATIENCE)[0]
    assert nobody.returncode == 1 and "nobody casts there" in said


class OldClock(QemuPC):
    """Its clock's battery is empty: no certificate would be valid yet."""

    def argv(self) -> list[str]:
        return [*super().argv(), "-rtc", "base=2001-01-01T00:00:00"]


@pytest.mark.skipif(not (IMAGES / "host" / "host.squashfs").exists(), reason="no host image: make images")
def test_pcs_boot_by_the_cast_and_a_deaf_one_by_http(tmp_path):
    with School(tmp_path / "logs") as school:
        north = school.lab("north", settings={"cast_rate": 30})  # an emulated PC hears no more when others compute
        hears, deaf = OldClock(north, "hears", memory_mib=1024), QemuPC(north, "deaf", memory_mib=1024)
        north.ns.run("nft", "-f", "-", input=f"table netdev deaf {{ chain out {{ type filter hook egress device {deaf.tap} "
                                             "priority 0; ip daddr 239.0.0.0/8 drop; }; }")
        north.cli("night", "start", "--for", "2h", "--no-wait")
        until(lambda: all(north.pc_state(pc.name) in ("host", "hosting") for pc in (hears, deaf)), 400, "two hosts", every=0.5)
        assert re.search(r"the cast brought the root image: \d+\.\d MB in", hears.console_text())
        assert "fetching http" not in hears.console_text() and "the clock was -" in hears.console_text()
        assert re.search(r"no root image by the cast: .*no multicast reaches this PC", deaf.console_text())
        assert "fetching http" in deaf.console_text()
        events = [e for e in north.api("GET", "/events?after=0")["items"] if e["kind"] == "boot.cast"]
        assert any(e["subject"] == "pc/deaf" and "it hears no multicast" in e["text"] for e in events), events
