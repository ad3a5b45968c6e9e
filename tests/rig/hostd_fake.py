# SPDX-License-Identifier: GPL-2.0-or-later
"""A controller as hostd sees it, small enough to lie on purpose: enrolment, goal and report over TLS with a CA of its
own, image chunks over HTTP. It checks what a controller must be able to rely on (one-time tokens, a request signed by
its key, the client certificate) and remembers everything it was told."""
import hashlib
import http.server
import json
import pathlib
import ssl
import subprocess
import threading
import time
import urllib.parse

from tests.rig.wait import until


def openssl(*words, input: str | None = None) -> str:
    done = subprocess.run(["openssl", *map(str, words)], input=input, capture_output=True, text=True, timeout=30)
    if done.returncode != 0:
        raise RuntimeError(f"openssl {words[0]}: {done.stderr}")
    return done.stdout


class Authority:
    """A CA and one server certificate for `address`."""

    def __init__(self, folder: pathlib.Path, address: str):
        folder.mkdir(parents=True)
        self.folder, self.ca, self.ca_key = folder, folder / "ca.pem", folder / "ca.key"
        self.chain, self.key = folder / "chain.pem", folder / "server.key"
        curve = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")
        openssl("req", "-x509", *curve, "-days", 2, "-subj", "/CN=night CA", "-keyout", self.ca_key, "-out", self.ca,
                "-addext", "basicConstraints=critical,CA:TRUE")
        openssl("req", *curve, "-subj", "/CN=controller", "-keyout", self.key, "-out", folder / "server.csr")
        (folder / "names").write_text(f"subjectAltName=IP:{address}\n", encoding="ascii")
        leaf = self.sign((folder / "server.csr").read_text(), folder / "names")
        self.chain.write_text(leaf + self.ca.read_text())
        der = ssl.PEM_cert_to_DER_cert(self.ca.read_text())
        self.digest = hashlib.sha256(der).hexdigest()

    def sign(self, csr: str, extensions: pathlib.Path | None = None) -> str:
        """A certificate for the request; refuses one whose signature is wrong."""
        more = ("-extfile", extensions) if extensions else ()
        return openssl("x509", "-req", "-CA", self.ca, "-CAkey", self.ca_key, "-CAcreateserial", "-days", 1, *more,
                       input=csr)


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    allow_reuse_address = True

    def handle_error(self, request, client_address):
        """A client that hangs up in mid handshake is part of the tests."""


class Controller:
    """Starts at once; stop() makes it dead to its hosts, start() brings it back."""

    def __init__(self, folder: pathlib.Path, address: str, store: pathlib.Path | None, pc: str = "pc-01"):
        self.authority = Authority(folder / "tls", address)
        self.address, self.store, self.pc = address, store, pc
        self.url, self.chunks = f"https://{address}:8443", f"http://{address}:8080"
        self.expected = True
        self.tokens: set[str] = set()
        self.asked_tokens = self.enrolled = 0
        self.goal: dict | None = None
        self.reports: list[dict] = []
        self.refusal, self.refused = "", 0  # what reports are answered with; how many were
        self.strangers = 0
        self.traces: dict[str, list[int]] = {}
        self.busy = 0  # so many traces are answered 503
        self.chunk_delay = 0.0  # seconds, before each answer
        self.chunks_asked = 0
        self.changed = threading.Condition()
        self.servers: list[Server] = []
        self.tail = str  # what hostd said last, for a complaint
        self.start()

    def start(self) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.authority.chain, self.authority.key)
        context.load_verify_locations(self.authority.ca)
        context.verify_mode = ssl.CERT_OPTIONAL
        for port, handler, tls in ((8443, Api, context), (8080, Chunks, None)):
            server = Server((self.address, port), handler)
            server.controller = self
            if tls:
                server.socket = tls.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
            threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
            self.servers.append(server)

    def stop(self) -> None:
        for server in self.servers:
            server.shutdown()
            server.server_close()
        self.servers = []
        with self.changed:
            self.changed.notify_all()

    def want(self, generation: int, vms: list | tuple = (), **members) -> None:
        """Sets the goal; who waits for it is answered."""
        with self.changed:
            self.goal = {"version": 1, "generation": generation, "pc": self.pc, "role": "host", "lease_s": 3600,
                         "until": "2026-11-22T06:30:00Z", "grace_s": 60, "chunk_url": self.chunks, "images": [],
                         "vms": list(vms), **members}
            self.changed.notify_all()

    def wait_report(self, condition, timeout: float, what: str) -> dict:
        """The first of the reports from now on (or the last one) for which condition(report) holds."""
        seen = max(0, len(self.reports) - 1)

        def look():
            return next((r for r in self.reports[seen:] if condition(r)), None)

        try:
            return until(look, timeout, what)
        except TimeoutError as late:
            raise TimeoutError(f"{what}; last report: {self.reports[-1:]}{self.tail()}") from late


class Api(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_words):
        pass

    def answer(self, status: int, body: dict | None = None) -> None:
        data = json.dumps(body).encode() if body is not None else b""
        self.send_response(status)
        if data:
            self.send_header("Content-Type", "application/json" if status < 400 else "application/problem+json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def problem(self, status: int, text: str) -> None:
        self.answer(status, {"type": "about:blank", "title": text, "status": status, "detail": text})

    def host(self) -> bool:
        """Does the client show a certificate of ours, for our PC?"""
        shown = self.connection.getpeercert()
        names = [value for part in (shown or {}).get("subject", ()) for key, value in part if key == "commonName"]
        return bool(names)

    def body(self) -> dict:
        return json.loads(self.rfile.read(int(self.headers["Content-Length"])))

    def do_POST(self):
        c = self.server.controller
        body = self.body()
        if self.path == "/api/v1/enrol/token":
            c.asked_tokens += 1
            assert set(body) == {"mac", "boot_id"}, body
            if not c.expected:
                self.problem(403, "this PC is not expected")
                return
            token = f"token-{c.asked_tokens}"
            c.tokens.add(token)
            self.answer(200, {"token": token})
        elif self.path == "/api/v1/enrol":
            assert set(body) == {"token", "boot_id", "csr", "facts"}, body
            if body["token"] not in c.tokens:
                self.problem(401, "no such token")
                return
            c.tokens.discard(body["token"])
            certificate = c.authority.sign(body["csr"])
            c.enrolled += 1
            self.answer(200, {"certificate": certificate, "ca": c.authority.ca.read_text(), "pc": c.pc, "api": c.url})
        elif self.path == "/api/v1/host/report":
            if not self.host():
                c.strangers += 1
                self.problem(401, "no certificate")
                return
            if c.refusal:
                c.refused += 1
                self.problem(422, c.refusal)
                return
            c.reports.append(body)
            self.answer(204)
        else:
            self.problem(404, "no such path")

    def do_PUT(self):
        c = self.server.controller
        text = self.rfile.read(int(self.headers["Content-Length"])).decode("ascii")
        assert self.path.startswith("/api/v1/host/traces/") and self.host()
        if c.busy > 0:
            c.busy -= 1
            self.problem(503, "the controller is being restarted")
            return
        c.traces[self.path.rsplit("/", 1)[1]] = [int(line) for line in text.splitlines()]
        self.answer(204)

    def do_GET(self):
        c = self.server.controller
        url = urllib.parse.urlsplit(self.path)
        words = dict(urllib.parse.parse_qsl(url.query))
        if url.path != "/api/v1/host/goal" or not self.host():
            c.strangers += 1
            self.problem(401, "no certificate")
            return
        with c.changed:
            c.changed.wait_for(lambda: not c.servers or (c.goal and c.goal["generation"] != int(words["generation"])),
                               timeout=float(words["wait"]))
            goal = c.goal if c.servers and c.goal and c.goal["generation"] != int(words["generation"]) else None
        self.answer(200, goal) if goal else self.answer(204)


class Chunks(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_words):
        pass

    def do_GET(self):
        store = self.server.controller.store
        kind, _, name = self.path.strip("/").partition("/")
        path = store / "chunks" / name[:2] / name if kind == "chunks" else store / kind / name
        data = path.read_bytes() if name.isalnum() and kind.isalpha() and path.is_file() else None
        self.server.controller.chunks_asked += kind == "chunks"
        if kind == "chunks" and self.server.controller.chunk_delay:
            time.sleep(self.server.controller.chunk_delay)
        self.send_response(200 if data is not None else 404)
        self.send_header("Content-Length", str(len(data or b"")))
        self.end_headers()
        self.wfile.write(data or b"")
