# SPDX-License-Identifier: GPL-2.0-or-later
"""A demo that is interrupted leaves no process, namespace, mount or link behind, wherever it was."""
import json
import os
import pathlib
import queue
import re
import signal
import subprocess
import threading
import time

import pytest

from tests.rig import sandbox
from tests.rig.lab import IMAGES, ROOT
from tests.rig.wait import until

NEEDED = ("host/host.squashfs", "mpi-lean/disk.raw", "desktop.img")
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
    """tests/e2e/demo in a process group of its own, as a terminal would start it. make: a program in the place of make."""

    def __init__(self, folder: pathlib.Path, make: str = "exit 0"):
        tools = folder.parent / "tools"
        tools.mkdir()
        (tools / "make").write_text(f"#!/bin/sh\n{make}\n", encoding="ascii")
        (tools / "make").chmod(0o755)
        env = dict(os.environ, PATH=f"{tools}:{os.environ['PATH']}")
        self.process = subprocess.Popen(["tests/e2e/demo", str(folder)], cwd=ROOT, text=True, env=env,
                                        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True)
        self.folder = folder
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
        """^C goes to the whole group, others to the process; its exit code. Its sandbox has 20 s, then it is the kernel's."""
        (os.killpg if signo == signal.SIGINT else os.kill)(self.process.pid, signo)
        return self.process.wait(90)

    def end(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()


@pytest.fixture
def demo(tmp_path):
    before = machine()
    made = Demo(tmp_path / "demo")
    made.before = before
    yield made
    made.end()


def labs_are_up(demo) -> None:
    demo.wait_line(r"\] labs ", 120)


def pcs_boot(demo) -> None:
    demo.wait_line(r"\] image ", 600)
    until(lambda: any("qemu-system" in name(pid) for pid in machine()["processes"] - demo.before["processes"]), 120,
          "a PC is on")


def interrupted(demo, signo: int) -> None:
    assert "processes" in left(demo.before), "the test sees the demo's processes"
    assert demo.signal(signo) == 1
    assert not left(demo.before)
    demo.wait_line(None, 60)
    assert demo.seen[-1] == "demo: FAILED: interrupted; nothing is left running\n"
    assert not any("Traceback" in line for line in demo.seen)
    assert json.loads((demo.folder / "report.json").read_text(encoding="utf-8"))["failed"].startswith("interrupted")


@pytest.mark.parametrize("moment, signo", [(labs_are_up, signal.SIGTERM), (pcs_boot, signal.SIGINT)])
def test_interrupted_leaves_nothing(demo, moment, signo):
    moment(demo)
    interrupted(demo, signo)


# An image that takes long, by a recipe that mounts something, whose helper outlives it and hears nothing.
SLOW_IMAGE = """
case "$*" in *-q*) exit 1 ;; *build/images/*) ;; *) exit 0 ;; esac
mount -t tmpfs slow "{folder}"
setsid sh -c 'trap "" TERM INT; while :; do sleep 1; done' &
{end}
>"{folder}.begun"
while :; do sleep 1; done
"""


@pytest.mark.parametrize("signo, end", [(signal.SIGINT, "trap 'rm {folder}.begun; exit 1' INT TERM"),
                                        (signal.SIGTERM, "trap 'rm {folder}.begun; exit 1' INT TERM"),
                                        (signal.SIGKILL, "")], ids=["int", "term", "kill"])
def test_interrupted_while_an_image_is_built(tmp_path, signo, end):
    before = machine()
    folder = tmp_path / "slow"
    folder.mkdir()
    demo = Demo(tmp_path / "demo", SLOW_IMAGE.format(folder=folder, end=end.format(folder=folder)))
    demo.before = before
    try:
        demo.wait_line("images ", 60)
        until(pathlib.Path(f"{folder}.begun").exists, 60, "the recipe runs")
        if signo == signal.SIGKILL:
            assert demo.signal(signo) == -signo
            until(lambda: not left(before), 60, "nothing is left", every=0.05)
        else:
            interrupted(demo, signo)
            assert not pathlib.Path(f"{folder}.begun").exists(), "the recipe could clean up"
    finally:
        demo.end()


def test_killed_leaves_nothing(demo):
    """Nobody is left to clean up: the kernel does, as soon as it gets to it."""
    pcs_boot(demo)
    assert demo.signal(signal.SIGKILL) == -signal.SIGKILL
    demo.wait_line(None, 60)
    until(lambda: not left(demo.before), 60, f"nothing is left of the demo {demo.process.pid}", every=0.05)
