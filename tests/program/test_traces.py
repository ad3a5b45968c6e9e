# SPDX-License-Identifier: GPL-2.0-or-later
"""The order in which a boot reads a disk: told by the first host, kept, given to everybody, and never in anybody's
way when it is nonsense."""
import os

import pytest

from tests.program.conftest import until
from tests.program.host import Host
from tests.program.test_publish import add_revision


@pytest.fixture
def hosting(controller):
    """A host with a VM of an image of four chunks in its goal: (controller, host, digest)."""
    controller.add_pc(1)
    controller.host_image()
    image = add_revision(controller, data=os.urandom(1 << 20))
    controller.begin_night()
    host = Host(controller, 1).boot()
    host.report()
    controller.ok("POST", "/clusters", {"name": "alice", "n": 1, "image": "mpi", "memory_mib": 64})
    until(lambda: any(vm["image"] == image["digest"] for vm in host.goal().json["vms"]), 20, "a VM in the goal")
    return controller, host, image["digest"]


def tell(controller, host, digest, text: bytes, length: int | None = None):
    return controller("PUT", f"/host/traces/{digest}", token=None, raw=text, source=host.source,
                      certificate=host.certificate,
                      headers={"Content-Type": "application/octet-stream", "Content-Length": str(length or len(text))})


def test_the_first_trace_is_kept_and_given(hosting):
    controller, host, digest = hosting
    assert controller.boot(f"/traces/{digest}").status == 404
    assert [image["record"] for image in host.goal().json["images"]] == [True], "it is wanted"
    for text in (b"", b"1", b"4\n", b"1\n1\n", b"one\n", b"1\n\x00\n", b" 1\n"):
        assert tell(controller, host, digest, text).status == 400, text
        assert controller.boot(f"/traces/{digest}").status == 404, "nothing is left behind"
    assert tell(controller, host, digest, b"", length=400000).status == 400, "too long, before a byte of it is sent"
    assert tell(controller, host, digest, b"2\n0\n").status == 204
    answer = controller.boot(f"/traces/{digest}")
    assert answer.status == 200 and answer.body == b"2\n0\n"
    assert tell(controller, host, digest, b"1\n").status == 204
    assert controller.boot(f"/traces/{digest}").body == b"2\n0\n", "the first word stands"
    assert [image["record"] for image in host.goal().json["images"]] == [False]


def test_only_of_an_image_that_the_host_runs(hosting):
    controller, host, digest = hosting
    other = add_revision(controller, name="other")["digest"]
    assert tell(controller, host, other, b"1\n").status == 403
    assert tell(controller, host, "0" * 64, b"1\n").status == 403
    assert tell(controller, host, "x", b"1\n").status == 404
    assert controller.boot(f"/traces/{other}").status == 404
    assert controller.boot("/traces/..").status in (400, 404)
