# SPDX-License-Identifier: GPL-2.0-or-later
"""Programs that a bench starts: in a host's namespace, with their end noticed at once, their CPU time and the memory that
is theirs alone (anonymous pages: the page cache a receiver fills is the point of receiving, not its cost)."""
import contextlib
import ctypes
import os
import pathlib
import select
import signal
import subprocess
import time

LIBC = ctypes.CDLL(None, use_errno=True)
CLONE_NEWNET = 0x40000000
HERE = os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)


@contextlib.contextmanager
def namespace(name: str):
    """What is started inside is started in this network namespace."""
    fd = os.open(f"/run/netns/{name}", os.O_RDONLY | os.O_CLOEXEC)
    try:
        if LIBC.setns(fd, CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), f"setns {name}")
        yield
    finally:
        LIBC.setns(HERE, CLONE_NEWNET)
        os.close(fd)


class Process:
    """A running program. `code` is None while it runs; cpu seconds and peaks in bytes are known afterwards."""

    def __init__(self, host: str, argv: list, log: pathlib.Path, env: dict | None = None,
                 stdin: int = subprocess.DEVNULL):
        self.log, self.code, self.cpu, self.anon, self.peak = log, None, 0.0, 0, 0
        self.ended: float | None = None  # by time.monotonic()
        with namespace(host), open(log, "ab") as out:
            self.started = time.monotonic()
            self._popen = subprocess.Popen([str(word) for word in argv], stdin=stdin, stdout=out, stderr=out,
                                           start_new_session=True, env=dict(os.environ, **(env or {})))
        self.pid = self._popen.pid
        self.fd = os.pidfd_open(self.pid)

    def tell(self, line: bytes) -> None:
        """Writes a line to its standard input (a pipe)."""
        with contextlib.suppress(BrokenPipeError):
            os.write(self._popen.stdin.fileno(), line + b"\n")

    def look(self) -> bool:
        """True when it has ended."""
        if self.code is None:
            pid, status, usage = os.wait4(self.pid, os.WNOHANG)
            if pid:
                self.ended = time.monotonic()
                self.code = self._popen.returncode = os.waitstatus_to_exitcode(status)
                self.cpu = usage.ru_utime + usage.ru_stime
                os.close(self.fd)
        return self.code is not None

    def wait(self, seconds: float) -> bool:
        """Waits so long for its end; True when it has ended."""
        if self.code is None:
            poll = select.poll()
            poll.register(self.fd, select.POLLIN)
            poll.poll(seconds * 1000)
        return self.look()

    def sample(self) -> None:
        """Notes the memory it has now. Its children's is added: a receiver may be a pipe of programs."""
        with contextlib.suppress(OSError, ValueError):
            anon = peak = 0
            for pid in (self.pid, *children(self.pid)):
                words = dict(line.split(":", 1) for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines())
                anon += kib(words.get("RssAnon"))
                peak += kib(words.get("VmHWM"))
            self.anon, self.peak = max(self.anon, anon), max(self.peak, peak)

    def stop(self, signo: int = signal.SIGKILL, wait: float = 5) -> None:
        """Ends it and all it started."""
        if self.code is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid, signo)
            if not self.wait(wait) and signo != signal.SIGKILL:
                self.stop(signal.SIGKILL)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)

    def tail(self, lines: int = 3) -> str:
        """The last words of its log."""
        with contextlib.suppress(OSError):
            text = self.log.read_bytes()[-4000:].decode(errors="replace")
            return " | ".join(line.strip() for line in text.replace("\r", "\n").splitlines()[-lines:] if line.strip())
        return ""

    def listens(self, protocol: str, port: int) -> bool:
        """Has its host a socket on this port?"""
        with contextlib.suppress(OSError):
            for line in pathlib.Path(f"/proc/{self.pid}/net/{protocol}").read_text().splitlines()[1:]:
                if int(line.split()[1].split(":")[1], 16) == port:
                    return True
        return False

    def wait_listens(self, protocol: str, port: int, timeout: float = 20) -> None:
        end = time.monotonic() + timeout
        while not self.listens(protocol, port):
            if self.look() or time.monotonic() > end:
                raise RuntimeError(f"does not listen on {protocol} {port}: {self.tail()}")
            time.sleep(0.01)

    def wait_says(self, word: bytes, timeout: float = 20) -> None:
        """Until its log holds this word."""
        end = time.monotonic() + timeout
        while word not in self.log.read_bytes():
            if self.look() or time.monotonic() > end:
                raise RuntimeError(f"never said {word.decode()!r}: {self.tail()}")
            time.sleep(0.01)


def kib(text: str | None) -> int:
    return int(text.split()[0]) << 10 if text else 0


def children(pid: int) -> list[int]:
    """All below a process."""
    found = []
    with contextlib.suppress(OSError):
        for child in map(int, pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split()):
            found += [child, *children(child)]
    return found


def stop_all(processes: list[Process], signo: int = signal.SIGTERM) -> None:
    """Ends many at once: all are told before any is waited for."""
    for process in processes:
        if process.code is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signo)
    for process in processes:
        process.stop(signo)


class Load:
    """What the machine's cores did between two looks: shares of all their time."""

    def __init__(self):
        self._before = self._read()

    @staticmethod
    def _read() -> list[int]:
        with open("/proc/stat", encoding="ascii") as file:
            return [int(word) for word in file.readline().split()[1:9]]

    def share(self) -> dict[str, float]:
        """{"steal": ..., "idle": ...} since it was made, 0 to 1."""
        spent = [now - before for before, now in zip(self._before, self._read())]
        total = max(1, sum(spent))
        return {"steal": round(spent[7] / total, 4), "idle": round((spent[3] + spent[4]) / total, 3)}
