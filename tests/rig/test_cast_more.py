# SPDX-License-Identifier: GPL-2.0-or-later
"""Images that are named while a cast goes on, by a store whose disk takes its time: a manifest that is a FIFO is read when
somebody writes it."""
import os
import random
import subprocess
import time

import pytest

from tests.rig import test_cast as cast
from tests.rig.test_cast import Program, Segment
from tests.rig.test_chain import import_ok

SIZE = 8 << 20


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """(store, [digest, digest]) of two images of noise, whose disks lie beside it as 0 and 1."""
    place, noise, digests = tmp_path_factory.mktemp("more"), random.Random(31), []
    for name in "01":
        (place / name).write_bytes(noise.randbytes(SIZE))
        digests.append(import_ok(place / "store", place / name)["digest"])
    return place / "store", digests


@pytest.fixture
def lab(tmp_path, store):
    """A sender that waits for names, and start(name, digest) -> a receiver."""
    segment, programs = Segment(["pc-1", "pc-2"]), []

    def start(where, *words, **named):
        programs.append(Program(where, tmp_path / f"log-{len(programs)}", *words, **named))
        return programs[-1]

    sender = start("castsrv", "send", "--store", store[0], "--group", cast.GROUP, "--port", cast.PORT, "--interface", cast.SERVER,
                   "--rate", int(cast.MBIT * 1e6), "--more", stdin=subprocess.PIPE)
    sender.wait_line(lambda line: "receivers" in line)
    yield sender, lambda name, digest: start(name, "receive", "--dir", tmp_path / name, "--server", cast.SERVER, "--port",
                                             cast.PORT, "--name", name, "--alone", digest)
    sender.process.stdin.close()
    for program in programs:
        program.end()
    segment.close()


def name(sender, *digests) -> None:
    sender.process.stdin.write("".join(f"{digest}\n" for digest in digests).encode())
    sender.process.stdin.flush()


def test_a_slow_store_holds_up_nobody(lab, store, tmp_path):
    sender, receive = lab
    slow, quick = store[1]
    manifest = store[0] / "manifests" / slow
    text = manifest.read_bytes()
    manifest.rename(tmp_path / "text")
    name(sender, quick)
    os.mkfifo(manifest)
    try:
        first = receive("pc-1", quick)
        first.wait_line(lambda line: line.get("have", 0) > SIZE // 8)
        name(sender, "no digest", slow, quick)
        waits = receive("pc-2", slow)
        cast.whole(first, tmp_path / "pc-1", (None, quick, (store[0].parent / "1").read_bytes()))
        assert waits.process.poll() is None, "it was refused, and may only have to wait"
        end = time.monotonic() + cast.PATIENCE
        while time.monotonic() < end:  # opened to write when it is opened to read: the sender has come to it
            try:
                fifo = os.open(manifest, os.O_WRONLY | os.O_NONBLOCK)
                break
            except OSError:
                time.sleep(0.02)
        os.write(fifo, text)
        os.close(fifo)
    finally:
        manifest.unlink()
        (tmp_path / "text").rename(manifest)
    cast.whole(waits, tmp_path / "pc-2", (None, slow, (store[0].parent / "0").read_bytes()))


def test_it_ends_while_an_image_is_opened(lab, store, tmp_path):
    """The one who names images is gone, and what is being opened is seen through."""
    sender, _ = lab
    manifest = store[0] / "manifests" / store[1][0]
    manifest.rename(tmp_path / "text")
    os.mkfifo(manifest)
    try:
        name(sender, store[1][0])
        os.close(os.open(manifest, os.O_WRONLY))  # it is being read, and is empty
    finally:
        manifest.unlink()
        (tmp_path / "text").rename(manifest)
    sender.process.stdin.close()
    assert sender.process.wait(cast.PATIENCE) == 0, sender.log.read_text()
    assert "Sanitizer" not in sender.log.read_text()


def test_what_cannot_be_opened_is_told_and_may_be_named_again(lab, store, tmp_path):
    sender, receive = lab
    digest = store[1][0]
    manifest = store[0] / "manifests" / digest
    manifest.rename(tmp_path / "text")
    try:
        name(sender, digest)
        told = sender.wait_line(lambda line: "error" in line)
    finally:
        (tmp_path / "text").rename(manifest)
    assert told["image"] == digest and told["error"]["code"] == "ENOENT" and digest[:12] in told["error"]["text"], told
    name(sender, digest)
    cast.whole(receive("pc-1", digest), tmp_path / "pc-1", (None, digest, (store[0].parent / "0").read_bytes()))
