# SPDX-License-Identifier: GPL-2.0-or-later
"""What a bench asks of a tool. The defaults fit a receiver that ends when it has its file."""
import pathlib
import shutil

from tests.bench.image import Image
from tests.bench.process import Process
from tests.bench.run import Run


class Tool:
    name = ""
    what = ""  # one line for the record: how it is run
    packages: tuple[str, ...] = ()  # Debian's, whose versions are recorded
    programs: tuple[str, ...] = ()
    unicast = False  # the server sends every receiver its own copy: smaller images will do
    receivers_first = False  # receivers run and wait for the word; else one is started to ask a server, or join peers
    polled = False  # a receiver goes on running when it has its file
    late = True  # a receiver may join when others are half way
    restarts = True  # a receiver that was killed may come again
    needs_multicast = False

    def __init__(self, work: pathlib.Path, build: pathlib.Path):
        """`work`: a folder for what is prepared once per image. `build`: where our own programs are."""
        self.work, self.build = work / self.name, build
        self.work.mkdir(parents=True, exist_ok=True)

    def missing(self) -> str:
        """Why it cannot run here; empty when it can."""
        return ", ".join(f"no {program}" for program in self.programs if not shutil.which(program))

    def prepare(self, image: Image) -> None:
        """Before any clock, once per image: the work of the day, not of the night."""

    def hold(self, run: Run, i: int, image: Image) -> None:
        """Receiver i holds this earlier revision (delta tools only)."""
        shutil.copy(image.path, self.file(run, i))

    def serve(self, run: Run) -> None:
        """Starts what waits for receivers, and returns when it does."""

    def receive(self, run: Run, i: int) -> Process:
        """Starts receiver i."""
        raise NotImplementedError

    def ready(self, run: Run, i: int, process: Process) -> None:
        """Waits until receiver i hears (receivers_first only)."""

    def begin(self, run: Run) -> None:
        """The word; the clock runs (receivers_first only)."""

    def has(self, run: Run, i: int, process: Process) -> bool:
        """Has receiver i its whole file?"""
        return process.code == 0

    def settle(self, run: Run) -> None:
        """All have it: what must still be done before files are compared."""

    def file(self, run: Run, i: int) -> pathlib.Path:
        return run.dir(i) / "image"

    def stop(self, run: Run) -> None:
        """Whatever is not one of run.servers or a receiver's process."""
