# SPDX-License-Identifier: GPL-2.0-or-later
"""The root of a chain: what it sends first, and that its port carries no more than it was told, whoever asks."""
import contextlib
import random
import socket
import struct
import time

from tests.bench.lab import ADDRESS, SERVER
from tests.rig.test_chain import (CHAIN, CHUNK, DATA, END, FIRST, MBIT, PORT, Process, digest_of, image, import_ok, lab,  # noqa: F401
                                  read, root, server_bytes, stored)

CAP = MBIT * 125000  # bits per second


def numbers_in_order(where: str, digest: str, count: int) -> list[int]:
    """Asks a root for all of an image; the numbers of the chunks as they come."""
    host, port = where.split(":")
    order = []
    with socket.create_connection((host, int(port)), timeout=30) as root:
        root.sendall(b"NCCHAIN1" + bytes.fromhex(digest) + struct.pack(">II", count, 0) + b"\xff" * ((count + 7) // 8))
        assert read(root, 16)[:12] == b"NCCHAIN1" + bytes(4)
        while True:
            word, number = struct.unpack(">II", read(root, 8))
            read(root, word & 0xffffff)
            if word >> 24 == END:
                return order
            if word >> 24 & 0xf == DATA and word >> 24 & FIRST:
                order.append(number)


def test_what_a_start_needs_goes_first(root, tmp_path):  # noqa: F811
    noise = random.Random(4)
    chunks = [noise.randbytes(CHUNK) for _ in range(12)]
    (tmp_path / "disk.raw").write_bytes(b"".join(chunks))
    (tmp_path / "kernel").write_bytes(noise.randbytes(CHUNK + 1000))
    (tmp_path / "initrd").write_bytes(noise.randbytes(5000))
    store = tmp_path / "store"
    digest = import_ok(store, tmp_path / "disk.raw", "--kernel", tmp_path / "kernel", "--initrd", tmp_path / "initrd")["digest"]
    (store / "traces").mkdir()
    (store / "traces" / digest).write_text("7\n3\n11\n")
    order = numbers_in_order(root(store), digest, 15)
    assert order == [12, 13, 14, 7, 3, 11, 0, 1, 2, 4, 5, 6, 8, 9, 10], order
    (store / "traces" / digest).write_text("7\nnonsense\n")
    assert numbers_in_order(root(store), digest, 15) == [12, 13, 14, *range(12)]


def two_chains(lab, place, images) -> tuple[float, int, list[list[str]]]:  # noqa: F811
    """Two images, each along a chain of three, at an eighth of what the ports take -> seconds, the server's bytes, notes."""
    with contextlib.ExitStack() as stack:
        store = images[0][0]
        assert stack.enter_context(Process(lab, SERVER, CHAIN, "root", store, PORT, CAP)).line() == "ready"
        before, begun, nodes = server_bytes(lab), time.monotonic(), []
        for first, wanted in zip((0, 3), images):
            for i in range(first, first + 3):
                sources = [f"{lab.address(j)}:{PORT}" for j in range(i - 1, first - 1, -1)]
                node = Process(lab, lab.host(i), CHAIN, "node", place / str(i), wanted[1], store / "manifests" / wanted[1],
                               PORT, str(MBIT * 1000000), *sources, f"{ADDRESS}:{PORT}")
                nodes.append((stack.enter_context(node), wanted, place / str(i) / wanted[1] / "disk.raw"))
        for node, wanted, disk in nodes:
            assert node.answer()[:1] == ["ok"], node.notes
            assert digest_of(disk) == digest_of(wanted[2])
        return time.monotonic() - begun, server_bytes(lab) - before, [node.notes for node, _, _ in nodes]


def test_the_cap_is_that_of_all_chains_together(lab, image, tmp_path):  # noqa: F811
    """Two images go out at once. Who gets little because the root gives little is not left for that (who gets little because
    the machine stands still for seconds may be: then once more)."""
    (tmp_path / "disk.raw").write_bytes(random.Random(5).randbytes(20 << 20))
    other = (image[0], import_ok(image[0], tmp_path / "disk.raw", name="other")["digest"], tmp_path / "disk.raw")
    for attempt in range(3):
        took, sent, notes = two_chains(lab, tmp_path / str(attempt), (image, other))
        assert sent * 8 / took <= CAP * 1.02, f"{sent * 8 / took / 1e6:.1f} Mbit/s where {CAP / 1e6:.0f} are the cap"
        if not any(notes):
            break
    assert not any(notes), notes
    assert sent < 1.1 * stored(image), "each image once"
