# SPDX-License-Identifier: GPL-2.0-or-later
"""The controller has cast what hosts lack, and only that, and says so in their goals."""
import json
import os
import signal
import socket
import struct
import subprocess

import pytest

from tests.program.conftest import BUILD, is_bound, until
from tests.program.host import Host
from tests.program.test_preload import make_image, whole

CAST = BUILD / "nightclass-cast"
PORT = 17867


@pytest.fixture
def casting(make_controller):
    """casting(options) -> a controller that has one PC and an image to preload."""
    def make(options=""):
        if not CAST.exists():
            pytest.skip(f"{CAST} is not built")
        made = make_controller(lab="preload = mpi", options=f"cast_port = {PORT}\n{options}")
        made.add_pc(1)
        made.host_image()
        return made

    return make


@pytest.fixture
def controller(casting):
    return casting()


def senders(controller) -> list[int]:
    """Processes that cast from this controller's store."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/cmdline", "rb") as file:
                words = file.read().split(b"\0")
        except OSError:
            continue
        if b"send" in words and f"{controller.state}/store".encode() in words:
            found.append(int(pid))
    return found


def started(controller) -> list[int]:
    """The same, once there is one: a goal may name the cast while its process is still between fork and exec."""
    return until(lambda: senders(controller), 60, "a sender")


def receive(controller, digest: str, folder) -> dict:
    until(lambda: is_bound(PORT), 60, "the sender's port")  # a receiver gives up soon where nobody casts
    done = subprocess.run([str(word) for word in (CAST, "receive", "--alone", "--dir", folder, "--server", "127.0.0.1", "--port", PORT,
                                                  "--name", "pc1", digest)], capture_output=True, text=True, timeout=60)
    return json.loads(done.stdout.splitlines()[-1])


def test_what_a_host_lacks_is_cast(controller, tmp_path):
    digest = make_image(controller, "mpi")
    controller.begin_night()
    host = Host(controller, 1).boot()
    assert host.goal().json["cast"] == f"127.0.0.1:{PORT}"
    assert len(started(controller)) == 1
    result = receive(controller, digest, tmp_path / "images")
    assert result.get("result") == "whole", result
    assert (tmp_path / "images" / digest / "complete").exists()
    assert host.report(images=whole(digest)).status == 204
    assert "cast" not in host.goal().json


def test_a_second_image_joins_the_same_cast(controller, tmp_path):
    make_image(controller, "mpi")
    controller.begin_night()
    host = Host(controller, 1).boot()
    assert host.goal().json["cast"]
    first = started(controller)
    digest = make_image(controller, "mpi")
    until(lambda: host.goal().json["images"][0]["digest"] == digest, 10, "the new revision")
    assert receive(controller, digest, tmp_path / "images").get("result") == "whole"
    assert senders(controller) == first


def test_a_sender_that_dies_is_no_trouble(controller):
    make_image(controller, "mpi")
    controller.begin_night()
    host = Host(controller, 1).boot()
    assert host.goal().json["cast"]
    for pid in started(controller):
        os.kill(pid, signal.SIGKILL)
    until(lambda: not senders(controller), 10, "the sender's end")
    until(lambda: "cast" not in host.goal().json, 10, "a goal without it")
    assert host.goal().json["chunk_url"]


def test_goals_name_no_cast_for_an_image_that_the_sender_cannot_open(controller, tmp_path):
    """Hosts would ask for it in vain. The sender goes on, and casts the next revision."""
    digest = make_image(controller, "mpi")
    (controller.state / "store" / "manifests" / digest).rename(tmp_path / "manifest")
    controller.begin_night()
    host = Host(controller, 1).boot()
    assert host.goal().json["cast"]
    sender = started(controller)
    until(lambda: "cast" not in host.goal().json, 30, "a goal without it")
    assert f"cast: image {digest[:12]}" in controller.log() and "by HTTP until" in controller.log()
    digest = make_image(controller, "mpi")
    until(lambda: host.goal().json["images"][0]["digest"] == digest, 10, "the new revision")
    assert host.goal().json["cast"]
    assert receive(controller, digest, tmp_path / "images").get("result") == "whole"
    assert senders(controller) == sender


def test_the_sender_ends_with_the_controller(controller):
    make_image(controller, "mpi")
    controller.begin_night()
    assert Host(controller, 1).boot().goal().json["cast"]
    assert started(controller)
    controller.stop()
    until(lambda: not senders(controller), 10, "the sender's end")


def command(pid: int) -> list[str]:
    with open(f"/proc/{pid}/cmdline", encoding="ascii") as file:
        return file.read().split("\0")


def test_without_multicast_hosts_are_sent_to_a_chain(casting, tmp_path):
    controller = casting("cast_group = none")
    digest = make_image(controller, "mpi")
    controller.begin_night()
    assert Host(controller, 1).boot().goal().json["cast"] == f"127.0.0.1:{PORT}"
    words = command(started(controller)[0])
    assert "--no-multicast" in words and "--group" not in words
    error = receive(controller, digest, tmp_path / "images")["error"]
    assert error["code"] == "ENOTCONN", error


@pytest.mark.parametrize("port", (0, 65535))
def test_a_receiver_has_room_for_the_chains_port_too(tmp_path, port):
    words = (CAST, "receive", "--dir", tmp_path, "--server", "127.0.0.1", "--port", PORT, "--name", "pc1", "--serve-port", port, "0" * 64)
    done = subprocess.run([str(word) for word in words], capture_output=True, text=True, timeout=60)
    assert done.returncode == 2 and "--serve-port" in done.stderr and not done.stdout, done


HELLO, STATUS, WELCOME, DROP = 1, 3, 6, 7  # kinds of images/cast_frame.h
FORM = b"\2"
GROUP = socket.inet_aton("239.255.78.67")


def test_the_controller_sees_who_hears_no_multicast(controller):
    """A PC that is welcome and says that it hears nothing is sent to its peers; a stranger's name makes no event, and a
    PC that says it again and again makes one a minute: anybody on the segment may speak in its name."""
    controller.add_pc(2)
    digest = make_image(controller, "mpi")
    controller.begin_night()
    assert Host(controller, 1).boot().goal().json["cast"]
    started(controller)
    for name in (b"stranger", b"pc1", b"pc1", b"pc1", b"pc2"):
        nonce = os.urandom(8)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as pc:
            pc.connect(("127.0.0.1", PORT))
            pc.settimeout(0.2)

            def ask(kind: int, *frame: bytes) -> int | None:
                """The session of the answer, if that is of this kind."""
                try:
                    pc.send(b"".join(frame))
                    session, control, seen = struct.unpack(">IHH", pc.recv(2048)[:8])
                except (TimeoutError, ConnectionRefusedError):
                    return None
                return session if (control, seen) == (0xffff, kind) else None

            def answer(*words) -> int:
                return until(lambda: ask(*words), 20, f"a frame of kind {words[0]}")

            session = answer(WELCOME, struct.pack(">IHH", 0, 0xffff, HELLO), FORM, nonce, bytes.fromhex(digest),
                             struct.pack(">HBB", 8081, 0, len(name)), name)
            answer(DROP, struct.pack(">IHH", session, 0xffff, STATUS),
                   struct.pack(">IIQQBBB4sIH", 0, 0, 0, 0, 1, 1, 1, GROUP, 0, 0))
    seen = until(lambda: (e := controller.events("image.cast")) and e[-1]["subject"] == "pc/pc2" and e, 10, "the last event")
    assert [event["subject"] for event in seen] == ["pc/pc1", "pc/pc2"] and "hears no multicast" in seen[0]["text"], seen
