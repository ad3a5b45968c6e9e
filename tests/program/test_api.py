# SPDX-License-Identifier: GPL-2.0-or-later
"""The REST API as such: strict bodies, problems that name the field, tokens, idempotency, what a crash leaves."""
import concurrent.futures
import os
import signal
import sqlite3

import pytest

from tests.program.conftest import address, mac
from tests.rig.wait import until

PC = {"name": "pc1", "mac": mac(1), "address": address(1)}

# method, path, body, status, field
BAD_INPUT = [
    ("POST", "/pcs", {**PC, "colour": "red"}, 400, "colour"),
    ("POST", "/pcs", '{"name":"pc1","name":"pc2","mac":"52:54:00:00:00:01","address":"127.0.0.11"}', 400, "name"),
    ("POST", "/pcs", {**PC, "name": 7}, 400, "name"),
    ("POST", "/pcs", {**PC, "name": "PC 1"}, 400, "name"),
    ("POST", "/pcs", {**PC, "name": "a" * 64}, 400, "name"),
    ("POST", "/pcs", {**PC, "mac": "52:54:00:00:00"}, 400, "mac"),
    ("POST", "/pcs", {**PC, "mac": "01:54:00:00:00:01"}, 400, "mac"),
    ("POST", "/pcs", {**PC, "mac": None}, 400, "mac"),
    ("POST", "/pcs", {**PC, "address": "127.0.0.256"}, 400, "address"),
    ("POST", "/pcs", {**PC, "address": "10.1.1.1"}, 400, "address"),
    ("POST", "/pcs", {**PC, "address": "127.0.0.1"}, 400, "address"),
    ("POST", "/pcs", {**PC, "probe": "tcp:70000"}, 400, "probe"),
    ("POST", "/pcs", {**PC, "probe": "tcp:8081"}, 400, "probe"),
    ("POST", "/pcs", {**PC, "seat": "x" * 65}, 400, "seat"),
    ("POST", "/pcs", {**PC, "seat": "a\nb"}, 400, "seat"),
    ("POST", "/pcs", {"name": "pc1", "mac": mac(1)}, 400, "address"),
    ("POST", "/pcs", "[]", 400, None),
    ("POST", "/pcs", "{}x", 400, None),
    ("POST", "/pcs", "", 400, None),
    ("POST", "/pcs", '{"name":"\\u0000"}', 400, None),
    ("POST", "/pcs", "{" * 3000, 400, None),
    ("POST", "/pcs", {**PC, "seat": "x" * 5000}, 400, "Content-Length"),
    ("POST", "/tokens", {"name": "t", "role": "king"}, 400, "role"),
    ("POST", "/tokens", {"name": "t", "role": "host"}, 400, "role"),
    ("POST", "/tokens", {"name": "t", "role": "user", "expires_s": -1}, 400, "expires_s"),
    ("POST", "/tokens", {"name": "t", "role": "user", "expires_s": 1.5}, 400, "expires_s"),
    ("PUT", "/labs/south", {"url": "http://10.70.0.2:8443", "ca_pem": "x", "token": "y"}, 400, "url"),
    ("PUT", "/labs/south", {"url": "https://10.70.0.2:8443", "ca_pem": "x", "token": "y"}, 400, "ca_pem"),
    ("PUT", "/labs/South", {"url": "https://10.70.0.2:8443", "ca_pem": "x", "token": "y"}, 400, "name"),
    ("POST", "/images", {"name": "mpi"}, 400, "upload"),
    ("POST", "/images", {"name": "mpi", "upload": "0" * 64, "path": "/x"}, 400, "upload"),
    ("POST", "/images", {"name": "mpi", "upload": "0" * 64}, 404, None),
    ("POST", "/images", {"name": "mpi", "path": "x/y"}, 400, "path"),
    ("POST", "/images", {"name": "mpi", "path": "/x", "initrd": "/y"}, 400, "kernel"),
    ("POST", "/images", {"name": "mpi", "path": "/x", "format": "vdi"}, 400, "format"),
    ("POST", "/images", {"name": "mpi", "path": "/x", "level": 0}, 400, "level"),
    ("POST", "/images", {"name": "mpi", "path": "/x", "level": 20}, 400, "level"),
    ("POST", "/images", {"name": "mpi", "path": "/x", "url": "http://a.example/x"}, 400, "upload"),
    ("POST", "/images", {"name": "mpi", "url": "ftp://a.example/x"}, 400, "url"),
    ("POST", "/images", {"name": "mpi", "url": "file:///etc/passwd"}, 400, "url"),
    ("POST", "/images", {"name": "mpi", "url": "http://me:word@a.example/x"}, 400, "url"),
    ("POST", "/images", {"name": "mpi", "path": "/x", "sha256": "0" * 64}, 400, "sha256"),
    ("POST", "/nights", {"for_s": 0}, 400, None),
    ("POST", "/runs", {"cluster": "none"}, 400, None),
    ("GET", "/pcs?colour=red", None, 400, "colour"),
    ("GET", "/events?after=x", None, 400, "after"),
    ("GET", "/events?after=1&after=2", None, 400, "after"),
    ("GET", "/events?wait=61", None, 400, "wait"),
    ("GET", "/pcs/nobody", None, 404, None),
    ("GET", "/imports/77", None, 404, None),
    ("GET", "/imports/x", None, 404, None),
    ("GET", "/nothing", None, 404, None),
    ("GET", "/pcs/", None, 404, None),
    ("DELETE", "/pcs/nobody", None, 404, None),
    ("DELETE", "/tokens/admin", None, 409, None),
    ("GET", "/uploads/xyz", None, 400, "sha256"),
]


@pytest.mark.parametrize("method,path,body,status,field", BAD_INPUT,
                         ids=[f"{i}-{c[0]}-{c[1]}" for i, c in enumerate(BAD_INPUT)])
def test_bad_input(shared, method, path, body, status, field):
    answer = shared(method, path, body)
    assert answer.status == status, answer
    assert answer.headers["Content-Type"] == "application/problem+json"
    problem = answer.json
    assert problem["status"] == status and problem["title"] and problem["detail"]
    if field:
        assert problem["field"] == field, problem
    assert shared.ok("GET", "/pcs").items == [], "nothing half-done"


def test_methods_and_types(shared):
    refused = shared("PUT", "/pcs", {})
    assert refused.status == 405 and set(refused.headers["Allow"].split(", ")) == {"GET", "POST"}
    assert shared("POST", "/pcs", PC, headers={"Content-Type": "text/plain"}).status == 415
    assert shared("POST", "/pcs", PC, headers={"Content-Type": "application/json; charset=utf-16"}).status == 415
    assert shared("GET", "/pcs", PC).status == 400
    assert shared("DELETE", "/pcs/x", PC).status == 400
    head = shared("HEAD", "/health")
    assert head.status == 200 and head.body == b""


def test_headers_of_every_answer(shared):
    for path in ("//", "//web/app.js", "/health", "/pcs", "/nothing"):
        answer = shared("GET", path, token=None)
        assert (answer.status == 200) == (path not in ("/pcs", "/nothing")), answer
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
        assert answer.headers["Cache-Control"] == "no-store"


def test_duplicates_are_named_and_told(controller):
    controller.add_pc(1)
    for change, field in (({}, "name"), ({"name": "pc2"}, "mac"), ({"name": "pc2", "mac": mac(2)}, "address")):
        answer = controller("POST", "/pcs", {**PC, **change})
        assert answer.status == 409 and answer.json["field"] == field
    assert controller("POST", "/pcs", PC).status == 409
    assert len(controller.events("pc.refused")) == 3, "told, but a repetition does not fill the log"
    controller.add_pc(2)
    for change, field in (({"mac": mac(1)}, "mac"), ({"address": address(1)}, "address")):
        answer = controller("PATCH", "/pcs/pc2", change)
        assert answer.status == 409 and answer.json["field"] == field
        assert "pc2 was not changed" in controller.events("pc.refused")[-1]["text"]
    assert len(controller.events("pc.refused")) == 5
    controller.ok("DELETE", "/pcs/pc2")
    assert [pc["name"] for pc in controller.ok("GET", "/pcs").items] == ["pc1"]


def test_pc_changes(controller):
    controller.add_pc(1)
    changed = controller.ok("PATCH", "/pcs/pc1", {"seat": "row 1", "address": address(9), "probe": "tcp:22"}).json
    assert (changed["seat"], changed["address"], changed["probe"]) == ("row 1", address(9), "tcp:22")
    assert controller("PATCH", "/pcs/pc1", {"name": "x"}).json["field"] == "name"
    assert controller("PATCH", "/pcs/pc1", {"release": True}).status == 409
    assert controller.ok("DELETE", "/pcs/pc1").status == 204
    assert [e["kind"] for e in controller.events() if e["subject"] == "pc/pc1"] == ["pc.added", "pc.changed", "pc.removed"]


def test_idempotency_key(controller):
    key = {"Idempotency-Key": "k-1"}
    first = controller("POST", "/pcs", PC, headers=key)
    again = controller("POST", "/pcs", PC, headers=key)
    assert (first.status, again.status) == (201, 201) and first.json == again.json
    assert controller("POST", "/pcs", {**PC, "name": "pc2"}, headers=key).status == 409
    controller.kill_and_restart()
    assert controller("POST", "/pcs", PC, headers=key).json == first.json, "kept over a crash"
    other = controller.make_token("other", "operator")
    assert controller("POST", "/pcs", PC, headers=key, token=other).json["field"] == "name", "a key belongs to its token"
    secret = controller("POST", "/tokens", {"name": "s", "role": "user"}, headers={"Idempotency-Key": "k-2"}).json["token"]
    assert secret.encode() not in b"".join(p.read_bytes() for p in controller.state.glob("nightclass.db*"))


def test_tokens(controller):
    mode = (controller.state / "admin.token").stat().st_mode & 0o777
    assert mode == 0o600
    user = controller.make_token("u", "user", expires_s=600)
    assert controller("GET", "/uploads/" + "0" * 64, token=user).status == 200
    assert controller("POST", "/tokens", {"name": "u", "role": "user"}).status == 409
    listed = {t["name"]: t for t in controller.ok("GET", "/tokens").items}
    assert listed["u"]["role"] == "user" and "token" not in listed["u"]
    controller.clock.write_text("601\n")
    expired = until(lambda: (a := controller("GET", "/lab", token=user)).status != 200 and a, 10, "the clock is read")
    assert expired.status == 401 and "expired" in expired.json["detail"]
    controller.ok("DELETE", "/tokens/u")
    assert controller("GET", "/lab", token=user).status == 401
    for bad in ("x", "0" * 64, user[:-1], user + "0", ""):
        answer = controller("GET", "/lab", token=None, headers={"Authorization": f"Bearer {bad}"})
        assert answer.status == 401 and answer.headers["WWW-Authenticate"] == "Bearer"
    assert controller("GET", "/lab", token=None, headers={"Authorization": f"Basic {controller.admin}"}).status == 401
    assert controller.events("auth.refused"), "an unknown token is an event"
    everything = b"".join(p.read_bytes() for p in controller.state.glob("nightclass.db*"))
    assert user.encode() not in everything and controller.admin.encode() not in everything


def test_nothing_acknowledged_is_lost(controller):
    """kill -9 in the middle of a burst: every answer that was given stands afterwards."""
    acknowledged = []

    def add(n: int) -> None:
        body = {"name": f"pc{n}", "mac": mac(n), "address": address(n)}
        try:
            if controller("POST", "/pcs", body).status == 201:
                acknowledged.append(f"pc{n}")
        except OSError:
            pass

    for round_ in range(3):
        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            jobs = [pool.submit(add, n) for n in range(1 + round_ * 30, 31 + round_ * 30)]
            while len(acknowledged) < 5 + round_ * 5 and not all(j.done() for j in jobs):
                pass
            controller.process.send_signal(signal.SIGKILL)
        controller.process.wait(30)
        controller.start()
    there = {pc["name"] for pc in controller.ok("GET", "/pcs").items}
    assert acknowledged and set(acknowledged) <= there
    events = controller.events()
    assert [e["seq"] for e in events] == list(range(1, len(events) + 1)), "the log has no gap"
    assert len([e for e in events if e["kind"] == "pc.added"]) == len(there), "no change without its event"


def test_ca_and_certificate_stay(controller):
    before = controller.ok("GET", "/ca", token=None).body
    controller.kill_and_restart()
    assert controller.ok("GET", "/ca", token=None).body == before
    assert before == controller.boot("/boot/ca").body
    for name in ("ca.key", "server.key"):
        assert (controller.state / "tls" / name).stat().st_mode & 0o777 == 0o600
    assert controller.state.stat().st_mode & 0o777 == 0o700


def test_refuses_a_damaged_or_newer_database(controller):
    assert controller.stop() == 0
    database = controller.state / "nightclass.db"
    with sqlite3.connect(database) as db:
        db.execute("PRAGMA user_version = 9999")
    with pytest.raises(AssertionError, match="newer nightclassd"):
        controller.start()
    for extra in controller.state.glob("nightclass.db-*"):
        os.unlink(extra)
    database.write_bytes(os.urandom(8192))
    with pytest.raises(AssertionError, match="damaged"):
        controller.start()
