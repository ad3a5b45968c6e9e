# SPDX-License-Identifier: GPL-2.0-or-later
"""Verify, diff and gc over the API and the CLI: damage on the disk is found, named, put aside and healed; what a new
revision costs; what a sweep frees, and when it must wait."""
import json
import os
import pathlib
import sqlite3
import subprocess

import pytest

from tests.program.conftest import BUILD
from tests.program.test_publish import add_revision
from tests.rig.wait import until

CHUNK = 256 << 10
CONFLICT, FAILED, USAGE, NOT_FOUND = 6, 1, 2, 4


def cli(controller, *words, expect=0):
    env = {**os.environ, "NIGHTCLASS_SERVER": f"https://127.0.0.1:{controller.api_port}",
           "NIGHTCLASS_TOKEN_FILE": str(controller.state / "admin.token"),
           "NIGHTCLASS_CA": str(controller.state / "tls" / "ca.pem")}
    done = subprocess.run([BUILD / "nightclass", *map(str, words)], env=env, capture_output=True, text=True, timeout=120,
                          stdin=subprocess.DEVNULL)
    assert done.returncode == expect, (done.returncode, done.stdout, done.stderr)
    return done


def of_json(controller, *words, expect=0):
    return json.loads(cli(controller, *words, "-o", "json", expect=expect).stdout)


def chunks(controller) -> dict[str, pathlib.Path]:
    return {p.name: p for p in (controller.state / "store" / "chunks").rglob("*") if p.is_file()}


def bytes_stored(controller) -> int:
    return sum(p.stat().st_size for p in chunks(controller).values())


def manifest(controller, image: dict) -> dict:
    return json.loads((controller.state / "store" / "manifests" / image["digest"]).read_text())


def flip(path: pathlib.Path, at: int = 100) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 4
    path.write_bytes(data)


def check(controller, method: str, path: str, body: dict) -> dict:
    begun = controller.ok(method, path, body)
    assert begun.status == 202
    place = begun.headers["Location"].removeprefix("/api/v1")
    return until(lambda: (c := controller.ok("GET", f"{place}?wait=5").json)["state"] != "running" and c, 20, "the check")


@pytest.fixture
def data() -> bytes:
    return os.urandom(8 * CHUNK)


def test_damage_is_found_named_and_healed(controller, data):
    image = add_revision(controller, data=data)
    assert "8" in cli(controller, "image", "verify", "mpi").stdout
    digests = manifest(controller, image)["parts"]["disk"]["chunks"]
    flip(chunks(controller)[digests[5]])
    chunks(controller)[digests[2]].unlink()
    bad = cli(controller, "image", "verify", "mpi", 1, expect=FAILED)
    assert "import the same files again" in bad.stderr
    lines = [line.split()[:2] for line in bad.stdout.partition("Damaged chunks")[2].splitlines() if "disk" in line]
    assert lines == [["disk", "2"], ["disk", "5"]], bad.stdout
    assert digests[5] not in chunks(controller), "put aside: nobody is given it"
    assert [p.name for p in (controller.state / "store" / "quarantine").iterdir()] == [digests[5]]
    assert "2 of 8 chunks" in controller.events("image.damaged")[-1]["text"]
    assert of_json(controller, "image", "verify", "mpi", expect=FAILED)["damaged"] == 2
    # The same file once more is a new revision, and the old one is whole again.
    two = add_revision(controller, data=data)
    assert two["revision"] == 2 and of_json(controller, "image", "verify", "mpi", 1)["damaged"] == 0
    cli(controller, "image", "verify", "mpi", 3, expect=NOT_FOUND)
    cli(controller, "image", "verify", "mpi", "x", expect=USAGE)


def test_a_damaged_chunk_is_not_served(controller, data):
    image = add_revision(controller, data=data)
    good, bad = manifest(controller, image)["parts"]["disk"]["chunks"][:2]
    flip(chunks(controller)[bad])
    for _ in range(2):
        assert controller.boot(f"/chunks/{good}").status == 200
        assert controller.boot(f"/chunks/{bad}").status == 404
    assert len(controller.events("image.damaged")) == 1 and bad[:12] in controller.events("image.damaged")[0]["text"]
    flip(chunks(controller)[good])
    assert controller.boot(f"/chunks/{good}").status == 404, "one that was found good is read again when it changed"
    add_revision(controller, data=data)
    assert controller.boot(f"/chunks/{bad}").status == 200


def test_what_the_disk_cannot_read_stays_in_place(controller, data):
    """A chunk that is here and cannot be read may be good: nobody gets it now, and it is not put aside."""
    image = add_revision(controller, data=data)
    digest = manifest(controller, image)["parts"]["disk"]["chunks"][3]
    path = chunks(controller)[digest]
    good = path.read_bytes()
    path.unlink()
    path.symlink_to("/proc/self/mem")  # reading it fails with EIO
    bad = cli(controller, "image", "verify", "mpi", 1, expect=FAILED)
    assert "look at the disk" in bad.stderr and "the disk cannot read it" in bad.stdout, (bad.stdout, bad.stderr)
    assert "cannot read 1;" in controller.events("image.damaged")[-1]["text"]
    assert [controller.boot(f"/chunks/{digest}").status for _ in range(2)] == [404, 404]
    assert path.is_symlink() and not (controller.state / "store" / "quarantine").exists()
    path.unlink()
    path.write_bytes(good)
    assert controller.boot(f"/chunks/{digest}").status == 200, "another file is looked at anew"
    assert of_json(controller, "image", "verify", "mpi", 1)["damaged"] == 0


def test_a_revision_costs_its_changed_chunks(controller, data):
    add_revision(controller, data=data)
    before = bytes_stored(controller)
    changed = bytearray(data)
    changed[3 * CHUNK + 5] ^= 1
    changed[6 * CHUNK:7 * CHUNK] = bytes(CHUNK)
    add_revision(controller, data=bytes(changed))
    cost = bytes_stored(controller) - before
    assert CHUNK <= cost <= CHUNK * 1.01 + 512, "random bytes do not pack: one chunk, and zeros cost nothing"
    diff = of_json(controller, "image", "diff", "mpi", 1, 2)
    assert diff == {"name": "mpi", "from": 1, "to": 2, "chunks": 7, "bytes": 7 * CHUNK, "changed_chunks": 2,
                    "changed_bytes": 2 * CHUNK, "travel_chunks": 1, "travel_bytes": cost}
    back = of_json(controller, "image", "diff", "mpi", 2, 1)
    assert (back["changed_chunks"], back["travel_chunks"]) == (2, 2)
    same = of_json(controller, "image", "diff", "mpi", 1, 1)
    assert (same["changed_chunks"], same["travel_bytes"]) == (0, 0)
    assert "To send" in cli(controller, "image", "diff", "mpi", 1, 2).stdout
    cli(controller, "image", "diff", "mpi", 1, 9, expect=NOT_FOUND)
    cli(controller, "image", "diff", "mpi", 1, expect=USAGE)
    assert controller("GET", "/images/mpi/diff?from=1").json["field"] == "to"


def test_gc_frees_what_nobody_names(controller, data):
    add_revision(controller, data=data)
    before = bytes_stored(controller)
    add_revision(controller, data=os.urandom(2 * CHUNK) + data[2 * CHUNK:])
    assert of_json(controller, "image", "gc", "--dry-run") == {"dry_run": True, "images": 0, "chunks": 0, "others": 0, "bytes": 0}
    cli(controller, "image", "delete", "mpi", "--revision", 1)
    cli(controller, "image", "delete", "mpi", "--force")
    add_revision(controller, name="other", data=data)
    counted = of_json(controller, "image", "gc", "--dry-run")
    assert (counted["images"], counted["chunks"]) == (2, 2) and counted["bytes"] > 2 * CHUNK
    assert bytes_stored(controller) > before
    freed = of_json(controller, "image", "gc")
    assert freed == {**counted, "dry_run": False}
    assert bytes_stored(controller) == before
    assert of_json(controller, "image", "verify", "other")["damaged"] == 0
    assert of_json(controller, "image", "gc")["bytes"] == 0
    assert len(controller.events("image.swept")) == 1
    assert "Freed" in cli(controller, "image", "gc").stdout


def test_a_new_database_beside_a_full_store_loses_no_image(controller, data, tmp_path):
    """Whoever lost the database gets every image back with its backup; who wants none of them any more says so by gc."""
    def database(source: pathlib.Path, target: pathlib.Path) -> None:
        assert controller.stop() == 0, controller.log()
        for file in source.glob("nightclass.db*"):
            file.rename(target / file.name)
        controller.start()

    add_revision(controller, data=data)
    stored, backup, token = chunks(controller), tmp_path / "backup", controller.admin
    backup.mkdir()
    database(controller.state, backup)
    assert controller.ok("GET", "/images").items == [] and chunks(controller) == stored
    warning = next(line for line in controller.log().splitlines() if "knows no image" in line)
    assert "holds 1 (mpi among them)" in warning and "put its backup back" in warning and "image gc" in warning
    database(backup, controller.state)
    (controller.state / "admin.token").write_text(token)
    assert of_json(controller, "image", "verify", "mpi")["damaged"] == 0
    assert controller.log().count("knows no image") == 1
    database(controller.state, backup)
    assert of_json(controller, "image", "gc")["images"] == 1 and chunks(controller) == {}
    controller.kill_and_restart()
    assert controller.log().count("knows no image") == 2, "none is left to speak of"


def test_the_host_root_alone_is_no_lost_image(controller):
    boot = controller.state / "boot"
    boot.mkdir(exist_ok=True)
    (boot / "host.squashfs").write_bytes(os.urandom(2 * CHUNK))
    controller.kill_and_restart()
    manifests = until(lambda: list((controller.state / "store" / "manifests").iterdir()), 20, "the host root in the store")
    controller.kill_and_restart()
    assert manifests[0].exists() and "knows no image" not in controller.log()


def test_gc_waits_for_an_import(controller, data):
    add_revision(controller, data=data)
    with sqlite3.connect(controller.state / "nightclass.db") as db:  # as if one were running
        db.execute("INSERT INTO import(name, request, state, created) VALUES('late', '{}', 'running', 0)")
    refused = cli(controller, "image", "gc", expect=CONFLICT)
    assert "late is being imported" in refused.stderr


def test_what_a_cluster_uses_stays(controller, data):
    controller.add_pc(1)
    controller.host_image()
    controller.begin_night()
    from tests.program.host import Host
    Host(controller, 1).boot().report()
    image = add_revision(controller, data=data)
    controller.ok("POST", "/clusters", {"name": "alice", "n": 1, "image": "mpi", "memory_mib": 64})
    # Its row is gone by no way there is; even so its chunks stay.
    with sqlite3.connect(controller.state / "nightclass.db") as db:
        db.execute("DELETE FROM image")
    assert of_json(controller, "image", "gc")["images"] == 0
    assert (controller.state / "store" / "manifests" / image["digest"]).exists()


def test_a_check_is_asked_for_again_after_a_restart(controller, data):
    add_revision(controller, data=data)
    done = check(controller, "POST", "/images/mpi/verify", {})
    assert done["state"] == "done" and done["result"]["damaged"] == 0 and done["done"] == done["total"] == 8 * CHUNK
    controller.kill_and_restart()
    gone = controller("GET", f"/checks/{done['id']}")
    assert gone.status == 404 and "ask for a new one" in gone.json["detail"]
    assert check(controller, "POST", "/images/mpi/verify", {"revision": 1})["id"] > done["id"]


def test_a_lost_manifest_is_said(controller, data):
    image = add_revision(controller, data=data)
    (controller.state / "store" / "manifests" / image["digest"]).write_text("{}")
    failed = check(controller, "POST", "/images/mpi/verify", {})
    assert failed["state"] == "failed" and "damaged" in failed["reason"] and failed["result"] is None
    assert "damaged" in cli(controller, "image", "verify", "mpi", expect=FAILED).stderr
    refused = cli(controller, "image", "gc", expect=FAILED)
    assert "no chunk was removed" in refused.stderr


def test_an_import_that_is_not_published(controller, data, tmp_path):
    (tmp_path / "disk.raw").write_bytes(data)
    words = "image", "import", "mpi", tmp_path / "disk.raw", "--on-server"
    assert of_json(controller, *words, "--no-publish")["state"] == "draft"
    assert of_json(controller, *words)["state"] == "published"
    made = of_json(controller, *words, "--no-publish")
    assert (made["revision"], made["state"]) == (3, "draft"), "what was made is shown, not what is published"
    assert [(i["revision"], i["state"]) for i in of_json(controller, "image", "list")["items"]] == [
        (3, "draft"), (2, "published"), (1, "draft")]


def test_publish_and_rollback_by_the_cli(controller, data):
    add_revision(controller, data=data)
    add_revision(controller, data=data[:CHUNK], draft=True)
    assert [(i["revision"], i["state"]) for i in of_json(controller, "image", "list")["items"]] == [(2, "draft"), (1, "published")]
    table = cli(controller, "image", "list").stdout
    assert "STATE" in table and "draft" in table
    assert of_json(controller, "image", "publish", "mpi", 2)["revision"] == 2
    assert "published" in cli(controller, "image", "show", "mpi").stdout
    assert of_json(controller, "image", "rollback", "mpi")["revision"] == 1
    cli(controller, "image", "rollback", "mpi", expect=NOT_FOUND)
    cli(controller, "image", "rollback", "mpi", 2, expect=USAGE)
    sequence = of_json(controller, "image", "publish", "mpi", 1)["publication"]["sequence"]
    assert of_json(controller, "image", "publish", "mpi", 1)["publication"]["sequence"] == sequence
    assert of_json(controller, "image", "publish", "mpi", 1, "--again")["publication"]["sequence"] > sequence
    assert controller.ok("GET", "/lab").json["image_key"] in cli(controller, "lab", "show").stdout
