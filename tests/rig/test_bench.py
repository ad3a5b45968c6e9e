# SPDX-License-Identifier: GPL-2.0-or-later
"""make bench-images works: a tiny bench of two PCs, ours and curl, with a record that says what a reader needs. What it
measures is not judged here."""
import contextlib
import fcntl
import json
import os
import pathlib
import shutil
import socket
import struct
import subprocess
import termios

import pytest

from tests.bench import firstvm, image, images, lab as labs, memory, process, run, scenarios, settings, table
from tests.rig.wait import until

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("NIGHTCLASS_BUILD", ROOT / "build")).resolve()


needs = pytest.mark.skipif(not shutil.which("nginx") or not shutil.which("ethtool"),
                           reason="no nginx-light, ethtool: .ci/setup bench")


def bench(tmp_path, only: str, timeout: float = 200, **more) -> tuple[subprocess.CompletedProcess, dict]:
    out = tmp_path / "images.json"
    env = {**os.environ, "BENCH_QUICK": "1", "BENCH_N": "2", "BENCH_SIZE": "4", "BENCH_ONLY": only, "BENCH_OUT": str(out),
           "NIGHTCLASS_BUILD": str(BUILD), "BENCH_STEAL": "100", "ASAN_OPTIONS": "detect_leaks=0", **more}
    argv = ["/usr/bin/python3", "tests/rig/sandbox.py", "/usr/bin/python3", "tests/bench/images.py"]
    done = subprocess.run(argv, cwd=ROOT, env=env, capture_output=True, text=True, timeout=timeout, stdin=subprocess.DEVNULL)
    return done, json.loads(out.read_text()) if out.exists() else {}


@needs
def test_a_tiny_bench_measures_and_compares(tmp_path):
    done, record = bench(tmp_path, "clean,ours,nginx")
    assert done.returncode == 0, done.stdout + done.stderr
    rows = {row["tool"]: row for row in record["rows"]}
    assert set(rows) == {"ours", "nginx"}
    for row in rows.values():
        # Faster than its port is impossible: then the lab, the clock or the comparison is broken.
        assert row["runs"] == 1 and row["steady"]["min"] > 1.03, row
    ours = next(one for one in record["runs"] if one["tool"] == "ours")
    assert ours["steady"]["count"] == 2 and ours["receiver_anon"] > 0
    assert ours["server_sent"] > 4 << 20 and ours["server_cpu"] > 0
    assert record["commit"] and record["machine"]["cores"] and "generic-receive-offload: on" in record["offloads"]
    assert any(line.startswith("clean-2") for line in done.stdout.splitlines()), done.stdout


@needs
def test_where_no_multicast_comes_through_they_form_a_chain_and_no_ring(tmp_path):
    done, record = bench(tmp_path, "no-multicast,ours", BENCH_N="3")
    assert done.returncode == 0, done.stdout + done.stderr
    assert record["rows"][0]["runs"] == 1 and record["runs"][0]["done"] == 3


@needs
def test_a_vm_is_ready_before_its_image_and_the_image_comes_whole(tmp_path):
    done, record = bench(tmp_path, "first-vm,ours", timeout=900, BENCH_VM_SIZE="16")
    assert done.returncode == 0, done.stdout + done.stderr
    one = record["runs"][0]
    assert one["ok"] and one["steady"]["count"] == 2 and 0 < one["first_vm"] and one["boot_bytes"] > 0, one


@needs
@pytest.mark.skipif(os.cpu_count() < 2, reason="the sender is to have a processor to itself")
def test_what_the_sender_costs_is_its_own_time(tmp_path):
    done, record = bench(tmp_path, "sender,ours", BENCH_SIZE="1")
    assert done.returncode == 0, done.stdout + done.stderr
    one = record["runs"][0]
    assert one["ok"] and one["cores_at_gigabit"] > 0, one
    assert "core at 1 Gbit/s" in done.stdout


def test_an_unknown_word_is_refused_with_those_that_are_known(tmp_path):
    done, _ = bench(tmp_path, "clean,rsyncc")
    assert done.returncode != 0
    assert "rsyncc" in done.stderr and "loss-1" in done.stderr and "udpcast" in done.stderr


def test_a_wrong_file_is_no_run(tmp_path):
    made = image.noise(tmp_path, 1 << 20)
    good, bad = tmp_path / "good", tmp_path / "bad"
    good.write_bytes(made.path.read_bytes())
    bad.write_bytes(made.path.read_bytes()[:-1] + b"\0")
    assert image.all_same([good, bad, good], made) == [bad]


def test_what_was_disturbed_does_not_count():
    scenario = run.Scenario("clean-2", 2, ("a",))
    tool = type("T", (), {"name": "a"})
    one = {"ok": True, "why": "", "steady": {"ratio": 1.5}, "server_sent": 1, "disturbed": True}
    other = {**one, "steady": {"ratio": 1.1}, "disturbed": False}
    failed = {"ok": False, "why": "not done in 9 s", "steal": 0}
    row = table.row(scenario, tool, [one, other, failed])
    assert (row["runs"], row["tried"], row["disturbed"], row["steady"]["median"]) == (1, 3, 1, 1.1)
    assert table.row(scenario, tool, [failed])["why"] == "not done in 9 s"


def test_what_the_programs_of_a_run_said_is_kept_and_no_image(tmp_path):
    lab = type("L", (), {"host": staticmethod(lambda i: f"r{i:03d}")})
    one = run.Run(lab, run.Scenario("clean-2", 2, ("a",)), None, tmp_path / "run", 1)
    for path in (one.folder / "server-0.log", one.dir(1) / "log", one.dir(1) / "sockets.log", one.dir(1) / "disk.raw",
                 one.folder / "vm" / "console"):
        path.parent.mkdir(exist_ok=True)
        path.write_text(path.name)
    (tmp_path / "kept" / "of-an-earlier-run").mkdir(parents=True)
    assert one.keep(tmp_path / "kept")
    kept = {str(path.relative_to(tmp_path / "kept")): path.read_text() for path in (tmp_path / "kept").rglob("*") if path.is_file()}
    assert kept == {"server-0.log": "server-0.log", "r001/log": "log", "r001/sockets.log": "sockets.log",
                    "vm/console": "console"}
    assert not (tmp_path / "kept" / "of-an-earlier-run").exists()


class Imagined:
    """A lab that carries nothing."""

    def __init__(self, *_):
        self.mbit = 100

    def __getattr__(self, name):
        return {"host": lambda i: f"r{i:03d}", "server_bytes": lambda: (0, 0)}.get(name, lambda *_: None)


@pytest.fixture
def imagined(monkeypatch, tmp_path):
    """Makes a bench of some scenarios whose labs are imagined and whose tools are all there."""
    def make(only: str, **more) -> images.Bench:
        words = {"BENCH_ONLY": only, "BENCH_SIZE": "1", "BENCH_OUT": str(tmp_path / "images.json"), **more}
        for name, value in words.items():
            monkeypatch.setenv(name, value)
        one = images.Bench(settings.Settings.read())
        for tool in one.tools.values():
            monkeypatch.setattr(tool, "missing", lambda: "", raising=False)
        return one

    monkeypatch.delenv("BENCH_QUICK", raising=False)
    monkeypatch.setattr(images, "WORK", tmp_path / "work")
    monkeypatch.setattr(labs, "Lab", Imagined)
    monkeypatch.setattr(labs, "offloads", lambda name: "")
    return make


def kept_logs(tmp_path) -> dict[str, str]:
    """What a bench has kept of the runs that failed."""
    top = tmp_path / "images.failed"
    return {str(path.relative_to(top)): path.read_text() for path in top.rglob("*") if path.is_file()}


def test_a_run_that_an_error_ended_leaves_what_was_said_and_no_files(imagined, monkeypatch, tmp_path):
    def execute(_, one):
        (one.folder / "server-0.log").write_text("address in use")
        (one.dir(0) / "image").write_bytes(bytes(1 << 20))
        raise RuntimeError("does not listen")

    monkeypatch.setattr(images, "execute", execute)
    one = imagined("loss-1,uftp", BENCH_OTHERS="1")
    one.all()
    assert kept_logs(tmp_path)["loss-1-uftp-1/server-0.log"] == "address in use"
    assert one.runs["loss-1", "uftp"][0]["why"] == "does not listen"
    assert one.runs["loss-1", "uftp"][0]["logs"] == str(tmp_path / "images.failed/loss-1-uftp-1")
    assert not (tmp_path / "work/run").exists()


def test_the_files_of_a_run_that_ended_well_are_gone_before_the_next(imagined, monkeypatch, tmp_path):
    def execute(_, one):
        (one.dir(0) / "image").write_bytes(bytes(1 << 20))
        return {"ok": True, "why": "", "server_sent": 1, "idle": 1, "steal": 0}

    monkeypatch.setattr(images, "execute", execute)
    one = imagined("loss-1,uftp", BENCH_OTHERS="1")
    one.all()
    assert one.runs["loss-1", "uftp"][0]["ok"] and not (tmp_path / "work/run").exists() and not kept_logs(tmp_path)


def test_the_console_of_a_vm_that_is_never_ready_is_kept(imagined, monkeypatch, tmp_path):
    def lazy(self):
        (self.run.folder / "vm").mkdir()
        (self.run.folder / "vm/console").write_text("kernel panic")
        raise RuntimeError("the VM never said ready")

    monkeypatch.setattr(firstvm, "make", lambda *_: (image.Image("vm", tmp_path / "vm.raw", 1, 1), ""))
    monkeypatch.setattr(firstvm.FirstVm, "lazy", lazy)
    one = imagined("first-vm,ours", BENCH_VM_SIZE="1")
    monkeypatch.setattr(type(one.tools["ours"]), "digest", lambda *_: "d")
    one.all()
    assert kept_logs(tmp_path)["first-vm-ours-1/vm/console"] == "kernel panic"
    assert not (tmp_path / "work/first-vm").exists()


@needs
def test_what_waits_at_a_port_of_the_switch_is_not_the_senders():
    """Both ports are slow, so one of them is the last of its group, to which a bridge would forward the frame itself."""
    group, one = "239.255.78.99", labs.Lab(2, 100)
    with contextlib.ExitStack() as stack:
        stack.callback(one.close)
        one.meet()
        for i in range(2):
            one.rate(one.host(i), 0.1)
            listener = stack.enter_context(udp(one.host(i)))
            listener.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP,
                                socket.inet_aton(group) + socket.inet_aton(one.address(i)))
        until(lambda: labs.run("bridge", "mdb", "show").count(group) == 2, 20, "both ports in the group", 0.02)
        sender = stack.enter_context(udp(labs.SERVER))
        for _ in range(60):
            sender.sendto(bytes(1400), (group, 7))
        until(lambda: not outgoing(sender), 60, "the server's port to send all", 0.01)
        waits = [json.loads(labs.run("tc", "-j", "-s", "qdisc", "show", "dev", one.host(i)))[0]["backlog"] for i in range(2)]
        assert min(waits) > 60 * 1400 / 8, "the sender waited for a port of the switch"


def test_what_never_had_its_turn_is_shown_and_is_no_success(tmp_path):
    done, record = bench(tmp_path, "clean,ours,wire", BENCH_MINUTES="0.01")
    assert done.returncode == 1, done.stdout + done.stderr
    assert [(row["tool"], row["why"]) for row in record["rows"]] == [("wire", "never run"), ("ours", "never run")]
    assert done.stdout.count("0/0  never run") == 2
    assert "never run: clean-2 ours: the 0.01 minutes were too few: give the bench more (BENCH_MINUTES)" in done.stderr
    assert "wire" not in done.stderr


def test_with_enough_time_all_have_their_runs_and_take_turns(imagined, monkeypatch):
    """Where one run is enough, that is the table's own choice, and there are no more such rows than these."""
    def well(scenario, tool):
        order.append((scenario.name, tool.name))
        return {"ok": True, "why": "", "steal": 0}

    order = []
    one = imagined("", BENCH_RUNS="5", BENCH_OTHERS="3", BENCH_MINUTES="9999")
    monkeypatch.setattr(one, "run", well)
    monkeypatch.setattr(one, "write", lambda: None)
    monkeypatch.setattr(firstvm, "run", lambda _, tool: well(one.scenarios[-1], tool))
    one.all()
    for (scenario, tool), runs in one.runs.items():
        once = scenario in ("revision-1", "revision-10", "first-vm")
        assert len(runs) == (1 if once else 5 if tool.startswith("ours") or tool == "wire" else 3), (scenario, tool)
    assert order[:len(one.runs)] == list(one.runs), "the first pass takes each tool in each scenario once"


def test_ours_that_failed_is_named_and_another_is_not(imagined, monkeypatch, tmp_path):
    one = imagined("clean-8,ours,wire,nginx")
    monkeypatch.setattr(one, "run", lambda _, tool: {"ok": tool.name == "wire", "why": "no", "steal": 0})
    one.all()
    assert one.lack("") == f"no run ended well: clean-8 ours: see why in the table, and in {one.failed} what was said"


@needs
@pytest.mark.parametrize("step", ["_switch", "_ports", "rate"])
def test_a_lab_that_cannot_be_built_leaves_nothing_to_the_next(monkeypatch, step):
    def breaks(self, *argv):
        whole(self, *argv)
        raise RuntimeError("broken")

    whole = getattr(labs.Lab, step)
    with monkeypatch.context() as patch, pytest.raises(RuntimeError, match="broken"):
        patch.setattr(labs.Lab, step, breaks)
        labs.Lab(2, 100)
    labs.Lab(2, 100).close()


@needs
def test_a_machine_of_one_core_is_told_so_before_a_lab_is_built(monkeypatch):
    with monkeypatch.context() as patch, pytest.raises(RuntimeError, match="has one"):
        patch.setattr(labs.os, "cpu_count", lambda: 1)
        patch.setattr(labs.Lab, "_switch", lambda self: pytest.fail("a switch was built"))
        labs.Lab(1, 1000, apart=True)


def udp(host: str) -> socket.socket:
    with process.namespace(host):
        return socket.socket(socket.AF_INET, socket.SOCK_DGRAM)


def outgoing(at: socket.socket) -> int:
    """Bytes of its account that its kernel has not let go yet (SIOCOUTQ)."""
    return struct.unpack("i", fcntl.ioctl(at, termios.TIOCOUTQ, bytes(4)))[0]


def test_memory_that_is_kept_is_free_but_for_a_page_in_each_mib():
    size = 64 << 20
    pathlib.Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    before = process_memory()
    with memory.keep(size):
        held, peak = (now - then for now, then in zip(process_memory(), before))
    assert size // 256 <= held < size // 64 and peak > size - (8 << 20)


def test_who_lacks_memory_is_told_first_of_what_takes_most(monkeypatch, tmp_path):
    monkeypatch.setattr(memory, "available", lambda: 1 << 30)
    with pytest.raises(SystemExit, match="17152 MiB .* 1024 .*BENCH_ONLY.*BENCH_VM_SIZE.*BENCH_N.*BENCH_SIZE"):
        memory.room(tmp_path, images.need(settings.Settings.read()))


def process_memory() -> tuple[int, int]:
    """Anonymous memory of this process in bytes, and the most that it ever had of any kind."""
    words = dict(line.split(":", 1) for line in pathlib.Path("/proc/self/status").read_text().splitlines())
    return process.kib(words["RssAnon"]), process.kib(words["VmHWM"])


def test_a_revision_differs_in_as_many_bytes_as_it_says(tmp_path):
    base = image.noise(tmp_path, 4 << 20)
    new = image.revision(tmp_path, base, 10, 64 << 10)
    old_bytes, new_bytes = base.path.read_bytes(), new.path.read_bytes()
    differing = sum(old_bytes[at:at + (64 << 10)] != new_bytes[at:at + (64 << 10)] for at in range(0, 4 << 20, 64 << 10))
    assert len(new_bytes) == len(old_bytes) and differing * (64 << 10) == new.changed


@pytest.mark.parametrize("text", ["x", "8,", "0,8", "-4", "4 8", "246"])
def test_what_is_no_number_of_pcs_is_refused_by_its_variable(monkeypatch, text):
    monkeypatch.setenv("BENCH_N", text)
    with pytest.raises(SystemExit, match=f"^BENCH_N={text}: .* from 1 to 245"):
        settings.Settings.read()


def test_numbers_of_pcs_are_sorted_and_empty_is_the_default(monkeypatch):
    for text, numbers in (("32, 8,8", [8, 32]), ("245", [245]), ("", [8, 16, 32])):
        monkeypatch.setenv("BENCH_N", text)
        assert settings.Settings.read().n == numbers


def test_scenarios_take_the_tools_there_are():
    words = settings.Settings.read()
    names = {tool for scenario in scenarios.table(words) for tool in scenario.tools}
    assert {"ours", "udpcast", "uftp", "bittorrent", "nginx"} <= names
