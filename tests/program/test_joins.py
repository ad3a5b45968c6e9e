# SPDX-License-Identifier: GPL-2.0-or-later
"""A join and what other labs send, as one member's real nightclassd sees them: the other labs and netd are the test."""
import datetime
import http.server
import ipaddress
import json
import socket
import sqlite3
import ssl
import threading

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.program.conftest import address, until
from tests.program.host import Host

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


def self_signed(folder) -> tuple:
    """Certificate and key of a server at 127.0.0.1 that is its own authority."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "south")])
    now = datetime.datetime.now(datetime.timezone.utc)
    alternative = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    certificate = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key()) \
        .serial_number(1).not_valid_before(now - datetime.timedelta(days=1)) \
        .not_valid_after(now + datetime.timedelta(days=1)).add_extension(alternative, False) \
        .add_extension(x509.BasicConstraints(True, None), True).sign(key, hashes.SHA256())
    (folder / "south.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    (folder / "south.key").write_bytes(key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))
    return folder / "south.pem", folder / "south.key"


class South(http.server.ThreadingHTTPServer):
    """The controller of lab south: answers its lab document, takes parts of clusters or refuses them."""
    daemon_threads = True

    def __init__(self, folder, document: dict):
        super().__init__(("127.0.0.1", 0), SouthHandler)
        pem, key = self_signed(folder)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(pem, key)
        self.socket = context.wrap_socket(self.socket, server_side=True)
        self.ca, self.url = pem.read_text(), f"https://127.0.0.1:{self.server_address[1]}"
        self.document, self.parts, self.refuses, self.beats = document, {}, False, 0
        self.keeps = ""     # why it cannot close a part
        self.thread = threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True)
        self.thread.start()

    def stop(self):
        self.shutdown()
        self.server_close()

    def answer(self, method: str, path: str, body):
        noun, _, name = path.removeprefix("/api/v1/peers/").partition("/")
        if noun == "lab":
            self.beats += 1
            return 200, self.document
        if noun == "joins":
            return 200, {"state": "withdrawn", "reason": ""}
        if method == "PUT" and self.refuses:
            return 409, {"title": "Conflict", "status": 409, "detail": "no room here"}
        if method == "PUT":
            self.parts[name] = body
        closes = method == "DELETE" and not self.keeps
        part = self.parts.pop(name, None) if closes else self.parts.get(name)
        if part is None:
            return 404, {"title": "Not Found", "status": 404, "detail": f"no other lab has a cluster {name} here"}
        state = "ready" if part["go"] else "waiting"
        if self.keeps:
            state = "failed"
        return 200, {"name": name, "state": "closed" if closes else "deploying", "vms": [
            {"id": f"{name}-{vm['number']:03}", "state": state, "reason": self.keeps} for vm in part["vms"]]}


class SouthHandler(http.server.BaseHTTPRequestHandler):
    def log_message(self, *args):
        pass

    def do_GET(self):
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        status, answer = self.server.answer(self.command, self.path, json.loads(body) if body else None)
        data = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json" if status == 200 else "application/problem+json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    do_PUT = do_DELETE = do_POST = do_GET


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


def test_commands_of_a_join_are_netds(north):
    north.netd.answers["apply"] = {"commands": ["nft 'add table inet nightclass'"]}
    join(north)
    assert join_of(north)["commands"] == ["nft 'add table inet nightclass'"]
    north.ok("DELETE", f"/joins/{JOIN}")
    until(lambda: join_of(north)["commands"] == [], 20, "netd to have let go")


def test_a_committed_join_outlives_a_failure_of_netd(north):
    join(north)
    before = north.netd.count("apply", False)
    north.netd.refused = "apply"
    pass_time(north, 61)
    until(lambda: north.netd.count("apply", False) > before, 20, "netd refuses to renew")
    renewed = north.netd.count("apply", True)
    north.netd.refused = None
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


# ---- clusters that span labs

@pytest.fixture
def joined(north):
    """North with one host, joined with a south that has one too; both have the image."""
    (north.folder / "disk.raw").write_bytes(bytes(1 << 20))
    job = north.ok("POST", "/images", {"name": "mpi", "path": str(north.folder / "disk.raw")}).json
    until(lambda: north.ok("GET", f"/imports/{job['id']}").json["state"] == "done", 30, "import")
    north.host = Host(north, 1).boot()
    until(lambda: north.ok("GET", "/pcs/pc1").json["state"] == "host", 20, "pc1 is a host")
    own = north.ok("GET", "/peers/lab", token=north.peer).json
    north.south = South(north.folder, {**own, "name": "south", "uplink": "10.70.0.2", "nets": [{"net": "10.80.0.0/22"}]})
    north.ok("PUT", "/labs/south", {"url": north.south.url, "ca_pem": north.south.ca, "token": "x"})
    join(north)
    yield north
    north.south.stop()


def create(lab, name: str, **more) -> None:
    lab.ok("POST", "/clusters", {"name": name, "n": 2, "policy": "spread", "join": JOIN, **more})


def cluster(lab, name: str, *states: str) -> dict:
    return until(lambda: (row := lab.ok("GET", f"/clusters/{name}").json)["state"] in states and row, 20, f"{name} {states}")


def labs_of(row: dict) -> list[str]:
    return [vm["lab"] for vm in row["vms"]]


def test_planned_anew_a_cluster_has_the_room_it_had(joined):
    """South refuses its half; north has room for both VMs, but not for one more than that."""
    joined.south.refuses = True
    create(joined, "alice")
    row = until(lambda: (row := joined.ok("GET", "/clusters/alice").json)["reason"] and row, 20, "the refusal")
    assert row["state"] == "deploying" and labs_of(row) == ["north", "north"], row


def test_a_part_that_is_gone_is_failed(joined):
    create(joined, "alice")
    until(lambda: "ready" in [vm["state"] for vm in joined.ok("GET", "/clusters/alice").json["vms"]], 20, "south's VM is ready")
    joined.south.parts.clear()
    pass_time(joined, 4)
    row = cluster(joined, "alice", "partly")
    assert [vm["state"] for vm in row["vms"] if vm["lab"] == "south"] == ["failed"]
    assert "south" in row["reason"]


def test_what_keeps_another_labs_part_is_told_at_home(joined):
    create(joined, "alice")
    until(lambda: "ready" in [vm["state"] for vm in joined.ok("GET", "/clusters/alice").json["vms"]], 20, "south's VM is ready")
    joined.south.keeps = "PC pc7 is lost"
    joined.ok("DELETE", "/clusters/alice")
    until(lambda: "PC pc7 is lost" in [vm["reason"] for vm in joined.ok("GET", "/clusters/alice").json["vms"]], 20, "the reason")
    joined.south.keeps = ""
    pass_time(joined, 4)
    until(lambda: "alice" not in joined.south.parts, 20, "south's part to be closed")


def coordinate(lab) -> None:
    """Lab north coordinates the join from now on."""
    assert lab.stop() == 0
    with sqlite3.connect(lab.state / "nightclass.db") as db:
        db.execute("UPDATE net_join SET coordinator = 'north'")
    lab.start()


def test_a_cluster_whose_home_is_not_the_coordinator(joined):
    """South asks the coordinator for VMs: promise, start and watch, as between any two members."""
    coordinate(joined)
    create(joined, "alice")
    sent = until(lambda: joined.south.parts.get("alice"), 20, "north's request for south")
    assert sent["home"] == "north"
    part = json.loads(json.dumps(sent).replace("10.80.1.", "10.80.0.").replace("alice", "carol"))
    vm = part["vms"][0]["vm"]
    vm["context"]["mac"], vm["context"]["address"] = "52:4e:43:00:00:77", "10.80.0.77/24"

    def put(**change):
        return joined("PUT", "/peers/clusters/carol", {**part, **change}, token=joined.peer)
    for other in ("north", "east"):
        refused = put(home=other, go=False)
        assert refused.status == 400 and refused.json["field"] == "home", refused
    refused = joined("PUT", "/peers/clusters/alice", {**sent, "vms": []}, token=joined.peer)
    assert refused.status == 400 and joined.ok("GET", "/clusters/alice").json["vms"], "our own is not a peer's to change"
    assert put(home="south", go=False).status == 200
    assert put(home="west", go=False).status == 409, "promised to south"
    assert put(home="south", go=True).status == 200
    assert joined.ok("GET", "/peers/clusters/carol", token=joined.peer).json["vms"][0]["id"] == part["vms"][0]["vm"]["id"]
    assert joined.ok("GET", "/clusters/carol").json["home"] == "south"
    joined.ok("DELETE", f"/joins/{JOIN}")
    refused = joined("DELETE", "/labs/south")
    assert refused.status == 409 and "cluster delete" in refused.json["detail"], refused


def hear_south(lab) -> None:
    """A document that south was asked for from now on has been heard: the one before it may have been on its way."""
    for _ in range(2):
        beats = lab.south.beats
        pass_time(lab, 60)
        until(lambda: lab.south.beats > beats, 20, "a beat")


def test_a_member_that_left_ends_the_join(joined):
    """Its document names the nets of its joins: while ours is there the join stays, whatever the time."""
    coordinate(joined)
    hear_south(joined)
    assert join_of(joined)["state"] == "committed", join_of(joined)
    joined.south.document["nets"] = []
    hear_south(joined)
    row = until(lambda: (row := join_of(joined))["state"] == "withdrawn" and row, 20, "the join's end")
    assert row["reason"] == "lab south left the join"
