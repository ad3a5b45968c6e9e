# SPDX-License-Identifier: GPL-2.0-or-later
"""The night as the controller drives it, in virtual time: a host that is spoken for by the test, a desktop that is a
listening socket, and no netd at all (nothing of the night may hang on it)."""
import socket

import pytest

from tests.program.conftest import address, mac, until
from tests.program.host import Host


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


def test_nights_do_not_overlap_and_end_once(lab):
    ends = lab.ok("POST", "/nights", {"for_s": 3600}).json["ends"]
    assert lab("POST", "/nights", {"ends": ends}).status == 200  # the same night
    refused = lab("POST", "/nights", {"for_s": 60})
    assert refused.status == 409 and "end it first" in refused.json["detail"]
    assert lab("POST", "/nights", {"for_s": 60, "pcs": "pc[1-2]"}).status == 400
    first = lab.ok("POST", "/nights/current/end").json
    again = lab("POST", f"/nights/{first['id']}/end")
    assert again.status == 200 and again.json["ends"] == first["ends"]
