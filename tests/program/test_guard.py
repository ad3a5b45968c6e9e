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
POST = b"POST /api/v1/pcs HTTP/1.1\r\n" + HOST + b"Content-Type: application/json\r\n"
CASES = {
    "length and transfer-encoding": POST + b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "transfer-encoding and length": POST + b"Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n",
    "transfer-encoding alone": POST + b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
    "transfer-encoding, odd": POST + b"Transfer-Encoding: xchunked\r\nContent-Length: 2\r\n\r\n{}",
    "transfer-encoding, identity": POST + b"Transfer-Encoding: identity\r\nContent-Length: 2\r\n\r\n{}",
    "two lengths, same": POST + b"Content-Length: 2\r\nContent-Length: 2\r\n\r\n{}",
    "two lengths, other": POST + b"Content-Length: 2\r\nContent-Length: 0\r\n\r\n{}",
    "two lengths, case": POST + b"Content-Length: 2\r\ncontent-length: 0\r\n\r\n{}",
    "length list": POST + b"Content-Length: 2, 2\r\n\r\n{}",
    "length signed": POST + b"Content-Length: +2\r\n\r\n{}",
    "length hex": POST + b"Content-Length: 0x2\r\n\r\n{}",
    "length negative": POST + b"Content-Length: -2\r\n\r\n{}",
    "length huge": POST + b"Content-Length: 99999999999999999999999\r\n\r\n{}",
    "length with a space before the colon": POST + b"Content-Length : 2\r\n\r\n{}",
    "two hosts": b"GET /api/v1/health HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n",
    "no host": b"GET /api/v1/health HTTP/1.1\r\n\r\n",
    "two authorizations": b"GET /api/v1/lab HTTP/1.1\r\n" + HOST + b"Authorization: Bearer a\r\nAuthorization: Bearer b\r\n\r\n",
    "NUL in the path": b"GET /api/v1/health%00 HTTP/1.1\r\n" + HOST + b"\r\n",
    "slash escaped": b"GET /api%2fv1/health HTTP/1.1\r\n" + HOST + b"\r\n",
    "dot escaped": b"GET /web/%2e%2e/x HTTP/1.1\r\n" + HOST + b"\r\n",
    "dots": b"GET /web/../api/v1/health HTTP/1.1\r\n" + HOST + b"\r\n",
    "empty segment": b"GET //api/v1/health HTTP/1.1\r\n" + HOST + b"\r\n",
    "bad escape": b"GET /api/v1/health?a=%zz HTTP/1.1\r\n" + HOST + b"\r\n",
    "cut escape": b"GET /api/v1/health?a=%4 HTTP/1.1\r\n" + HOST + b"\r\n",
    "NUL in the query": b"GET /api/v1/health?a=%00 HTTP/1.1\r\n" + HOST + b"\r\n",
    "fragment": b"GET /api/v1/health#x HTTP/1.1\r\n" + HOST + b"\r\n",
    "backslash": b"GET /api\\v1/health HTTP/1.1\r\n" + HOST + b"\r\n",
    "absolute form": b"GET http://x/api/v1/health HTTP/1.1\r\n" + HOST + b"\r\n",
    "high byte": b"GET /api/v1/health\xff HTTP/1.1\r\n" + HOST + b"\r\n",
    "long target": b"GET /" + b"a" * 3000 + b" HTTP/1.1\r\n" + HOST + b"\r\n",
    "many headers": b"GET /api/v1/health HTTP/1.1\r\n" + HOST + b"".join(b"X-%d: y\r\n" % i for i in range(80)) + b"\r\n",
    "long header": b"GET /api/v1/health HTTP/1.1\r\n" + HOST + b"X: " + b"y" * 9000 + b"\r\n\r\n",
    "endless header": b"GET /api/v1/health HTTP/1.1\r\n" + HOST + b"X: " + b"y" * 100000 + b"\r\n\r\n",
    "header name with a space": b"GET /api/v1/health HTTP/1.1\r\n" + HOST + b"X Y: z\r\n\r\n",
    "control in a header": b"GET /api/v1/health HTTP/1.1\r\n" + HOST + b"X: a\x01b\r\n\r\n",
    "version 2": b"GET /api/v1/health HTTP/2.0\r\n" + HOST + b"\r\n",
    "version 0.9": b"GET /api/v1/health\r\n\r\n",
    "no method": b" /api/v1/health HTTP/1.1\r\n" + HOST + b"\r\n",
    "trace": b"TRACE /api/v1/health HTTP/1.1\r\n" + HOST + b"Connection: close\r\n\r\n",
    "connect": b"CONNECT x:1 HTTP/1.1\r\n" + HOST + b"Connection: close\r\n\r\n",
    "body on a GET": b"GET /api/v1/health HTTP/1.1\r\n" + HOST + b"Content-Length: 400\r\n\r\n",
    "TLS on top of it": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("tls", [True, False], ids=["https", "boot"])
def test_refused_and_nothing_behind_it_runs(shared, name, tls):
    answer = exchange(shared, CASES[name] + smuggled(shared.admin), tls)
    codes = statuses(answer)
    assert all(400 <= code <= 505 for code in codes), (name, answer[:300])
    # one answer at most; libmicrohttpd's own refusals come with their head twice
    assert len(codes) <= 1 or (len(codes) == 2 and codes[0] == codes[1] and b"</html>" in answer), (name, answer)
    assert shared("GET", "/pcs/smuggled").status == 404
    assert shared("GET", "/health", token=None).status == 200


def test_the_smuggled_request_would_work(controller):
    """Without this the table above could pass for the wrong reason."""
    good = b"GET /api/v1/health HTTP/1.1\r\n" + HOST + b"\r\n"
    answer = exchange(controller, good + smuggled(controller.admin).replace(b"Host: x", b"Host: x\r\nConnection: close"))
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
