# SPDX-License-Identifier: GPL-2.0-or-later
"""What a bench is told by its environment, and what it knows of the machine it runs on."""
import dataclasses
import os
import pathlib
import platform
import subprocess

ROOT = pathlib.Path(__file__).resolve().parents[2]
MOST = 245  # PCs: the lab's addresses are 10.99.0.10 to 10.99.0.254


def number(name: str, default: float) -> float:
    text = os.environ.get(name, "")
    try:
        return float(text) if text else default
    except ValueError:
        raise SystemExit(f"{name}={text}: not a number") from None


def counts(name: str, default: str) -> list[int]:
    """Numbers of PCs, the smallest first."""
    text = os.environ.get(name, "") or default
    try:
        numbers = sorted({int(word) for word in text.split(",")})
    except ValueError:
        numbers = [0]
    if numbers[0] < 1 or numbers[-1] > MOST:
        raise SystemExit(f"{name}={text}: not numbers of PCs: give one or more from 1 to {MOST}, with commas between")
    return numbers


@dataclasses.dataclass
class Settings:
    quick: bool
    n: list[int]  # receivers; the scenarios of mishaps take the largest
    mbit: float
    size: int  # bytes of the noise image
    runs: int  # of ours
    others: int  # of the others
    minutes: float  # no run begins that is estimated to end later
    only: list[str]
    steal: float  # a run that lost more of the machine's time to its neighbours is repeated
    snooping: bool
    vm_size: int  # bytes of the image of the first VM
    build: pathlib.Path
    out: pathlib.Path

    @classmethod
    def read(cls) -> "Settings":
        quick = os.environ.get("BENCH_QUICK", "") not in ("", "0")
        build = pathlib.Path(os.environ.get("NIGHTCLASS_BUILD", ROOT / "build")).resolve()
        return cls(
            quick=quick, n=counts("BENCH_N", "4" if quick else "8,16,32"), mbit=number("BENCH_MBIT", 100),
            size=int(number("BENCH_SIZE", 16 if quick else 128)) << 20, runs=int(number("BENCH_RUNS", 1 if quick else 5)),
            others=int(number("BENCH_OTHERS", 1 if quick else 3)), minutes=number("BENCH_MINUTES", 5 if quick else 45),
            only=[word for word in os.environ.get("BENCH_ONLY", "").split(",") if word],
            steal=number("BENCH_STEAL", 2) / 100, snooping=os.environ.get("BENCH_SNOOPING", "1") != "0",
            vm_size=int(number("BENCH_VM_SIZE", 4096)) << 20, build=build,
            out=pathlib.Path(os.environ.get("BENCH_OUT", build / "bench" / "images.json")))


def said(*argv: str) -> str:
    done = subprocess.run(argv, capture_output=True, text=True, cwd=ROOT)
    return done.stdout.strip() if done.returncode == 0 else ""


def machine() -> dict:
    """Where the figures come from."""
    model = next((line.split(":", 1)[1].strip() for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines()
                  if line.startswith("model name")), platform.machine())
    memory = next(line.split()[1] for line in pathlib.Path("/proc/meminfo").read_text().splitlines())
    return {"cpu": model, "cores": os.cpu_count(), "memory_mib": int(memory) >> 10, "kernel": platform.release(),
            "load": os.getloadavg()}


def commit() -> dict:
    """What was measured."""
    return {"commit": said("git", "rev-parse", "HEAD"), "changed": bool(said("git", "status", "--porcelain", "-uno"))}


def versions(packages: list[str]) -> dict:
    return {name: said("dpkg-query", "-W", "-f", "${Version}", name) for name in packages}
