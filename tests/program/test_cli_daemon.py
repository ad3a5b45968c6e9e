# SPDX-License-Identifier: GPL-2.0-or-later
"""CLI and page against the real nightclassd over TLS, without any PC: what each says is understood by the other."""
import json
import os
import pathlib
import signal
import socket
import subprocess
import time

import pytest

from tests.program.browser import CHROMIUM, Browser
from tests.program.test_cli import BUILD, CONFLICT, DENIED, FAILED, NOT_FOUND, OK, UNREACHABLE, USAGE

ROOT = pathlib.Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.skipif(not (BUILD / "nightclassd").exists(), reason="nightclassd is not built")


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Controller:
    def __init__(self, folder):
        self.folder, self.port = folder, free_port()
        (folder / "nightclass.conf").write_text(
            "[lab]\nname = north\nlan_address = 10.71.0.1/24\ndesktop_probe = none\n[controller]\n"
            f"state_dir = {folder}/state\napi_port = {self.port}\nboot_port = {free_port()}\nlisten = 127.0.0.1\n"
            f"netd_socket = {folder}/netd.sock\n")
        self.env = {"PATH": f"{BUILD}:{os.environ['PATH']}", "HOME": str(folder), "TZ": "UTC", "LC_ALL": "C.UTF-8",
                    "NIGHTCLASS_SERVER": f"https://127.0.0.1:{self.port}",
                    "NIGHTCLASS_CA": f"{folder}/state/tls/ca.pem",
                    "NIGHTCLASS_TOKEN_FILE": f"{folder}/state/admin.token"}
        self.start()

    def start(self):
        with open(self.folder / "log", "ab") as log:
            self.process = subprocess.Popen([BUILD / "nightclassd", "-c", self.folder / "nightclass.conf"], env=self.env,
                                            stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        end = time.monotonic() + 30
        while True:
            assert self.process.poll() is None, self.log()
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            assert time.monotonic() < end, self.log()
            time.sleep(0.05)

    def stop(self, how=signal.SIGTERM):
        self.process.send_signal(how)
        return self.process.wait(30)

    def log(self):
        return (self.folder / "log").read_text(errors="replace")[-4000:]

    def __call__(self, *words, expect=OK, **env):
        done = subprocess.run([BUILD / "nightclass", *map(str, words)], env={**self.env, **env}, cwd=self.folder,
                              stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120)
        assert done.returncode == expect, (done.returncode, done.stdout, done.stderr, self.log())
        return done


@pytest.fixture(scope="module")
def controller(tmp_path_factory):
    one = Controller(tmp_path_factory.mktemp("controller"))
    yield one
    assert one.stop() == 0, one.log()


def test_lists_of_a_new_lab(controller):
    for noun in ("pc", "image", "cluster", "join", "night", "run"):
        assert controller(noun, "list").stdout == ""
    assert "north" in controller("lab", "show").stdout
    assert controller("lab", "list", "-o", "name").stdout == "north\n"


def test_pcs(controller):
    for number in (1, 2, 3):
        controller("pc", "add", f"pc{number}", "--mac", f"52:54:00:71:00:0{number}", "--address",
                   f"10.71.0.1{number}", "--seat", f"row 1, seat {number}")
    assert controller("pc", "list", "-o", "name").stdout == "pc1\npc2\npc3\n"
    assert "52:54:00:71:00:02" in controller("pc", "show", "pc2").stdout
    assert "mac" in controller("pc", "add", "pc4", "--mac", "zz", "--address", "10.71.0.14", expect=USAGE).stderr
    controller("pc", "add", "pc4", "--mac", "52:54:00:71:00:01", "--address", "10.71.0.14", expect=CONFLICT)
    controller("pc", "edit", "pc[1-2]", "--seat", "window", "--probe", "ping")
    assert "window" in controller("pc", "show", "pc1").stdout
    controller("pc", "release", "pc1", expect=CONFLICT)
    controller("pc", "remove", "pc3")
    controller("pc", "show", "pc3", expect=NOT_FOUND)
    assert "pc/pc" in controller("event", "list").stdout


def test_tokens_and_roles(controller):
    viewer = controller.folder / "viewer"
    viewer.write_text(controller("token", "create", "wall", "--role", "viewer").stdout)
    env = {"NIGHTCLASS_TOKEN_FILE": str(viewer)}
    controller("lab", "show", **env)
    assert "role" in controller("pc", "remove", "pc1", expect=DENIED, **env).stderr
    assert controller("token", "list", "-o", "name").stdout.split() == ["admin", "wall"]
    controller("token", "delete", "wall")
    controller("lab", "show", expect=DENIED, **env)


def test_a_foreign_authority_is_not_talked_to(controller):
    other = controller.folder / "other.pem"
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout",
                    "/dev/null", "-out", other, "-subj", "/CN=other", "-days", "2"], check=True, capture_output=True)
    controller("lab", "show", expect=UNREACHABLE, NIGHTCLASS_CA=str(other))


def test_image_goes_in_and_out(controller):
    disk = controller.folder / "disk.raw"
    with open(disk, "wb") as file:
        file.write(os.urandom(5 << 20))
        file.truncate(64 << 20)
    (controller.folder / "vmlinuz").write_bytes(os.urandom(100000))
    done = controller("image", "import", "tiny", disk, "--kernel", "vmlinuz", "--cmdline", "root=/dev/vda")
    assert "64.0 MiB" in done.stdout
    assert controller("image", "list", "-o", "name").stdout == "tiny\n"
    evil = controller.folder / "evil.qcow2"
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", "-b", disk, "-F", "raw", evil], check=True)
    assert "backing" in controller("image", "import", "evil", evil, expect=FAILED).stderr
    assert controller("image", "list", "-o", "name").stdout == "tiny\n"
    controller("image", "import", "tiny", disk, "--kernel", "vmlinuz", "--on-server")
    revisions = json.loads(controller("image", "list", "-o", "json").stdout)["items"]
    assert [image["revision"] for image in revisions] == [2, 1]
    assert "64.0 MiB" in controller("image", "show", "tiny", "--revision", 1).stdout
    controller("image", "delete", "tiny", "--revision", 1)
    controller("image", "show", "tiny", "--revision", 1, expect=NOT_FOUND)
    controller("image", "show", "tiny", "--revision", 0, expect=USAGE)
    controller("image", "delete", "tiny")
    assert controller("image", "list").stdout == ""


def test_what_cannot_be_done_says_why(controller):
    assert "image" in controller("cluster", "create", "alice", "-n", 2, "--no-wait", expect=NOT_FOUND).stderr
    assert "no night" in controller("join", "create", "south", expect=CONFLICT).stderr
    controller("night", "show", expect=NOT_FOUND)
    controller("run", "-n", 2, "/bin/true", expect=NOT_FOUND)
    controller("run", "-n", 2, "--cluster", "none", "/bin/true", expect=NOT_FOUND)


def test_follow_survives_a_killed_controller(controller):
    process = subprocess.Popen([BUILD / "nightclass", "event", "follow", "--after", "0"], env=controller.env,
                               stdout=subprocess.PIPE, text=True)
    try:
        assert "token/admin" in process.stdout.readline()
        controller.stop(signal.SIGKILL)
        controller.start()
        controller("pc", "add", "pc9", "--mac", "52:54:00:71:00:09", "--address", "10.71.0.19")
        for line in process.stdout:
            if "pc9" in line:
                break
        else:
            pytest.fail("the event of after the restart was not shown")
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


@pytest.mark.skipif(not CHROMIUM, reason="chromium is not installed")
def test_the_page(controller):
    token = (controller.folder / "state" / "admin.token").read_text().strip()
    with Browser() as page:
        page.trust_any_certificate()
        page.open(f"https://127.0.0.1:{controller.port}/#token={token}")
        page.wait("document.querySelector('.seat')")
        page.wait("document.querySelector('#link').dataset.link === 'live'")
        assert "Lab north" in page.text("#lab-name")
        controller("pc", "edit", "pc1", "--seat", "by the door")
        controller("pc", "add", "pc8", "--mac", "52:54:00:71:00:08", "--address", "10.71.0.18")
        page.wait("document.body.innerText.includes('pc8')")
        page.wait("document.querySelector('.events li')")
        page.screenshot(str(BUILD / "web" / "daemon.png"))
        assert page.eval("getComputedStyle(document.querySelector('.seat')).display") == "flex", "no style sheet"
        assert not page.errors
