# SPDX-License-Identifier: GPL-2.0-or-later
"""What a real host does with the word it gets for an image: an attacker on the segment answers for the controller's
plain port, with a signature that is not the lab's, and with an older word that once was good."""
import json
import os
import pathlib
import shutil
import signal

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from tests.rig import hostd_fake, sandbox
from tests.rig.test_hostd import IMPORT, boot, controller, wire  # noqa: F401 (fixtures)
from tests.rig.wire import run

pytestmark = [
    pytest.mark.skipif(not sandbox.inside(), reason="runs in the rig's sandbox only"),
    pytest.mark.skipif(not shutil.which("openssl"), reason="no openssl program"),
]
CHUNK = 256 << 10


class Key:
    """A key that signs as the controller's does."""

    def __init__(self):
        self.secret = Ed25519PrivateKey.generate()
        raw = self.secret.public_key().public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
        digest = hashes.Hash(hashes.SHA256())
        digest.update(raw)
        self.public, self.id = raw.hex(), digest.finalize().hex()

    def sign(self, image: dict, sequence: int, **changes) -> bytes:
        body = {"format": 1, "name": "mpi", "revision": image["revision"], "digest": image["digest"], "sequence": sequence,
                "published": 1800000000, "key": self.id, **changes}
        text = json.dumps(body, separators=(",", ":"))
        body["signature"] = self.secret.sign(b"nightclass publication\n" + text.encode()).hex()
        return json.dumps(body, separators=(",", ":")).encode()


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> dict:
    """A chunk store with three revisions of a small image: [1], [2], and [3] that shares a chunk with [1]."""
    folder = tmp_path_factory.mktemp("image")
    found: dict = {"dir": folder / "store"}
    shared = os.urandom(CHUNK)
    for revision in (1, 2, 3):
        disk = folder / f"disk{revision}.raw"
        disk.write_bytes(os.urandom(CHUNK) + (os.urandom(CHUNK) if revision == 2 else shared))
        done = run(str(IMPORT), "--no-sync", "--store", str(found["dir"]), "--name", "mpi", "--revision", str(revision),
                   str(disk))
        found[revision] = {"digest": json.loads(done.stdout.splitlines()[-1])["digest"], "revision": revision}
    return found


@pytest.fixture
def word(monkeypatch):
    """word[DIGEST] = the bytes that the plain port answers for its publication; what was asked for is in word.asked."""
    class Words(dict):
        asked: list = []

    words, plain = Words(), hostd_fake.Chunks.do_GET
    words.asked = []

    def do_get(handler):
        kind, _, name = handler.path.strip("/").partition("/")
        words.asked.append(handler.path)
        if kind != "publications":
            return plain(handler)
        data = words.get(name)
        handler.send_response(404 if data is None else 200)
        handler.send_header("Content-Length", str(len(data or b"")))
        handler.end_headers()
        handler.wfile.write(data or b"")
        return None

    monkeypatch.setattr(hostd_fake.Chunks, "do_GET", do_get)
    return words


@pytest.fixture
def lab_key() -> Key:
    return Key()


def want(controller, key: Key, generation: int, image: dict) -> None:
    controller.want(generation, images=[{"name": "mpi", **image}], image_key=key.public)


def wait_reason(controller, image: dict, text: str) -> dict:
    def look(report):
        return any(i["digest"] == image["digest"] and text in i.get("reason", "") for i in report["images"])
    return controller.wait_report(look, 60, f'the reason "{text}"')


def wait_whole(controller, image: dict) -> None:
    def look(report):
        return any(i["digest"] == image["digest"] and i["total"] > 0 and i["have"] == i["total"] for i in report["images"])
    controller.wait_report(look, 60, "the whole image")


def held(host) -> set[str]:
    images = host.dir / "images"
    return {p.name for p in images.iterdir() if len(p.name) == 64} if images.exists() else set()


def test_a_word_that_is_not_the_labs_is_refused(boot, controller, store, word, lab_key):
    image = store[1]
    good = lab_key.sign(image, 10)
    host = boot(controller, libvirt_uri="test:///default")
    for generation, (bad, reason) in enumerate([
            (Key().sign(image, 99), "signed by key"),
            (good[:-10] + bytes([good[-10] ^ 1]) + good[-9:], "image mpi refused"),
            (lab_key.sign(image, 10, name="other"), "is for image other"),
            (lab_key.sign(store[2], 10), "is for image mpi revision 2"),
            (b"x" * 100000, "image mpi"),
            (None, "may be used")], 1):
        if bad is None:
            word.pop(image["digest"], None)
        else:
            word[image["digest"]] = bad
        want(controller, lab_key, generation, image)
        wait_reason(controller, image, reason)
        assert held(host) == set(), "nothing is left behind"
    assert not [path for path in word.asked if not path.startswith("/publications/")], "not a byte of it was asked for"
    word[image["digest"]] = good
    wait_whole(controller, image)
    assert held(host) == {image["digest"]}


def test_an_older_word_is_refused_also_after_a_restart(boot, controller, store, word, lab_key):
    old, new = store[1], store[2]
    word[old["digest"]], word[new["digest"]] = lab_key.sign(old, 10), lab_key.sign(new, 20)
    host = boot(controller, libvirt_uri="test:///default")
    want(controller, lab_key, 1, new)
    wait_whole(controller, new)
    # The goal is the controller's: one that was put back from a backup would ask for this.
    want(controller, lab_key, 2, old)
    wait_reason(controller, old, "its publication is old (sequence 10, this host has seen 20)")
    host.hostd.kill(signal.SIGKILL)
    host.hostd.start()
    wait_reason(controller, old, "this host has seen 20")
    assert old["digest"] not in held(host)
    # Going back is a new act of publishing: it has a higher number.
    word[old["digest"]] = lab_key.sign(old, 30)
    wait_whole(controller, old)
    assert json.loads((host.dir / "images" / "sequences").read_text())["seen"] == [
        {"name": "mpi", "key": lab_key.id, "sequence": 30}]
    want(controller, lab_key, 3, new)
    wait_reason(controller, new, "this host has seen 30")


def test_without_a_key_in_the_goal_no_word_is_asked_for(boot, controller, store, word):
    boot(controller, libvirt_uri="test:///default")
    controller.want(1, images=[{"name": "mpi", **store[1]}])
    wait_whole(controller, store[1])
    assert not [path for path in word.asked if path.startswith("/publications/")]


def test_what_another_revision_has_is_not_asked_for(boot, controller, store, word, lab_key):
    for sequence, revision in ((10, 1), (20, 3)):
        word[store[revision]["digest"]] = lab_key.sign(store[revision], sequence)
    boot(controller, libvirt_uri="test:///default")
    want(controller, lab_key, 1, store[1])
    wait_whole(controller, store[1])
    word.asked.clear()
    both = [{"name": "mpi", **store[n]} for n in (1, 3)]
    controller.want(2, images=both, image_key=lab_key.public)
    wait_whole(controller, store[3])
    assert len([path for path in word.asked if path.startswith("/chunks/")]) == 1, word.asked
