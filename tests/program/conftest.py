# SPDX-License-Identifier: GPL-2.0-or-later
"""The real nightclassd in a folder of its own, on loopback: state, CA, admin token, and clients that can be anybody.
Its lab's segment is 127.0.0.0/8, so a test speaks as PC 127.0.0.11 by binding that address."""
import dataclasses
import hashlib
import http.client
import json
import os
import pathlib
import signal
import socket
import ssl
import subprocess
import time

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("NIGHTCLASS_BUILD", ROOT / "build"))
CLOCK_NAME = "clock"


@dataclasses.dataclass
class Answer:
    status: int
    headers: http.client.HTTPMessage
    body: bytes

    @property
    def json(self):
        return json.loads(self.body)

    @property
    def items(self):
        return self.json["items"]


def free_ports(n: int) -> list[int]:
    probes = [socket.socket() for _ in range(n)]
    for probe in probes:
        probe.bind(("127.0.0.1", 0))
    ports = [probe.getsockname()[1] for probe in probes]
    for probe in probes:
        probe.close()
    return ports


class Controller:
    """One nightclassd. `options` are lines of [controller]; `lab` lines of [lab]; `user` is whose process it is, if not ours."""

    def __init__(self, folder: pathlib.Path, options: str = "", lab: str = "", user: int | None = None):
        self.folder, self.state, self.user = folder, folder / "state", user
        self.api_port, self.boot_port = free_ports(2)
        self.clock = folder / CLOCK_NAME
        self.clock.write_text("0\n")
        (folder / "nightclass.conf").write_text(
            f"[lab]\nname = north\nlan_address = 127.0.0.1/8\ndesktop_probe = none\n{lab}\n[controller]\n"
            f"state_dir = {self.state}\napi_port = {self.api_port}\nboot_port = {self.boot_port}\n"
            f"listen = 127.0.0.1\nnetd_socket = {folder}/netd.sock\n{options}\n")
        self.process = None
        self.start()

    def start(self) -> None:
        env = dict(os.environ, NIGHTCLASS_CLOCK=str(self.clock), ASAN_OPTIONS="quarantine_size_mb=8")
        with open(self.folder / "log", "ab") as log:
            self.process = subprocess.Popen([BUILD / "nightclassd", "-c", self.folder / "nightclass.conf"],
                                            stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=env, user=self.user,
                                            group=self.user, extra_groups=None if self.user is None else [])
        end = time.monotonic() + 30
        while True:
            assert self.process.poll() is None, self.log()
            try:
                if self("GET", "/health", token=None, timeout=5).status == 200:
                    return
            except (OSError, http.client.HTTPException):
                pass
            assert time.monotonic() < end, self.log()
            time.sleep(0.05)

    def stop(self, how: int = signal.SIGTERM) -> int:
        self.process.send_signal(how)
        return self.process.wait(30)

    def kill_and_restart(self) -> None:
        self.stop(signal.SIGKILL)
        self.start()

    def log(self) -> str:
        return (self.folder / "log").read_text(errors="replace")[-6000:]

    @property
    def admin(self) -> str:
        return (self.state / "admin.token").read_text().strip()

    def tls(self, certificate: tuple | None = None) -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=self.state / "tls" / "ca.pem")
        if certificate:
            context.load_cert_chain(*certificate)
        return context

    def connect(self, source: str = "127.0.0.1", certificate: tuple | None = None, timeout: float = 20):
        return http.client.HTTPSConnection("127.0.0.1", self.api_port, timeout=timeout, source_address=(source, 0),
                                           context=self.tls(certificate))

    def __call__(self, method: str, path: str, body=None, token="admin", headers: dict | None = None, raw: bytes | None = None,
                 source: str = "127.0.0.1", certificate: tuple | None = None, timeout: float = 20) -> Answer:
        """One request below /api/v1, or of "//page" from the root. token: "admin" for the first one, None for none, else its text."""
        sent = dict(headers or {})
        if token:
            sent["Authorization"] = f"Bearer {self.admin if token == 'admin' else token}"
        data = raw
        if body is not None:
            data = body.encode() if isinstance(body, str) else json.dumps(body).encode()
            sent.setdefault("Content-Type", "application/json")
        elif raw is not None:
            sent.setdefault("Content-Type", "application/octet-stream")
        connection = self.connect(source, certificate, timeout)
        try:
            connection.request(method, path[1:] if path.startswith("//") else f"/api/v1{path}", data, sent)
            answer = connection.getresponse()
            return Answer(answer.status, answer.headers, answer.read())
        finally:
            connection.close()

    def boot(self, path: str, source: str = "127.0.0.1", headers: dict | None = None) -> Answer:
        """One request of the plain boot listener."""
        connection = http.client.HTTPConnection("127.0.0.1", self.boot_port, timeout=30, source_address=(source, 0))
        try:
            connection.request("GET", path, headers=headers or {})
            answer = connection.getresponse()
            return Answer(answer.status, answer.headers, answer.read())
        finally:
            connection.close()

    def ok(self, *args, **kwargs) -> Answer:
        answer = self(*args, **kwargs)
        assert 200 <= answer.status < 300, (args, answer.status, answer.body)
        return answer

    def add_pc(self, n: int) -> dict:
        return self.ok("POST", "/pcs", {"name": f"pc{n}", "mac": mac(n), "address": address(n)}).json

    def make_token(self, name: str, role: str, **more) -> str:
        return self.ok("POST", "/tokens", {"name": name, "role": role, **more}).json["token"]

    def events(self, kind: str | None = None) -> list[dict]:
        found, after = [], 0
        while items := self.ok("GET", f"/events?after={after}").items:
            found += items
            after = items[-1]["seq"]
        return [e for e in found if kind in (None, e["kind"])]

    def host_image(self) -> None:
        """Something that stands for the host image, so that boot scripts can name its digest."""
        boot = self.state / "boot"
        boot.mkdir(exist_ok=True)
        for name in ("vmlinuz", "initrd.img", "host.squashfs"):
            (boot / name).write_bytes(name.encode() * 1000)

    def begin_night(self, seconds: int = 3600) -> None:
        """All PCs are wanted from now on; returns when that has been understood."""
        self.ok("POST", "/nights", {"for_s": seconds})
        until(lambda: all(pc["state"] != "desktop" for pc in self.ok("GET", "/pcs").items), 20, "PCs to be woken")


def mac(n: int) -> str:
    return f"52:54:00:00:00:{n:02x}"


def address(n: int) -> str:
    return f"127.0.0.{10 + n}"


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def until(condition, timeout: float, what: str):
    """Asks again and again; the first true value."""
    end = time.monotonic() + timeout
    while not (value := condition()):
        assert time.monotonic() < end, f"{what}: not within {timeout} s, last {value!r}"
        time.sleep(0.05)
    return value


def is_bound(port: int) -> bool:
    """Does somebody in this network namespace hear this UDP port?"""
    with open("/proc/net/udp", encoding="ascii") as table:
        return any(line.split()[1].endswith(f":{port:04X}") for line in list(table)[1:])


def need_nightclassd() -> None:
    if not (BUILD / "nightclassd").exists():
        pytest.skip(f"{BUILD}/nightclassd is not built")


@pytest.fixture
def make_controller(tmp_path):
    """Controllers with options of their own; all are ended, and every one has to end well."""
    need_nightclassd()
    made = []

    def make(**kwargs) -> Controller:
        folder = tmp_path / f"controller{len(made)}"
        folder.mkdir()
        made.append(Controller(folder, **kwargs))
        return made[-1]

    yield make
    for controller in made:
        if controller.process.poll() is None:
            assert controller.stop() == 0, controller.log()


@pytest.fixture
def controller(make_controller):
    return make_controller()


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """One controller for all cases of a table that leave nothing behind."""
    need_nightclassd()
    made = Controller(tmp_path_factory.mktemp("shared"))
    yield made
    assert made.stop() == 0, made.log()
