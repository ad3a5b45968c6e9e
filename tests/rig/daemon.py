# SPDX-License-Identifier: GPL-2.0-or-later
"""A process of the rig with a log file: started, waited for by what it prints, ended."""
import pathlib
import re
import signal
import subprocess
import time


class Daemon:
    def __init__(self, name: str, argv: list[str], log: pathlib.Path, env: dict | None = None, cwd=None):
        self.name, self.argv, self.log, self.env, self.cwd = name, argv, log, env, cwd
        self.process: subprocess.Popen | None = None

    def start(self) -> "Daemon":
        with open(self.log, "ab") as out:
            self.process = subprocess.Popen(self.argv, stdin=subprocess.DEVNULL, stdout=out, stderr=out,
                                            env=self.env, cwd=self.cwd)
        return self

    def alive(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def kill(self, signo: int = signal.SIGKILL) -> None:
        """A fault: the process gets the signal and is waited for (SIGSTOP and SIGCONT are not waited for)."""
        if self.alive():
            self.process.send_signal(signo)
            if signo not in (signal.SIGSTOP, signal.SIGCONT):
                self.process.wait(30)

    def stop(self) -> None:
        """The clean end: SIGTERM, then SIGKILL after 20 s."""
        if not self.alive():
            return
        self.process.terminate()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def text(self) -> str:
        try:
            return self.log.read_text(encoding="utf-8", errors="replace")
        except FileNotFoundError:
            return ""

    def wait_for(self, pattern: str, timeout: float) -> str:
        """Waits until the log matches; the matching line. Names the last lines when it does not."""
        end = time.monotonic() + timeout
        while True:
            found = re.search(f".*{pattern}.*", self.text())
            if found:
                return found.group(0)
            if not self.alive():
                raise RuntimeError(f"{self.name} ended before '{pattern}': {self.tail()}")
            if time.monotonic() > end:
                raise TimeoutError(f"{self.name}: no '{pattern}' within {timeout:.0f} s: {self.tail()}")
            time.sleep(0.1)  # the log is a file: polled

    def tail(self, lines: int = 12) -> str:
        return "\n" + "\n".join(self.text().splitlines()[-lines:])
