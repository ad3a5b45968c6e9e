# SPDX-License-Identifier: GPL-2.0-or-later
"""A controller that is not there: answers the REST calls of the CLI and the page from a dict of sample data.

Tests of the CLI and of the page need states that a real night reaches late or never (an unreachable peer, a
refused image, a VM that failed). The documents have the form of the real ones; test_cli_daemon.py
holds the CLI against the real daemon. Run it by hand to work on the page:

    python3 tests/program/fake_api.py 8099      # then open http://127.0.0.1:8099/#token=good
"""
import hashlib
import json
import os
import re
import socket
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

WEB = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "web")
TYPES = {"html": "text/html; charset=utf-8", "js": "text/javascript; charset=utf-8", "css": "text/css; charset=utf-8",
         "svg": "image/svg+xml"}


def stamp(offset=0):
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + offset))


def pc(number, state, **more):
    facts = {"boot_id": "b%d" % number, "mac": "52:54:00:71:00:%02x" % number, "kvm": False,
             "firmware": "uefi" if number % 2 else "bios", "model": "OptiPlex 7090", "cpus": 4, "memory_mib": 8192,
             "boot_ms": 31200} if state in ("host", "hosting", "draining") else None
    return {"name": "pc%d" % number, "seat": "row %d, seat %d" % ((number - 1) // 4 + 1, (number - 1) % 4 + 1),
            "mac": "52:54:00:71:00:%02x" % number, "address": "10.71.0.%d" % (10 + number), "probe": "",
            "state": state, "since": stamp(-140 * number), "deadline": None, "reason": "", "facts": facts,
            "images": [], "desktop_at": stamp(-7200), "vms": [], "reported_at": stamp(-4), "boot": None, "scratch": None,
            "kept": [], **more}


def vm(cluster, number, lab, on, state, **more):
    net = 1 if lab == "north" else 2
    return {"id": "%s-%03d" % (cluster, number), "number": number, "lab": lab, "pc": on,
            "mac": "52:4e:43:0%d:00:%02x" % (net, number), "ip": "10.80.%d.%d" % (net, 9 + number),
            "state": state, "reason": "", "ready_ms": 37200 if state == "ready" else 0, **more}


def sample():
    """Half past midnight in two joined labs: everything a page has to show at once."""
    alice = [vm("alice", 1, "north", "pc1", "ready"), vm("alice", 2, "north", "pc1", "ready"),
             vm("alice", 3, "north", "pc2", "ready"), vm("alice", 4, "north", "pc3", "running"),
             vm("alice", 5, "south", "pc1", "ready"), vm("alice", 6, "south", "pc2", "ready"),
             vm("alice", 7, "south", "pc2", "failed", reason="out of memory on the host"),
             vm("alice", 8, "north", "pc2", "starting")]
    pcs = [pc(1, "hosting"), pc(2, "hosting"), pc(3, "hosting"), pc(4, "host"),
           pc(5, "booting", deadline=stamp(380), boot={"state": "loads", "slot": 2, "ahead": 0, "since": stamp(-9),
                                                       "text": "loads, slot 2"}), pc(6, "waking", deadline=stamp(120)),
           pc(7, "exception", reason="did not ask for its boot script within 5 min of waking"), pc(8, "draining"),
           pc(9, "returning", deadline=stamp(300)), pc(10, "desktop")]
    pcs[3]["images"] = [{"digest": "ab" * 32, "have": 77 << 20, "total": 180 << 20}]
    for one in pcs:
        one["vms"] = [v["id"] for v in alice if v["lab"] == "north" and v["pc"] == one["name"]]
    night = {"id": 1, "state": "running", "begins": stamp(-9000), "ends": stamp(16000),
             "pcs": ["pc%d" % i for i in range(1, 11)], "report": None}
    join = {"id": "join-ab12", "state": "committed", "reason": "", "net": "10.80.0.0/16", "expires": stamp(16000),
            "coordinator": "north",
            "members": [{"lab": "north", "uplink": "10.70.0.1", "cluster_net": "10.80.1.0/24", "state": "committed"},
                        {"lab": "south", "uplink": "10.70.0.2", "cluster_net": "10.80.2.0/24", "state": "committed"}],
            "probes": [{"from": "north", "to": "south", "ok": True, "ms": 0.42, "mss": 1460, "reason": ""},
                       {"from": "south", "to": "north", "ok": True, "ms": 0.47, "mss": 1460, "reason": ""}],
            "commands": ["nft 'add table inet nightclass'",
                         "nft 'add chain inet nightclass nat { type nat hook postrouting priority srcnat; policy accept; }'",
                         "ip address add 10.80.1.1/24 broadcast + dev lan label lan:nc",
                         "ip route add 10.80.2.0/24 via 10.70.0.2 proto 78", "sysctl -w net.ipv4.ip_forward=1"]}
    hosts = [{"pc": "pc%d" % i, "cpus": 4, "memory_mib": 8192, "free_cpus": 2, "free_memory_mib": 4096, "images": []}
             for i in (1, 2, 3)]
    own = {"name": "north", "self": True, "url": "", "reachable": True, "seen": None, "seen_at": None}
    labs = [{"name": "south", "self": False, "url": "https://10.70.0.2:8443", "reachable": True,
             "seen_at": stamp(-3),
             "seen": {"name": "south", "version": 1, "uplink": "10.70.0.2", "lan": "10.72.0.1/24",
                      "cluster_net": "10.80.0.0/12", "night": {"state": "running", "ends_s": 16000}, "hosts": hosts}},
            {"name": "east", "self": False, "url": "https://10.70.0.3:8443", "reachable": False, "seen_at": stamp(-900),
             "seen": None}]
    cluster = {"name": "alice", "owner": "alice", "home": "north", "n": 8, "image": "ab" * 32, "image_name": "mpi",
               "revision": 1, "cpus": 1, "memory_mib": 512, "policy": "spread", "join": "join-ab12",
               "state": "deploying", "reason": "", "vms": alice, "hostfile": "", "mpi": {"if_include": "10.80.0.0/16"}}
    small = {**cluster, "name": "rehearsal", "owner": "lab", "n": 2, "state": "ready", "join": None,
             "vms": [vm("rehearsal", 1, "north", "pc8", "stopping"), vm("rehearsal", 2, "north", "pc3", "ready")]}
    words = [("night.running", "night/1", "Night 1 begins: 10 PCs until hand-back."),
             ("pc.state", "pc/pc1", "pc1: waking -> booting"),
             ("enrol.accepted", "pc/pc1", "pc1 enrolled as a host (UEFI, 31 s)."),
             ("enrol.refused", "pc/pc4", "A second session claimed pc4 and was refused; both are held."),
             ("join.committed", "join/join-ab12", "north and south are joined until hand-back."),
             ("cluster.deploying", "cluster/alice", "alice: 8 VMs for alice on 5 PCs of 2 labs."),
             ("vm.ready", "vm/alice-001", "alice-001 is ready after 37 s."),
             ("vm.failed", "vm/alice-007", "alice-007 failed: out of memory on the host."),
             ("pc.exception", "pc/pc7", "pc7 needs a person: did not ask for its boot script.")]
    events = [{"seq": i + 1, "at": stamp(-60 * (len(words) - i)), "kind": k, "subject": s, "text": t, "data": None}
              for i, (k, s, t) in enumerate(words)]
    images = [{"name": "mpi", "revision": 1, "digest": "ab" * 32, "size": 1 << 30, "stored": 180 << 20,
               "created": stamp(-86400)}]
    return {"lab": {"name": "north", "version": "0.1.0", "now": stamp(),
                    "addresses": {"lan": "10.71.0.1/24", "uplink": "10.70.0.1"}, "cluster_net": "10.80.0.0/12",
                    "night": night, "pcs": {"hosting": 3, "host": 1}, "join": join,
                    "peers": [{"name": "south", "url": "https://10.70.0.2:8443", "reachable": True}]},
            "labs": [own] + labs, "pcs": pcs, "images": images, "clusters": [cluster, small], "joins": [join],
            "nights": [night], "runs": [], "tokens": [{"name": "admin", "role": "admin", "expires": None}],
            "events": events}


def empty():
    """A lab server a minute after its installation."""
    return {**sample(), "lab": {"name": "north", "now": stamp(), "night": None, "pcs": {}, "join": None, "peers": []},
            "labs": [],
            "pcs": [], "clusters": [], "joins": [], "nights": [], "images": [], "events": []}


class Problem(Exception):
    def __init__(self, status, detail, **more):
        super().__init__(detail)
        self.status, self.body = status, {"type": "about:blank", "title": "Refused", "status": status,
                                          "detail": detail, **more}


class FakeApi:
    """State of the fake, and what tests bend: `steps` are called one per look at a cluster, import, ..."""

    def __init__(self, data=None):
        self.data = data if data is not None else sample()
        self.uploads, self.imports, self.requests = {}, {}, []
        self.token, self.broken = "good", None      # broken: status that every answer gets
        self.forbidden = ()                          # nouns that this token's role may not see
        self.cluster_ends, self.import_ends, self.output, self.exit_code = "ready", ("done", ""), b"", 0
        self.drop_pieces = 0                         # so many PUTs are answered by a closed connection
        self.import_steps = []                       # what the first looks at an import see
        self.no_zeros = False                        # a PUT with zero= is refused
        self.changed = threading.Condition()
        self.closing = False
        self.connections = set()
        api = self

        class Handler(RequestHandler):
            fake = api

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = "http://127.0.0.1:%d" % self.server.server_address[1]

    def start(self):
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        return self

    def stop(self):
        self.closing = True
        with self.changed:
            self.changed.notify_all()
        self.server.shutdown()
        self.server.server_close()
        for connection in list(self.connections):   # else kept-alive ones would still be answered
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def event(self, kind, subject, text):
        with self.changed:
            events = self.data["events"]
            events.append({"seq": len(events) + 1, "at": stamp(), "kind": kind, "subject": subject, "text": text,
                           "data": None})
            self.changed.notify_all()

    def find(self, collection, name):
        key = {"joins": "id", "nights": "id", "runs": "id"}.get(collection, "name")
        for item in self.data[collection]:
            if str(item[key]) == name or (collection == "nights" and name == "current" and item["state"] != "done"):
                return item
        raise Problem(404, "There is no %s in %s." % (name, collection))


class RequestHandler(BaseHTTPRequestHandler):
    fake = None
    protocol_version = "HTTP/1.1"

    def log_message(self, *args):
        pass

    def setup(self):
        super().setup()
        self.fake.connections.add(self.connection)

    def finish(self):
        self.fake.connections.discard(self.connection)
        super().finish()

    def do_GET(self):
        self.handle_request()

    do_POST = do_PUT = do_PATCH = do_DELETE = do_GET

    def handle_request(self):
        length = int(self.headers.get("Content-Length") or 0)
        self.body = self.rfile.read(length) if length else b""
        path, _, query = self.path.partition("?")
        self.query = dict(part.partition("=")[::2] for part in query.split("&") if part)
        try:
            if not path.startswith("/api/v1/"):
                return self.web(path)
            self.fake.requests.append((self.command, self.path, self.body))
            if self.fake.broken:
                raise Problem(self.fake.broken, "The store cannot be read.")
            if self.headers.get("Authorization") != "Bearer %s" % self.fake.token:
                raise Problem(401, "This token is not known.")
            words = path[len("/api/v1/"):].split("/")
            if words[0] in self.fake.forbidden:
                raise Problem(403, "This needs the role operator.")
            self.api(words)
        except Problem as problem:
            self.answer(problem.status, problem.body, "application/problem+json")
        except (BrokenPipeError, ConnectionResetError):
            pass

    def answer(self, status, body, content_type="application/json", **headers):
        if not isinstance(body, bytes):
            body = json.dumps(body).encode() if body is not None else b""
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)

    def web(self, path):
        name = "index.html" if path == "/" else path.removeprefix("/web/")
        if not re.fullmatch(r"[a-z]+\.(html|js|css|svg)", name) or not os.path.exists(os.path.join(WEB, name)):
            raise Problem(404, "No such page.")
        with open(os.path.join(WEB, name), "rb") as file:
            self.answer(200, file.read(), TYPES[name.rpartition(".")[2]],
                        Content_Security_Policy="default-src 'self'")

    def api(self, words):
        handler = getattr(self, "%s_%s" % (self.command.lower(), words[0]), None)
        if handler:
            return handler(words)
        if self.command == "GET" and len(words) == 1:
            data = self.fake.data[words[0]]
            return self.answer(200, data if words[0] == "lab" else {"items": data})
        if self.command == "GET":
            return self.answer(200, self.fake.find(words[0], words[1]))
        if self.command == "DELETE":
            self.fake.data[words[0]].remove(self.fake.find(words[0], words[1]))
            return self.answer(204, None)
        raise Problem(404, "No such route.")

    def json(self):
        return json.loads(self.body)

    # -- one method per call that does more than list, show or delete

    def get_events(self, words):
        if "text/event-stream" in self.headers.get("Accept", ""):
            return self.event_stream()
        after, wait = int(self.query.get("after", 0)), float(self.query.get("wait", 0))
        with self.fake.changed:
            self.fake.changed.wait_for(lambda: self.fake.closing or len(self.fake.data["events"]) > after, min(wait, 1))
            self.answer(200, {"items": self.fake.data["events"][after:], "last": len(self.fake.data["events"])})

    def event_stream(self):
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Connection", "close")
        self.end_headers()
        self.close_connection = True
        seq = int(self.query.get("after", 0))
        while not self.fake.closing:
            with self.fake.changed:
                self.fake.changed.wait_for(lambda: self.fake.closing or len(self.fake.data["events"]) > seq, 5)
                new = self.fake.data["events"][seq:]
            for event in new:
                self.wfile.write(("id: %d\ndata: %s\n\n" % (event["seq"], json.dumps(event))).encode())
            if not new:
                self.wfile.write(b": still here\n\n")
            self.wfile.flush()
            seq += len(new)

    def put_labs(self, words):
        self.fake.data["labs"].append({"name": words[1], "reachable": False, "seen": None, **self.json()})
        self.answer(200, {})

    def post_pcs(self, words):
        new = self.json()
        if not re.fullmatch(r"([0-9a-f]{2}:){5}[0-9a-f]{2}", new["mac"]):
            raise Problem(400, "\"mac\" must be six hex bytes like 52:54:00:12:34:56.", field="mac")
        for old in self.fake.data["pcs"]:
            if old["mac"] == new["mac"]:
                raise Problem(409, "%s has this MAC already." % old["name"], field="mac")
        made = {**pc(99, "desktop"), **new}
        self.fake.data["pcs"].append(made)
        self.answer(201, made)

    def patch_pcs(self, words):
        found = self.fake.find("pcs", words[1])
        found.update(self.json())
        self.answer(200, found)

    def get_uploads(self, words):
        have, length = self.fake.uploads.get(words[1], (b"", 0))
        if words[1] not in self.fake.uploads:
            raise Problem(404, "Nothing of it is here.")
        self.answer(200, {"have": len(have), "length": length, "complete": len(have) == length})

    def put_uploads(self, words):
        if self.fake.drop_pieces:
            self.fake.drop_pieces -= 1
            self.close_connection = True
            self.connection.close()
            return
        have = self.fake.uploads.get(words[1], (b"", 0))[0]
        length, offset = int(self.headers["Upload-Length"]), int(self.query["offset"])
        if offset > len(have):
            raise Problem(409, "A piece before this one is missing.")
        if "zero" in self.query and self.fake.no_zeros:
            raise Problem(400, "this request takes no such query parameter", field="zero")
        have = have[:offset] + (bytes(int(self.query["zero"])) if "zero" in self.query else self.body)
        if len(have) == length and hashlib.sha256(have).hexdigest() != words[1]:
            raise Problem(400, "What came is not what its name says.")
        self.fake.uploads[words[1]] = (have, length)
        self.answer(200, {"have": len(have), "length": length, "complete": len(have) == length})

    def post_images(self, words):
        self.fake.imports["7"] = dict(self.json(), looks=0)
        self.answer(202, {"id": 7, "state": "running", "done": 0, "total": 100, "reason": ""}, Location="/imports/7")

    def get_imports(self, words):
        job = self.fake.imports[words[1]]
        job["looks"] += 1
        state, reason = self.fake.import_ends if job["looks"] > 2 else ("running", "")
        if state == "done" and not any(i["name"] == job["name"] for i in self.fake.data["images"]):
            self.fake.data["images"].append({"name": job["name"], "revision": 1, "digest": "cd" * 32, "size": 4096,
                                             "stored": 512, "created": stamp()})
        step = self.fake.import_steps[job["looks"] - 1:job["looks"]] if state == "running" else []
        self.answer(200, {"id": 7, "state": state, "phase": "", "done": job["looks"], "total": 3, "reason": reason,
                          **(step[0] if step else {})})

    def post_clusters(self, words):
        asked = self.json()
        made = {**sample()["clusters"][0], **asked, "looks": 0, "state": "deploying",
                "vms": [vm(asked["name"], i + 1, "north", "pc1", "starting") for i in range(asked["n"])]}
        if "dry_run" not in self.query:
            self.fake.data["clusters"].append(made)
        self.answer(200 if "dry_run" in self.query else 202, made)

    def delete_clusters(self, words):
        found = self.fake.find("clusters", words[1])
        if found["state"] not in ("failed", "closing"):
            self.fake.data["clusters"].remove(found)
        self.answer(200, found)

    def get_clusters(self, words):
        if len(words) == 1:
            return self.answer(200, {"items": self.fake.data["clusters"]})
        found = self.fake.find("clusters", words[1])
        found["looks"] = found.get("looks", 9) + 1
        if found["looks"] in (2, 3) and found["state"] == "deploying":
            found["state"] = "deploying" if found["looks"] == 2 else self.fake.cluster_ends
            for one in found["vms"]:
                one["state"] = "running" if found["looks"] == 2 else "ready"
            if found["state"] == "failed":
                found["reason"] = "no host has room"
            self.fake.event("cluster.state", "cluster/%s" % found["name"], found["state"])
        self.answer(200, found)

    def post_joins(self, words):
        made = {**sample()["joins"][0], "id": "join-new", "labs": self.json()["labs"]}
        self.fake.data["joins"].append(made)
        self.answer(202, {**made, "state": "proposed"})

    def post_nights(self, words):
        night = self.fake.data["nights"][0]
        if len(words) == 3:
            night["state"] = "done"
            for one in self.fake.data["pcs"]:
                one["state"] = "desktop" if one["state"] != "exception" else "exception"
        else:
            night.update(state="running", asked=self.json())
        self.answer(202, night)

    def post_runs(self, words):
        asked = self.json()
        if asked["program"] not in self.fake.uploads:
            raise Problem(404, "The program was not uploaded.")
        run = {"id": 5, "state": "running", "exit_code": None, "reason": "", "at": 0, **asked}
        self.fake.data["runs"].append(run)
        self.answer(201, run)

    def get_runs(self, words):
        if len(words) == 1:
            return self.answer(200, {"items": self.fake.data["runs"]})
        run = self.fake.find("runs", words[1])
        if len(words) == 2:
            return self.answer(200, run)
        start = int(self.query["from"])
        part = self.fake.output[start:start + 100000]
        if start >= len(self.fake.output) and run["state"] == "running":
            run.update(state="done", exit_code=self.fake.exit_code)
        self.answer(200, part, "application/octet-stream", Run_State=run["state"])

    def post_tokens(self, words):
        self.answer(201, {**self.json(), "token": "secret-" + self.json()["role"]})


if __name__ == "__main__":
    fake = FakeApi(empty() if "--empty" in sys.argv else sample())
    fake.server.server_close()
    fake.server = ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), fake.server.RequestHandlerClass)
    print("http://127.0.0.1:%s/#token=good" % sys.argv[1])
    fake.server.serve_forever()
