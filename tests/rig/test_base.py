# SPDX-License-Identifier: GPL-2.0-or-later
"""A disk that is read while it is on its way: nbdkit with our plugin over what a host holds, QEMU's own NBD client in
front, and a server of chunks behind that counts, is gone for a while, or lies."""
import contextlib
import json
import os
import pathlib
import shutil
import socket
import stat
import subprocess
import threading
import time

import pytest

from tests.rig.test_images import (BUILD, CHUNK, FETCH, Server, digest_of, disk, fetch, flip, import_ok,  # noqa: F401
                                   noise, stored)

PLUGIN = BUILD / "nightclass-base.so"
HELD = BUILD / "unit" / "test_image_held"  # with arguments it limits what is held, and tells it

pytestmark = pytest.mark.skipif(not shutil.which("nbdkit"), reason="nbdkit is not installed")


class Base:
    """nbdkit over an image of which nothing but the manifest is held at first."""

    def __init__(self, server: Server, digest: str, where: pathlib.Path, *urls: str, **options):
        if not (where / digest / "manifest").exists():
            assert fetch(server, digest, where, 0)[0] == "ECANCELED"
        self.socket = where.parent / "base.sock"
        words = ["nbdkit", "--foreground", "--exit-with-parent", "--unix", self.socket, PLUGIN, f"dir={where}",
                 f"digest={digest}", *[f"url={url}" for url in urls or (server.base,)],
                 *[f"{key.replace('_', '-')}={value}" for key, value in options.items()]]
        self.argv = [str(word) for word in words]
        self.disk, self.child = where / digest / "disk.raw", None
        self.held = [str(word) for word in (HELD, where, digest)]

    @property
    def uri(self) -> str:
        return f"nbd+unix:///?socket={self.socket}"

    def start(self):
        with contextlib.suppress(FileNotFoundError):
            self.socket.unlink()
        self.child = subprocess.Popen(self.argv, stderr=subprocess.PIPE, text=True)
        deadline = time.monotonic() + 20
        while True:
            with socket.socket(socket.AF_UNIX) as sock:
                if sock.connect_ex(str(self.socket)) == 0:
                    return self
            assert self.child.poll() is None and time.monotonic() < deadline, self.child.stderr.read()
            time.sleep(0.02)

    def kill(self):
        self.child.kill()
        self.child.wait()
        self.child.stderr.close()

    def __enter__(self):
        return self.start()

    def __exit__(self, *_):
        self.kill()

    def tell(self, limit="-") -> tuple[int, list[int]]:
        """Sets the limit; what is in place, and the order of first reads."""
        words = subprocess.run([*self.held, str(limit)], check=True, capture_output=True, text=True).stdout.split()
        return int(words[0]), [int(word) for word in words[1:]]

    def reading(self, chunk: int, count: int = 1) -> subprocess.Popen:
        """`count` whole chunks from `chunk` on, to standard output."""
        return subprocess.Popen(["qemu-img", "dd", "-f", "raw", "-O", "raw", f"bs={CHUNK}", f"skip={chunk}",
                                 f"count={chunk + count}", f"if={self.uri}", f"of={self.disk.parent}/read"])

    def read(self, chunk: int, count: int = 1, timeout: float = 60) -> bytes:
        assert self.reading(chunk, count).wait(timeout) == 0
        return (self.disk.parent / "read").read_bytes()

    def copy(self) -> str:
        """The digest of the whole disk as QEMU reads it."""
        out = self.disk.parent.parent.parent / "copy.raw"
        subprocess.run(["qemu-img", "convert", "-f", "raw", "-O", "raw", "-m", "8", "-W", self.uri, out], check=True,
                       timeout=120)
        return digest_of(out)


def test_nothing_is_here_and_all_can_be_read(stored, disk, tmp_path):
    store, digest = stored
    with Server(store) as server, Base(server, digest, tmp_path / "host") as base:
        assert base.tell()[0] == 0
        assert base.copy() == digest_of(disk)
        assert len(server.chunks()) == len(set(server.chunks())), "nothing is asked for twice"
        served = len(server.served)
        assert base.copy() == digest_of(disk)
        assert len(server.served) == served
        extents = json.loads(subprocess.run(["qemu-img", "map", "--output=json", "-f", "raw", base.uri], check=True,
                                            capture_output=True, text=True).stdout)
    zeros = [(e["start"] // CHUNK, e["length"] // CHUNK) for e in extents if e["zero"]]
    assert zeros == [(3, 2), (6, 2), (14, 2)], extents
    assert fetch(server_gone(), digest, tmp_path / "host")[0] == "ok", "and so the image is whole"


def server_gone():
    class Gone:
        base = "http://127.0.0.1:9"
    return Gone()


def test_qemu_may_connect_whoever_it_runs_as(stored, tmp_path):
    store, digest = stored
    with Server(store) as server, Base(server, digest, tmp_path / "host") as base:
        assert stat.S_IMODE(base.socket.stat().st_mode) == 0o777
        made = {path.name: stat.S_IMODE(path.stat().st_mode) & 0o022 for path in (tmp_path / "host" / digest).iterdir()}
    assert set(made.values()) == {0}, f"nothing else can be written by others: {made}"


def test_it_cannot_be_written(stored, tmp_path):
    store, digest = stored
    with Server(store) as server, Base(server, digest, tmp_path / "host") as base:
        done = subprocess.run(["qemu-io", "-f", "raw", "-c", "write 0 512", base.uri], capture_output=True, text=True)
        assert done.returncode != 0 and "Permission denied" in done.stdout + done.stderr


def test_the_order_of_first_reads_is_the_trace(stored, tmp_path):
    store, digest = stored
    with Server(store) as server, Base(server, digest, tmp_path / "host") as base:
        for chunk in (9, 3, 1, 9, 12):
            base.read(chunk)
        order = [number for number in base.tell()[1] if number != 0]  # QEMU looks at the first sector
        assert order == [9, 1, 12]


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    """48 MiB that do not pack."""
    path = tmp_path_factory.mktemp("large") / "disk.raw"
    path.write_bytes(noise(77, 192 * CHUNK))
    store = tmp_path_factory.mktemp("large-store") / "store"
    return store, import_ok(store, path)["digest"], path


def test_a_disk_larger_than_what_may_be_held(large, tmp_path):
    store, digest, path = large
    limit = 4 << 20
    most = 0
    with Server(store) as server, Base(server, digest, tmp_path / "host") as base:
        base.tell(limit)
        ended = threading.Event()

        def watch():
            nonlocal most
            while not ended.wait(0.01):
                most = max(most, base.disk.stat().st_blocks * 512)

        watcher = threading.Thread(target=watch)
        watcher.start()
        try:
            for _ in range(2):
                assert base.copy() == digest_of(path)
        finally:
            ended.set()
            watcher.join()
        assert base.tell()[0] <= limit
        assert limit // 2 < most <= limit + 8 * CHUNK, "eight readers at once may be on their way"
        assert len(server.chunks()) > 300, "what went must be brought again"
        base.read(100, 32)  # the copy's eight readers may have ended anywhere
        hot = base.read(5)
        served = len(server.chunks())
        for chunk in range(20, 30):
            base.read(chunk)
            assert base.read(5) == hot
        assert server.chunks()[served:].count(server.chunks()[served]) == 1
        assert len(server.chunks()) - served <= 11, "what is read all the time stays"


def test_a_bad_spot_of_the_disk_is_read_from_a_server(stored, tmp_path):
    store, digest = stored
    with Server(store) as server, Base(server, digest, tmp_path / "host") as base:
        assert base.read(9) == noise(9, CHUNK)
        os.truncate(base.disk, 9 * CHUNK)  # what is there by the map cannot be read
        asked = len(server.chunks())
        assert base.read(9) == noise(9, CHUNK)
        assert len(server.chunks()) > asked


def test_a_server_that_is_gone_for_a_while(stored, disk, tmp_path):
    """The read waits, and ends well when the server is there again."""
    store, digest = stored
    with Server(store) as server:
        base = Base(server, digest, tmp_path / "host").start()
        try:
            port = server.server_port
            pulled = threading.Event()
            gone = True

            def pull(path, body):
                if gone and path.startswith("/chunks/"):
                    pulled.set()
                    return None
                return body

            server.spoil = pull
            reader = base.reading(9)
            assert pulled.wait(20)
            time.sleep(1)
            assert reader.poll() is None, "an error would be a broken disk to a guest"
            gone = False
            assert reader.wait(30) == 0
            assert (base.disk.parent / "read").read_bytes() == noise(9, CHUNK)
            assert port == server.server_port
        finally:
            base.kill()


def test_after_the_deadline_a_read_fails_with_the_reason(stored, tmp_path):
    store, digest = stored
    with Server(store) as server:
        base = Base(server, digest, tmp_path / "host", server_gone().base, deadline_ms=500).start()
    assert base.reading(9).wait(30) != 0
    base.child.terminate()
    assert "could not be had" in base.child.stderr.read()
    base.kill()


def test_what_is_wrong_is_asked_elsewhere_and_never_served(stored, disk, tmp_path):
    store, digest = stored
    with Server(store) as liar, Server(store) as honest:
        liar.spoil = lambda path, body: flip(body) if path.startswith("/chunks/") else body
        with Base(honest, digest, tmp_path / "host", liar.base, honest.base) as base:
            assert base.copy() == digest_of(disk)
        assert 1 <= len(liar.chunks()) <= 2, "who lied is not asked again while another answers"
        assert len(honest.chunks()) == len(set(honest.chunks()))


def test_one_server_that_lies_now_and_then(stored, disk, tmp_path):
    store, digest = stored
    with Server(store) as server:
        spoilt = set()

        def first_time(path, body):
            with server.lock:
                lie = path.startswith("/chunks/") and path not in spoilt
                spoilt.add(path)
            return flip(body) if lie else body

        server.spoil = first_time
        with Base(server, digest, tmp_path / "host") as base:
            assert base.read(9) == noise(9, CHUNK)
            assert base.read(12) == noise(12, CHUNK)


def test_a_read_goes_before_the_bulk_and_costs_no_second_copy(large, tmp_path):
    store, digest, path = large
    with Server(store) as server:
        seen, pause = threading.Event(), [0.5]

        def slow(where, body):
            if where.startswith("/chunks/"):
                time.sleep(pause[0])
                if len(server.chunks()) > 10:
                    seen.set()
            return body

        base = Base(server, digest, tmp_path / "host")
        server.spoil = slow
        with base:
            bulk = subprocess.Popen([FETCH, server.base, digest, tmp_path / "host"], stdout=subprocess.PIPE, text=True)
            assert seen.wait(20)
            begun = len(server.chunks())
            last = base.read(188)
            there = len(server.chunks())
            assert last == path.read_bytes()[188 * CHUNK:189 * CHUNK]
            assert there - begun < 100, "the bulk would have come to it much later"
            pause[0] = 0.05
            for chunk in range(187, 150, -3):
                base.read(chunk)
            assert bulk.wait(60) == 0
            bulk.stdout.close()
            assert len(server.chunks()) - len(set(server.chunks())) <= 2
            assert base.copy() == digest_of(path)


def test_a_disk_server_that_dies_is_not_the_guests_matter(stored, tmp_path):
    """QEMU reconnects; the reads of the dead are made again."""
    store, digest = stored
    with Server(store) as server:
        base = Base(server, digest, tmp_path / "host").start()
        options = f"driver=raw,file.driver=nbd,file.server.type=unix,file.server.path={base.socket},file.reconnect-delay=60"
        client = subprocess.Popen(["qemu-io", "-r", "--image-opts", options], stdin=subprocess.PIPE,
                                  stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

        def ask(chunk: int):
            client.stdin.write(f"read {chunk * CHUNK} {CHUNK}\n")
            client.stdin.flush()

        def answer() -> str:
            while True:
                line = client.stdout.readline()
                assert line, "qemu-io has ended"
                if "read" in line and "bytes" in line or "failed" in line:
                    return line

        try:
            ask(8)
            assert f"read {CHUNK}/{CHUNK}" in answer()
            stalled, go_on = threading.Event(), threading.Event()

            def stall(path, body):
                if path.startswith("/chunks/"):
                    stalled.set()
                    go_on.wait(30)
                return body

            server.spoil = stall
            ask(12)
            assert stalled.wait(20)
            base.kill()
            server.spoil = None
            go_on.set()
            base.start()
            assert f"read {CHUNK}/{CHUNK}" in answer()
        finally:
            client.kill()
            client.wait()
            client.stdin.close()
            client.stdout.close()
            base.kill()
