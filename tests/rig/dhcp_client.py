# SPDX-License-Identifier: GPL-2.0-or-later
"""A DHCP client by hand, as a PC's firmware speaks it: any architecture, with or without iPXE's option, every
answer of every server kept. And sockets that live in another network namespace."""
import ctypes
import dataclasses
import os
import random
import socket
import struct
import time

CLONE_NEWNET = 0x40000000
SO_RCVBUFFORCE = 33  # not in the socket module
COOKIE = b"\x63\x82\x53\x63"
DISCOVER, OFFER, REQUEST, ACK, NAK = 1, 2, 3, 5, 6


def socket_in(ns, *what) -> socket.socket:
    """A socket made in `ns`; it stays there, whoever uses it."""
    libc = ctypes.CDLL(None, use_errno=True)
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    there = os.open(f"/run/netns/{ns.name}", os.O_RDONLY)
    try:
        if libc.setns(there, CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), "setns")
        try:
            return socket.socket(*what)
        finally:
            libc.setns(home, CLONE_NEWNET)
    finally:
        os.close(home)
        os.close(there)


@dataclasses.dataclass
class Answer:
    kind: int
    mac: str
    address: str
    next_server: str
    server: str
    router: str
    file: str


class DhcpClient:
    """On the interface `eth` of a namespace, which needs no address."""

    def __init__(self, ns, mac: str):
        self.mac, self.hw = mac, bytes.fromhex(mac.replace(":", ""))
        self.socket = self._open(ns, 68)
        self.ns = ns

    @staticmethod
    def _open(ns, port: int) -> socket.socket:
        s = socket_in(ns, socket.AF_INET, socket.SOCK_DGRAM)
        s.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        s.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"eth\0")
        s.bind(("0.0.0.0", port))
        return s

    def _message(self, kind: int, arch, ipxe: bool, more: bytes = b"", address: str = "0.0.0.0") -> bytes:
        self.xid = random.randbytes(4)
        head = struct.pack("!4B4sHH4s4s4s4s", 1, 1, 6, 0, self.xid, 0, 0x8000, socket.inet_aton(address), bytes(4),
                           bytes(4), bytes(4)) + self.hw + bytes(10 + 64 + 128) + COOKIE
        options = bytes([53, 1, kind]) + b"\x37\x07\x01\x03\x06\x36\x3c\x42\x43" + more
        if arch is not None:
            vendor = f"PXEClient:Arch:{arch:05d}:UNDI:003000".encode()
            options += bytes([60, len(vendor)]) + vendor + struct.pack("!BBH", 93, 2, arch) + b"\x5e\x03\x01\x03\x00"
            options += b"\x61\x11\x00" + bytes(10) + self.hw
        if ipxe:
            options += b"\xaf\x03\xb1\x01\x01" + b"\x4d\x04iPXE"
        return head + options + b"\xff"

    @staticmethod
    def _options(data: bytes) -> dict[int, bytes]:
        found, at = {}, 240
        while at < len(data) and data[at] != 255:
            if data[at] == 0:
                at += 1
                continue
            length = data[at + 1]
            found[data[at]] = data[at + 2:at + 2 + length]
            at += 2 + length
        return found

    def _parse(self, data: bytes, sender: str) -> Answer | None:
        if len(data) < 240 or data[4:8] != self.xid or data[28:34] != self.hw:
            return None
        options = self._options(data)
        file = options.get(67, data[108:236]).split(b"\0")[0].decode()
        server = socket.inet_ntoa(options[54]) if 54 in options else sender
        router = socket.inet_ntoa(options[3][:4]) if 3 in options else ""
        return Answer(options[53][0], self.mac, socket.inet_ntoa(data[16:20]), socket.inet_ntoa(data[20:24]), server,
                      router, file)

    def _collect(self, s: socket.socket, wait: float, first: bool) -> list[Answer]:
        answers, end = [], time.monotonic() + wait
        while (left := end - time.monotonic()) > 0 and not (first and answers):
            s.settimeout(left)
            try:
                data, sender = s.recvfrom(4096)
            except TimeoutError:
                break
            answer = self._parse(data, sender[0])
            if answer:
                answers.append(answer)
        return answers

    def _ask(self, message: bytes, wait: float, first: bool) -> list[Answer]:
        """All answers of `wait` seconds to one message; or the first, the message sent again each second as every
        client does (RFC 2131, 4.1): a kernel under load drops a frame now and then."""
        end, answers = time.monotonic() + wait, []
        while not answers and (left := end - time.monotonic()) > 0:
            self.socket.sendto(message, ("255.255.255.255", 67))
            answers = self._collect(self.socket, min(left, 1) if first else wait, first)
        return answers

    def offers(self, arch=None, ipxe=False, wait: float = 1.0, servers=()) -> list[Answer]:
        """Each server's answer to a DISCOVER, which is said again every five seconds until all of `servers` have answered,
        and what comes in `wait` seconds more."""
        message, answers = self._message(DISCOVER, arch, ipxe), []
        for said in range(20):
            if said % 5 == 0:
                self.socket.sendto(message, ("255.255.255.255", 67))
            if set(servers) <= {answer.server for answer in answers}:
                break
            answers += self._collect(self.socket, 1, True)
        answers += self._collect(self.socket, wait, False)
        return list({answer.server: answer for answer in answers}.values())

    def discover(self, arch=None, ipxe=False, wait: float = 20.0) -> Answer | None:
        """The first offer."""
        return next(iter(self._ask(self._message(DISCOVER, arch, ipxe), wait, True)), None)

    def request(self, address: str, server: str = "") -> Answer | None:
        more = b"\x32\x04" + socket.inet_aton(address)
        if server:
            more += b"\x36\x04" + socket.inet_aton(server)
        answers = self._ask(self._message(REQUEST, None, False, more), 20, True)
        return answers[0] if answers and answers[0].kind == ACK else None

    def acquire(self, arch=None) -> Answer:
        """DISCOVER, OFFER, REQUEST, ACK."""
        offer = self.discover(arch)
        assert offer and offer.kind == OFFER, offer
        ack = self.request(offer.address, offer.server)
        assert ack, "no acknowledgement"
        return ack

    def proxy_file(self, arch: int, server: str = "10.71.1.1") -> str:
        """The loader's name as firmware gets it from a proxy: a request to the boot server's port 4011. A BIOS names
        the item of the menu that it was offered; UEFI was offered none and just asks."""
        self.ns.ip("addr", "replace", "10.71.1.11/24", "dev", "eth")
        with self._open(self.ns, 4011) as s:
            boot_item = b"\x2b\x07\x47\x04\x80\x00\x00\x00\xff" if arch == 0 else b""
            message = self._message(REQUEST, arch, False, boot_item, "10.71.1.11")
            for _ in range(20):
                s.sendto(message, (server, 4011))
                answers = self._collect(s, 1, True)
                if answers:
                    return answers[0].file
        return ""


def dhcp_storm(ns, macs: list[str], arch: int, over: float = 1.0, wait: float = 10) -> dict[str, tuple[str, str]]:
    """One client per MAC on one interface, their DISCOVERs evenly over `over` seconds; each sends its two messages once.
    MAC -> (address, boot file) of those that were acknowledged `wait` seconds after the last one began."""
    clients, found = {}, {}
    began = time.monotonic()
    with DhcpClient._open(ns, 68) as s:
        s.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 8 << 20)
        for i, mac in enumerate(macs):
            _answer(s, clients, found, len(macs), began + over * i / len(macs))
            client = clients[mac] = DhcpClient.__new__(DhcpClient)
            client.mac, client.hw, client.ns = mac, bytes.fromhex(mac.replace(":", "")), ns
            s.sendto(client._message(DISCOVER, arch, False), ("255.255.255.255", 67))
        _answer(s, clients, found, len(macs), began + over + wait)
    return found


def _answer(s: socket.socket, clients: dict, found: dict, n: int, end: float) -> None:
    """Until `end`, or until all n are done: a REQUEST for each offer, a note of each acknowledgement."""
    while len(found) < n and (left := end - time.monotonic()) > 0:
        s.settimeout(left)
        try:
            data, sender = s.recvfrom(4096)
        except TimeoutError:
            return
        client = clients.get(data[28:34].hex(":"))
        answer = client._parse(data, sender[0]) if client else None
        if answer and answer.kind == OFFER:
            more = b"\x32\x04" + socket.inet_aton(answer.address) + b"\x36\x04" + socket.inet_aton(answer.server)
            s.sendto(client._message(REQUEST, 0, False, more), ("255.255.255.255", 67))
        elif answer and answer.kind == ACK:
            found[client.mac] = (answer.address, answer.file)
