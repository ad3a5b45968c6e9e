# SPDX-License-Identifier: GPL-2.0-or-later
"""The host's root image by the cast: it is in the chunk store by itself, boot scripts say where it is cast, and a boot
slot is for what a PC still loads by HTTP."""
import os
import re
import subprocess

import pytest

from tests.program.conftest import BUILD, is_bound, until
from tests.program.host import Host
from tests.program.test_storm import admitted, places

ROOT = BUILD / "nightclass-root"
PORT = 17868
WORDS = re.compile(r" nightclass\.root\.cast=(\S+) nightclass\.root\.manifest=([0-9a-f]{64}) nightclass\.root\.name=pc[1-3] ")


@pytest.fixture
def make_lab(make_controller):
    """make_lab(image, **options) -> a controller in its night, with three PCs, one boot slot and this root image."""
    if not ROOT.exists():
        pytest.skip(f"{ROOT} is not built")

    def make(image: bytes, **options):
        lines = {"cast_port": PORT, "boot_slots": 1, "boot_slot_time": "1h", **options}
        made = make_controller(options="\n".join(f"{key} = {value}" for key, value in lines.items()))
        for n in (1, 2, 3):
            made.add_pc(n)
        made.host_image()
        root_file(made).write_bytes(image)
        made.begin_night()
        return made

    return make


def root_file(controller):
    return controller.state / "boot" / "host.squashfs"


def receive(script: str, name: str, folder) -> subprocess.CompletedProcess:
    server, manifest = WORDS.search(script).groups()
    until(lambda: is_bound(PORT), 60, "the sender's port")  # a receiver gives up soon where nobody casts
    return subprocess.run([ROOT, server, manifest, name, folder], capture_output=True, text=True, timeout=60, check=False)


def sweep(controller) -> dict:
    job = controller.ok("POST", "/store/gc", {}).json["id"]
    return until(lambda: controller.ok("GET", f"/checks/{job}?wait=5").json["result"], 30, "the sweep")


def load(controller, host: Host, *names: str) -> None:
    for name in names:
        assert controller.boot(f"/boot/files/{name}", source=host.source).status == 200


def test_a_pc_receives_the_root_image_and_needs_no_slot_for_it(make_lab, tmp_path):
    image = os.urandom(3 << 20)
    controller = make_lab(image)
    first, second = Host(controller, 1), Host(controller, 2)
    script = first.fetch_script()
    server, manifest = WORDS.search(script).groups()
    assert server == f"127.0.0.1:{PORT}"
    load(controller, first, "vmlinuz")
    assert not admitted(second.fetch_script()), "the initramfs is still to come"
    load(controller, first, "initrd.img")
    until(lambda: "pc1" not in places(controller), 10, "the slot to end with what comes by HTTP")
    assert admitted(second.fetch_script())
    done = receive(script, "pc1", tmp_path / "root")
    assert done.returncode == 0 and re.fullmatch(r"3\.1 MB in \d+\.\d\d s\n", done.stdout), done
    assert (tmp_path / "root" / manifest / "disk.raw").read_bytes() == image
    assert [image["name"] for image in controller.ok("GET", "/images").items] == [], "it is no image of a VM"


def test_when_the_cast_fails_a_pc_the_next_ones_keep_their_slots(make_lab, tmp_path):
    """At 1 Mbit/s a PC does not wait for the cast; what became of it is said, and slots are for everything again until
    the cast has brought one PC its image."""
    controller = make_lab(os.urandom(1 << 20), cast_rate=1)
    first, second, third = (Host(controller, n) for n in (1, 2, 3))
    script = first.fetch_script()
    load(controller, first, "initrd.img")
    done = receive(script, "pc1", tmp_path / "root")
    assert done.returncode == 1 and done.stdout.startswith("too slow"), done
    until(lambda: controller.events("boot.cast"), 10, "the event")
    event = controller.events("boot.cast")[0]
    assert event["subject"] == "pc/pc1" and "leaves the cast of the host root" in event["text"]
    load(controller, first, "host.squashfs")
    assert WORDS.search(second.fetch_script()), "it is tried again all the same"
    load(controller, second, "initrd.img")
    assert places(controller)["pc2"]["state"] == "loads"
    assert not admitted(third.fetch_script())
    load(controller, second, "host.squashfs")
    until(lambda: admitted(third.fetch_script()), 10, "the slot to end with the root image")


def test_a_slot_ends_when_the_cast_has_brought_the_image(make_lab, tmp_path):
    """Though the initramfs was not seen to come whole: a PC behind a proxy, or one whose last byte we missed."""
    controller = make_lab(os.urandom(1 << 20))
    first, second = Host(controller, 1), Host(controller, 2)
    script = first.fetch_script()
    assert not admitted(second.fetch_script())
    assert receive(script, "pc1", tmp_path / "root").returncode == 0
    until(lambda: admitted(second.fetch_script()), 10, "the slot to end")
    assert controller.events("boot.cast") == []


def test_gc_keeps_the_image_and_another_file_is_another_image(make_lab, tmp_path):
    controller = make_lab(os.urandom(1 << 20))
    first, second = Host(controller, 1), Host(controller, 2)
    before = WORDS.search(first.fetch_script())[2]
    load(controller, first, "initrd.img")
    assert sweep(controller)["bytes"] == 0
    image = os.urandom(1 << 20)
    fresh = root_file(controller).with_suffix(".new")
    fresh.write_bytes(image)
    fresh.rename(root_file(controller))
    script = second.fetch_script()
    after = WORDS.search(script)[2]
    assert after != before
    assert receive(script, "pc2", tmp_path / "root").returncode == 0
    assert (tmp_path / "root" / after / "disk.raw").read_bytes() == image
    assert sweep(controller)["images"] == 1, "the old one"
    assert controller.boot(f"/manifests/{after}").status == 200


@pytest.mark.parametrize("image, options", [(b"no image", {}), (bytes(512), {"cast_group": "none"})])
def test_without_a_cast_scripts_name_none(make_lab, image, options):
    script = Host(make_lab(image, **options), 1).fetch_script()
    assert admitted(script) and not WORDS.search(script)
