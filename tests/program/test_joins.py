# SPDX-License-Identifier: GPL-2.0-or-later
"""A join and what other labs send, as one member's real nightclassd sees them: the other labs and netd are the test."""
import json
import socket
import threading

import pytest

from tests.program.conftest import address, until

JOIN = "join-0123abcd"
MEMBERS = [{"lab": lab, "uplink": uplink, "cluster_net": net} for lab, uplink, net in (
    ("north", "127.0.0.1", "10.80.0.0/24"), ("south", "10.70.0.2", "10.80.1.0/24"), ("west", "10.70.0.3", "10.80.2.0/24"))]


class Netd(threading.Thread):
    """Says yes to everything, or "no" to the requests of one kind; notes what was asked."""

    def __init__(self, path):
        super().__init__(daemon=True)
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(str(path))
        self.listener.listen(64)
        self.asked, self.refused, self.answers = [], None, {}

    def run(self):
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:     # stop()
                return
            with connection, connection.makefile("r") as lines:
                request = json.loads(lines.readline())
                op = request["op"]
                answer = {"ok": False, "code": "EIO", "text": "not now"} if op == self.refused else \
                    {"ok": True, **self.answers.get(op, {})}
                self.asked.append((request, answer["ok"]))
                connection.sendall(json.dumps(answer).encode() + b"\n")

    def count(self, op: str, ok: bool) -> int:
        return len([1 for request, was in self.asked if (request["op"], was) == (op, ok)])

    def stop(self):
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        self.join(20)


@pytest.fixture
def north(make_controller):
    """A lab in its night, with a peer token and a netd."""
    lab = make_controller(lab="uplink_address = 127.0.0.1\ncluster_net = 10.80.0.0/12")
    lab.netd = Netd(lab.folder / "netd.sock")
    lab.netd.start()
    lab.host_image()
    lab.add_pc(1)
    lab.begin_night()
    lab.peer = lab.make_token("south", "peer")
    yield lab
    lab.netd.stop()


def pass_time(lab, seconds: int) -> None:
    lab.clock.write_text(f"{int(lab.clock.read_text()) + seconds}\n")


def tell(lab, state: str, coordinator: str = "south", **more):
    body = {"coordinator": coordinator, "state": state, "net": "10.80.0.0/22", "expires_s": 3000, "members": MEMBERS, **more}
    return lab.ok("PUT", f"/peers/joins/{JOIN}", body, token=lab.peer).json


def join(lab, coordinator: str = "south") -> None:
    assert tell(lab, "prepared", coordinator)["state"] == "prepared"
    assert tell(lab, "committed", coordinator)["state"] == "committed"


def join_of(lab) -> dict:
    return lab.ok("GET", f"/joins/{JOIN}").json


def test_a_committed_join_outlives_a_failure_of_netd(north):
    join(north)
    before = north.netd.count("apply", False)
    north.netd.refused = "apply"
    pass_time(north, 61)
    until(lambda: north.netd.count("apply", False) > before, 20, "netd refuses to renew")
    north.netd.refused = None
    renewed = north.netd.count("apply", True)
    pass_time(north, 4)
    until(lambda: north.netd.count("apply", True) > renewed or join_of(north)["state"] != "committed", 20, "tried again")
    assert join_of(north)["state"] == "committed", join_of(north)
    assert north.netd.count("withdraw", True) == 0
    assert "could not be renewed" in north.log()


def know_south(lab, url: str = "https://127.0.0.1:1") -> None:
    lab.ok("PUT", "/labs/south", {"url": url, "ca_pem": lab.ok("GET", "/ca").body.decode(), "token": "x"})


def test_a_lab_in_use_is_not_forgotten(north):
    know_south(north)
    assert north("DELETE", "/labs/north").status == 404, "itself"
    join(north)
    refused = north("DELETE", "/labs/south")
    assert refused.status == 409 and f"join delete {JOIN}" in refused.json["detail"]
    north.ok("DELETE", f"/peers/joins/{JOIN}", token=north.peer)
    north.ok("DELETE", "/labs/south")


def test_a_released_pc_is_checked_anew(make_controller):
    """The station that had its address was unplugged: the verdict of before does not count any more."""
    lab = make_controller()
    netd = Netd(lab.folder / "netd.sock")
    netd.answers["conflicts"] = {"conflicts": [{"address": address(1), "mac": "52:54:00:99:00:01"}]}
    netd.start()
    lab.host_image()
    lab.add_pc(1)
    lab.ok("POST", "/nights", {"for_s": 3600})
    pc = until(lambda: (row := lab.ok("GET", "/pcs/pc1").json)["state"] != "desktop" and row, 20, "the check")
    assert pc["state"] == "exception" and "52:54:00:99:00:01" in pc["reason"]
    netd.answers["conflicts"] = {"conflicts": []}
    pass_time(lab, 60)
    until(lambda: lab.ok("GET", "/lab").json["now"] > pc["since"], 20, "the clock")
    lab.ok("PATCH", "/pcs/pc1", {"release": True})
    pc = until(lambda: (row := lab.ok("GET", "/pcs/pc1").json)["state"] != "desktop" and row, 20, "woken")
    assert pc["state"] == "waking", pc
    netd.stop()


def test_a_join_that_netd_refuses_is_not_prepared(north):
    north.netd.refused = "apply"
    assert tell(north, "prepared")["state"] == "failed"
    assert "not now" in join_of(north)["reason"]
