# SPDX-License-Identifier: GPL-2.0-or-later
"""A web server with Range and ETag that loses connections, redirects, stalls and lies when told to."""
import http.server
import random
import socket
import threading

BODY = random.Random(7).randbytes(3_000_001)


class Web(http.server.ThreadingHTTPServer):
    """`asked` has (path, Range, If-Range) of each request, `sent` counts body bytes. The fields below change what it does."""
    daemon_threads = True

    def __init__(self, body: bytes = BODY):
        self.body, self.etag, self.ranges = body, '"one"', True
        self.if_range = True  # False: sends the range of whatever file it has now
        self.cut_after: list[int] = []  # of the next answers, how many bytes come before the connection is cut
        self.redirects: dict[str, str] = {}
        self.statuses: list[int] = []   # of the next answers, instead of 200
        self.length = True
        self.endless: tuple[int, float] | None = None  # (status, seconds between bytes, or 0) of answers that do not end
        self.hold_at: int | None = None  # after so many bytes of the file nothing more comes until go_on is set
        self.go_on = threading.Event()
        self.asked, self.sent = [], 0
        super().__init__(("127.0.0.1", 0), Handler)

    def url(self, path="/disk.raw", host="127.0.0.1") -> str:
        return f"http://{host}:{self.server_port}{path}"

    def __enter__(self):
        threading.Thread(target=self.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.go_on.set()
        self.shutdown()
        self.server_close()

    def handle_error(self, *_):
        """A client that hangs up is what some tests are about."""


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_GET(self):
        web = self.server
        wanted, condition = self.headers.get("Range"), self.headers.get("If-Range")
        web.asked.append((self.path, wanted, condition))
        if self.path in web.redirects:
            self.send_response(302)
            self.send_header("Location", web.redirects[self.path])
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        if web.statuses:
            self.send_response(web.statuses.pop(0))
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        if web.endless:
            return self.send_endless(*web.endless)
        start = 0
        if wanted and web.ranges and (condition in (None, web.etag) or not web.if_range):
            start = int(wanted.removeprefix("bytes=").removesuffix("-"))
        body = web.body[start:]
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(web.body) - 1}/{len(web.body)}")
        if web.etag:
            self.send_header("ETag", web.etag)
        if web.length:
            self.send_header("Content-Length", str(len(body)))
        else:
            self.send_header("Connection", "close")
            self.close_connection = True
        self.end_headers()
        if web.cut_after:
            body = body[:web.cut_after.pop(0)]
            self.wfile.write(body)
            web.sent += len(body)
            self.connection.shutdown(socket.SHUT_RDWR)
            self.close_connection = True
            return
        if web.hold_at is not None and start < web.hold_at and not web.go_on.is_set():
            self.wfile.write(body[:web.hold_at - start])
            self.wfile.flush()
            web.sent += web.hold_at - start
            body = body[web.hold_at - start:]
            web.go_on.wait(60)
        self.wfile.write(body)
        web.sent += len(body)

    ENDLESS_MAX = 256 << 20  # so much that a client which takes it all is told apart, and does no harm

    def send_endless(self, status: int, pause: float) -> None:
        self.send_response(status)
        self.send_header("Location", "/elsewhere")
        self.end_headers()
        self.close_connection = True
        while self.server.sent < self.ENDLESS_MAX:
            if pause and self.server.go_on.wait(pause):
                return
            self.server.sent += self.connection.send(b"x" if pause else bytes(1 << 16))
