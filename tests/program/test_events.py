# SPDX-License-Identifier: GPL-2.0-or-later
"""The log of events as its readers get it: long poll, stream, coming back after a break, readers that stall."""
import json
import pathlib
import socket
import threading
import time

from tests.program.conftest import until


class Stream:
    """An event stream read line by line."""

    def __init__(self, controller, query: str = "", headers: dict | None = None, token: str | None = None):
        self.connection = controller.connect(timeout=40)
        self.connection.request("GET", f"/api/v1/events{query}", headers={
            "Authorization": f"Bearer {token or controller.admin}", "Accept": "text/event-stream", **(headers or {})})
        self.answer = self.connection.getresponse()
        assert self.answer.status == 200, self.answer.read()
        assert self.answer.headers["Content-Type"] == "text/event-stream"

    def line(self) -> str:
        return self.answer.readline().decode().rstrip("\n")

    def event(self) -> dict:
        found = {}
        while True:
            line = self.line()
            if line.startswith("id: "):
                found["id"] = int(line[4:])
            elif line.startswith("event: "):
                found["event"] = line[7:]
            elif line.startswith("data: "):
                found["data"] = json.loads(line[6:])
            elif line == "" and "data" in found:
                return found

    def close(self) -> None:
        self.answer.close()
        self.connection.close()


def test_list_and_long_poll(controller):
    first = controller.ok("GET", "/events").items
    assert [e["seq"] for e in first] == list(range(1, len(first) + 1))
    assert first[0]["kind"] == "token.added"
    began = time.monotonic()
    assert controller.ok("GET", f"/events?after={len(first)}&wait=1").items == []
    assert 0.8 < time.monotonic() - began < 30
    got = []
    thread = threading.Thread(target=lambda: got.extend(controller.ok("GET", f"/events?after={len(first)}&wait=30",
                                                                      timeout=40).items))
    thread.start()
    controller.add_pc(1)
    thread.join(40)
    assert [e["kind"] for e in got] == ["pc.added"]


def test_stream_and_coming_back(controller):
    stream = Stream(controller)
    assert stream.line() == "retry: 2000"
    assert stream.event()["event"] == "token.added"
    controller.add_pc(1)
    event = stream.event()
    assert event["event"] == "pc.added" and event["data"]["subject"] == "pc/pc1" and event["data"]["seq"] == event["id"]
    stream.close()
    controller.add_pc(2)
    controller.kill_and_restart()
    controller.add_pc(3)
    back = Stream(controller, headers={"Last-Event-ID": str(event["id"])})
    assert [back.event()["data"]["subject"] for _ in range(2)] == ["pc/pc2", "pc/pc3"], "nothing is missed"
    back.close()


def test_heartbeat_and_a_token_that_is_taken_back(controller):
    token = controller.make_token("page", "viewer")
    stream = Stream(controller, "?after=100", token=token)
    while not (line := stream.line()).startswith(":"):
        pass
    assert line == ": still here"
    controller.ok("DELETE", "/tokens/page")
    began = time.monotonic()
    rest = stream.answer.read()
    assert time.monotonic() - began < 25, "the stream of a revoked token ends with the next beat"
    assert b"pc.added" not in rest
    stream.close()


def memory_kib(controller) -> int:
    status = pathlib.Path(f"/proc/{controller.process.pid}/status").read_text()
    return int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmRSS")))


def test_readers_that_stall_cost_nothing_and_hold_up_nobody(make_controller):
    """Readers that never read: the log grows by far more than any socket buffer, others go on, memory does not grow."""
    controller = make_controller(options="connections_per_address = 200")
    stalled = []
    for _ in range(30):
        s = controller.tls().wrap_socket(socket.socket(), server_hostname="127.0.0.1")
        s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        s.connect(("127.0.0.1", controller.api_port))
        s.sendall(f"GET /api/v1/events HTTP/1.1\r\nHost: x\r\nAccept: text/event-stream\r\n"
                  f"Authorization: Bearer {controller.admin}\r\n\r\n".encode())
        stalled.append(s)
    reader = Stream(controller, "?after=1")
    controller.add_pc(1)
    assert reader.event()["event"] == "pc.added"
    before = memory_kib(controller)
    seat = "x" * 60
    for n in range(400):
        controller.ok("PATCH", "/pcs/pc1", {"seat": f"{seat}{n}"})
    last = controller.ok("GET", "/events?after=400").items[-1]["seq"]
    while reader.event()["id"] < last:
        pass
    assert memory_kib(controller) - before < 30 * 1024
    reader.close()
    for s in stalled:
        s.close()
    until(lambda: controller("GET", "/health", token=None).status == 200, 5, "life goes on")
