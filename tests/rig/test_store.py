# SPDX-License-Identifier: GPL-2.0-or-later
"""The lab server's image store when things end badly: imports killed at random moments, a full disk, a controller that
is killed in the middle of a sweep."""
import json
import os
import pathlib
import random
import signal
import subprocess
import time

import pytest

from tests.program.conftest import BUILD, Controller
from tests.rig import sandbox
from tests.rig.wait import until
from tests.rig.wire import run

CHUNK = 256 << 10
IMPORT = pathlib.Path(BUILD).resolve() / "nightclass-import"
CHECK = pathlib.Path(BUILD).resolve() / "unit" / "test_image_check"  # with arguments it verifies
KILLS = 25

pytestmark = pytest.mark.skipif(not sandbox.inside(), reason="runs in the rig's sandbox only")


def argv(store, disk, name, revision=1) -> list[str]:
    return [str(word) for word in (IMPORT, "--store", store, "--name", name, "--revision", revision, disk)]


def import_ok(store, disk, name="mpi", revision=1) -> str:
    done = subprocess.run(argv(store, disk, name, revision), capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout.splitlines()[-1])["digest"]


def check_all(store: pathlib.Path) -> set[str]:
    """Every manifest that is there is whole; their digests."""
    found = {p.name for p in (store / "manifests").iterdir()}
    for digest in found:
        done = subprocess.run([CHECK, store, digest], capture_output=True, text=True, timeout=120)
        assert done.stdout.startswith("ok "), (digest, done.stdout, done.stderr)
    return found


def files_in(store: pathlib.Path) -> set[str]:
    return {str(p.relative_to(store)) for p in store.rglob("*") if p.is_file() and p.name != "lock"}


@pytest.mark.skipif(not CHECK.exists(), reason="test_image_check is not built (make unit)")
def test_imports_killed_at_random_moments(tmp_path):
    """The seed is in the failure's text. Half of the disk is shared with the image that must survive."""
    seed = int.from_bytes(os.urandom(4), "big")
    chance, store = random.Random(seed), tmp_path / "store"
    base, more = os.urandom(24 * CHUNK), os.urandom(24 * CHUNK)
    (tmp_path / "old.raw").write_bytes(base)
    (tmp_path / "new.raw").write_bytes(base[:12 * CHUNK] + more)
    old = import_ok(store, tmp_path / "old.raw", "old")
    begun = time.monotonic()
    new = import_ok(store, tmp_path / "new.raw", "new")
    took, whole = time.monotonic() - begun, files_in(store)
    died = tries = 0
    while died < KILLS:
        tries += 1
        assert tries < 10 * KILLS, f"seed {seed}: only {died} were killed in the middle"
        (store / "manifests" / new).unlink(missing_ok=True)
        assert import_ok(store, tmp_path / "old.raw", "old") == old  # sweeps what the last one left
        child = subprocess.Popen(argv(store, tmp_path / "new.raw", "new"), stdout=subprocess.DEVNULL, start_new_session=True)
        time.sleep(chance.uniform(0, took))
        os.killpg(child.pid, signal.SIGKILL)
        if child.wait() == -signal.SIGKILL:
            died += 1
        else:
            took *= 0.9  # the machine has become faster
        assert check_all(store) >= {old}, f"seed {seed}, kill {tries}"
    assert import_ok(store, tmp_path / "new.raw", "new") == new
    assert check_all(store) == {old, new} and files_in(store) == whole, f"seed {seed}"


@pytest.fixture
def small(tmp_path):
    """A controller whose state lies on a file system of 24 MiB."""
    state = tmp_path / "state"
    state.mkdir()
    run("mount", "-t", "tmpfs", "-o", "size=24m,mode=700", "small", str(state))
    controller = Controller(tmp_path)
    yield controller
    controller.stop()
    run("umount", str(state))


def ended(controller, answer) -> dict:
    assert answer.status == 202, answer
    place = answer.headers["Location"].removeprefix("/api/v1")
    return until(lambda: (i := controller.ok("GET", f"{place}?wait=5").json)["state"] != "running" and i, 60, "the import")


def test_a_full_disk_fails_the_import_and_nothing_else(small, tmp_path):
    disk, big = tmp_path / "disk.raw", tmp_path / "big.raw"
    disk.write_bytes(os.urandom(8 * CHUNK))
    big.write_bytes(os.urandom(160 * CHUNK))
    first = ended(small, small("POST", "/images", {"name": "mpi", "path": str(disk)}))
    assert first["state"] == "done", first
    store = small.state / "store"
    before = files_in(store)
    failed = ended(small, small("POST", "/images", {"name": "mpi", "path": str(big)}))
    assert failed["state"] == "failed" and "disk is full" in failed["reason"], failed
    assert files_in(store) == before, "nothing is left of it"
    assert [i["revision"] for i in small.ok("GET", "/images").items] == [1]
    assert "disk is full" in small.events("import.failed")[0]["text"]
    assert ended(small, small("POST", "/images", {"name": "mpi", "path": str(disk)}))["state"] == "done"


def test_reads_go_on_while_the_disk_is_full(small, tmp_path):
    disk = tmp_path / "disk.raw"
    disk.write_bytes(os.urandom(8 * CHUNK))
    assert ended(small, small("POST", "/images", {"name": "mpi", "path": str(disk), "draft": True}))["state"] == "done"
    digest = small.ok("GET", "/images/mpi").json["digest"]
    chunk = json.loads((small.state / "store" / "manifests" / digest).read_text())["parts"]["disk"]["chunks"][0]
    filler = small.state / "filler"
    with open(filler, "wb", buffering=0) as file:
        try:
            while file.write(bytes(4096)):
                pass
        except OSError:
            pass
    refused = small("POST", "/images/mpi/publish", {"revision": 1})
    assert refused.status >= 500 and "disk is full" in refused.json["detail"], refused
    assert small.ok("GET", "/images/mpi").json["state"] == "draft", "nothing half-done"
    assert small.boot(f"/manifests/{digest}").status == 200 and small.boot(f"/chunks/{chunk}").status == 200
    assert small.ok("GET", "/lab").status == 200
    filler.unlink()
    assert small.ok("POST", "/images/mpi/publish", {"revision": 1}).json["state"] == "published"


def test_a_sweep_that_is_killed_takes_nothing_live(tmp_path):
    """gc of a store with much rubbish, the controller killed in the middle of it, again and again."""
    controller = Controller(tmp_path)
    disk = tmp_path / "disk.raw"
    data = os.urandom(8 * CHUNK)
    disk.write_bytes(data)
    assert ended(controller, controller("POST", "/images", {"name": "mpi", "path": str(disk)}))["state"] == "done"
    store = controller.state / "store"
    before = files_in(store)
    for i in range(5):
        for n in range(400):
            name = os.urandom(32).hex()
            (store / "chunks" / name[:2]).mkdir(exist_ok=True)
            (store / "chunks" / name[:2] / name).write_bytes(b"rubbish")
        assert controller("POST", "/store/gc", {}).status == 202
        time.sleep(0.002 * i)
        controller.kill_and_restart()
        assert before <= files_in(store)
        done = subprocess.run([CHECK, store, controller.ok("GET", "/images/mpi").json["digest"]], capture_output=True, text=True)
        assert done.stdout.startswith("ok 8 "), done.stdout
    assert files_in(store) == before, "the controller sweeps at its start"
    controller.stop()
