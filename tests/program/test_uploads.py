# SPDX-License-Identifier: GPL-2.0-or-later
"""Files on their way in: pieces, resuming after a crash, wrong bytes; and images made of them."""
import gzip
import os
import pathlib
import stat
import subprocess
import threading
import time

import pytest

from tests.program.conftest import BUILD, Controller, need_nightclassd, sha256, until
from tests.rig import sandbox
from tests.rig.wait import open_files
from tests.rig.web import Web

MIB = 1 << 20


def put(controller, data: bytes, offset: int, piece: bytes, length: int | None = None, name: str | None = None, **kwargs):
    return controller("PUT", f"/uploads/{name or sha256(data)}?offset={offset}", raw=piece,
                      headers={"Upload-Length": str(len(data) if length is None else length)}, **kwargs)


def upload(controller, data: bytes) -> str:
    for offset in range(0, max(len(data), 1), 8 * MIB):
        answer = put(controller, data, offset, data[offset:offset + 8 * MIB], timeout=60)
        assert answer.status == 200, answer
    assert answer.json == {"have": len(data), "length": len(data), "complete": True}
    return sha256(data)


def status(controller, data: bytes) -> dict:
    return controller.ok("GET", f"/uploads/{sha256(data)}").json


def test_pieces_resume_after_a_crash(controller):
    data = os.urandom(20 * MIB)
    assert status(controller, data) == {"have": 0, "length": 0, "complete": False}
    assert put(controller, data, 0, data[:8 * MIB]).json["have"] == 8 * MIB
    controller.kill_and_restart()
    assert status(controller, data) == {"have": 8 * MIB, "length": len(data), "complete": False}
    gap = put(controller, data, 9 * MIB, data[9 * MIB:10 * MIB])
    assert gap.status == 409 and gap.json["field"] == "offset"
    assert put(controller, data, 0, data[:8 * MIB]).json["have"] == 8 * MIB, "the same piece again changes nothing"
    other = put(controller, data, 8 * MIB, data[8 * MIB:9 * MIB], length=len(data) + 1)
    assert other.status == 409 and other.json["field"] == "Upload-Length"
    assert put(controller, data, 8 * MIB, data[8 * MIB:16 * MIB]).json["have"] == 16 * MIB
    last = put(controller, data, 16 * MIB, data[16 * MIB:])
    assert last.json == {"have": len(data), "length": len(data), "complete": True}
    again = put(controller, data, 16 * MIB, data[16 * MIB:])
    assert again.json["complete"], "and once more"
    controller.kill_and_restart()
    assert status(controller, data)["complete"]
    file = controller.state / "incoming" / sha256(data)
    assert file.read_bytes() == data and stat.S_IMODE(file.stat().st_mode) == 0o600
    assert [p.name for p in (controller.state / "incoming").iterdir()] == [sha256(data)]


def test_wrong_bytes_are_dropped(controller):
    data = os.urandom(MIB)
    flipped = data[:500] + bytes([data[500] ^ 1]) + data[501:]
    wrong = put(controller, data, 0, flipped)
    assert wrong.status == 400 and wrong.json["field"] == "sha256"
    assert status(controller, data) == {"have": 0, "length": 0, "complete": False}
    upload(controller, data)


def put_zeros(controller, data: bytes, offset: int, n: int, raw: bytes = b"", length: int | None = None):
    return controller("PUT", f"/uploads/{sha256(data)}?offset={offset}&zero={n}", raw=raw,
                      headers={"Upload-Length": str(len(data) if length is None else length)}, timeout=60)


def test_zeros_are_told_not_sent(controller):
    data = os.urandom(MIB) + bytes(64 * MIB) + os.urandom(MIB) + bytes(2 * MIB)
    assert put(controller, data, 0, data[:MIB]).json["have"] == MIB
    gap = put_zeros(controller, data, 2 * MIB, MIB)
    assert gap.status == 409 and gap.json["field"] == "offset"
    for _ in range(2):
        assert put_zeros(controller, data, MIB, 64 * MIB).json["have"] == 65 * MIB, "and again changes nothing"
    assert (controller.state / "incoming" / f"{sha256(data)}.part").stat().st_blocks * 512 < 4 * MIB
    assert put_zeros(controller, data, 0, MIB).json["have"] == 65 * MIB, "what stands there stays"
    assert put(controller, data, 65 * MIB, data[65 * MIB:66 * MIB]).json["have"] == 66 * MIB
    assert put_zeros(controller, data, 66 * MIB, 3 * MIB).json["field"] == "Upload-Length"
    last = put_zeros(controller, data, 66 * MIB, 2 * MIB)
    assert last.json == {"have": len(data), "length": len(data), "complete": True}
    assert (controller.state / "incoming" / sha256(data)).read_bytes() == data


def test_zeros_have_their_limits(controller):
    data = bytes(MIB) + b"x"
    assert put_zeros(controller, data, 0, MIB, raw=b"y").json["field"] == "zero"
    assert put_zeros(controller, data, 0, MIB, length=(32 << 30) + 1).json["field"] == "zero"
    assert put_zeros(controller, data, 0, -1).json["field"] == "zero"
    wrong = put_zeros(controller, data, 0, len(data))
    assert wrong.status == 400 and wrong.json["field"] == "sha256"
    assert status(controller, data) == {"have": 0, "length": 0, "complete": False}


def test_small_and_odd(controller):
    upload(controller, b"x")
    upload(controller, b"")
    data = b"abc"
    assert put(controller, data, 0, data, length=2).json["field"] == "Upload-Length"
    assert controller("PUT", f"/uploads/{sha256(data)}", raw=data).json["field"] == "Upload-Length"
    for name in ("../admin.token", "A" * 64, "x"):
        assert put(controller, data, 0, data, name=name).status in (400, 404)
    large = {"Content-Length": str(8 * MIB + 1), "Upload-Length": str(9 * MIB)}
    assert controller("PUT", f"/uploads/{sha256(data)}", raw=b"", headers=large).status == 400, "before a byte of it is sent"
    assert put(controller, data, 0, data, token=None).status == 401
    assert controller("PUT", f"/uploads/{sha256(data)}", {}, headers={"Upload-Length": "2"}).status == 415


def test_several_at_once(controller):
    files = [os.urandom(3 * MIB) for _ in range(6)]
    threads = [threading.Thread(target=upload, args=(controller, data)) for data in files]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert all(status(controller, data)["complete"] for data in files)


def test_one_is_hashed_at_a_time(controller):
    """Large holes cost their sender nothing; they shall not take all workers from others."""
    names, size = [f"{n:064x}" for n in range(3)], 512 * MIB
    incoming, answers = controller.state / "incoming", {}

    def send(name):
        answers[name] = controller("PUT", f"/uploads/{name}?offset=0&zero={size}", raw=b"", headers={"Upload-Length": str(size)},
                                   timeout=120)

    def parts_open() -> int:
        return len({name for name in open_files(controller.process.pid) if name.endswith(".part")})

    threads = [threading.Thread(target=send, args=(name,)) for name in names]
    for thread in threads:
        thread.start()
    until(lambda: all((incoming / f"{n}.part").exists() or n in answers for n in names), 60, "all to be there")
    controller.ok("GET", "/health", token=None)  # the loop has let go of what it wrote
    seen = 0  # all of them may be over by now
    while any(thread.is_alive() for thread in threads):
        seen = max(seen, parts_open())
        threads[-1].join(0.01)
    assert seen <= 1, f"{seen} at once"
    assert [answers[name].json.get("field") for name in names] == ["sha256"] * 3, "and each had its answer"


def test_a_token_has_so_many_parts(controller):
    alice, bob = controller.make_token("alice", "user"), controller.make_token("bob", "user")

    def begin(n: int, token: str):
        return controller("PUT", f"/uploads/{n:064x}?offset=0", raw=b"x", headers={"Upload-Length": "9"}, token=token)

    assert all(begin(n, alice).status == 200 for n in range(16))
    refused = begin(16, alice)
    assert refused.status == 409 and "under way" in refused.json["detail"], refused
    assert begin(3, alice).status == 200 and begin(17, bob).status == 200
    part = controller.state / "incoming" / f"{5:064x}.part"
    os.utime(part, (time.time() - 7200,) * 2)
    controller.kill_and_restart()
    assert begin(16, alice).status == 200, "the one that was left longest makes room"
    assert not part.exists() and not part.with_suffix(".length").exists()
    assert begin(18, alice).status == 409


def test_old_parts_go_while_the_daemon_runs(controller):
    incoming, week = controller.state / "incoming", 8 * 86400
    old, young = b"old" * 1000, b"young" * 1000
    for data in (old, young):
        assert put(controller, data, 0, data[:100]).status == 200
        os.utime(incoming / f"{sha256(data)}.length", (time.time() - week,) * 2)
    os.utime(incoming / f"{sha256(old)}.part", (time.time() - week,) * 2)
    (incoming / ("cd" * 32)).write_bytes(b"whole")
    os.utime(incoming / ("cd" * 32), (time.time() - week,) * 2)
    controller.clock.write_text(f"{86400 + 60}\n")
    until(lambda: len(list(incoming.iterdir())) == 2, 30, "the old to go")
    assert status(controller, young) == {"have": 100, "length": len(young), "complete": False}
    assert status(controller, old)["have"] == 0


@pytest.fixture
def small_disk(tmp_path):
    """A controller whose state is on a disk of 64 MiB."""
    if not sandbox.inside():
        pytest.skip("mounts a file system: needs the sandbox")
    need_nightclassd()
    state = tmp_path / "state"
    state.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m", "small", state], check=True)
    made = Controller(tmp_path, options="import_urls_allowed = 127.0.0.1")
    yield made
    assert made.stop() == 0, made.log()
    subprocess.run(["umount", state], check=True)


def free_mib(controller) -> float:
    fs = os.statvfs(controller.state)
    return fs.f_bavail * fs.f_frsize / MIB


def test_a_user_cannot_fill_the_disk(small_disk):
    data = os.urandom(80 * MIB)
    for offset in range(0, len(data), 8 * MIB):
        answer = put(small_disk, data, offset, data[offset:offset + 8 * MIB], timeout=60)
        if answer.status != 200:
            break
    assert answer.status == 507 and "image gc" in answer.json["detail"], answer
    assert free_mib(small_disk) > 64 / 20
    small_disk.make_token("still", "user")  # the database goes on


def test_neither_does_a_download_or_an_import(small_disk, tmp_path):
    with Web(os.urandom(80 * MIB)) as web:
        failed = ended(small_disk, small_disk("POST", "/images", {"name": "web", "url": web.url()}))
    assert failed["state"] == "failed" and "disk is full" in failed["reason"], failed
    assert not list((small_disk.state / "loading").iterdir())
    (tmp_path / "disk.raw").write_bytes(os.urandom(80 * MIB))
    failed = ended(small_disk, small_disk("POST", "/images", {"name": "file", "path": str(tmp_path / "disk.raw")}))
    assert failed["state"] == "failed" and "disk is full" in failed["reason"], failed
    assert free_mib(small_disk) > 50, "what was cut is swept"
    with gzip.open(tmp_path / "disk.gz", "wb", compresslevel=1) as packed:
        for _ in range(8):
            packed.write(os.urandom(MIB) + bytes(range(256)) * (9 * MIB // 256))
    failed = ended(small_disk, small_disk("POST", "/images", {"name": "packed", "path": str(tmp_path / "disk.gz")}))
    assert failed["state"] == "failed" and "disk is full" in failed["reason"], failed


@pytest.fixture
def importing(controller):
    if not (BUILD / "nightclass-import").exists():
        pytest.skip(f"{BUILD}/nightclass-import is not built")
    return controller


def ended(controller, answer) -> dict:
    assert answer.status == 202, answer
    path = f"/imports/{answer.json['id']}"
    assert answer.headers["Location"] == f"/api/v1{path}"
    return until(lambda: (i := controller.ok("GET", f"{path}?wait=20", timeout=40).json)["state"] != "running" and i, 60, path)


def test_import(importing):
    disk = b"\0" * 8 * MIB + os.urandom(6 * MIB) + b"\0" * 2 * MIB
    kernel = os.urandom(100000)
    digest, kernel_digest = upload(importing, disk), upload(importing, kernel)
    body = {"name": "mpi", "upload": digest, "format": "raw", "kernel": kernel_digest, "cmdline": "root=/dev/vda ".ljust(2047, "x")}
    long = importing("POST", "/images", {**body, "cmdline": "x" * 2048})
    assert long.status == 400 and long.json["field"] == "cmdline"
    for field in ("upload", "kernel"):
        missing = importing("POST", "/images", {**body, field: "ab" * 32})
        assert missing.status == 404 and missing.json["field"] == field, missing.json
    done = ended(importing, importing("POST", "/images", body))
    assert done["state"] == "done", done
    image = importing.ok("GET", "/images/mpi").json
    assert (image["revision"], image["digest"]) == (1, done["digest"]) and image["size"] >= len(disk)
    assert done["revision"] == 1
    manifest = importing.boot(f"/manifests/{image['digest']}")
    assert manifest.status == 200 and sha256(manifest.body) == image["digest"]
    chunks = [c for part in manifest.json["parts"].values() for c in part["chunks"] if c != "0"]
    assert chunks and all(importing.boot(f"/chunks/{c}").status == 200 for c in chunks)
    assert all(importing("GET", f"/uploads/{d}").json["have"] == 0 for d in (digest, kernel_digest)), "used up"
    assert [e["kind"] for e in importing.events() if e["subject"] == "image/mpi"] == ["image.added", "image.published", "import.done"]
    upload(importing, disk)
    assert ended(importing, importing("POST", "/images", {"name": "mpi", "upload": digest}))["state"] == "done"
    assert [i["revision"] for i in importing.ok("GET", "/images").items] == [2, 1]
    assert importing.ok("GET", "/images/mpi?revision=1").json["digest"] == image["digest"]
    importing.kill_and_restart()
    assert all(importing.boot(f"/chunks/{c}").status == 200 for c in chunks), "the sweep at the start leaves it alone"
    assert importing.ok("DELETE", "/images/mpi?force=1").status == 204
    assert importing.ok("GET", f"/imports/{done['id']}").json["revision"] is None
    assert importing("GET", "/images/mpi").status == 404
    importing.kill_and_restart()
    assert not [p for p in (importing.state / "store").rglob("*") if len(p.name) == 64], "nothing of it is left"


def test_an_import_packs_as_hard_as_asked(importing):
    """The last goes through all that the first left in the store: it is as large as that."""
    words = b"".join(path.read_bytes() for path in sorted(pathlib.Path(os.__file__).parent.glob("*.py")))[:2 * MIB]
    stored = []
    for name, level, disk in (("fast", 1, words), ("hard", 19, b"\n" + words), ("none", None, words)):
        disk = disk.ljust(4 * MIB, b"\0")
        body = {"name": name, "upload": upload(importing, disk), "format": "raw", **({"level": level} if level else {})}
        done = ended(importing, importing("POST", "/images", body))
        assert done["state"] == "done", done
        stored.append(importing.ok("GET", f"/images/{name}").json["stored"])
    assert stored[0] == stored[2] > 1.1 * stored[1]


def test_hostile_images_are_refused_with_the_reason(importing, tmp_path):
    header = bytearray(512)
    header[0:8] = b"QFI\xfb\0\0\0\3"
    header[8:20] = (400).to_bytes(8, "big") + (11).to_bytes(4, "big")
    header[20:24] = (16).to_bytes(4, "big")
    header[24:32] = (MIB).to_bytes(8, "big")
    header[100:104] = (104).to_bytes(4, "big")
    header[400:411] = b"/etc/passwd"
    digest = upload(importing, bytes(header) + b"\0" * 70000)
    failed = ended(importing, importing("POST", "/images", {"name": "evil", "upload": digest}))
    assert failed["state"] == "failed" and "backing" in failed["reason"] and failed["revision"] is None, failed
    assert importing("GET", "/images/evil").status == 404
    assert importing.events("import.failed")
    operator = importing.make_token("op", "operator")
    refused = importing("POST", "/images", {"name": "evil", "path": "/etc/passwd"}, token=operator)
    assert refused.status == 403 and refused.json["field"] == "path"


def test_a_crash_in_an_import_begins_it_anew(importing):
    disk = os.urandom(40 * MIB)
    digest = upload(importing, disk)
    answer = importing("POST", "/images", {"name": "mpi", "upload": digest})
    assert answer.status == 202
    importing.kill_and_restart()
    assert ended(importing, answer)["state"] == "done"
    assert importing.ok("GET", "/images/mpi").json["size"] >= len(disk)
    assert len(importing.ok("GET", "/images").items) == 1
