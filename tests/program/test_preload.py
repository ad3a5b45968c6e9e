# SPDX-License-Identifier: GPL-2.0-or-later
"""What hosts fetch ahead, what PCs keep over the day, and that tonight's plan knows of it."""
import os

import pytest

from tests.program.conftest import BUILD, until
from tests.program.host import Host
from tests.program.test_uploads import ended, upload

MIB = 1 << 20


def make_image(controller, name: str) -> str:
    """A new revision of an image; its digest."""
    if not (BUILD / "nightclass-import").exists():
        pytest.skip(f"{BUILD}/nightclass-import is not built")
    body = {"name": name, "upload": upload(controller, os.urandom(MIB)), "format": "raw"}
    done = ended(controller, controller("POST", "/images", body))
    assert done["state"] == "done", done
    return done["digest"]


def names(host) -> list[str]:
    return [image["name"] for image in host.goal().json["images"]]


def whole(*digests) -> list[dict]:
    return [{"digest": digest, "have": MIB, "total": MIB} for digest in digests]


def pc(controller, n: int) -> dict:
    return controller.ok("GET", f"/pcs/pc{n}").json


def go_home(controller, *hosts) -> None:
    """The night ends; each host says that it leaves and restarts into its desktop."""
    controller.ok("POST", "/nights/current/end")
    for host in hosts:
        until(lambda host=host: pc(controller, host.n)["state"] == "draining", 10, "the hand-back")
        assert host.report(role="desktop", generation=99).status == 204
        controller.boot(f"/boot/script?mac=52:54:00:00:00:{host.n:02x}", source=host.source)
    controller.clock.write_text(f"{int(controller.clock.read_text()) + 20}\n")
    until(lambda: controller.ok("GET", "/nights").items[0]["state"] == "done", 20, "the night to end")


@pytest.fixture
def lab(make_controller):
    def make(preload: str, scratch: str = "scratch_label = night-scratch"):
        controller = make_controller(lab=f"preload = {preload}\n{scratch}")
        for n in (1, 2, 3):
            controller.add_pc(n)
        controller.host_image()
        (controller.state / "boot" / "disks.squashfs").write_bytes(b"drivers")
        return controller

    return make


def test_named_images_are_in_every_hosts_goal(lab):
    controller = lab("base, mpi, unknown")
    mpi, base = make_image(controller, "mpi"), make_image(controller, "base")
    controller.begin_night()
    host = Host(controller, 1).boot()
    assert [(i["name"], i["digest"]) for i in host.goal().json["images"]] == [("base", base), ("mpi", mpi)]


def test_none_is_none(lab):
    controller = lab("none")
    make_image(controller, "mpi")
    controller.begin_night()
    assert names(Host(controller, 1).boot()) == []


def test_a_small_pc_takes_what_its_memory_holds(lab):
    controller = lab("mpi, base")
    make_image(controller, "mpi"), make_image(controller, "base")
    controller.begin_night()
    host = Host(controller, 1)
    host.facts = lambda **_: {**Host.facts(host), "memory_mib": 513}
    assert names(host.boot()) == ["mpi"], "one of 1 MiB fits beside the 512 of the host itself"
    assert host.report(scratch_mib=1000).status == 204
    assert names(host) == ["mpi", "base"], "its own disk has room"


@pytest.mark.parametrize("text", ["preload = MPI!", "preload = none, mpi", "scratch_label = nightclass-scratch",
                                  "scratch_label = a b", "preload = a/b"])
def test_bad_settings_are_refused(make_controller, text):
    with pytest.raises(AssertionError, match="no label|no name of an image"):
        make_controller(lab=text)


def test_the_boot_script_names_the_partition_only_where_the_lab_lends_one(lab):
    lent = lab("none")
    lent.begin_night()
    words = next(line for line in Host(lent, 1).fetch_script().splitlines() if line.startswith("kernel ")).split()
    assert "nightclass.scratch=night-scratch" in words
    assert any(w.startswith("nightclass.disks=http://") and w.endswith("/boot/files/disks.squashfs") for w in words)
    (lent.state / "boot" / "disks.squashfs").unlink()
    script = Host(lent, 2).fetch_script()
    assert "nightclass.scratch" not in script and "nightclass.root=" in script, "without the drivers it is still a host"
    own = lab("none", scratch="")
    own.begin_night()
    script = Host(own, 1).fetch_script()
    assert "nightclass.scratch" not in script and "disks.squashfs" not in script


def test_what_a_pc_keeps_is_known_before_it_boots_again(lab):
    controller = lab("none")
    mpi, base = make_image(controller, "mpi"), make_image(controller, "base")
    controller.begin_night()
    one, two = Host(controller, 1).boot(), Host(controller, 2).boot()
    assert one.report(images=whole(mpi)).status == 204
    assert pc(controller, 1)["kept"] == [], "what lies in memory is not kept"
    assert two.report(images=whole(mpi) + [{"digest": base, "have": 5, "total": MIB}], scratch_mib=5000).status == 204
    assert pc(controller, 2)["kept"] == [mpi], "an image in part is not kept"
    assert pc(controller, 2)["scratch"] == {"mib": 5000, "trouble": None, "text": "5000 MiB for images"}
    go_home(controller, one, two)
    controller.kill_and_restart()
    assert pc(controller, 2)["kept"] == [mpi] and pc(controller, 2)["images"] == []

    controller.begin_night()
    hosts = [Host(controller, n).boot() for n in (1, 2, 3)]
    plan = {"name": "alice", "n": 1, "image": "mpi", "memory_mib": 256}
    for policy in ("spread", "pack"):
        vms = controller.ok("POST", "/clusters?dry_run=1", {**plan, "policy": policy}).json["vms"]
        assert [(vm["pc"], vm["image_there"]) for vm in vms] == [("pc2", True)], "it has not even verified it yet"
    vms = controller.ok("POST", "/clusters?dry_run=1", {**plan, "n": 3, "policy": "spread"}).json["vms"]
    assert sorted((vm["pc"], vm["image_there"]) for vm in vms) == [("pc1", False), ("pc2", True), ("pc3", False)]
    vms = controller.ok("POST", "/clusters?dry_run=1", {**plan, "image": "base"}).json["vms"]
    assert [(vm["pc"], vm["image_there"]) for vm in vms] == [("pc1", False)]

    assert hosts[1].report(images=[], scratch_mib=5000).status == 204
    assert pc(controller, 2)["kept"] == [], "the partition was wiped by day: the host's word counts"


def test_memory_that_an_image_takes_is_not_promised(lab):
    """A VM reads the file of an image that is whole in the host's memory, so it stays; all else makes room for VMs."""
    controller = lab("none")
    mpi = make_image(controller, "mpi")
    controller.begin_night()
    host = Host(controller, 1).boot()

    def fits(memory_mib: int, have: int = 800, **report) -> bool:
        assert host.report(images=[{"digest": mpi, "have": have * MIB, "total": 800 * MIB}], **report).status == 204
        return controller("POST", "/clusters?dry_run=1", {"name": "bob", "n": 1, "image": "mpi", "memory_mib": memory_mib}).status == 200

    assert fits(3500), "fetched ahead"
    controller.ok("POST", "/clusters", {"name": "alice", "n": 1, "image": "mpi", "memory_mib": 1024})
    assert not fits(2400) and fits(1900), "of 4096: 512 and 1024, and 800 of which 256 are among the 512"
    assert fits(2400, have=700), "in part"
    assert fits(2400, scratch_mib=5000), "on a disk"


def test_a_partition_that_is_not_used_is_told(lab):
    controller = lab("none")
    mpi = make_image(controller, "mpi")
    controller.begin_night()
    host = Host(controller, 1).boot()
    assert host.report(images=whole(mpi), scratch_mib=100).status == 204
    assert host.report(images=whole(mpi), scratch="two partitions are labelled night-scratch").status == 204
    seen = pc(controller, 1)
    assert seen["scratch"]["text"] == "unused: two partitions are labelled night-scratch" and seen["kept"] == []


def test_why_an_image_does_not_come_is_told_with_it(lab):
    controller = lab("none")
    mpi = make_image(controller, "mpi")
    controller.begin_night()
    host = Host(controller, 1).boot()
    seen = {"digest": mpi, "have": 0, "total": MIB}
    assert host.report(images=[{**seen, "reason": "it needs 1 MiB more than there is"}]).status == 204
    assert pc(controller, 1)["images"] == [{**seen, "reason": "it needs 1 MiB more than there is"}]
    assert host.report(images=[seen]).status == 204
    assert pc(controller, 1)["images"] == [seen]


def test_recent_is_the_image_of_the_newest_cluster(lab):
    controller = lab("recent")
    old = make_image(controller, "mpi")
    make_image(controller, "base")
    controller.begin_night()
    hosts = [Host(controller, n).boot() for n in (1, 2, 3)]
    assert [names(host) for host in hosts] == [[], [], []]
    controller.ok("POST", "/clusters", {"name": "alice", "n": 1, "image": "mpi", "memory_mib": 256})
    assert [[i["digest"] for i in host.goal().json["images"]] for host in hosts] == [[old]] * 3
