# SPDX-License-Identifier: GPL-2.0-or-later
"""The night as the controller drives it, in virtual time: a host that is spoken for by the test, a desktop that is a
listening socket, and no netd at all (nothing of the night may hang on it)."""
import os
import signal
import socket
import sqlite3
import subprocess
import time

import pytest

from tests.program.conftest import address, mac, until
from tests.program.host import Host
from tests.program.test_uploads import upload
from tests.rig import sandbox


@pytest.fixture
def desktop():
    """The port of PC 1's own system; not answering until somebody listens on it."""
    with socket.socket() as s:
        s.bind((address(1), 0))
        yield s


@pytest.fixture
def lab(controller, desktop):
    controller.host_image()
    controller.ok("POST", "/pcs", {"name": "pc1", "mac": mac(1), "address": address(1),
                                   "probe": f"tcp:{desktop.getsockname()[1]}"})
    return controller


def pass_time(lab, seconds: int) -> None:
    lab.clock.write_text(f"{int(lab.clock.read_text()) + seconds}\n")


def pc(lab) -> dict:
    return lab.ok("GET", "/pcs/pc1").json


def wait_state(lab, *states: str) -> dict:
    return until(lambda: (row := pc(lab))["state"] in states and row, 20, f"pc1 {states}")


def night_of(lab) -> dict:
    return lab.ok("GET", "/nights").items[0]


def test_a_night_from_desktop_to_desktop(lab, desktop):
    lab.begin_night(3600)
    host = Host(lab, 1).boot()
    wait_state(lab, "host")
    goal = host.goal().json
    assert goal["role"] == "host" and 3500 < goal["lease_s"] <= 3600
    assert host.report(generation=goal["generation"]).status < 300
    pass_time(lab, 3600)
    wait_state(lab, "draining", "returning")
    goal = host.goal().json
    assert goal["role"] == "desktop" and goal["lease_s"] == 0
    host.report(generation=goal["generation"], role="desktop")
    wait_state(lab, "returning")
    desktop.listen()
    pass_time(lab, 20)
    row = wait_state(lab, "desktop")
    assert row["desktop_at"]
    night = until(lambda: (n := night_of(lab))["state"] == "done" and n, 20, "night done")
    report = night["report"]
    assert report["exceptions"] == [] and report["back"] == 1
    assert list(report["pcs"]["pc1"]) == ["wake", "boot", "host", "hand_back", "desktop"]


def test_killed_in_every_state(lab, desktop):
    lab.begin_night(3600)
    lab.kill_and_restart()
    assert pc(lab)["state"] == "waking"
    host = Host(lab, 1)
    host.fetch_script()
    lab.kill_and_restart()
    assert pc(lab)["state"] == "booting"
    host.enrol()
    lab.kill_and_restart()
    assert pc(lab)["state"] == "host"
    assert host.report().status < 300
    lab.ok("POST", "/nights/current/end")
    wait_state(lab, "draining", "returning")
    host.report(role="desktop")
    wait_state(lab, "returning")
    lab.kill_and_restart()
    assert pc(lab)["state"] == "returning"
    desktop.listen()
    pass_time(lab, 30)
    wait_state(lab, "desktop")
    until(lambda: night_of(lab)["state"] == "done", 20, "night done")


def test_a_pc_that_never_wakes_is_named(lab):
    lab.begin_night(7200)
    pass_time(lab, 301)
    row = wait_state(lab, "exception")
    assert "magic packets" in row["reason"]
    lab.ok("POST", "/nights/current/end")
    night = until(lambda: (n := night_of(lab))["state"] == "done" and n, 20, "night done")
    assert [e["pc"] for e in night["report"]["exceptions"]] == ["pc1"]


def test_a_silent_host_is_lost_and_may_come_back(lab):
    lab.begin_night(7200)
    host = Host(lab, 1).boot()
    host.report()
    pass_time(lab, 40)
    assert "no report" in wait_state(lab, "exception")["reason"]
    host.report()
    wait_state(lab, "host")


def test_nobody_is_lost_while_the_controller_stands_still(lab):
    lab.begin_night(7200)
    host = Host(lab, 1).boot()
    host.report()
    lab.process.send_signal(signal.SIGSTOP)
    time.sleep(7)  # the pause itself
    pass_time(lab, 25)
    lab.process.send_signal(signal.SIGCONT)
    for _ in range(6):  # it thinks each second
        assert pc(lab)["state"] == "host"
        time.sleep(0.5)
    pass_time(lab, 31)  # a silence of its own
    wait_state(lab, "exception")


def test_nights_do_not_overlap_and_end_once(lab):
    ends = lab.ok("POST", "/nights", {"for_s": 3600}).json["ends"]
    assert lab("POST", "/nights", {"ends": ends}).status == 200  # the same night
    refused = lab("POST", "/nights", {"for_s": 60})
    assert refused.status == 409 and "end it first" in refused.json["detail"]
    assert lab("POST", "/nights", {"for_s": 60, "pcs": "pc[1-2]"}).status == 400
    first = lab.ok("POST", "/nights/current/end").json
    again = lab("POST", f"/nights/{first['id']}/end")
    assert again.status == 200 and again.json["ends"] == first["ends"]


def ready_cluster(lab, name: str) -> Host:
    """A night with a host, and on it a cluster of one VM that is ready as far as the host says."""
    (lab.folder / "disk.raw").write_bytes(bytes(1 << 20))
    job = lab.ok("POST", "/images", {"name": "mpi", "path": str(lab.folder / "disk.raw")}).json
    until(lambda: lab.ok("GET", f"/imports/{job['id']}").json["state"] == "done", 30, "import")
    lab.begin_night()
    host = Host(lab, 1).boot()
    wait_state(lab, "host")
    lab.ok("POST", "/clusters", {"name": name, "n": 1})
    goal = until(lambda: (goal := host.goal().json).get("vms") and goal, 20, "a VM in the goal")
    host.report(generation=goal["generation"], vms=[{"id": goal["vms"][0]["id"], "state": "ready", "ready_ms": 1}])
    until(lambda: lab.ok("GET", f"/clusters/{name}").json["state"] == "ready", 20, "the cluster")
    return host


def wait_cluster(lab, name: str, *states: str) -> dict:
    return until(lambda: (row := lab.ok("GET", f"/clusters/{name}").json)["state"] in states and row, 20, f"{name} {states}")


def test_vms_of_a_held_pc_are_failed(lab):
    """Two claim to be pc1: nobody knows what its VM does. After the release it is ready when the new host says so."""
    ready_cluster(lab, "alice")
    assert Host(lab, 1).ask_token().status == 403
    row = wait_cluster(lab, "alice", "partly")
    assert row["vms"][0]["state"] == "failed" and "host pc1" in row["reason"], row
    lab.ok("PATCH", "/pcs/pc1", {"release": True})
    wait_state(lab, "waking")
    host = Host(lab, 1).boot()
    assert lab.ok("GET", "/clusters/alice").json["vms"][0]["state"] == "failed"
    goal = host.goal().json
    host.report(generation=goal["generation"], vms=[{"id": "alice-001", "state": "ready", "ready_ms": 1}])
    wait_cluster(lab, "alice", "ready")


def test_a_program_that_is_run_stays(lab):
    """What was uploaded is dropped when nobody used it for a week, not a week after it came."""
    ready_cluster(lab, "alice")
    program = upload(lab, b"#!/bin/sh\n")
    path = lab.state / "incoming" / program
    os.utime(path, (time.time() - 8 * 86400,) * 2)
    lab.ok("POST", "/runs", {"cluster": "alice", "program": program, "name": "a.sh", "args": [], "ranks": 1})
    assert time.time() - path.stat().st_mtime < 3600


def test_the_labs_own_net_is_no_join(lab):
    ready_cluster(lab, "alice")
    own = f"/joins/lab-{night_of(lab)['id']}"
    assert lab.ok("GET", "/lab").json["join"] is None and not lab.ok("GET", "/joins").items
    peer = lab.make_token("south", "peer")
    assert lab("GET", own).status == 404 and lab("DELETE", own).status == 404
    assert lab("DELETE", f"/peers{own}", token=peer).status == 404
    with sqlite3.connect(f"file:{lab.state}/nightclass.db?mode=ro", uri=True) as db:
        assert db.execute("SELECT state FROM net_join").fetchall() == [("proposed",)], "withdrawn is for its end"


def test_a_cluster_on_a_lost_pc_says_what_keeps_it(lab):
    """Its address may still be in use, so it is kept, and whoever closes the cluster is told how to get it back."""
    ready_cluster(lab, "alice")
    pass_time(lab, 40)
    wait_state(lab, "exception")
    lab.ok("DELETE", "/clusters/alice")
    pass_time(lab, 40)
    assert "pc release" not in (lab.ok("GET", "/clusters/alice").json["vms"][0]["reason"] or ""), "it may come back"
    pass_time(lab, 40)
    row = until(lambda: "pc release pc1" in (row := lab.ok("GET", "/clusters/alice").json)["vms"][0]["reason"] and row,
                20, "the way out")
    assert row["state"] == "closing" and row["vms"][0]["state"] == "failed", row
    refused = lab("POST", "/clusters", {"name": "alice", "n": 1})
    assert refused.status == 409 and "`nightclass pc release pc1`" in refused.json["detail"], refused
    lab.ok("PATCH", "/pcs/pc1", {"release": True})
    wait_cluster(lab, "alice", "closed")


@pytest.fixture
def small_runs(lab, tmp_path):
    """The folder of the runs on a disk of 4 MiB; of run 1, 31 days old, and run 2, 29 days old, the output is there."""
    if not sandbox.inside():
        pytest.skip("mounts a file system: needs the sandbox")
    assert lab.stop() == 0
    runs = lab.state / "runs"
    runs.mkdir(exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "small", runs], check=True)
    with sqlite3.connect(lab.state / "nightclass.db") as db:
        for number, days in ((1, 31), (2, 29)):
            (runs / str(number)).mkdir()
            (runs / str(number) / "output").write_text("what it said\n")
            ended = int(time.time()) - days * 86400
            db.execute("INSERT INTO run (id, cluster, owner, program, name, args, ranks, state, created, ended)"
                       " VALUES (?, 'gone', 'admin', ?, 'a.out', '[]', 1, 'done', ?, ?)", (number, "0" * 64, ended, ended))
    lab.start()
    yield runs
    assert lab.stop() == 0
    subprocess.run(["umount", runs], check=True)


def test_outputs_of_runs_do_not_fill_the_disk(lab, small_runs):
    """When a run begins, those of runs that ended 30 days ago are removed; on a disk that is full none begins."""
    ready_cluster(lab, "alice")
    (small_runs / "filler").write_bytes(bytes((4 << 20) - (100 << 10)))
    program = upload(lab, b"#!/bin/sh\n")
    run = lab.ok("POST", "/runs", {"cluster": "alice", "program": program, "name": "a.sh", "args": [], "ranks": 1}).json
    row = until(lambda: (row := lab.ok("GET", f"/runs/{run['id']}").json)["state"] == "failed" and row, 20, "refused")
    assert "disk is full" in row["reason"], row
    assert not (small_runs / "1").exists() and (small_runs / "2" / "output").exists()
    assert lab.ok("GET", "/runs/1").json["state"] == "done", "it stays in the list"
