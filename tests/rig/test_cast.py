# SPDX-License-Identifier: GPL-2.0-or-later
"""The cast between namespaces: a server and PCs behind one bridge, each port with a rate, frames lost by chance, PCs that
come late, die, are slow or hear no multicast, and a stranger on the segment. Every disk that arrives is compared."""
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
import time

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("NIGHTCLASS_BUILD", ROOT / "build")).resolve()
CAST = BUILD / "nightclass-cast"
GROUP, PORT, SERVER = "239.255.9.9", 7800, "10.44.0.1"
MBIT = 60
SIZE = 16 << 20
CHUNK = 256 << 10
PATIENCE = 90  # seconds: the machine may be busy


def run(*words, **named):
    return subprocess.run([str(word) for word in words], check=True, capture_output=True, text=True, timeout=60, **named)


@pytest.fixture(scope="module")
def image(tmp_path_factory) -> tuple[pathlib.Path, str, bytes]:
    """A store with one image; its digest; its disk."""
    folder = tmp_path_factory.mktemp("image")
    noise = random.Random(11)
    disk = noise.randbytes(SIZE - (3 << 20)) + bytes(1 << 20) + b"one night of many, " * 55188 + noise.randbytes(1 << 20)
    disk = disk[:SIZE - 512]
    (folder / "disk.raw").write_bytes(disk)
    out = run(BUILD / "nightclass-import", "--no-sync", "--store", folder / "store", "--name", "mpi", "--revision", 1,
              folder / "disk.raw").stdout
    return folder / "store", json.loads(out.splitlines()[-1])["digest"], disk


class Segment:
    """A bridge with a server and PCs, in namespaces that go away with it."""

    def __init__(self, names: list[str]):
        self.names = ["castsrv", *names]
        self.close()
        run("ip", "link", "add", "castbr", "type", "bridge", "mcast_snooping", "0")
        run("ip", "link", "set", "castbr", "up")
        for i, name in enumerate(self.names):
            run("ip", "netns", "add", name)
            run("ip", "link", "add", name, "type", "veth", "peer", "name", "eth0", "netns", name)
            run("ip", "link", "set", name, "master", "castbr", "up")
            for words in (("link", "set", "lo", "up"), ("addr", "add", f"10.44.0.{i + 1}/24", "dev", "eth0"),
                          ("link", "set", "eth0", "up"), ("route", "add", "224.0.0.0/4", "dev", "eth0")):
                run("ip", "-n", name, *words)
            self.rate(name, MBIT)

    def rate(self, name: str, mbit: float) -> None:
        for at, dev in (((), name), (("-n", name), "eth0")):
            run("tc", *at, "qdisc", "replace", "dev", dev, "root", "tbf", "rate", f"{mbit}mbit", "burst", "64kb", "limit", "512kb")

    def loss(self, per_mille: int) -> None:
        ports = ", ".join(self.names[1:])
        run("nft", "-f", "-", input=(f"table netdev castloss {{ chain out {{ type filter hook egress devices = {{ {ports} }} priority 0;"
                                     f" numgen random mod 1000 < {per_mille} drop; }}; }}"))

    def deafen(self, name: str) -> None:
        run("ip", "netns", "exec", name, "nft", "-f", "-",
            input="table ip deaf { chain in { type filter hook input priority 0; ip daddr 239.0.0.0/8 drop; }; }")

    def close(self) -> None:
        """Each cable by its name: a namespace that is deleted takes its own end away when the kernel finds time."""
        for words in (["nft", "delete", "table", "netdev", "castloss"], *(["ip", "link", "del", name] for name in self.names),
                      *(["ip", "netns", "del", name] for name in self.names), ["ip", "link", "del", "castbr"]):
            subprocess.run(words, check=False, capture_output=True)


class Program:
    """nightclass-cast in a namespace; its JSON lines."""

    def __init__(self, where: str, log: pathlib.Path, *words, stdin: int = subprocess.DEVNULL):
        self.log = log
        with open(log, "wb") as out:
            self.process = subprocess.Popen(["ip", "netns", "exec", where, str(CAST), *map(str, words)], stdout=out,
                                            stderr=subprocess.STDOUT, stdin=stdin)

    def lines(self) -> list[dict]:
        return [json.loads(line) for line in self.log.read_text().splitlines() if line.startswith("{") and line.endswith("}")]

    def wait_line(self, wanted) -> dict:
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            for line in self.lines():
                if wanted(line):
                    return line
            assert self.process.poll() is None or any(map(wanted, self.lines())), self.log.read_text()[-800:]
            time.sleep(0.05)  # a log file: polled
        raise AssertionError(f"no such line: {self.log.read_text()[-800:]}")

    def end(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()


@pytest.fixture
def lab(tmp_path, image):
    """lab(names) -> segment, sender, start(name, *options)."""
    made, programs = [], []

    def make(names, *send_options, rate=MBIT, store=image[0]):
        segment = Segment(names)
        made.append(segment)

        def start(where, *words):
            programs.append(Program(where, tmp_path / f"log-{len(programs)}", *words))
            return programs[-1]

        sender = start("castsrv", "send", "--store", store, "--group", GROUP, "--port", PORT, "--interface", SERVER,
                       "--rate", int(rate * 1e6), *send_options, image[1])
        sender.wait_line(lambda line: "receivers" in line)  # it hears: a receiver gives up soon where nobody casts

        def receive(name, *options):
            return start(name, "receive", "--dir", tmp_path / name, "--server", SERVER, "--port", PORT, "--name", name, *options,
                         image[1])

        return segment, sender, receive

    yield make
    for program in programs:
        program.end()
    for segment in made:
        segment.close()


def whole(program: Program, folder: pathlib.Path, image) -> None:
    assert program.process.wait(PATIENCE) == 0, program.log.read_text()[-800:]
    assert (folder / image[1] / "disk.raw").read_bytes() == image[2]
    assert (folder / image[1] / "complete").exists()


def test_lossy_late_killed_and_resumed(lab, image, tmp_path):
    """1 % of all frames is lost; one PC is killed and started again, one comes in the middle: all are right, the sender
    names each of them, and ends when nobody is left."""
    segment, sender, receive = lab(["pc-1", "pc-2", "pc-3", "pc-4"], "--until-done", rate=10)
    segment.loss(10)
    steady = {name: receive(name, "--alone") for name in ("pc-1", "pc-2")}
    victim = receive("pc-3", "--alone")
    victim.wait_line(lambda line: line.get("have", 0) > SIZE // 2)
    victim.process.send_signal(signal.SIGKILL)
    victim.process.wait()
    late = receive("pc-4", "--alone")
    again = receive("pc-3", "--alone")
    for name, program in {**steady, "pc-3": again, "pc-4": late}.items():
        whole(program, tmp_path / name, image)
    last = again.lines()[-1]
    assert last["packets"] * 1464 < SIZE, "a PC that goes on is not sent what it has"
    assert steady["pc-1"].lines()[-1]["missed"] > 0, "nothing was lost: this test tests nothing"
    assert sender.process.wait(PATIENCE) == 0
    told = [line for line in sender.lines() if "receivers" in line][-1]["receivers"]
    assert {one["name"]: one["lane"] for one in told} == {f"pc-{i}": "done" for i in range(1, 5)}
    assert all(one["have"] == one["total"] > 0 for one in told)


def test_slow_port_goes_to_its_peers(lab, image, tmp_path):
    """A port of a sixth of the rate does not hold up the others; its PC is named, and gets the image from them."""
    rate = MBIT / 2
    segment, sender, receive = lab(["pc-1", "pc-2", "pc-3", "pc-4"], rate=rate)
    segment.rate("pc-4", rate / 6)
    slow = receive("pc-4")
    # Who is done serves on, as a host does: here by a program of its own.
    others = {name: receive(name, "--alone", "--serve-port", 8081) for name in ("pc-1", "pc-2", "pc-3")}
    event = sender.wait_line(lambda line: line.get("event") == "peers")
    assert event["name"] == "pc-4" and "misses" in event["reason"]
    for name, program in others.items():
        whole(program, tmp_path / name, image)
    assert slow.wait_line(lambda line: "note" in line)["note"].endswith("it asks its peers")


def test_a_port_of_the_server_slower_than_the_rate(lab, image, tmp_path):
    """The server's own port pushes back: the cast goes as fast as that, and its questions still get through."""
    segment, sender, receive = lab(["pc-1", "pc-2"])
    segment.rate("castsrv", MBIT / 4)
    for name, program in {name: receive(name, "--alone") for name in ("pc-1", "pc-2")}.items():
        whole(program, tmp_path / name, image)
    sender.wait_line(lambda line: line.get("event") == "done" and line["name"] == "pc-2")
    sent = sender.wait_line(lambda line: all(one["lane"] == "done" for one in line.get("receivers", [{"lane": ""}])))["sent"]
    assert sent < 1.2 * SIZE, "what had arrived was sent again"


@contextlib.contextmanager
def by_http(image):
    """Manifests and chunks, as the controller gives them."""
    web = subprocess.Popen(["ip", "netns", "exec", "castsrv", BUILD / "unit" / "test_image_serve", "store", image[0], "8080"],
                           stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    with web:
        assert web.stdout.readline() == "ready\n"
        yield
        web.stdin.close()


def test_deaf_pcs_make_a_chain(lab, image, tmp_path):
    """PCs that hear no multicast get the image all the same: along a chain that begins at the sender."""

    segment, sender, receive = lab(["pc-1", "pc-2"])
    for name in ("pc-1", "pc-2"):
        segment.deafen(name)
    with by_http(image):
        programs = {name: receive(name) for name in ("pc-1", "pc-2")}
        for name, program in programs.items():
            whole(program, tmp_path / name, image)
            assert any("no multicast reaches" in line.get("note", "") for line in program.lines())
        lanes = {line["name"] for line in sender.lines() if line.get("event") == "peers"}
        assert lanes == {"pc-1", "pc-2"}


def test_a_chain_is_no_way_for_a_part(lab, image, tmp_path):
    """A chain ends when nothing is missing: with room for a part of the image it never would."""

    segment, _, receive = lab(["pc-1"])
    segment.deafen("pc-1")
    folder, limit = tmp_path / "pc-1", 6 << 20
    with by_http(image):
        done = subprocess.run(["ip", "netns", "exec", "pc-1", BUILD / "unit" / "test_image_fetch", f"http://{SERVER}:8080",
                               image[1], folder, "0"], check=False, capture_output=True, timeout=PATIENCE)
        assert b"ECANCELED" in done.stdout, "the manifest only"
        run(BUILD / "unit" / "test_image_held", folder, image[1], limit)
        program = receive("pc-1")
        program.wait_line(lambda line: "room for a part" in line.get("note", ""))
        assert program.process.wait(PATIENCE) == 0, program.log.read_text()[-800:]
    assert (folder / image[1] / "disk.raw").stat().st_blocks * 512 <= limit
    assert not (folder / image[1] / "complete").exists()


def udp(source: str, sport: int, target: str, dport: int, payload: bytes) -> bytes:
    """An IP packet with any source address."""
    head = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 28 + len(payload), 1, 0, 1, 17, 0, socket.inet_aton(source),
                       socket.inet_aton(target))
    return head + struct.pack("!HHHH", sport, dport, 8 + len(payload), 0) + payload


FORGER = """
import os, random, socket, struct, sys, time
sys.path.insert(0, {root!r})
from tests.rig.test_cast import udp, GROUP, PORT, SERVER
listen = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
listen.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
listen.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 32768)  # on a busy machine too it answers to what is going on now
listen.bind((GROUP, PORT))
listen.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, socket.inet_aton(GROUP) + socket.inet_aton({own!r}))
raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
raw.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton({own!r}))
plain = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
n = 0
print("ready", flush=True)
while True:
    session, block, index = struct.unpack("!IHH", listen.recv(2048)[:8])
    n += 1
    for port in range(32768 + n * 4 % 28232, 32768 + n * 4 % 28232 + 4):  # as a PC, whose port it guesses: goodbye
        raw.sendto(udp("10.44.0.2", port, SERVER, PORT, struct.pack("!IHHQB", session, 0xffff, 5, n, 1)), (SERVER, 0))
    if n % 600 == 0 and block != 0xffff:  # as the sender: a packet yet to come, a parity, a block nobody sent
        for b, i in ((block, index + 60), (block, 0x8000 + n % 20), (block ^ 0x4000, 1)):
            raw.sendto(udp(SERVER, PORT, GROUP, PORT, struct.pack("!IHH", session, b, i) + os.urandom(1464)), (GROUP, 0))
    if n % 50 == 0:  # another session, another sender, noise, and to the sender what nobody is
        raw.sendto(udp(SERVER, PORT, GROUP, PORT, struct.pack("!IHH", session ^ 1, block, index) + bytes(1464)), (GROUP, 0))
        plain.sendto(struct.pack("!IHH", session, block, index + 9) + os.urandom(1464), (GROUP, PORT))
        raw.sendto(udp(SERVER, PORT, GROUP, PORT, struct.pack("!IHH", session, 0xffff, 8) + os.urandom(60)), (GROUP, 0))
        plain.sendto(struct.pack("!IHH", session, 0xffff, 2) + os.urandom(40), (SERVER, PORT))
"""


def test_forged_frames_cost_time_only(lab, image, tmp_path):
    """A stranger who hears all and may write any address cannot put one wrong byte on a disk."""
    _, sender, receive = lab(["pc-1", "pc-2", "mallory"], rate=20)
    code = FORGER.format(root=str(ROOT), own="10.44.0.4")
    forger = subprocess.Popen(["ip", "netns", "exec", "mallory", "/usr/bin/python3", "-c", code], stdout=subprocess.PIPE)
    try:
        assert forger.stdout.readline() == b"ready\n"
        programs = {name: receive(name, "--alone") for name in ("pc-1", "pc-2")}
        for name, program in programs.items():
            whole(program, tmp_path / name, image)
        assert forger.poll() is None, "the stranger gave up: this test tests nothing"
        assert sum(program.lines()[-1]["wrong"] for program in programs.values()) > 0, "no forged frame was tried"
        assert sender.process.poll() is None
        sender.wait_line(lambda line: line.get("name") == "pc-1" and line.get("event") == "done")
        lanes = [line["event"] for line in sender.lines() if line.get("name") == "pc-1" and "event" in line]
        # one that had no processor for seconds was lost, and came back
        assert " ".join(lanes).replace("lost multicast ", "") == "multicast done", "nobody says goodbye for another"
    finally:
        forger.kill()
        forger.wait()


NEWCOMER = """
import os, socket, struct, time
at = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
while True:
    hello = struct.pack("!IHHBQ", 0, 0xffff, 1, 2, int.from_bytes(os.urandom(8), "big")) + bytes.fromhex({digest!r})
    at.sendto(hello + struct.pack("!HBB", 0, 0, 1) + b"x", ({server!r}, {port}))
    time.sleep(0.001)
"""


def test_newcomers_do_not_hold_up_the_plan(lab, image, tmp_path):
    """Who comes is waited for, since others come with it; a stranger who comes anew all the time holds up nobody."""
    _, sender, receive = lab(["pc-1", "mallory"])
    code = NEWCOMER.format(digest=image[1].split(":")[-1], server=SERVER, port=PORT)
    stranger = subprocess.Popen(["ip", "netns", "exec", "mallory", "/usr/bin/python3", "-c", code])
    try:
        sender.wait_line(lambda line: line.get("name") == "x")
        whole(receive("pc-1", "--alone"), tmp_path / "pc-1", image)
        assert stranger.poll() is None, "the stranger gave up: this test tests nothing"
    finally:
        stranger.kill()
        stranger.wait()


def of_store(image, tmp_path) -> tuple[pathlib.Path, list[pathlib.Path]]:
    """A copy of the image's store, and its chunks, the largest first."""
    store = shutil.copytree(image[0], tmp_path / "store")
    chunks = [path for path in (store / "chunks").rglob("*") if path.is_file()]
    return store, sorted(chunks, key=lambda path: -path.stat().st_size)


@pytest.mark.parametrize("gone", [False, True], ids=["damaged", "gone"])
def test_a_bad_chunk_is_left_out(lab, image, tmp_path, gone):
    """A chunk that the store damaged or lost cannot arrive: all others do, once, and that one comes from elsewhere."""
    store, chunks = of_store(image, tmp_path)
    chunks[0].chmod(0o600)
    text = bytearray(chunks[0].read_bytes())
    text[len(text) // 2] ^= 1
    chunks[0].write_bytes(text)
    if gone:
        chunks[0].unlink()
    _, sender, receive = lab(["pc-1", "pc-2"], store=store)
    alone = receive("pc-1", "--alone")
    assert alone.process.wait(PATIENCE) == 1
    assert alone.lines()[-1]["error"]["code"] == "EIO"
    assert "cannot read 1 chunk that" in sender.wait_line(lambda line: line.get("event") == "peers")["reason"]
    came = (tmp_path / "pc-1" / image[1] / "disk.raw").read_bytes()
    assert sum(came[at:at + CHUNK] != image[2][at:at + CHUNK] for at in range(0, SIZE, CHUNK)) == 1
    assert [line for line in sender.lines() if "sent" in line][-1]["sent"] < 2 * SIZE
    with by_http(image):
        whole(receive("pc-2"), tmp_path / "pc-2", image)


def test_an_image_that_is_gone_is_not_cast(lab, image, tmp_path):
    """An image that was removed from the store in the middle is not sent as so many zeros; its PCs look elsewhere."""
    store, chunks = of_store(image, tmp_path)
    _, sender, receive = lab(["pc-1"], store=store)
    for chunk in chunks:
        chunk.unlink()
    with by_http(image):
        whole(receive("pc-1"), tmp_path / "pc-1", image)
    assert "the store cannot read" in sender.wait_line(lambda line: line.get("event") == "peers")["reason"]
    assert [line for line in sender.lines() if "sent" in line][-1]["sent"] < SIZE / 2


def test_further_images_and_refusals(lab, image, tmp_path):
    """What is not cast is refused at once; where nobody casts is told after the patience."""
    _, _, receive = lab(["pc-1"])
    other = Program("pc-1", tmp_path / "other", "receive", "--dir", tmp_path / "pc-1", "--server", SERVER, "--port", PORT, "--name",
                    "pc-1", "--alone", "0" * 64)
    assert other.process.wait(PATIENCE) == 1
    assert other.lines()[-1]["error"]["code"] == "ENOENT"
    nobody = Program("pc-1", tmp_path / "nobody", "receive", "--dir", tmp_path / "pc-1", "--server", SERVER, "--port", PORT + 1, "--name",
                     "pc-1", "--alone", "--patience", 1, image[1])
    assert nobody.process.wait(PATIENCE) == 1
    assert nobody.lines()[-1]["error"]["code"] == "EHOSTUNREACH"
    whole(receive("pc-1", "--alone"), tmp_path / "pc-1", image)
