# SPDX-License-Identifier: GPL-2.0-or-later
"""The demo's night as a test: the same phases, the same promises."""
import json
import os
import pathlib
import signal
import sys

import pytest

from tests.e2e import demo, night
from tests.e2e.night import Night


def test_one_night_of_two_labs():
    folder = pathlib.Path(os.environ["NIGHTCLASS_BUILD"]) / "e2e"
    Night(folder).run()
    report = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    assert report["ok"] and report["residue"] == {}
    assert {pc["firmware"] for pc in report["pcs"].values()} == {"bios", "uefi"}
    for pc in report["pcs"].values():
        assert pc["disk_before"] == pc["disk_after"]
    assert report["mpi"]["check"] and len(report["mpi"]["hosts"]) == len(report["vms"]) == 2
    assert {vm["hostname"] for vm in report["vms"].values()} == {"alice-001", "alice-002"}


@pytest.fixture
def signals():
    """The demo listens to signals of its own process, which is ours here."""
    before = {signo: signal.getsignal(signo) for signo in (signal.SIGINT, signal.SIGTERM)}
    yield
    for signo, handler in before.items():
        signal.signal(signo, handler)


def refuses(_night) -> str:
    raise night.Failed("two VMs have one mac\nthe rest of the story")


def waits(_night) -> str:
    raise TimeoutError("south: night done: not within 600 s, last seen: None")


def breaks(_night) -> str:
    return {}["labs"]


def is_interrupted(_night) -> str:
    raise KeyboardInterrupt


@pytest.mark.parametrize("phase, last", [
    (refuses, "two VMs have one mac"), (waits, "south: night done: not within 600 s, last seen: None"),
    (breaks, "KeyError: 'labs'"), (is_interrupted, "interrupted; nothing is left running")])
@pytest.mark.usefixtures("signals")
def test_a_failing_phase_is_the_last_word(tmp_path, monkeypatch, capsys, phase, last):
    """The demo's two halves in one process; nothing is built."""
    def inner(argv, **_how) -> int:
        if argv[0] == "make":
            return 0
        monkeypatch.setattr(sys, "argv", argv[2:])
        return night.main()

    monkeypatch.setattr(demo.sandbox, "run", inner)
    monkeypatch.setattr(Night, "PHASES", (phase,))
    monkeypatch.setattr(sys, "argv", ["demo.py", str(tmp_path / "demo"), "0"])
    assert demo.main() == 1
    said = capsys.readouterr().out.splitlines()
    assert said[-1] == f"demo: FAILED: {last}"
    if phase is refuses:
        assert "the rest of the story" in said and said[-2].startswith("logs: ")
    report = json.loads((tmp_path / "demo" / "report.json").read_text(encoding="utf-8"))
    assert not report["ok"] and report["failed"] == last
    assert list(report["phases"]) == ["packages", "programs", "images"]


@pytest.mark.usefixtures("signals")
def test_a_night_that_leaves_no_report_is_told(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(demo.sandbox, "run", lambda argv, **_how: 0 if argv[0] == "make" else 137)
    monkeypatch.setattr(sys, "argv", ["demo.py", str(tmp_path / "demo"), "0"])
    assert demo.main() == 1
    assert capsys.readouterr().out.endswith("demo: FAILED: the night ended with exit code 137\n")
    assert not json.loads((tmp_path / "demo" / "report.json").read_text(encoding="utf-8"))["ok"]
