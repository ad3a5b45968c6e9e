# SPDX-License-Identifier: GPL-2.0-or-later
"""One run: one tool brings one image to the receivers of one lab while a scenario's mishaps befall them. The clock starts
when the sender may begin; a receiver's clock stops when its whole file is there, which is then compared byte by byte."""
import contextlib
import dataclasses
import pathlib
import select
import shutil
import time

from tests.bench import image as images
from tests.bench.lab import SERVER, Lab
from tests.bench.process import Load, Process, stop_all

SAMPLES = 20  # looks at memory in the time a perfect transport needs, but at most two a second
RESTART = 2.0  # seconds from a receiver's death to its restart
PART_OF_TIME = 1.05  # "at half time" is half of this times size / rate


@dataclasses.dataclass(frozen=True)
class Scenario:
    """What a lab is like and what happens in it. Fractions are of the time a perfect transport needs."""
    name: str
    n: int
    tools: tuple[str, ...]
    loss: float = 0  # of a thousand frames
    slow: int = 0  # so many receivers (the last ones) at a quarter of the rate
    join: tuple[float, ...] = ()  # so many of the last receivers start at these moments
    kill: int = 0  # so many of the last receivers are killed at half time; the first of them is restarted
    multicast: bool = True
    gigabit: bool = False  # ports of 1 Gbit/s, not shaped, and a processor for the server alone
    image: str = "noise"  # noise, disk, revision-PERCENT, vm
    what: str = ""
    once: bool = False  # one run of each tool is enough, as the row says


@dataclasses.dataclass
class Receiver:
    i: int
    role: str = "steady"  # steady, slow, joins, killed, restarted
    process: Process | None = None
    started: float = 0.0  # of its latest start, by the run's clock
    ended: float | None = None
    why: str = ""  # it failed
    waste: float = 0.0  # CPU seconds of processes before the latest
    anon: int = 0
    peak: int = 0


class Run:
    """What a tool gets to work with, and what came of it."""

    def __init__(self, lab: Lab, scenario: Scenario, image: images.Image, folder: pathlib.Path, limit: float):
        self.lab, self.scenario, self.image, self.folder, self.limit = lab, scenario, image, folder, limit
        self.servers: list[Process] = []
        self.begun = False  # the clock runs
        self.receivers = [Receiver(i, self._role(i)) for i in range(scenario.n)]
        self.remove()
        folder.mkdir(parents=True)
        for r in self.receivers:
            self.dir(r.i).mkdir()

    def _role(self, i: int) -> str:
        back = self.scenario.n - i
        if back <= self.scenario.slow:
            return "slow"
        if back <= len(self.scenario.join):
            return "joins"
        if back <= self.scenario.kill:
            return "restarted" if back == self.scenario.kill else "killed"
        return "steady"

    def dir(self, i: int) -> pathlib.Path:
        """Receiver i's own folder."""
        return self.folder / self.lab.host(i)

    def server(self, *argv: object, **named) -> Process:
        """Starts a program on the server."""
        process = Process(SERVER, [*self.lab.pinned(SERVER), *argv], self.folder / f"server-{len(self.servers)}.log", **named)
        self.servers.append(process)
        return process

    def client(self, i: int, *argv: object, **named) -> Process:
        """Starts a program on receiver i."""
        host = self.lab.host(i)
        return Process(host, [*self.lab.pinned(host), *argv], self.dir(i) / "log", **named)

    def keep(self, folder: pathlib.Path) -> bool:
        """Copies what its programs said, each log under its host's name: for a run that went wrong. False: nothing."""
        shutil.rmtree(folder, ignore_errors=True)
        logs = [log for pattern in ("*.log", "*/log", "*/*.log", "*/console") for log in self.folder.glob(pattern)]
        for log in logs:
            copy = folder / log.relative_to(self.folder)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(log, copy)
        return bool(logs)

    def remove(self) -> None:
        """Takes its files away: those of 32 receivers leave no room for the images of the first VM."""
        shutil.rmtree(self.folder, ignore_errors=True)

    @property
    def ideal(self) -> float:
        """Seconds that the image's bytes take on one port."""
        return self.image.size * 8 / (self.lab.mbit * 1e6)


def not_done(error: Exception) -> dict:
    """The result of a run that an error ended."""
    return {"ok": False, "why": " ".join(str(error).split())[:300], "steal": 0}


def execute(tool, run: Run) -> dict:
    """The whole run; what was measured. Whatever happens, nothing that it started is left."""
    try:
        tool.prepare(run.image)
        if run.image.base:
            for r in run.receivers:
                tool.hold(run, r.i, run.image.base)
        tool.serve(run)
        early = [r for r in run.receivers if r.role != "joins"]
        if tool.receivers_first:
            for r in early:
                start(tool, run, r, 0)
            for r in early:
                tool.ready(run, r.i, r.process)
        drops, sent, load = run.lab.drops(), run.lab.server_bytes(), Load()
        begin, run.begun = time.monotonic(), True
        if tool.receivers_first:
            tool.begin(run)
        else:
            for r in early:
                start(tool, run, r, time.monotonic() - begin)
        follow(tool, run, begin)
        share = load.share()
        result = measure(tool, run)
        result.update(share, server_sent=run.lab.server_bytes()[0] - sent[0], server_got=run.lab.server_bytes()[1] - sent[1],
                      drops={key: value - drops[key] for key, value in run.lab.drops().items()})
        return result
    finally:
        with contextlib.suppress(Exception):
            tool.stop(run)
        stop_all([*run.servers, *(r.process for r in run.receivers if r.process)])


def start(tool, run: Run, r: Receiver, at: float) -> None:
    r.started = at
    r.process = tool.receive(run, r.i)


def follow(tool, run: Run, begin: float) -> None:
    """Until every receiver that is to have the file has it or has failed, or the deadline."""
    events = plan_events(tool, run, begin)
    every = min(0.5, run.ideal / SAMPLES)
    sample = begin + every
    while True:
        now = time.monotonic()
        while events and now - begin >= events[0][0]:
            events.pop(0)[1]()
        open_ones = [r for r in run.receivers if r.process and r.ended is None and not r.why]
        if not open_ones and not events:
            return
        if now - begin > run.limit:
            for r in open_ones:
                r.why = f"not done in {run.limit:.0f} s"
                (run.dir(r.i) / "sockets.log").write_text(run.lab.sockets(run.lab.host(r.i)))
            return
        if now >= sample:
            for process in [*run.servers, *(r.process for r in open_ones)]:
                process.sample()
            sample = now + every
        wait = 0.01 if tool.polled else max(0.0, min(sample, begin + (events[0][0] if events else 1e9)) - time.monotonic())
        poll = select.poll()
        for r in open_ones:
            if r.process.code is None:
                poll.register(r.process.fd, select.POLLIN)
        poll.poll(wait * 1000 + 1)
        for r in open_ones:
            judge(tool, run, r, begin)


def judge(tool, run: Run, r: Receiver, begin: float) -> None:
    """Has it all, or has it failed?"""
    ended = r.process.look()
    if tool.has(run, r.i, r.process):
        r.ended = (r.process.ended if ended and not tool.polled else time.monotonic()) - begin
        r.process.sample()
    elif ended:
        r.why = f"exit {r.process.code}: {r.process.tail()}"


def plan_events(tool, run: Run, begin: float) -> list:
    """[(seconds, what to do)], in their order."""
    events, base = [], run.ideal * PART_OF_TIME
    late = [r for r in run.receivers if r.role == "joins"]
    for r, fraction in zip(late, run.scenario.join):
        events.append((fraction * base, lambda r=r: start(tool, run, r, time.monotonic() - begin)))
    for r in run.receivers:
        if r.role in ("killed", "restarted"):
            events.append((base / 2, lambda r=r: kill(r)))
        if r.role == "restarted" and tool.restarts:
            events.append((base / 2 + RESTART, lambda r=r: again(tool, run, r, begin)))
    return sorted(events, key=lambda event: event[0])


def kill(r: Receiver) -> None:
    r.process.stop()
    r.why = r.why or "killed"


def again(tool, run: Run, r: Receiver, begin: float) -> None:
    r.waste, r.anon, r.peak = r.process.cpu, r.process.anon, r.process.peak
    r.why = ""
    start(tool, run, r, time.monotonic() - begin)


def measure(tool, run: Run) -> dict:
    """Figures of the receivers, and whether what they got is right."""
    tool.settle(run)
    have = [r for r in run.receivers if r.ended is not None]
    wrong = set(images.all_same([tool.file(run, r.i) for r in have], run.image))
    for r in have:
        if tool.file(run, r.i) in wrong:
            r.why, r.ended = "the file is not the one that was sent", None
    stop_all([*(r.process for r in run.receivers if r.process)])
    stop_all(run.servers)
    processes = [r.process for r in run.receivers if r.process]
    result = {"ok": all(r.ended is not None for r in run.receivers if r.role != "killed"
                        and (r.role != "restarted" or tool.restarts)),
              "why": next((f"{run.lab.host(r.i)}: {r.why}" for r in run.receivers
                           if r.why and r.role not in ("killed",)), ""),
              "server_cpu": round(sum(p.cpu for p in run.servers), 3),
              "receiver_cpu": round(sum(p.cpu for p in processes) + sum(r.waste for r in run.receivers), 3),
              "receiver_anon": max((max(r.process.anon, r.anon) for r in run.receivers if r.process), default=0),
              "receiver_peak": max((max(r.process.peak, r.peak) for r in run.receivers if r.process), default=0),
              "done": sum(r.ended is not None for r in run.receivers)}
    for role in ("steady", "slow", "joins", "restarted"):
        times = [r.ended - r.started for r in run.receivers if r.role == role and r.ended is not None]
        if times:
            result[role] = {"seconds": round(max(times), 3), "first": round(min(times), 3), "count": len(times)}
    return result
