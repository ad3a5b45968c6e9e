# SPDX-License-Identifier: GPL-2.0-or-later
"""CLI and page against the real nightclassd over TLS, without any PC: what each says is understood by the other."""
import hashlib
import json
import os
import sqlite3
import subprocess
import threading

import pytest

from tests.program import conftest
from tests.program.browser import CHROMIUM, Browser
from tests.program.host import Host
from tests.program.test_cli import BUILD, CONFLICT, DENIED, FAILED, NOT_FOUND, OK, PARTLY, UNREACHABLE, USAGE


class Lab(conftest.Controller):
    """A controller, and calling it is calling the CLI as its administrator."""

    def __init__(self, folder, **more):
        super().__init__(folder, **more)
        self.env = {"PATH": f"{BUILD}:{os.environ['PATH']}", "HOME": str(folder), "TZ": "UTC", "LC_ALL": "C.UTF-8",
                    "NIGHTCLASS_SERVER": f"https://127.0.0.1:{self.api_port}",
                    "NIGHTCLASS_CA": f"{folder}/state/tls/ca.pem",
                    "NIGHTCLASS_TOKEN_FILE": f"{folder}/state/admin.token"}

    def cli(self, *words, expect=OK, **env):
        done = subprocess.run([BUILD / "nightclass", *map(str, words)], env={**self.env, **env}, cwd=self.folder,
                              stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120)
        assert done.returncode == expect, (done.returncode, done.stdout, done.stderr, self.log())
        return done


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    conftest.need_nightclassd()
    one = Lab(tmp_path_factory.mktemp("lab"))
    yield one
    assert one.stop() == 0, one.log()


def test_lists_of_a_new_lab(lab):
    for noun in ("pc", "image", "cluster", "join", "night", "run"):
        assert lab.cli(noun, "list").stdout == ""
    assert "north" in lab.cli("lab", "show").stdout
    assert lab.cli("lab", "list", "-o", "name").stdout == "north\n"


def test_pcs(lab):
    for number in (1, 2, 3):
        lab.cli("pc", "add", f"pc{number}", "--mac", f"52:54:00:71:00:0{number}", "--address",
                   f"127.0.0.1{number}", "--seat", f"row 1, seat {number}")
    assert lab.cli("pc", "list", "-o", "name").stdout == "pc1\npc2\npc3\n"
    assert "52:54:00:71:00:02" in lab.cli("pc", "show", "pc2").stdout
    assert "mac" in lab.cli("pc", "add", "pc4", "--mac", "zz", "--address", "127.0.0.14", expect=USAGE).stderr
    lab.cli("pc", "add", "pc4", "--mac", "52:54:00:71:00:01", "--address", "127.0.0.14", expect=CONFLICT)
    lab.cli("pc", "edit", "pc[1-2]", "--seat", "window", "--probe", "ping")
    assert "window" in lab.cli("pc", "show", "pc1").stdout
    lab.cli("pc", "release", "pc1", expect=CONFLICT)
    lab.cli("pc", "remove", "pc3")
    lab.cli("pc", "show", "pc3", expect=NOT_FOUND)
    assert "pc/pc" in lab.cli("event", "list").stdout


def test_tokens_and_roles(lab):
    viewer = lab.folder / "viewer"
    viewer.write_text(lab.cli("token", "create", "wall", "--role", "viewer").stdout)
    env = {"NIGHTCLASS_TOKEN_FILE": str(viewer)}
    lab.cli("lab", "show", **env)
    assert "role" in lab.cli("pc", "remove", "pc1", expect=DENIED, **env).stderr
    assert lab.cli("token", "list", "-o", "name").stdout.split() == ["admin", "wall"]
    lab.cli("token", "delete", "wall")
    lab.cli("lab", "show", expect=DENIED, **env)


def test_a_foreign_authority_is_not_talked_to(lab):
    other = lab.folder / "other.pem"
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout",
                    "/dev/null", "-out", other, "-subj", "/CN=other", "-days", "2"], check=True, capture_output=True)
    lab.cli("lab", "show", expect=UNREACHABLE, NIGHTCLASS_CA=str(other))


def test_image_goes_in_and_out(lab):
    disk = lab.folder / "disk.raw"
    with open(disk, "wb") as file:
        file.write(os.urandom(5 << 20))
        file.truncate(64 << 20)
    (lab.folder / "vmlinuz").write_bytes(os.urandom(100000))
    done = lab.cli("image", "import", "tiny", disk, "--kernel", "vmlinuz", "--cmdline", "root=/dev/vda")
    assert "64.0 MiB" in done.stdout
    assert lab.cli("image", "list", "-o", "name").stdout == "tiny\n"
    evil = lab.folder / "evil.qcow2"
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", "-b", disk, "-F", "raw", evil], check=True)
    assert "backing" in lab.cli("image", "import", "evil", evil, expect=FAILED).stderr
    assert lab.cli("image", "list", "-o", "name").stdout == "tiny\n"
    lab.cli("image", "import", "tiny", disk, "--kernel", "vmlinuz", "--on-server")
    revisions = json.loads(lab.cli("image", "list", "-o", "json").stdout)["items"]
    assert [image["revision"] for image in revisions] == [2, 1]
    assert "64.0 MiB" in lab.cli("image", "show", "tiny", "--revision", 1).stdout
    lab.cli("image", "delete", "tiny", "--revision", 1)
    lab.cli("image", "show", "tiny", "--revision", 1, expect=NOT_FOUND)
    lab.cli("image", "show", "tiny", "--revision", 0, expect=USAGE)
    assert "--force" in lab.cli("image", "delete", "tiny", expect=CONFLICT).stderr
    lab.cli("image", "delete", "tiny", "--force")
    assert lab.cli("image", "list").stdout == ""


def test_an_exported_vm_goes_in(lab):
    """The folder, with a disk as VirtualBox writes it: the same image as the disk itself."""
    out = lab.folder / "out"
    out.mkdir()
    (lab.folder / "exported.raw").write_bytes(os.urandom(3 << 20) + bytes(5 << 20))
    subprocess.run(["qemu-img", "convert", "-q", "-f", "raw", "-O", "vmdk", "-o", "subformat=streamOptimized",
                    lab.folder / "exported.raw", out / "vm-disk001.vmdk"], check=True)
    (out / "vm.ovf").write_text(
        '<?xml version="1.0"?>\n<Envelope xmlns:ovf="http://schemas.dmtf.org/ovf/envelope/1"><References>'
        '<File ovf:href="vm-disk001.vmdk" ovf:id="file1"/></References><DiskSection>'
        f'<Disk ovf:capacity="{8 << 20}" ovf:diskId="vmdisk1" ovf:fileRef="file1"/></DiskSection></Envelope>\n')
    digests = "".join(f"SHA1 ({name}) = {hashlib.sha1((out / name).read_bytes()).hexdigest()}\n"
                      for name in ("vm.ovf", "vm-disk001.vmdk"))
    (out / "vm.mf").write_text(digests)
    images = [json.loads(lab.cli("image", "import", "vm", path, "-o", "json").stdout) for path in ("out", "out/vm.ovf", "exported.raw")]
    disks = [lab.boot(f"/manifests/{image['digest']}").json["parts"]["disk"] for image in images]
    assert disks[0] == disks[1] == disks[2] and disks[0]["size"] == 8 << 20
    (out / "vm.mf").write_text(digests.replace("SHA1 (vm.ovf) = ", "SHA1 (vm.ovf) = 0")[:-2])
    assert "manifest" in lab.cli("image", "import", "vm", "out", expect=FAILED).stderr
    alone = lab.folder / "vm.xml"
    alone.write_bytes((out / "vm.ovf").read_bytes().ljust(1024))
    assert "FOLDER/VM.ovf" in lab.cli("image", "import", "vm", alone, expect=FAILED).stderr
    lab.cli("image", "delete", "vm", "--force")


def test_what_cannot_be_done_says_why(lab):
    assert "image" in lab.cli("cluster", "create", "alice", "-n", 2, "--no-wait", expect=NOT_FOUND).stderr
    assert "no night" in lab.cli("join", "create", "south", expect=CONFLICT).stderr
    lab.cli("night", "show", expect=NOT_FOUND)
    lab.cli("run", "-n", 2, "/bin/true", expect=NOT_FOUND)
    lab.cli("run", "-n", 2, "--cluster", "none", "/bin/true", expect=NOT_FOUND)


def test_a_failed_cluster_is_closed_by_delete(lab):
    assert lab.stop() == 0
    with sqlite3.connect(lab.state / "nightclass.db") as db:
        db.execute("INSERT INTO cluster (name, owner, home, image, image_name, revision, n, cpus, memory_mib, policy, state, created, reason)"
                   " VALUES ('old', 'admin', 'north', ?, 'mpi', 1, 2, 1, 512, 'pack', 'failed', 1, 'no room')", ("0" * 64,))
    lab.start()
    lab.cli("cluster", "delete", "old", "--timeout", "10s")
    row = json.loads(lab.cli("cluster", "show", "old", "-o", "json").stdout)
    assert (row["state"], row["reason"]) == ("closed", "no room")


def test_follow_survives_a_killed_controller(lab):
    process = subprocess.Popen([BUILD / "nightclass", "event", "follow", "--after", "0"], env=lab.env,
                               stdout=subprocess.PIPE, text=True)
    try:
        assert "token/admin" in process.stdout.readline()
        lab.kill_and_restart()
        lab.cli("pc", "add", "pc9", "--mac", "52:54:00:71:00:09", "--address", "127.0.0.19")
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
def test_the_page(lab):
    token = (lab.folder / "state" / "admin.token").read_text().strip()
    with Browser() as page:
        page.trust_any_certificate()
        page.open(f"https://127.0.0.1:{lab.api_port}/#token={token}")
        page.wait("document.querySelector('.seat')")
        page.wait("document.querySelector('#link').dataset.link === 'live'")
        assert "Lab north" in page.text("#lab-name")
        lab.cli("pc", "edit", "pc1", "--seat", "by the door")
        lab.cli("pc", "add", "pc8", "--mac", "52:54:00:71:00:08", "--address", "127.0.0.18")
        page.wait("document.body.innerText.includes('pc8')")
        page.wait("document.querySelector('.events li')")
        page.screenshot(str(BUILD / "web" / "daemon.png"))
        assert page.eval("getComputedStyle(document.querySelector('.seat')).display") == "flex", "no style sheet"
        assert not page.errors


# ---- a night with hosts that only talk

class TalkingHost(threading.Thread):
    """Boots, enrols, and reports that all its goal wants is so, again and again; hands back when told to."""

    def __init__(self, controller, n):
        super().__init__(daemon=True)
        self.host, self.ended, self.error = Host(controller, n), threading.Event(), None

    def run(self):
        try:
            self.host.boot()
            generation, seen = 0, {}
            while not self.ended.is_set():
                answer = self.host.goal(f"?generation={generation}&wait=2")
                goal = answer.json if answer.status == 200 else None
                if answer.status == 204:
                    self.host.report(generation=generation, **seen)
                if goal is None:
                    continue
                generation = goal["generation"]
                if goal["role"] == "desktop":
                    self.host.report(generation=generation, role="desktop")
                    return
                vms = [{"id": vm["id"], "state": "ready", "ready_ms": 1234} for vm in goal.get("vms", [])]
                images = [{"digest": image["digest"], "have": 1, "total": 1} for image in goal.get("images", [])]
                seen = {"vms": vms, "images": images}
                self.host.report(generation=generation, **seen)
        except Exception as error:      # told by the test that waits for us
            self.error = error


def states(lab):
    return [pc["state"] for pc in lab.ok("GET", "/pcs").items]


@pytest.fixture
def dark_lab(tmp_path):
    """A lab in its night: pc1 and pc2 are hosts, pc3 never woke; the CLI that started it waited for that."""
    conftest.need_nightclassd()
    lab, hosts = Lab(tmp_path, options="wake_timeout = 20s\nhost_boot_timeout = 60s"), []
    try:
        lab.host_image()
        for n in (1, 2, 3):
            lab.add_pc(n)
        (tmp_path / "disk.raw").write_bytes(bytes(1 << 20))
        lab.cli("image", "import", "mpi", "disk.raw")
        start = subprocess.Popen([BUILD / "nightclass", "night", "start", "--for", "2h"], env=lab.env, text=True,
                                 stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        conftest.until(lambda: states(lab) == ["waking"] * 3, 20, "PCs to be woken")
        hosts = [TalkingHost(lab, n) for n in (1, 2)]
        for host in hosts:
            host.start()
        lab.started = start.communicate(timeout=60)
        assert start.returncode == PARTLY, lab.started
        yield lab
    finally:
        for host in hosts:
            host.ended.set()
            host.join(20)
        assert lab.stop() == 0, lab.log()
    assert [host.error for host in hosts] == [None, None]


def test_a_night(dark_lab):
    lab = dark_lab
    out, err = lab.started
    assert "2 host, 1 exception" in err.splitlines()[-1]
    assert "pc3" in out and "exception" in out
    lab.cli("night", "start", "--for", "3h", expect=CONFLICT)
    plan = lab.cli("cluster", "create", "alice", "-n", 4, "--policy", "spread", "--dry-run").stdout
    assert plan.count("alice-00") == 4 and lab.cli("cluster", "list").stdout == ""
    done = lab.cli("cluster", "create", "alice", "-n", 4, "--policy", "spread")
    assert done.stdout.count(" ready ") == 4 and "1.2 s" in done.stdout
    assert "alice: ready (4 ready)" in done.stderr
    assert "alice-[00" in lab.cli("pc", "show", "pc1").stdout
    assert "room for" in lab.cli("cluster", "create", "bob", "-n", 200, expect=CONFLICT).stderr
    lab.cli("pc", "remove", "pc1", expect=CONFLICT)
    lab.cli("cluster", "delete", "alice")
    assert "alice-001" in lab.cli("cluster", "create", "alice", "-n", 1, "--dry-run").stdout
    assert "closed" in lab.cli("cluster", "show", "alice").stdout, "only a plan: the closed one stays"
    lab.cli("pc", "release", "pc3")
    done = lab.cli("night", "end")
    assert "3 desktop" in done.stderr.splitlines()[-1]
    assert states(lab) == ["desktop"] * 3
    assert json.loads(lab.cli("night", "list", "-o", "json").stdout)["items"][0]["state"] == "done"


@pytest.mark.skipif(not CHROMIUM, reason="chromium is not installed")
def test_the_page_in_the_night(dark_lab):
    lab = dark_lab
    with Browser() as page:
        page.trust_any_certificate()
        page.open(f"https://127.0.0.1:{lab.api_port}/#token={lab.admin}")
        page.wait("document.querySelectorAll('.seat[data-state=host]').length === 2")
        page.wait("document.querySelectorAll('.seat[data-state=exception]').length === 1")
        assert "hand-back in 1 h 5" in page.text("#countdown")
        lab.cli("cluster", "create", "alice", "-n", 4, "--policy", "spread")
        page.wait("document.querySelectorAll('.vm[data-state=ready]').length === 4")
        page.wait("document.querySelector('#clusters').innerText.includes('4 of 4 ready')")
        page.screenshot(str(BUILD / "web" / "daemon-night.png"))
        lab.clock.write_text("3600\n")
        lab.cli("pc", "edit", "pc1", "--seat", "an hour later")
        page.wait("/hand-back in 5\\d min/.test(document.querySelector('#countdown').innerText)")
        page.wait("document.querySelector('.events li[data-alarm]')")
        page.screenshot(str(BUILD / "web" / "daemon-lost.png"))
        assert not page.errors
