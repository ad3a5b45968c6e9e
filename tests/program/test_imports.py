# SPDX-License-Identifier: GPL-2.0-or-later
"""Imports by the daemon: from a URL, broken off by its death and taken up again, refused with nothing left behind."""
import hashlib
import os
import pathlib
import random
import shutil
import socket
import sqlite3
import struct
import subprocess
import tempfile
import threading
import time

import pytest

from tests.program.conftest import BUILD, Controller, need_nightclassd, until
from tests.program.test_uploads import ended, upload
from tests.rig.sandbox import DAEMON_UID
from tests.rig.web import Web

MIB = 1 << 20


@pytest.fixture
def importing(make_controller):
    for program in ("nightclass-import", "nightclass-download"):
        if not (BUILD / program).exists():
            pytest.skip(f"{BUILD}/{program} is not built")
    return make_controller(options="import_urls_allowed = 127.0.0.1")


def files_of(controller) -> list[str]:
    """What is in the store and on its way in, without the lock."""
    return sorted(str(p.relative_to(controller.state)) for folder in ("store", "incoming", "loading")
                  for p in (controller.state / folder).rglob("*") if p.is_file() and p.name != "lock")


def chunks_of(controller) -> dict[str, int]:
    """Inode of each chunk: one that is written again has another."""
    return {p.name: p.stat().st_ino for p in (controller.state / "store" / "chunks").rglob("*") if p.is_file()}


def look(controller, answer) -> dict:
    return controller.ok("GET", f"/imports/{answer.json['id']}").json


def test_an_image_from_a_url(importing):
    disk = random.Random(1).randbytes(3 * MIB)
    with Web(disk) as web:
        body = {"name": "web", "url": web.url(), "sha256": hashlib.sha256(disk).hexdigest()}
        done = ended(importing, importing("POST", "/images", body))
    assert done["state"] == "done", done
    assert importing.ok("GET", "/images/web").json["size"] == len(disk)
    assert not list((importing.state / "loading").iterdir()), "the download was used up"


@pytest.mark.parametrize("body, sha256, reason", [(None, None, "100 times"), (b"x" * 512, "ab" * 32, "another SHA-256"),
                                                  (b"odd", None, "multiple of 512")])
def test_a_url_that_brings_harm_leaves_nothing(importing, body, sha256, reason):
    with Web(body or bomb()) as web:
        asked = {"name": "evil", "url": web.url(), **({"sha256": sha256} if sha256 else {})}
        failed = ended(importing, importing("POST", "/images", asked))
    assert failed["state"] == "failed" and reason in failed["reason"], failed
    assert files_of(importing) == [] and importing.process.poll() is None


def test_a_private_url_is_refused_unless_listed(make_controller):
    controller = make_controller()
    with Web() as web:
        failed = ended(controller, controller("POST", "/images", {"name": "web", "url": web.url()}))
        assert failed["state"] == "failed" and "127.0.0.1 is not allowed" in failed["reason"], failed
        assert failed["reason"].startswith("url: ") and "import_urls_allowed" in failed["reason"]
        assert web.asked == [] and files_of(controller) == []


def test_a_download_survives_the_daemons_death(importing):
    disk = random.Random(2).randbytes(4 * MIB)
    with Web(disk) as web:
        web.hold_at = 3 * MIB
        answer = importing("POST", "/images", {"name": "web", "url": web.url()})
        until(lambda: look(importing, answer)["phase"] == "download" and look(importing, answer)["total"] == len(disk), 30,
              "the download")
        part = importing.state / "loading"
        until(lambda: any(p.stat().st_size == web.hold_at for p in part.glob("*.part")), 30, "what was sent to be written")
        importing.kill_and_restart()
        web.go_on.set()
        assert ended(importing, answer)["state"] == "done"
        assert [r for _, r, _ in web.asked] == [None, f"bytes={web.hold_at}-"], "it went on where it was"
    assert importing.ok("GET", "/images/web").json["size"] == len(disk)


def test_an_upload_stays_while_an_import_is_to_use_it(importing):
    """Three imports name it, and it is a week old when the daemon looks for what can go."""
    disk, kernel = random.Random(6).randbytes(2 * MIB), random.Random(7).randbytes(MIB)
    digest, kernel_digest = upload(importing, disk), upload(importing, kernel)
    incoming = importing.state / "incoming"
    with Web(disk) as web:
        web.hold_at = MIB
        held = importing("POST", "/images", {"name": "held", "url": web.url()})
        asked = [importing("POST", "/images", {"name": name, "upload": digest, "kernel": kernel_digest}) for name in ("one", "two")]
        until(lambda: web.sent == MIB, 30, "the first to be under way")
        for name in (digest, kernel_digest):
            os.utime(incoming / name, (time.time() - 8 * 86400,) * 2)
        for old in (incoming / ("ef" * 32), importing.state / "loading" / "url-0.part"):
            old.write_bytes(b"old")
            os.utime(old, (time.time() - 8 * 86400,) * 2)
        importing.clock.write_text(f"{86400 + 60}\n")
        until(lambda: not old.exists() and not (incoming / ("ef" * 32)).exists(), 30, "the old to go")
        web.go_on.set()
        assert [ended(importing, answer)["state"] for answer in (held, *asked)] == ["done"] * 3
    until(lambda: files_of(importing) == [f for f in files_of(importing) if f.startswith("store/")], 20, "what was used up to go")


def test_an_end_that_cannot_be_written_down_is_written_later(importing, tmp_path):
    disk = tmp_path / "disk.raw"
    disk.write_bytes(random.Random(8).randbytes(2 * MIB))
    with Web(disk.read_bytes()) as web:
        web.hold_at = MIB
        answer = importing("POST", "/images", {"name": "web", "url": web.url()})
        until(lambda: web.sent == MIB, 30, "it to be under way")
        database = sqlite3.connect(importing.state / "nightclass.db", isolation_level=None, timeout=30)
        database.execute("BEGIN IMMEDIATE")
        web.go_on.set()
        until(lambda: "cannot be written down yet" in importing.log(), 120, "the end to be refused")
        assert [p for p in files_of(importing) if p.startswith("loading/")], "a restart would need it"
        database.execute("ROLLBACK")
        database.close()
        assert ended(importing, answer)["state"] == "done"
        other = importing("POST", "/images", {"name": "next", "path": str(disk)})
        assert ended(importing, other)["state"] == "done", "the next one has its turn"
    assert not list((importing.state / "loading").iterdir())


def killed_in_the_middle(importing, tmp_path, seed: int, enough: int):
    """An import of 640 chunks, its daemon killed after `enough` of them: what it answered, and its chunks by then."""
    for attempt in range(5):
        disk, known = tmp_path / f"disk{attempt}.raw", set(chunks_of(importing))
        disk.write_bytes(random.Random(seed * 100 + attempt).randbytes(160 * MIB))
        answer = importing("POST", "/images", {"name": f"big{attempt}", "path": str(disk)})
        until(lambda: len(chunks_of(importing)) - len(known) > enough, 60, "some chunks")  # pylint: disable=cell-var-from-loop
        importing.stop(9)
        cut = {name: inode for name, inode in chunks_of(importing).items() if name not in known}
        if len(cut) < 640:
            return answer, cut
        importing.start()
    raise AssertionError("five times too late")


def test_a_cut_survives_the_daemons_death(importing, tmp_path):
    """What was cut before is found again: of all chunks but those in the making at that moment none is written twice."""
    answer, before = killed_in_the_middle(importing, tmp_path, 3, 100)
    importing.start()
    done = ended(importing, answer)
    assert done["state"] == "done"
    after = chunks_of(importing)
    again = [name for name, inode in before.items() if after.get(name) != inode]
    assert not again, f"{len(again)} of {len(before)} chunks were written twice"
    assert set(importing.boot(f"/manifests/{done['digest']}").json["parts"]["disk"]["chunks"]) <= set(after)


def test_a_chunk_that_a_power_cut_spoilt_is_not_relied_on(importing, tmp_path):
    answer, cut = killed_in_the_middle(importing, tmp_path, 4, 50)
    spoilt = [p for p in (importing.state / "store" / "chunks").rglob("*") if p.is_file() and p.name in cut][:20]
    assert len(spoilt) == 20
    for chunk in spoilt[:10]:
        os.truncate(chunk, 0)
    for chunk in spoilt[10:]:
        chunk.write_bytes(os.urandom(chunk.stat().st_size))
    importing.start()
    done = ended(importing, answer)
    assert done["state"] == "done"
    manifest = importing.boot(f"/manifests/{done['digest']}").json
    assert {chunk.name for chunk in spoilt} <= set(manifest["parts"]["disk"]["chunks"])
    for digest in (chunk.name for chunk in spoilt):
        frame = importing.boot(f"/chunks/{digest}").body
        plain = subprocess.run(["zstd", "-dcq"], input=frame, capture_output=True, check=True).stdout
        assert hashlib.sha256(plain).hexdigest() == digest


def bomb() -> bytes:
    import zlib
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    return b"".join(packer.compress(b"\x01" * (16 * MIB)) for _ in range(6)) + packer.flush()


def flat_vmdk() -> bytes:
    return (b'# Disk DescriptorFile\nversion=1\nCID=1\nparentCID=ffffffff\ncreateType="monolithicFlat"\n'
            b'RW 8 FLAT "/etc/passwd" 0\n')


def backing() -> bytes:
    header = bytearray(70000)
    header[:32] = struct.pack(">4sIQIIQ", b"QFI\xfb", 3, 400, 11, 16, MIB)
    header[100:104] = struct.pack(">I", 104)
    header[400:411] = b"/etc/passwd"
    return bytes(header)


@pytest.mark.parametrize("make, reason", [(bomb, "100 times"), (flat_vmdk, "monolithicFlat"), (backing, "backing file")])
def test_the_daemon_outlives_hostile_files(importing, make, reason):
    digest, kernel = upload(importing, make()), upload(importing, b"kernel")
    failed = ended(importing, importing("POST", "/images", {"name": "evil", "upload": digest, "kernel": kernel}))
    assert failed["state"] == "failed" and reason in failed["reason"], failed
    assert importing.process.poll() is None and importing("GET", "/images/evil").status == 404
    assert files_of(importing) == [], "what was refused leaves nothing behind"


def test_what_the_server_could_not_do_needs_no_second_upload(importing):
    """A store that cannot be written is no fault of the file."""
    disk = random.Random(9).randbytes(MIB)
    digest = upload(importing, disk)
    chunks = importing.state / "store" / "chunks"
    shutil.rmtree(chunks)
    chunks.write_bytes(b"")
    failed = ended(importing, importing("POST", "/images", {"name": "mine", "upload": digest}))
    assert failed["state"] == "failed" and f"incoming/{digest}" in files_of(importing), failed
    chunks.unlink()
    assert ended(importing, importing("POST", "/images", {"name": "mine", "upload": digest}))["state"] == "done"
    assert not list((importing.state / "incoming").iterdir()), "used up"


def test_a_wrong_name_of_the_format_needs_no_second_upload(importing):
    digest = upload(importing, random.Random(10).randbytes(MIB))
    failed = ended(importing, importing("POST", "/images", {"name": "mine", "upload": digest, "format": "qcow2"}))
    assert failed["state"] == "failed" and "not a qcow2" in failed["reason"], failed
    assert ended(importing, importing("POST", "/images", {"name": "mine", "upload": digest}))["state"] == "done"


def test_the_reader_of_the_service_has_its_own_uid(make_controller, tmp_path):
    """The socket that a service manager would hold, with the reader under another uid behind it."""
    if os.geteuid() != 0:
        pytest.skip("needs root to start the reader as somebody else")
    seen = []
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
        listener.bind(str(tmp_path / "reader.sock"))
        listener.listen()

        def serve():
            connection, _ = listener.accept()
            child = subprocess.Popen(["setpriv", "--reuid", "64777", "--regid", "64777", "--clear-groups",
                                      f"/proc/self/fd/{program}", "--serve-reader"], stdin=connection, pass_fds=(program,))
            connection.close()
            seen.append(child.pid)
            child.wait()

        program = os.open(BUILD / "nightclass-import", os.O_RDONLY)  # its folder may be closed to that uid
        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        controller = make_controller(options=f"import_reader = {tmp_path}/reader.sock")
        disk = random.Random(5).randbytes(2 * MIB)
        done = ended(controller, controller("POST", "/images", {"name": "mine", "upload": upload(controller, disk)}))
        thread.join(20)
        os.close(program)
    assert done["state"] == "done" and seen, done


@pytest.fixture
def unprivileged():
    """A controller as the package starts it, without privilege, where no service has a reader for it."""
    need_nightclassd()
    if os.geteuid() != 0:
        pytest.skip("needs root to start the controller as somebody else")
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        os.chown(folder, DAEMON_UID, DAEMON_UID)
        controller = Controller(folder, options=f"import_reader = {folder}/nobody.sock", user=DAEMON_UID)
        yield controller
        assert controller.stop() == 0, controller.log()


def test_without_the_service_the_reader_is_our_own_which_is_told(unprivileged):
    """Whether the file is taken or refused; the image itself would not show it."""
    for name, data, state in (("mine", os.urandom(MIB), "done"), ("evil", b"odd", "failed")):
        done = ended(unprivileged, unprivileged("POST", "/images", {"name": name, "upload": upload(unprivileged, data)}))
        assert done["state"] == state, done
    told = unprivileged.events("import.reader")
    assert [event["subject"] for event in told] == ["image/mine", "image/evil"]
    assert "nobody.sock: No such file" in told[0]["text"] and "nightclass-reader.socket" in told[0]["text"]
    assert "the reader runs under our own uid" in unprivileged.log()


def test_started_by_root_the_reader_has_another_uid_by_itself(make_controller, tmp_path):
    controller = make_controller(options=f"import_reader = {tmp_path}/nobody.sock")
    done = ended(controller, controller("POST", "/images", {"name": "mine", "upload": upload(controller, os.urandom(MIB))}))
    assert done["state"] == "done" and not controller.events("import.reader") and "our own uid" not in controller.log()
