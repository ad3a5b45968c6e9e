# SPDX-License-Identifier: GPL-2.0-or-later
"""Bytes on the wire that a web server must not take: what libmicrohttpd 0.9.75 alone lets through, and some more.
Each case is sent as it stands, with a second request behind it; no case may lead to that one being answered."""
import contextlib
import http.client
import re
import socket
import ssl
import threading
import time

import pytest

from tests.program.conftest import until

# A PC that must never come into being: the request smuggled behind the first one.
SMUGGLED_BODY = b'{"name":"smuggled","mac":"52:54:00:00:00:66","address":"127.0.0.66"}'


def smuggled(token: str) -> bytes:
    return (f"POST /api/v1/pcs HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(SMUGGLED_BODY)}\r\n\r\n").encode() + SMUGGLED_BODY


def exchange(controller, data: bytes, tls: bool = True, source: str = "127.0.0.1") -> bytes:
    port = controller.api_port if tls else controller.boot_port
    plain = socket.create_connection(("127.0.0.1", port), 20, source_address=(source, 0))
    with contextlib.closing(controller.tls().wrap_socket(plain, server_hostname="127.0.0.1") if tls else plain) as s:
        answer = b""
        with contextlib.suppress(ConnectionError, ssl.SSLError):  # a cut in mid-request is an answer too
            s.sendall(data)
            while block := s.recv(65536):
                answer += block
        return answer


def statuses(answer: bytes) -> list[int]:
    return [int(code) for code in re.findall(rb"HTTP/1\.1 (\d{3}) ", answer)]


HOST = b"Host: x\r\n"
# Without the guard this would make a PC: the only thing wrong with each case is what its name says.
FIRST = b'{"name":"first","mac":"52:54:00:00:00:67","address":"127.0.0.67"}'
POST = b"POST /api/v1/pcs HTTP/1.1\r\n" + HOST + b"Content-Type: application/json\r\nAuthorization: Bearer TOKEN\r\n"
LENGTH = b"Content-Length: %d\r\n" % len(FIRST)
CHUNKED = b"%x\r\n%s\r\n0\r\n\r\n" % (len(FIRST), FIRST)
GET = b"GET /api/v1/health HTTP/1.1\r\n" + HOST


def get(target: bytes) -> bytes:
    return b"GET " + target + b" HTTP/1.1\r\n" + HOST + b"\r\n"


# name: bytes, the statuses that are right (None: it may be cut without a word)
CASES = {
    "length and transfer-encoding": (POST + LENGTH + b"Transfer-Encoding: chunked\r\n\r\n" + CHUNKED, {400}),
    "transfer-encoding and length": (POST + b"Transfer-Encoding: chunked\r\n" + LENGTH + b"\r\n" + CHUNKED, {400}),
    "transfer-encoding alone": (POST + b"Transfer-Encoding: chunked\r\n\r\n" + CHUNKED, {400}),
    "transfer-encoding, odd": (POST + b"Transfer-Encoding: xchunked\r\n" + LENGTH + b"\r\n" + FIRST, {400}),
    "transfer-encoding, identity": (POST + b"Transfer-Encoding: identity\r\n" + LENGTH + b"\r\n" + FIRST, {400}),
    "two lengths, same": (POST + LENGTH + LENGTH + b"\r\n" + FIRST, {400}),
    "two lengths, other": (POST + LENGTH + b"Content-Length: 0\r\n\r\n" + FIRST, {400}),
    "two lengths, other first": (POST + b"Content-Length: 0\r\n" + LENGTH + b"\r\n" + FIRST, {400}),
    "two lengths, case": (POST + LENGTH + LENGTH.lower() + b"\r\n" + FIRST, {400}),
    "length list": (POST + LENGTH[:-2] + b", %d\r\n\r\n" % len(FIRST) + FIRST, {400}),
    "length signed": (POST + LENGTH.replace(b": ", b": +") + b"\r\n" + FIRST, {400}),
    "length hex": (POST + b"Content-Length: 0x%x\r\n\r\n" % len(FIRST) + FIRST, {400}),
    "length with zeros": (POST + LENGTH.replace(b": ", b": 00") + b"\r\n" + FIRST, {400, 404}),  # 404: the boot listener
    "length negative": (POST + LENGTH.replace(b": ", b": -") + b"\r\n" + FIRST, {400}),
    "length huge": (POST + b"Content-Length: 99999999999999999999999\r\n\r\n" + FIRST, {400, 413}),
    "length, space before the colon": (POST + LENGTH.replace(b":", b" :") + b"\r\n" + FIRST, {400}),
    "two types": (POST + LENGTH + b"Content-Type: application/json\r\n\r\n" + FIRST, {400}),
    "two tokens": (POST + LENGTH + b"Authorization: Bearer TOKEN\r\n\r\n" + FIRST, {400}),
    "two hosts": (GET + b"Host: y\r\n\r\n", {400}),
    "two hosts, same": (GET + HOST + b"\r\n", {400}),
    "no host": (GET.replace(HOST, b"") + b"\r\n", {400}),
    "NUL in the path": (get(b"/api/v1/health%00"), {400}),
    "slash escaped": (get(b"/api%2fv1/health"), {400}),
    "letter escaped": (get(b"/api/v1/%68ealth"), {400}),
    "dots escaped": (get(b"/web/%2e%2e/x"), {400}),
    "dots": (get(b"/web/../api/v1/health"), {400}),
    "empty segment": (get(b"//api/v1/health"), {400}),
    "bad escape": (get(b"/api/v1/health?a=%zz"), {400}),
    "cut escape": (get(b"/api/v1/health?a=%4"), {400}),
    "NUL in the query": (get(b"/api/v1/health?a=%00"), {400}),
    "fragment": (get(b"/api/v1/health#x"), {400}),
    "backslash": (get(b"/api\\v1/health"), {400}),
    "absolute form": (get(b"http://x/api/v1/health"), {400}),
    "high byte": (get(b"/api/v1/health\xff"), {400}),
    "long target": (get(b"/" + b"a" * 3000), {414}),
    "many headers": (GET + b"".join(b"X-%d: y\r\n" % i for i in range(80)) + b"\r\n", {431}),
    "long header": (GET + b"X: " + b"y" * 9000 + b"\r\n\r\n", {431}),
    "endless header": (GET + b"X: " + b"y" * 100000 + b"\r\n\r\n", {413, 431, None}),
    "header name with a space": (GET + b"X Y: z\r\n\r\n", {400}),
    "control in a header": (GET + b"X: a\x01b\r\n\r\n", {400}),
    "version 2": (GET.replace(b"1.1", b"2.0") + b"\r\n", {505}),
    "version 0.9": (b"GET /api/v1/health\r\n\r\n", {400, 505, None}),
    "no method": (GET.replace(b"GET", b"") + b"\r\n", {400, None}),
    "trace": (GET.replace(b"GET", b"TRACE") + b"Connection: close\r\n\r\n", {405, 404}),
    "connect": (b"CONNECT x:1 HTTP/1.1\r\n" + HOST + b"Connection: close\r\n\r\n", {400}),
    "body on a GET": (GET + b"Content-Length: 400\r\n\r\n", {400, 404}),
    "TLS on top of it": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", {400, None}),
}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("tls", [True, False], ids=["https", "boot"])
def test_refused_and_nothing_behind_it_runs(shared, name, tls):
    data, right = CASES[name]
    answer = exchange(shared, data.replace(b"TOKEN", shared.admin.encode()) + smuggled(shared.admin), tls)
    codes = statuses(answer)
    assert set(codes or [None]) <= right, (name, answer[:600])
    # one answer at most; libmicrohttpd's own refusals come with their head twice
    assert len(codes) <= 1 or (len(codes) == 2 and b"</html>" in answer), (name, answer)
    assert shared("GET", "/pcs/smuggled").status == 404 and shared("GET", "/pcs/first").status == 404
    assert shared("GET", "/health", token=None).status == 200


def test_without_its_fault_a_case_would_work(controller):
    good = POST.replace(b"TOKEN", controller.admin.encode()) + LENGTH + b"Connection: close\r\n\r\n" + FIRST
    assert statuses(exchange(controller, good)) == [201]


def test_the_smuggled_request_would_work(controller):
    """Without this the table above could pass for the wrong reason."""
    answer = exchange(controller, get(b"/api/v1/health") + smuggled(controller.admin).replace(b"Host: x", b"Host: x\r\nConnection: close"))
    assert statuses(answer) == [200, 201]
    assert controller("GET", "/pcs/smuggled").status == 200


@pytest.mark.parametrize("query,status", [("after=%31", 200), ("after=1&wait=0", 200), ("", 200), ("after=", 400)])
def test_escapes_that_are_fine(shared, query, status):
    assert shared("GET", f"/events?{query}").status == status


def drip(controller, tls: bool, first: bytes, every: float = 0.2) -> float:
    """One byte at a time until the other side has enough; the seconds it took."""
    port = controller.api_port if tls else controller.boot_port
    began = time.monotonic()
    plain = socket.create_connection(("127.0.0.1", port), 30)
    s = controller.tls().wrap_socket(plain, server_hostname="127.0.0.1") if tls else plain
    with contextlib.closing(s), contextlib.suppress(OSError):
        s.sendall(first)
        s.settimeout(every)
        while time.monotonic() - began < 40:
            s.sendall(b"x")
            with contextlib.suppress(TimeoutError):
                if not s.recv(1000):
                    break
    return time.monotonic() - began


def test_slow_senders_meet_an_absolute_deadline(shared):
    """One byte every 0.2 s keeps an idle timer happy for ever; ours is absolute. All shapes at once."""
    shapes = {
        "tls headers": (True, b"GET /api/v1/health HTTP/1.1\r\nX: "),
        "plain headers": (False, b"GET /boot/start HTTP/1.1\r\nX: "),
        "body": (True, b"POST /api/v1/pcs HTTP/1.1\r\n" + HOST + b"Content-Type: application/json\r\n"
                 + f"Authorization: Bearer {shared.admin}\r\n".encode() + b"Content-Length: 4000\r\n\r\n"),
    }
    took = {}
    threads = [threading.Thread(target=lambda n=n, s=s: took.__setitem__(n, drip(shared, *s))) for n, s in shapes.items()]
    for thread in threads:
        thread.start()
    silent = socket.create_connection(("127.0.0.1", shared.api_port), 40)  # no handshake at all
    silent.settimeout(40)
    began = time.monotonic()
    assert silent.recv(1) == b""
    assert time.monotonic() - began < 35
    for thread in threads:
        thread.join()
    assert set(took) == set(shapes) and max(took.values()) < 35, took
    assert shared("GET", "/health", token=None).status == 200


def test_connections_per_address(make_controller):
    controller = make_controller(options="connections_per_address = 5\nconnections = 12")
    with contextlib.ExitStack() as stack:
        mine = []
        for _ in range(20):
            s = stack.enter_context(socket.create_connection(("127.0.0.1", controller.boot_port), 20,
                                                             source_address=("127.0.0.7", 0)))
            mine.append(s)

        def cut() -> int:
            n = 0
            for s in mine:
                s.setblocking(False)
                try:
                    n += s.recv(1) == b""
                except BlockingIOError:
                    pass
                except ConnectionError:
                    n += 1
            return n

        until(lambda: cut() >= 15, 10, "connections over the limit to be cut")
        assert cut() == 15
        assert controller.boot("/boot/start", source="127.0.0.8").status == 200, "others are not concerned"

    def room_again() -> bool:
        with contextlib.suppress(OSError, http.client.HTTPException):
            return controller.boot("/boot/start", source="127.0.0.7").status == 200
        return False

    until(room_again, 10, "room again")
