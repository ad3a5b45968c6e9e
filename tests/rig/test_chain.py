# SPDX-License-Identifier: GPL-2.0-or-later
"""Images from peers. A chain of PCs, each in a network namespace with a port of its own on one bridge: whole, with one
killed in the middle, with one that changes what it passes on, with one on a slow port; and a fetch by HTTP from several
at once, of whom one lies. Every disk is compared."""
import contextlib
import json
import os
import pathlib
import random
import shutil
import signal
import socket
import struct
import subprocess
import threading
import time

import pytest

from tests.bench.lab import ADDRESS, SERVER, Lab
from tests.rig.test_images import FETCH, Server, digest_of, fetch, flip, import_ok

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("NIGHTCLASS_BUILD", ROOT / "build")).resolve()
CHAIN = BUILD / "unit" / "test_image_chain"  # with arguments it is a node
SERVE = BUILD / "unit" / "test_image_serve"  # with arguments it is a server
PCS, MBIT, PORT, LIAR_PORT = 6, 200, 8082, 8999
CHUNK = 256 << 10
DATA, STATUS, END, FIRST, LAST = 1, 4, 5, 0x10, 0x20  # messages of images/chain_wire.h


@pytest.fixture(scope="module")
def image(tmp_path_factory):
    """(store, digest, disk): 24 MiB of noise, some text, holes, and contents that are there twice."""
    place = tmp_path_factory.mktemp("image")
    noise = random.Random(11)
    with open(place / "disk.raw", "wb") as file:
        for i in range(120):
            file.seek(i * CHUNK)
            if i % 15 == 14:
                continue  # a hole
            file.write(bytes([i % 3 + 1]) * CHUNK if i % 10 == 9 else noise.randbytes(CHUNK - 5))
        file.truncate(121 * CHUNK + 512)
    digest = import_ok(place / "store", place / "disk.raw")["digest"]
    return place / "store", digest, place / "disk.raw"


@pytest.fixture(scope="module")
def lab():
    made = Lab(PCS, MBIT)
    made.meet()
    yield made
    made.close()


class Process:
    """A program in a namespace. Its lines come one by one; it ends when its input does."""

    def __init__(self, lab, where, *argv):
        self.notes = []
        self.child = subprocess.Popen(lab.argv(where, *argv), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def line(self) -> str:
        return self.child.stdout.readline().strip()

    def answer(self) -> list[str]:
        """The last word of a node, after its notes."""
        while (line := self.line()).startswith("note "):
            self.notes.append(line[5:])
        return line.split()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.child.stdin.close()
        try:
            self.child.wait(20)
        finally:
            self.child.kill()
            self.child.wait()
            self.child.stdout.close()


class Chain:
    """A root and a node on each PC. sources[i] may say where node i looks, nearest first."""

    def __init__(self, lab, image, place, sources=None):
        self.lab, self.image, self.place = lab, image, place
        store, digest, _disk = image
        bits = str(MBIT * 1000000)
        self.root = Process(lab, SERVER, CHAIN, "root", store, PORT, bits)
        assert self.root.line() == "ready"
        self.nodes = []
        for i in range(PCS):
            where = (sources or {}).get(i) or [f"{lab.address(j)}:{PORT}" for j in range(i - 1, -1, -1)]
            self.nodes.append(Process(lab, lab.host(i), CHAIN, "node", place / str(i), digest, store / "manifests" / digest,
                                      PORT, bits, *where, f"{ADDRESS}:{PORT}"))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for process in [*self.nodes, self.root]:
            process.__exit__()

    def disk(self, i: int) -> pathlib.Path:
        return self.place / str(i) / self.image[1] / "disk.raw"

    def wait_whole(self, but=()) -> dict[int, list[str]]:
        """Until all have all; their answers. Their disks are compared."""
        answers = {i: node.answer() for i, node in enumerate(self.nodes) if i not in but}
        wanted = digest_of(self.image[2])
        for i, words in answers.items():
            assert words[:1] == ["ok"], (i, words, self.nodes[i].notes)
            assert digest_of(self.disk(i)) == wanted, f"PC {i} has another disk"
        return answers


def server_bytes(lab) -> int:
    return lab.server_bytes()[0]


def stored(image) -> int:
    return sum(p.stat().st_size for p in (image[0] / "chunks").rglob("*") if p.is_file())


def test_a_chain_fills_all_from_one_stream(lab, image, tmp_path):
    for attempt in range(3):  # where the machine stands still for seconds somebody is gone around: then once more
        before = server_bytes(lab)
        with Chain(lab, image, tmp_path / str(attempt)) as chain:
            answers = chain.wait_whole()
            notes = [node.notes for node in chain.nodes]
        sent = server_bytes(lab) - before
        if not any(notes):
            break
    assert not any(notes), notes
    assert sent < 1.15 * stored(image), "the server's port must carry the image once"
    for words in answers.values():
        assert int(words[2]) <= stored(image) and words[3] == "0", words  # each content once, nothing wrong


def killed_in_the_middle(chain, i: int) -> bool:
    """While the next one has a part from it. False: it was too late, this program had no time to look."""
    victim, following = chain.disk(i), chain.disk(i + 1)
    for _ in range(2000):
        if all(disk.exists() and disk.stat().st_blocks * 512 > 6 << 20 for disk in (victim, following)):
            break
        threading.Event().wait(0.005)
    chain.nodes[i].child.send_signal(signal.SIGKILL)
    chain.nodes[i].child.wait()
    return not (victim.parent / "complete").exists() and victim.stat().st_blocks * 512 < 23 << 20


def test_one_is_killed_in_the_middle(lab, image, tmp_path):
    with contextlib.ExitStack() as stack:
        for attempt in range(5):
            chain = stack.enter_context(Chain(lab, image, tmp_path / str(attempt)))
            if killed_in_the_middle(chain, 2):
                answers = chain.wait_whole(but={2})
                others = chain.nodes[1].notes + chain.nodes[4].notes
                if not others:  # who stands still for seconds is gone around, too
                    break
            stack.close()
        else:
            raise AssertionError("five times too late, or others had to change, too")
        assert any("broke off" in note for note in chain.nodes[3].notes), chain.nodes[3].notes
        assert int(answers[3][2]) < 1.3 * stored(image), "what was there must not be sent again"


class FakePeer:
    """Answers each caller of a listening socket, in a thread of its own: _serve() of the class made of it."""

    def __init__(self, listener):
        self.listener, self.calls = listener, 0
        threading.Thread(target=self._run, daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.listener.close()

    def _run(self):
        while True:
            try:
                caller, _ = self.listener.accept()
            except OSError:
                return
            self.calls += 1
            threading.Thread(target=self._answer, args=(caller,), daemon=True).start()

    def _answer(self, caller):
        with caller:
            try:
                self._serve(caller)
            except (OSError, EOFError):
                pass


def made_in(namespace: str, make):
    """What make() makes in that network namespace: a socket keeps the one in which it was made, so a thread goes there
    and dies."""
    made = []

    def there():
        import ctypes
        libc = ctypes.CDLL(None, use_errno=True)
        fd = os.open(f"/run/netns/{namespace}", os.O_RDONLY)
        assert libc.setns(fd, 0x40000000) == 0, os.strerror(ctypes.get_errno())
        os.close(fd)
        made.append(make())

    thread = threading.Thread(target=there)
    thread.start()
    thread.join()
    return made[0]


class Liar(FakePeer):
    """Listens in one PC's namespace and passes on what another says, with one bit of every third chunk turned."""

    def __init__(self, lab, where, upstream):
        self.upstream, self.turned = upstream, 0
        super().__init__(made_in(lab.host(where), lambda: socket.create_server(("", LIAR_PORT))))

    def _serve(self, caller):
        with self.upstream() as source:
            threading.Thread(target=pump, args=(caller, source), daemon=True).start()
            caller.sendall(read(source, 16))
            seen = 0
            while True:
                head = read(source, 8)
                word, _number = struct.unpack(">II", head)
                body = bytearray(read(source, word & 0xffffff))
                if word >> 24 & 0xf == DATA and word >> 24 & FIRST:
                    seen += 1
                    if seen % 3 == 0:
                        body[len(body) // 2] ^= 1
                        self.turned += 1
                caller.sendall(head + body)


def read(sock, n: int) -> bytes:
    got = b""
    while len(got) < n:
        piece = sock.recv(n - len(got))
        if not piece:
            raise EOFError
        got += piece
    return got


def pump(source, sink):
    try:
        while piece := source.recv(65536):
            sink.sendall(piece)
    except OSError:
        pass


def relay_through(lab, where, upstream):
    """A function that connects from PC `where` to `upstream`."""
    def connect():
        for _ in range(100):
            try:
                return socket.create_connection(upstream, timeout=10)
            except ConnectionRefusedError:
                threading.Event().wait(0.02)
        raise ConnectionRefusedError(upstream)

    return lambda: made_in(lab.host(where), connect)


def test_one_that_flips_bits_is_gone_around(lab, image, tmp_path):
    """PC 2 lies to PC 3; PCs 4 and 5 hear the lies from PC 3, which is honest and must not be left."""
    liar_at = f"{lab.address(2)}:{LIAR_PORT}"
    sources = {3: [liar_at] + [f"{lab.address(j)}:{PORT}" for j in (1, 0)]}
    with Liar(lab, 2, relay_through(lab, 2, (lab.address(1), PORT))) as liar, \
            Chain(lab, image, tmp_path, sources) as chain:
        answers = chain.wait_whole()
        assert liar.turned >= 3
        assert any("wrong data" in note and liar_at in note for note in chain.nodes[3].notes), chain.nodes[3].notes
        for i in (0, 1, 2, 4, 5):
            assert not any("wrong data" in note for note in chain.nodes[i].notes), (i, chain.nodes[i].notes)
        assert int(answers[3][3]) >= 3 and int(answers[1][3]) == 0


def test_what_is_held_is_not_sent_again(lab, image, tmp_path):
    store, digest, disk = image
    with Chain(lab, image, tmp_path / "first") as chain:
        chain.wait_whole()
    half = tmp_path / "second" / "1" / digest
    half.mkdir(parents=True)
    data = bytearray(disk.read_bytes())
    data[60 * CHUNK:] = bytes(len(data) - 60 * CHUNK)
    with open(half / "disk.raw", "wb") as file:
        for at in range(0, len(data), 4096):
            if any(data[at:at + 4096]):
                file.seek(at)
                file.write(data[at:at + 4096])
        file.truncate(len(data))
    with Chain(lab, image, tmp_path / "second") as chain:
        answers = chain.wait_whole()
    assert int(answers[1][2]) < 0.6 * stored(image) < 0.9 * stored(image) < int(answers[0][2])
    assert int(answers[2][2]) > 0.9 * stored(image), "one behind it that lacks all gets all, from its disk"
    assert (store / "manifests" / digest).exists()


def test_a_slow_port_does_not_hold_up_those_behind_it(lab, tmp_path):
    """PC 1 has a fortieth of the others' rate: PC 2 goes around it."""
    disk = tmp_path / "disk.raw"
    disk.write_bytes(random.Random(3).randbytes(180 << 20))
    digest = import_ok(tmp_path / "store", disk)["digest"]
    image = (tmp_path / "store", digest, disk)
    lab.rate(lab.host(1), MBIT / 40)
    try:
        with Chain(lab, image, tmp_path / "pcs") as chain:
            answers = {i: chain.nodes[i].answer() for i in (2, 3, 4, 5)}
            assert all(words[0] == "ok" for words in answers.values()), answers
            assert any("passed over" in note for note in chain.nodes[2].notes), chain.nodes[2].notes
            slow = chain.disk(1)
            assert slow.stat().st_blocks * 512 < 150 << 20, "the others must be done long before it"
            for i in (2, 3, 4, 5):
                assert digest_of(chain.disk(i)) == digest_of(disk)
            chain.nodes[1].child.kill()  # it would go on for minutes
    finally:
        lab.rate(lab.host(1), MBIT)


# --- sources that bring nothing, on loopback

class Source(FakePeer):
    """A peer that answers each caller and then says what script(caller, numbers it needs) says."""

    def __init__(self, script):
        self.script = script
        listener = socket.create_server(("127.0.0.1", 0))
        self.at = f"127.0.0.1:{listener.getsockname()[1]}"
        super().__init__(listener)

    def _serve(self, caller):
        count = struct.unpack(">I", read(caller, 48)[40:44])[0]
        need = read(caller, (count + 7) // 8)
        caller.sendall(b"NCCHAIN1" + bytes(8))
        self.script(caller, [i for i in range(count) if need[i // 8] >> i % 8 & 1])


def message(kind: int, number: int, body: bytes = b"") -> bytes:
    return struct.pack(">II", kind << 24 | len(body), number) + body


def until_it_goes(caller, *words):
    """Says these words again and again, as fast as they are taken; a single one some times a second."""
    while True:
        for word in words:
            caller.sendall(word)
        if len(words) == 1:
            caller.settimeout(0.3)
            try:
                if not caller.recv(1):
                    return
            except TimeoutError:
                pass
            caller.settimeout(None)


def status(have: int) -> bytes:
    return message(STATUS, 0, struct.pack(">I", have))


def free_ports(n: int) -> list[int]:
    made = [socket.create_server(("127.0.0.1", 0)) for _ in range(n)]
    ports = [one.getsockname()[1] for one in made]
    for one in made:
        one.close()
    return ports


@pytest.fixture
def root():
    """root(store) -> address of a root on loopback."""
    made = []

    def start(store) -> str:
        port = free_ports(1)[0]
        made.append(subprocess.Popen([CHAIN, "root", store, str(port), str(MBIT * 1000000)], stdin=subprocess.PIPE,
                                     stdout=subprocess.PIPE, text=True))
        assert made[-1].stdout.readline() == "ready\n"
        return f"127.0.0.1:{port}"

    yield start
    for one in made:
        one.stdin.close()
        one.wait(20)
        one.stdout.close()


class Node:
    """A node on loopback, which ends when it has received."""

    def __init__(self, image, folder, *sources, port=0):
        self.disk = folder / image[1] / "disk.raw"
        self.child = subprocess.Popen([CHAIN, "node", folder, image[1], image[0] / "manifests" / image[1], str(port),
                                       str(MBIT * 1000000), *sources], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)

    def answer(self, patience=60) -> list[str]:
        try:
            lines = self.child.communicate(timeout=patience)[0].splitlines()
        except subprocess.TimeoutExpired:
            self.child.kill()
            self.child.communicate()
            raise
        self.notes = [line[5:] for line in lines[:-1]]
        return lines[-1].split()


def chunks_of(image) -> list[str]:
    return json.loads((image[0] / "manifests" / image[1]).read_text())["parts"]["disk"]["chunks"]


def frame_file(store, digest) -> pathlib.Path:
    return next((store / "chunks").rglob(digest))


def test_a_damaged_chunk_of_the_root_is_left_to_others(image, root, tmp_path):
    """It comes wrong each time it is asked for; asking on would never end."""
    shutil.copytree(image[0], tmp_path / "store")
    chunk = frame_file(tmp_path / "store", chunks_of(image)[7])
    chunk.write_bytes(flip(chunk.read_bytes()))
    node = Node(image, tmp_path / "pc", root(tmp_path / "store"))
    words = node.answer()
    assert words[0] == "EAGAIN", words
    data, wanted = node.disk.read_bytes(), image[2].read_bytes()
    assert data != wanted and data[8 * CHUNK:] == wanted[8 * CHUNK:] and data[:7 * CHUNK] == wanted[:7 * CHUNK]


def test_who_brings_nothing_is_left(image, root, tmp_path):
    """Four that would hold their successor for ever, all at once. Each says something all the time, and is no liar by what
    it says; one has a needless chunk for each time it is asked. The fifth lies, and says nothing about itself."""
    store = root(image[0])
    hole = next(i for i, digest in enumerate(chunks_of(image)) if digest == "0")
    known = frame_file(image[0], chunks_of(image)[0]).read_bytes()
    pieces = [message(DATA | (FIRST if at == 0 else 0) | (LAST if at + 65536 >= len(known) else 0), 0, known[at:at + 65536])
              for at in range(0, len(known), 65536)]
    needless = message(DATA | FIRST | LAST, hole, b"nothing")

    def lie(caller, needed):
        for number in needed:
            caller.sendall(message(DATA | FIRST | LAST, number, os.urandom(40000)))
        until_it_goes(caller, message(DATA | FIRST | LAST, hole, b"x"))

    scripts = {"only status": lambda caller, _: until_it_goes(caller, status(9)),
               "one chunk over and over": lambda caller, _: until_it_goes(caller, *pieces),
               "holes": lambda caller, _: until_it_goes(caller, needless, status(9)),
               "again": lambda caller, _: caller.sendall(needless + message(END, 0)),
               "lies": lie}
    with contextlib.ExitStack() as stack:
        sources = {name: stack.enter_context(Source(script)) for name, script in scripts.items()}
        nodes = {name: Node(image, tmp_path / name.replace(" ", "-"), source.at, store) for name, source in sources.items()}
        alone = Node(image, tmp_path / "alone", sources["only status"].at)
        for name, node in nodes.items():
            words = node.answer()
            assert words[0] == "ok" and words[4] == "1", (name, words, node.notes)
            assert digest_of(node.disk) == digest_of(image[2])
            said = {"lies": "wrong data", "again": ""}.get(name, "brought nothing")
            assert any(said in note for note in ["", *node.notes]), (name, node.notes)
        assert sources["again"].calls == 1, "who brought nothing is not asked again"
        assert alone.answer()[0] == "EAGAIN", "nobody is left, and it ends all the same"


def test_who_breaks_off_is_followed_by_the_next_or_by_http(image, root, tmp_path):
    with Source(lambda caller, needed: None) as source:
        first, last = Node(image, tmp_path / "first", source.at, root(image[0])), Node(image, tmp_path / "last", source.at)
        assert first.answer()[0] == "ok" and last.answer()[0] == "EAGAIN"
    assert first.notes == [f"{source.at} broke off; going on with the one before it"], first.notes
    assert last.notes == [f"{source.at} broke off; HTTP brings the rest"], last.notes


def test_two_that_name_each_other(image, root, tmp_path):
    store = root(image[0])
    ports = free_ports(2)
    nodes = [Node(image, tmp_path / str(i), f"127.0.0.1:{ports[1 - i]}", store, port=ports[i]) for i in range(2)]
    for node in nodes:
        words = node.answer()
        assert words[0] == "ok", (words, node.notes)
        assert digest_of(node.disk) == digest_of(image[2])


def test_one_machine_does_not_keep_the_root_for_itself(image, root, tmp_path):
    """Four that ask for all and read nothing, from one address: a fifth from there is told that it is full, a PC gets
    the image."""
    host, port = root(image[0]).split(":")
    chunks = chunks_of(image)
    hello = b"NCCHAIN1" + bytes.fromhex(image[1]) + struct.pack(">II", len(chunks), 0) + b"\xff" * ((len(chunks) + 7) // 8)

    def ask(words: bytes = hello) -> int:
        readers.append(socket.create_connection((host, int(port)), source_address=("127.0.0.2", 0), timeout=10))
        readers[-1].sendall(words)
        word = read(readers[-1], 16)
        assert word[:8] == b"NCCHAIN1"
        return word[11]

    readers = []
    try:
        assert [ask() for _ in range(4)] == [0, 0, 0, 0] and ask(b"") == 2
        node = Node(image, tmp_path / "pc", f"{host}:{port}")
        words = node.answer()
        assert words[0] == "ok", (words, node.notes)
        assert digest_of(node.disk) == digest_of(image[2])
    finally:
        for reader in readers:
            reader.close()


# --- by HTTP, from several

class Peers:
    """Servers over folders of held images, in this namespace."""

    def __init__(self, *folders):
        self.children = []
        self.bases = []
        for folder in folders:
            with socket.create_server(("127.0.0.1", 0)) as probe:
                port = probe.getsockname()[1]
            child = subprocess.Popen([SERVE, "held", folder, str(port)], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                     text=True)
            assert child.stdout.readline() == "ready\n"
            self.children.append(child)
            self.bases.append(f"http://127.0.0.1:{port}")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for child in self.children:
            child.stdin.close()
            child.wait(20)
            child.stdout.close()


class Drip(FakePeer):
    """A peer over HTTP that sends what it is asked for a byte at a time, never silent for long and never done; it lacks
    all but chunks, or all but manifests."""

    def __init__(self, kind):
        self.kind, self.asked = kind, []
        listener = socket.create_server(("127.0.0.1", 0))
        self.base = f"http://127.0.0.1:{listener.getsockname()[1]}"
        super().__init__(listener)

    def _serve(self, caller):
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            head += read(caller, 1)
        kind = head.split(b"/")[1].decode()
        self.asked.append(kind)
        if kind != self.kind:
            caller.sendall(b"HTTP/1.1 404 No\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            return
        caller.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n")
        until_it_goes(caller, b"x")


def fetch_from(server, digest, where, peers) -> tuple[list[str], str]:
    done = subprocess.run([FETCH, server.base, digest, where, str(1 << 60), *peers], capture_output=True, text=True,
                          timeout=120)
    return done.stdout.split(), done.stderr


def test_peers_spare_the_controller(image, tmp_path):
    store, digest, disk = image
    with Server(store) as controller:
        for name in ("a", "b"):
            assert fetch(controller, digest, tmp_path / name)[0] == "ok"
        before = len(controller.chunks())
        with Peers(tmp_path / "a", tmp_path / "b") as peers:
            words, _ = fetch_from(controller, digest, tmp_path / "c", peers.bases)
        assert words[0] == "ok" and words[4] == "0", words
        assert len(controller.chunks()) == before, "peers had all of it"
    assert digest_of(tmp_path / "c" / digest / "disk.raw") == digest_of(disk)


def test_a_lying_peer_is_dropped_by_name_and_a_dead_one_costs_little(image, tmp_path):
    store, digest, disk = image
    with Server(store) as controller, Server(store) as liar, Server(store) as peer:
        liar.spoil = lambda path, body: flip(body) if path.startswith("/chunks/") else body
        peer.spoil = lambda path, body: time.sleep(0.05) or body  # so that the liar is asked often enough
        controller.spoil = lambda path, body: time.sleep(0.3) or body  # its port is everybody's
        words, notes = fetch_from(controller, digest, tmp_path / "c", [liar.base, peer.base, "http://127.0.0.1:9"])
        assert words[0] == "ok" and int(words[4]) >= 3, words
        assert f"{liar.base} sent wrong data 3 times" in notes, notes
        assert len(liar.chunks()) <= 8, "who lies is not asked again"
        assert len(controller.chunks()) <= 8
    assert digest_of(tmp_path / "c" / digest / "disk.raw") == digest_of(disk)


def test_peers_that_drip_are_left(image, tmp_path):
    """Their bytes never end and never stop. Two fetches beside each other: one meets it at the manifest, where nothing
    else can go on, the other at the chunks."""
    store, digest, disk = image
    answers = {}

    def fetch_to(name, peers):
        answers[name] = fetch_from(controller, digest, tmp_path / name, [peer.base for peer in peers])

    with Server(store) as controller, Drip("manifests") as first, Drip("manifests") as second, Drip("chunks") as third:
        other = threading.Thread(target=fetch_to, args=("a", [first, second]))
        other.start()
        fetch_to("b", [third])
        other.join()
        assert "manifests" in first.asked and "manifests" not in second.asked, "the controller is asked before a second peer"
        assert "chunks" in third.asked
    for name, (words, notes) in answers.items():
        assert words[0] == "ok" and words[4] == "0" and not notes, (words, notes)
        assert digest_of(tmp_path / name / digest / "disk.raw") == digest_of(disk)


def test_a_peer_that_has_half_is_asked_for_that(image, tmp_path):
    """It is still filling itself: what it lacks comes from the controller, and that is no fault of it."""
    store, digest, disk = image
    with Server(store) as controller:
        done = subprocess.run([FETCH, controller.base, digest, tmp_path / "half", str(8 << 20)], capture_output=True,
                              text=True, timeout=120)
        assert done.stdout.startswith("ECANCELED")
        before = len(controller.chunks())
        controller.spoil = lambda path, body: time.sleep(0.15) or body  # else a peer that is short of time is not asked
        with Peers(tmp_path / "half") as peers:
            words, notes = fetch_from(controller, digest, tmp_path / "c", peers.bases)
        assert words[0] == "ok" and words[4] == "0" and not notes, (words, notes)
        asked = len(controller.chunks()) - before
        manifest = json.loads((store / "manifests" / digest).read_text())
        total = sum(chunk != "0" for chunk in manifest["parts"]["disk"]["chunks"])
        assert 0 < asked <= total - 24, (asked, total)  # it had 32 at least
    assert digest_of(tmp_path / "c" / digest / "disk.raw") == digest_of(disk)
