# SPDX-License-Identifier: GPL-2.0-or-later
"""A boot storm: 200 PCs ask for their boot scripts at once. Some die with a slot, some in the queue, some break off
and go on; at no moment more than boot_slots load, and everybody who lives becomes a host."""
import contextlib
import http.client
import os
import re
import socket
import struct
import subprocess
import threading
import time

import pytest

from tests.program.conftest import mac, until
from tests.program.host import Host

PCS, SLOTS, SLOT_S, STEP_S = 200, 8, 40, 10
NUMBERS = range(1, PCS + 1)
SO_TIMESTAMPNS = 35  # socket(7); Python has no name for it


def script(controller, n: int) -> str:
    answer = controller.boot(f"/boot/script?mac=52:54:00:00:00:{n:02x}&platform=pcbios", source=f"127.0.1.{n}")
    assert answer.status == 200, answer
    return answer.body.decode()


def admitted(text: str) -> bool:
    return "kernel http://" in text


def pause(text: str) -> float:
    """As long as the PC's firmware would sleep, at a tenth of the time."""
    return int(re.search(r"^sleep (\d+)$", text, re.M)[1]) / 10


def places(controller) -> dict[str, dict]:
    return {pc["name"]: pc["boot"] for pc in controller.ok("GET", "/pcs").items if pc["boot"]}


@pytest.fixture
def storm(make_controller):
    controller = make_controller(options=f"boot_slots = {SLOTS}\nboot_slot_time = {SLOT_S}s\nconnections_per_address = 16")
    for n in NUMBERS:
        controller.ok("POST", "/pcs", {"name": f"pc{n:03}", "mac": f"52:54:00:00:00:{n:02x}", "address": f"127.0.1.{n}"})
    controller.host_image()
    controller.ok("POST", "/nights", {"for_s": 3600})
    until(lambda: controller.ok("GET", "/nights/current").json["state"] == "running", 10, "the night")
    return controller


class Pc(threading.Thread):
    """Boots as iPXE and the initramfs do; `fate` is what becomes of it."""

    def __init__(self, controller, n: int, fate: str, loading: set, seen: list):
        super().__init__(daemon=True)
        self.controller, self.n, self.fate, self.loading, self.seen = controller, n, fate, loading, seen
        self.questions, self.ahead, self.trouble, self.asked_at = 0, [], None, 0.0

    def run(self):
        try:
            self.boot()
        except Exception as trouble:  # shown by the test
            self.trouble = trouble

    def boot(self):
        while True:
            begin = time.monotonic()
            if admitted(text := script(self.controller, self.n)):
                break
            self.asked_at = begin  # not when the answer was here: the clock may have gone on since
            self.questions += 1
            found = re.search(r"(\d+) PCs load before it|it is next", text)
            self.ahead.append(int(found[1] or 0))
            if self.fate == "dies in the queue":
                return
            time.sleep(pause(text))
        if self.fate == "dies with its slot":
            return  # nothing more comes from it; the server ends its slot
        self.loading.add(self.n)
        self.seen.append(len(self.loading))
        for name in ("vmlinuz", "initrd.img"):
            assert self.get(name).status == 200
        time.sleep(0.05)
        self.loading.discard(self.n)  # before the server can know it
        if self.fate == "breaks off":
            self.break_off()
        whole = self.get("host.squashfs")
        assert whole.body == b"host.squashfs" * 1000

    def get(self, name: str):
        return self.controller.boot(f"/boot/files/{name}", source=f"127.0.1.{self.n}")

    def break_off(self):
        part = self.controller.boot("/boot/files/host.squashfs", source=f"127.0.1.{self.n}", headers={"Range": "bytes=0-99"})
        assert part.status == 206 and len(part.body) == 100


def step_the_clock(controller, waiting: list) -> None:
    """Some time passes, but less than makes a PC in the queue silent; then all of them ask again."""
    controller.clock.write_text(f"{int(controller.clock.read_text()) + STEP_S}\n")
    now = time.monotonic()
    until(lambda: all(pc.asked_at > now or not pc.is_alive() for pc in waiting), 30, "the queue to ask again")


def test_two_hundred_pcs_at_once(storm):
    fates = {n: "dies with its slot" if n % 20 == 0 else "dies in the queue" if n % 50 == 1 and n > SLOTS * 2 else
             "breaks off" if n % 10 == 5 else "lives" for n in NUMBERS}
    died = {f"pc{n:03}" for n in NUMBERS if fates[n] == "dies with its slot"}
    assert len(died) > SLOTS, "without an end of their slots nobody would come in any more"
    loading, seen = set(), []
    pcs = [Pc(storm, n, fates[n], loading, seen) for n in NUMBERS]
    for pc in pcs:
        pc.start()
    looks = []
    while alive := [pc for pc in pcs if pc.is_alive()]:
        now = places(storm)
        holders = {name for name, p in now.items() if p["state"] == "loads"}
        looks.append((len(holders), len(now) - len(holders)))
        if len(holders) == SLOTS and holders <= died:
            step_the_clock(storm, alive)
        time.sleep(0.2)
    assert [pc.trouble for pc in pcs if pc.trouble] == []
    assert max(seen) <= SLOTS and max(n for n, _ in looks) <= SLOTS, (max(seen), looks)
    assert max(n for _, n in looks) > PCS / 4, "they did queue"
    for pc in pcs:
        assert all(after <= before for before, after in zip(pc.ahead, pc.ahead[1:])), "nobody falls back"
    waited = storm.events("boot.slot")
    assert len(waited) > PCS / 2 and all("in the queue" in e["text"] for e in waited)
    for _ in range(SLOT_S // STEP_S + 1):
        step_the_clock(storm, [])
    until(lambda: places(storm) == {}, 20, "the dead PCs' slots and places to end")
    assert {e["subject"] for e in storm.events("boot.expired")} == {f"pc/{name}" for name in died}
    gone = {f"pc/pc{n:03}" for n in NUMBERS if fates[n] == "dies in the queue"}
    assert {e["subject"] for e in storm.events("boot.left")} == gone


def test_a_slot_ends_when_its_host_enrols(make_controller):
    controller = make_controller(options="boot_slots = 1\nboot_slot_time = 1h")
    for n in (1, 2):
        controller.add_pc(n)
    controller.host_image()
    controller.begin_night()
    first, second = Host(controller, 1), Host(controller, 2)
    assert admitted(first.fetch_script()) and not admitted(second.fetch_script())
    assert places(controller)["pc1"] == {"state": "loads", "slot": 1, "ahead": 0, "since": places(controller)["pc1"]["since"],
                                         "text": "loads, slot 1"}
    assert places(controller)["pc2"]["text"] == "waits, 0 before it"
    assert second.ask_token().status == 403, "who waits has no host that could enrol"
    assert admitted(first.fetch_script()), "its own slot is kept"
    first.enrol()
    assert admitted(second.fetch_script())
    second.enrol()
    assert places(controller) == {}


def test_a_waiting_pc_is_no_exception(make_controller):
    """Half an hour in the queue: it is heard of, so no deadline passes."""
    controller = make_controller(options="boot_slots = 1\nboot_slot_time = 2h\nhost_boot_timeout = 10m\nwake_timeout = 1m")
    for n in (1, 2):
        controller.add_pc(n)
    controller.host_image()
    controller.begin_night(8 * 3600)
    first, second = Host(controller, 1), Host(controller, 2)
    assert admitted(first.fetch_script())
    for seconds in range(0, 1800, 20):
        controller.clock.write_text(f"{seconds}\n")
        assert not admitted(second.fetch_script())
    states = {pc["name"]: pc["state"] for pc in controller.ok("GET", "/pcs").items}
    assert states == {"pc1": "exception", "pc2": "booting"}, "the one that loads and does not come is one"


def test_a_broken_transfer_is_told_and_goes_on(make_controller):
    controller = make_controller(options="boot_slots = 1\nboot_slot_time = 1h")
    controller.add_pc(1)
    controller.host_image()
    root = controller.state / "boot" / "host.squashfs"
    root.write_bytes(bytes(range(256)) * (8 << 12))
    controller.begin_night()
    host = Host(controller, 1)
    assert admitted(host.fetch_script())
    connection = http.client.HTTPConnection("127.0.0.1", controller.boot_port, timeout=20, source_address=(host.source, 0))
    connection.connect()
    connection.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    connection.request("GET", "/boot/files/host.squashfs")
    answer = connection.getresponse()
    begin = answer.read(70000)
    connection.sock.shutdown(socket.SHUT_RDWR)
    answer.close()
    connection.close()
    until(lambda: controller.events("boot.broken"), 10, "the server to notice")
    assert controller.events("boot.broken")[0]["subject"] == "pc/pc1"
    assert places(controller)["pc1"]["state"] == "loads", "it keeps its slot"
    rest = controller.boot("/boot/files/host.squashfs", source=host.source, headers={"Range": f"bytes={len(begin)}-"})
    assert rest.status == 206 and begin + rest.body == root.read_bytes()
    until(lambda: places(controller) == {}, 10, "the slot to end with the last byte")


def test_magic_packets_are_paced(make_controller):
    """Twelve PCs at three a second: heard at the broadcast address of the lab's segment, port 9."""
    controller = make_controller(options="boot_slots = 3\nwake_timeout = 1h")
    for n in range(1, 13):
        controller.add_pc(n)
    controller.host_image()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as ear:
        ear.bind(("", 9))
        ear.settimeout(20)
        ear.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)  # when it came, not when this test had time to look
        controller.ok("POST", "/nights", {"for_s": 3600})
        heard = []
        while len({packet for _, packet in heard}) < 12:
            packet, ((_, _, stamp),), _, _ = ear.recvmsg(200, 64)
            seconds, nanoseconds = struct.unpack("@ll", stamp)
            heard.append((seconds + nanoseconds / 1e9, packet[6:12].hex(":")))
    assert {packet for _, packet in heard} == {mac(n) for n in range(1, 13)}
    assert len({packet for _, packet in heard[:12]}) == 12, "nobody twice before all had one"
    for at, _ in heard:
        assert sum(at <= other < at + 0.9 for other, _ in heard) <= 6, "three a second, two seconds seen at most"
    assert heard[11][0] - heard[0][0] > 2


class Loader(threading.Thread):
    """A PC that gets the root image by HTTP; how long that took."""

    def __init__(self, controller, n: int):
        super().__init__(daemon=True)
        self.controller, self.n, self.seconds, self.body = controller, n, 0.0, b""

    def run(self):
        begin = time.monotonic()
        self.body = self.controller.boot("/boot/files/host.squashfs", source=f"127.0.1.{self.n}").body
        self.seconds = time.monotonic() - begin


def test_files_take_no_more_of_the_wire_than_images_may(make_controller):
    """What cast_rate says holds for HTTP as well, for all PCs together: three get 3 x 8 MB at 64 Mbit/s."""
    controller = make_controller(options="cast_rate = 64\nconnections_per_address = 16")
    controller.host_image()
    image = os.urandom(8000000)
    (controller.state / "boot" / "host.squashfs").write_bytes(image)
    loaders = [Loader(controller, n) for n in (1, 2, 3)]
    begin = time.monotonic()
    for loader in loaders:
        loader.start()
    for loader in loaders:
        loader.join()
    seconds = time.monotonic() - begin
    assert all(loader.body == image for loader in loaders)
    assert seconds > 2, "24 MB in less time than 64 Mbit/s take for 16"


def ask_file(controller, n: int, name: str = "host.squashfs") -> socket.socket:
    """PC n has asked for a file, and the answer has begun; the rest waits to be read."""
    sock = socket.create_connection(("127.0.0.1", controller.boot_port), 20, (f"127.0.1.{n}", 0))
    sock.sendall(f"GET /boot/files/{name} HTTP/1.1\r\nHost: lab\r\n\r\n".encode())
    assert sock.recv(16).startswith(b"HTTP/1.1 200")
    return sock


class Reader(threading.Thread):
    """Takes all that comes, until the socket is shut."""

    def __init__(self, sock: socket.socket):
        super().__init__(daemon=True)
        self.sock = sock
        self.start()

    def run(self):
        with contextlib.suppress(OSError):
            while self.sock.recv(1 << 18):
                pass


def paces(controller) -> dict[str, int]:
    """PC -> bytes a second that the controller's kernel sends it at most, of those for which there is a limit."""
    lines = subprocess.run(["ss", "-tinHO", "state", "established", "sport", "=", f":{controller.boot_port}"],
                           stdout=subprocess.PIPE, text=True, check=True).stdout.splitlines()
    found = (re.search(r" 127\.0\.1\.(\d+):\d+ .* pacing_rate \S+/(\d+)bps", line) for line in lines)
    return {m[1]: int(m[2]) // 8 for m in found if m}


CAP = 8000000  # bytes/s of cast_rate = 64


@pytest.fixture
def paced(make_controller):
    controller = make_controller(options="cast_rate = 64\nconnections_per_address = 16")
    controller.host_image()
    (controller.state / "boot" / "host.squashfs").write_bytes(bytes(100000000))
    return controller


def test_files_that_begin_one_after_another_share_one_cap(paced):
    """Not 1 + 1/2 + ... + 1/8 of it; who comes makes the others slower, who goes makes them faster."""
    socks = []
    for n in range(1, 9):
        socks.append(ask_file(paced, n))
        Reader(socks[-1])
        until(lambda: len(paces(paced)) == len(socks), 10, "its pace")
        seen = paces(paced)
        assert sum(seen.values()) <= CAP, seen
    until(lambda: min(paces(paced).values()) > CAP / 12, 10, "equal parts")
    for sock in socks[1:]:
        sock.shutdown(socket.SHUT_RDWR)
    until(lambda: paces(paced) == {"1": CAP}, 10, "all of it for the one that is left")
    socks[0].shutdown(socket.SHUT_RDWR)


def test_who_takes_nothing_does_not_make_others_slow(paced):
    """Ten that ask for a file and do not read it, and three that had theirs and keep the connection."""
    (paced.state / "boot" / "vmlinuz").write_bytes(bytes(5000))
    socks = [ask_file(paced, n) for n in range(1, 11)]
    for n in range(11, 14):
        socks.append(ask_file(paced, n, "vmlinuz"))
        Reader(socks[-1])
    socks.append(ask_file(paced, 14))
    Reader(socks[-1])
    until(lambda: CAP * 3 / 4 < paces(paced)["14"] <= CAP, 20, "most of the cap for the one that loads")
    seen = paces(paced)
    assert sum(seen[str(n)] for n in (*range(1, 11), 14)) <= CAP, seen
    for sock in socks:
        sock.shutdown(socket.SHUT_RDWR)


def test_chunks_share_the_cap_too(paced):
    """Answers that fit into the socket's buffer are over for the server before they are sent."""
    (paced.state / "boot" / "vmlinuz").write_bytes(bytes(250000))
    came, end = [], time.monotonic() + 4

    def ask_again_and_again(n: int) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", paced.boot_port, timeout=30, source_address=(f"127.0.1.{n}", 0))
        while time.monotonic() < end:
            connection.request("GET", "/boot/files/vmlinuz")
            came.append((len(connection.getresponse().read()), time.monotonic()))
        connection.close()

    threads = [threading.Thread(target=ask_again_and_again, args=(n,)) for n in range(1, 9)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    # Ten segments of each connection go unpaced, on the loopback ten times 64 KB: not in the first second.
    taken = sum(size for size, at in came if end - 3 < at <= end)
    assert taken < CAP * 3 * 1.5, f"{taken} bytes in 3 s"
