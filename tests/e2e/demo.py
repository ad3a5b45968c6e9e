# SPDX-License-Identifier: GPL-2.0-or-later
"""`make demo`, outer half: builds what is missing, opens the web page's port on loopback, runs the night in a sandbox, and
has the last word: `demo: ok`, or `demo: FAILED: why` once nothing of it is left on the machine."""
import json
import os
import pathlib
import signal
import socket
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2]))
from tests.rig import sandbox  # noqa: E402

IMAGES = ("host/host.squashfs", "mpi-lean/disk.raw", "desktop.img")


class Failed(Exception):
    """Why there was no whole night: one line."""


class Demo:
    def __init__(self, folder: pathlib.Path, started: float):
        self.folder, self.started = folder, started
        self.report = folder / "report.json"
        self.log = pathlib.Path(os.path.relpath(folder / "build.log"))
        self.phases: dict[str, float] = {}

    def say(self, text: str) -> None:
        print(f"[{time.time() - self.started:7.1f} s] {text}", flush=True)

    def run(self) -> None:
        """Raises Failed; report.json is there in any case."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self.report.unlink(missing_ok=True)
        try:
            self.phases["packages"] = round(time.time() - self.started, 1)
            self.build()
            self.night()
        except Failed as problem:
            if not self.report.exists():
                report = {"phases": self.phases, "ok": False, "failed": str(problem)}
                self.report.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
            raise

    def build(self) -> None:
        self.log.write_bytes(b"")
        begin = time.monotonic()
        self.say(f"programs   compiling (details: {self.log})")
        if self.make("-j2", "all") != 0:
            raise Failed(f"the programs do not build, see {self.log}")
        self.phases["programs"] = round(time.monotonic() - begin, 1)
        begin = time.monotonic()
        for image in IMAGES:
            target = f"build/images/{image}"
            if self.make("-q", target) == 0:
                continue
            self.say(f"images     {target}")
            if self.make(target) != 0:
                raise Failed(f"the image does not build, see {self.log}")
        self.phases["images"] = round(time.monotonic() - begin, 1)

    def make(self, *words: str) -> int:
        with open(self.log, "ab") as log:
            return whole(sandbox.run(["make", "-s", "--no-print-directory", *words], around=sandbox.workshop, output=log))

    def night(self) -> None:
        page = listener()
        code = whole(sandbox.run([sys.executable, "-m", "tests.e2e.night", str(self.folder), str(self.started),
                                  str(page.fileno()), json.dumps(self.phases)], pass_fds=(page.fileno(),)))
        report = json.loads(self.report.read_text(encoding="utf-8")) if self.report.exists() else {}
        if code != 0 or not report.get("ok"):
            raise Failed(report.get("failed") or f"the night ended with exit code {code}")


def whole(code: int) -> int:
    """The exit code of a step that was not interrupted."""
    if code in (128 + signal.SIGINT, 128 + signal.SIGTERM):
        raise Failed("interrupted; nothing is left running")
    return code


def interrupted(_signo, _frame) -> None:
    """Between two steps; while one runs, sandbox.run listens."""
    raise Failed("interrupted; nothing is left running")


def listener() -> socket.socket:
    """A loopback port, 8443 when it is free."""
    s = socket.socket()
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        s.bind(("127.0.0.1", 8443))
    except OSError:
        s.bind(("127.0.0.1", 0))
    s.listen(16)
    s.set_inheritable(True)
    return s


def main() -> int:
    signal.signal(signal.SIGINT, interrupted)
    signal.signal(signal.SIGTERM, interrupted)
    try:
        Demo(pathlib.Path(sys.argv[1]).resolve(), float(sys.argv[2])).run()
    except Exception as problem:  # every failure becomes the one line that the demo promises
        print("demo: FAILED: " + " ".join(str(problem).split("\n", 1)[0].split()), flush=True)
        return 1
    print("demo: ok", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
