# SPDX-License-Identifier: GPL-2.0-or-later
"""A demo that is interrupted leaves no process, namespace, mount or link behind, wherever it was."""
import os
import pathlib
import queue
import re
import signal
import subprocess
import sys
import threading
import time

import pytest

from tests.rig import sandbox
from tests.rig.lab import IMAGES, ROOT
from tests.rig.wait import until

NEEDED = ("host/host.squashfs", "mpi/disk.raw", "desktop.img")
pytestmark = [pytest.mark.skipif(not all((IMAGES / name).exists() for name in NEEDED), reason="no images: make images"),
              pytest.mark.skipif(not sandbox.inside(), reason="counts every process: runs in a sandbox of its own")]


def machine() -> dict[str, set]:
    """What the demo could leave. In our sandbox every process is one of ours, so every new one is the demo's."""
    def lines(*argv):
        return set(subprocess.run(argv, capture_output=True, text=True, check=True).stdout.splitlines())

    mounts = pathlib.Path("/proc/self/mounts").read_text(encoding="utf-8").splitlines()
    return {"processes": {int(entry) for entry in os.listdir("/proc") if entry.isdigit()},
            "namespaces": lines("ip", "netns", "list"), "mounts": set(mounts),
            "links": {line.split(":")[1] for line in lines("ip", "-o", "link")}}


def name(pid: int) -> str:
    try:
        return pathlib.Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return ""  # ended while we looked


def left(before: dict[str, set]) -> dict[str, list]:
    """What is there now and was not before."""
    now = machine()
    new = {kind: sorted(now[kind] - before[kind]) for kind in now}
    new["processes"] = [f"{pid} {name(pid)}" for pid in new["processes"] if pathlib.Path(f"/proc/{pid}").exists()]
    return {kind: things for kind, things in new.items() if things}


class Demo:
    """tests/e2e/demo.py in a process group of its own, as a terminal would start it."""

    def __init__(self, folder: pathlib.Path):
        self.process = subprocess.Popen([sys.executable, "tests/e2e/demo.py", str(folder)], cwd=ROOT, text=True,
                                        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True)
        self.lines: queue.Queue = queue.Queue()
        self.seen: list[str] = []
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        for line in self.process.stdout:
            self.lines.put(line)
        self.lines.put(None)

    def wait_line(self, pattern: str | None, timeout: float) -> None:
        """Until a line matches; None: until nobody holds its output any more."""
        end = time.monotonic() + timeout
        while True:
            try:
                line = self.lines.get(timeout=max(0, end - time.monotonic()))
            except queue.Empty:
                raise TimeoutError(f"no {pattern or 'end'} within {timeout} s:\n{''.join(self.seen)}") from None
            if line is None:
                assert pattern is None, f"ended before {pattern}:\n{''.join(self.seen)}"
                return
            self.seen.append(line)
            if pattern and re.search(pattern, line):
                return

    def signal(self, signo: int) -> int:
        """To the whole group, as ^C; its exit code, which must come within 30 s."""
        os.killpg(self.process.pid, signo)
        return self.process.wait(30)


@pytest.fixture
def demo(tmp_path):
    before = machine()
    made = Demo(tmp_path / "demo")
    made.before = before
    yield made
    if made.process.poll() is None:
        made.process.kill()
        made.process.wait()


def labs_are_up(demo) -> None:
    demo.wait_line(r"\] labs ", 120)


def pcs_boot(demo) -> None:
    demo.wait_line(r"\] image ", 180)
    until(lambda: any("qemu-system" in name(pid) for pid in machine()["processes"] - demo.before["processes"]), 120,
          "a PC is on")


@pytest.mark.parametrize("moment", [labs_are_up, pcs_boot])
def test_interrupted_leaves_nothing(demo, moment):
    moment(demo)
    assert "processes" in left(demo.before), "the test sees the demo's processes"
    assert demo.signal(signal.SIGINT) == 130
    assert not left(demo.before)
    demo.wait_line(None, 5)
    assert "demo: FAILED: interrupted; nothing is left running\n" in demo.seen
    assert not any("Traceback" in line for line in demo.seen)


def test_killed_leaves_nothing(demo):
    """Nobody is left to clean up: the kernel does, as soon as it gets to it."""
    pcs_boot(demo)
    assert demo.signal(signal.SIGKILL) == -signal.SIGKILL
    demo.wait_line(None, 30)
    until(lambda: not left(demo.before), 30, f"nothing is left of the demo {demo.process.pid}", every=0.05)
