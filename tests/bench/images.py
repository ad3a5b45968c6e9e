# SPDX-License-Identifier: GPL-2.0-or-later
"""make bench-images: how fast an image reaches a whole lab, beside what a user would pick instead, in one run on one
machine (docs/bench.md says how to read it). Runs inside tests/rig/sandbox.py.

Runs alternate: every pass takes each scenario once with each of its tools, so that a slow minute of the machine strikes
all alike; passes follow until every tool has its runs or the time is up. After every run the figures so far are written."""
import contextlib
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2]))

# pylint: disable=wrong-import-position
from tests.bench import firstvm, image as images, lab as labs, memory, scenarios, settings as config, table  # noqa: E402
from tests.bench.run import Run, execute, not_done  # noqa: E402
from tests.bench.tools import delta, multicast, ours, unicast  # noqa: E402

WORK = pathlib.Path("/run/bench")
SLACK = 6  # a run that takes so many times its limit is ended
ATTEMPTS = 2  # times the wanted runs, when the machine's neighbours disturb
GIGABIT = 1000  # Mbit/s
HUGE = 8  # times the image of noise
SPARE = 2 << 30  # bytes for small images, logs and what a tool keeps beside its file
GIVE_UP = 2  # a tool that has failed so often in a scenario, and never ended well, is not run again
TOOLS = [*multicast.TOOLS, *unicast.TOOLS, *delta.TOOLS, *ours.TOOLS]


class Bench:
    def __init__(self, settings: config.Settings):
        self.settings = settings
        self.begin, self.work = time.monotonic(), WORK
        self.failed = settings.out.with_suffix(".failed")  # what the programs of runs that failed said
        shutil.rmtree(self.failed, ignore_errors=True)
        self.scenarios = scenarios.chosen(settings)
        self.runs: dict[tuple[str, str], list[dict]] = {}
        self.cost: dict[tuple[str, str], float] = {}  # seconds that a run took last
        self.images: dict[str, images.Image] = {}
        self.record = {"settings": {key: str(value) if isinstance(value, pathlib.Path) else value
                                    for key, value in settings.__dict__.items()},
                       **config.commit(), "machine": config.machine(), "begun": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
                       "scenarios": {s.name: s.what for s in self.scenarios}}
        used = {tool for scenario in self.scenarios for tool in scenario.tools}
        self.tools = {cls.name: cls(WORK, settings.build) for cls in TOOLS if cls.name in used}
        self.record["tools"] = {tool.name: tool.what for tool in self.tools.values()}
        self.record["versions"] = config.versions(sorted({p for tool in self.tools.values() for p in tool.packages}))

    # --- what is brought

    def image(self, kind: str) -> images.Image:
        """An image by its scenario's word, made when first asked for."""
        if kind not in self.images:
            say(f"making the image {kind}")
            if kind == "noise":
                made = images.noise(WORK, self.settings.size)
            elif kind == "large":
                made = images.noise(WORK, self.settings.size * 2)
            elif kind == "huge":
                made = images.noise(WORK, self.settings.size * HUGE)
            elif kind == "small":
                made = images.noise(WORK, max(1 << 20, self.settings.size // 8))
            elif kind == "disk":
                made = images.disk(WORK, config.ROOT / "build/images/mpi-lean/disk.raw")
            else:
                made = images.revision(WORK, self.image("noise"), float(kind.split("-")[1]),
                                       min(1 << 20, self.settings.size // 64))
            self.images[kind] = made
        return self.images[kind]

    def image_for(self, scenario, tool) -> images.Image:
        """Server unicast takes N times as long: an eighth of the image says as much."""
        return self.image("small" if tool.unicast and scenario.image == "noise" and scenario.n > 4 else scenario.image)

    # --- one run

    def run(self, scenario, tool) -> dict:
        mbit = GIGABIT if scenario.gigabit else self.settings.mbit
        lab = run = None
        try:
            lab = labs.Lab(scenario.n, mbit, self.settings.snooping, scenario.gigabit)
            lab.meet()  # before anything is lost
            for i in range(scenario.slow):
                lab.rate(lab.host(scenario.n - 1 - i), mbit / 4)
            lab.loss(scenario.loss)
            lab.multicast(scenario.multicast)
            if "offloads" not in self.record:
                self.record["offloads"] = labs.offloads(labs.SERVER)
            image = self.image_for(scenario, tool)
            ideal = image.size * 8 / (mbit * 1e6)
            limit = (60 if self.settings.quick else 10) + SLACK * ideal + (1.6 * scenario.n * ideal if tool.unicast else 0)
            run = Run(lab, scenario, image, self.work / "run", limit)
            result = figures(scenario, run, execute(tool, run))
        except (RuntimeError, OSError, subprocess.SubprocessError) as error:
            result = not_done(error)
        finally:
            if lab:
                lab.close()
        if run and not result["ok"]:
            self.keep(run, tool, result)
        if run:
            run.remove()
        return result

    def keep(self, run: Run, tool, result: dict) -> None:
        """What the programs of a run that failed said, where the record says."""
        name = run.scenario.name
        folder = self.failed / f"{name}-{tool.name}-{len(self.runs[name, tool.name]) + 1}"
        if run.keep(folder):
            result["logs"] = str(folder)

    def wanted(self, scenario, tool) -> int:
        mine = tool.name.startswith("ours") or tool.name == "wire"
        runs = self.settings.runs if mine else self.settings.others
        return min(runs, 1) if scenario.once else runs

    def due(self, scenario, tool, turn: int) -> bool:
        """Has this tool another run in this pass?"""
        past = self.runs[scenario.name, tool.name]
        good = [run for run in past if run["ok"] and not run.get("disturbed")]
        want = self.wanted(scenario, tool)
        if len(good) >= want or len(past) > turn or len(past) >= ATTEMPTS * want:
            return False
        if len(past) >= GIVE_UP and not any(run["ok"] for run in past) and not tool.name.startswith("ours"):
            return False
        left = self.settings.minutes * 60 - (time.monotonic() - self.begin)
        guess = 90 + settings_vm_seconds(self.settings) if scenario.image == "vm" else 15
        return self.cost.get((scenario.name, tool.name), guess) < left

    def one(self, scenario, tool) -> None:
        begin = time.monotonic()
        result = firstvm.run(self, tool) if scenario.image == "vm" else self.run(scenario, tool)
        result["disturbed"] = result.get("steal", 0) > self.settings.steal
        past = self.runs[scenario.name, tool.name]
        past.append(result)
        self.cost[scenario.name, tool.name] = time.monotonic() - begin
        say(f"{scenario.name} {tool.name} {len(past)}/{self.wanted(scenario, tool)}: {summary(result)}")
        self.write()

    def all(self) -> None:
        pairs = [(scenario, self.tools[name]) for scenario in self.scenarios for name in scenario.tools]
        for scenario, tool in pairs:
            self.runs[scenario.name, tool.name] = []
            lack = tool.missing()
            if lack:
                self.runs[scenario.name, tool.name].append({"ok": False, "why": lack, "steal": 0})
                say(f"{scenario.name} {tool.name}: left out: {lack}")
        able = [(scenario, tool) for scenario, tool in pairs if not tool.missing()]
        for turn in range(ATTEMPTS * max(self.settings.runs, self.settings.others)):
            waiting = [(scenario, tool) for scenario, tool in able if self.due(scenario, tool, turn)]
            if not waiting:
                return
            for scenario, tool in waiting:
                if self.due(scenario, tool, turn):
                    self.one(scenario, tool)

    # --- the end

    def rows(self) -> list[dict]:
        """One for each tool of each scenario, also where its turn has not come."""
        return [table.row(scenario, self.tools[name], self.runs.get((scenario.name, name), []))
                for scenario in self.scenarios for name in scenario.tools]

    def lack(self, ended: str) -> str:
        """What of ours has no figure, why, and what to do; empty when all have. `ended`: what ended the bench."""
        rows = [row for row in self.rows() if row["tool"].startswith("ours") and not row["runs"]]
        never = ", ".join(f"{row['scenario']} {row['tool']}" for row in rows if not row["tried"])
        failed = ", ".join(f"{row['scenario']} {row['tool']}" for row in rows if row["tried"])
        return "\n".join([*([f"never run: {never}: {ended}"] if never else []),
                          *([f"no run ended well: {failed}: see why in the table, and in {self.failed} what was said"]
                            if failed else [])])

    def write(self) -> None:
        self.record["minutes"] = round((time.monotonic() - self.begin) / 60, 1)
        self.record["rows"] = self.rows()
        self.record["runs"] = [{"scenario": scenario, "tool": tool, **run}
                               for (scenario, tool), runs in self.runs.items() for run in runs]
        self.settings.out.parent.mkdir(parents=True, exist_ok=True)
        fresh = self.settings.out.with_suffix(".new")
        fresh.write_text(json.dumps(self.record, indent=1) + "\n")
        fresh.rename(self.settings.out)


def settings_vm_seconds(settings: config.Settings) -> float:
    """About as long as the image of the first VM is on its way."""
    return 1.1 * settings.vm_size * 8 / (settings.mbit * 1e6)


def figures(scenario, run: Run, result: dict) -> dict:
    """Seconds become ratios to what the port could do: bytes that must be sent, by the rate of the receiver's own port."""
    floor = run.image.packed * 8 / (run.lab.mbit * 1e6)
    for role in ("steady", "slow", "joins", "restarted"):
        if role in result:
            result[role]["ratio"] = round(result[role]["seconds"] / (floor * (4 if role == "slow" else 1)), 4)
    result["size"], result["packed"] = run.image.size, run.image.packed
    result["sent_of_size"] = round(result["server_sent"] / run.image.packed, 4)
    result["seconds"] = max((result[role]["seconds"] for role in ("steady", "slow", "joins", "restarted") if role in result),
                            default=0)
    if scenario.gigabit:
        result["cores_at_gigabit"] = round(result["server_cpu"] / (result["server_sent"] * 8 / (GIGABIT * 1e6)), 4)
    if run.image.changed:
        result["sent_of_changed"] = round((result["server_sent"] + result["server_got"]) / run.image.changed, 4)
    return result


def summary(result: dict) -> str:
    if not result["ok"]:
        return f"NOT DONE: {result['why']}" + (f" (see {result['logs']})" if "logs" in result else "")
    words = [f"{role} {result[role]['ratio']:.3f}" for role in ("steady", "slow", "joins", "restarted") if role in result]
    words += [f"{result['sent_of_changed']:.2f} of the changed bytes"] if "sent_of_changed" in result else []
    words += [f"{result['cores_at_gigabit']:.2f} of a core at 1 Gbit/s"] if "cores_at_gigabit" in result else []
    words += [result["note"]] if "note" in result else []
    words += [f"{result['seconds']:.1f} s, {result['server_sent'] / 1e6:.1f} MB from the server, steal {result['steal']:.1%}, "
              f"idle {result['idle']:.0%}"] if "server_sent" in result else []
    if result.get("drops", {}).get("machine"):
        words.append(f"THE MACHINE DROPPED {result['drops']['machine']} FRAMES")
    return ", ".join(words) + (" (disturbed, again)" if result.get("disturbed") else "")


def say(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')}  {text}", flush=True)


def need(settings: config.Settings) -> int:
    """Bytes that files may take at a time: those of receivers, and the large images with their chunks."""
    images_of = {scenario.image for scenario in scenarios.chosen(settings)}
    most = (settings.n[-1] + 3) * max(settings.size, 256 << 20)
    if "vm" in images_of:
        most = max(most, 3 * (settings.vm_size + (256 << 20)))
    if "huge" in images_of:
        most += 2 * HUGE * settings.size
    return most + SPARE


def kept(settings: config.Settings) -> contextlib.AbstractContextManager:
    """The memory that all this takes, while the bench lasts; a quick one does not ask how fast it is."""
    if settings.quick:
        return contextlib.nullcontext()
    say(f"taking {need(settings) >> 20} MiB of memory, to keep it")
    return memory.keep(need(settings))


def main() -> int:
    if not labs.inside():
        sys.exit("bench: run it by `make bench-images`: it needs a sandbox of its own")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    settings = config.Settings.read()
    memory.room(WORK, need(settings))
    # Whoever else computes on this machine waits for the lab's 32 PCs: they would have cores of their own.
    os.nice(-10)
    bench = Bench(settings)
    say(f"{len(bench.scenarios)} scenarios, {settings.mbit:g} Mbit/s a port, {settings.size >> 20} MiB, at most "
        f"{settings.minutes:g} minutes; load {os.getloadavg()[0]:.1f}")
    ended = (f"the {settings.minutes:g} minutes were too few: give the bench more (BENCH_MINUTES) or less to do"
             " (BENCH_ONLY)")
    try:
        with kept(settings):
            bench.all()
    except KeyboardInterrupt:
        say("interrupted: these are the figures so far")
        ended = "the bench was interrupted: let it end by itself"
    bench.write()
    print("\nratio: time of the last receiver / (bytes that must be sent / rate of a port); 1.034 is the limit of UDP, 1.046 "
          f"of TCP\n\n{table.text(bench.rows())}\n\n{settings.out}")
    lack = bench.lack(ended)
    if lack:
        print(lack, file=sys.stderr)
    return 1 if lack else 0


if __name__ == "__main__":
    sys.exit(main())
