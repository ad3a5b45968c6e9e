# SPDX-License-Identifier: GPL-2.0-or-later
"""The host's agent on a namespace PC with a real libvirtd and real (small, memory-only) VMs that run the real guest
agent, against a fake controller over TLS."""
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import tempfile
import uuid

import pytest

from tests.rig import sandbox
from tests.rig.clock import Clock
from tests.rig.daemon import Daemon
from tests.rig.hostd_fake import Authority, Controller
from tests.rig.lab import BUILD, IMAGES, ROOT
from tests.rig.wait import until
from tests.rig.wire import Namespace, run

MPI = IMAGES / "mpi-lean"
HOSTD = pathlib.Path(BUILD).resolve() / "nightclass-hostd"
GUEST = pathlib.Path(BUILD).resolve() / "nightclass-guest"
IMPORT = pathlib.Path(BUILD).resolve() / "nightclass-import"
MAC = "52:54:00:79:00:01"

pytestmark = [
    pytest.mark.skipif(not sandbox.inside(), reason="runs in the rig's sandbox only"),
    pytest.mark.skipif(not shutil.which("openssl"), reason="no openssl program"),
]
needs_vms = pytest.mark.skipif(not (MPI / "vmlinuz").exists() or not shutil.which("libvirtd"),
                               reason="no kernel to run in VMs (make images), or no libvirtd")


# --- the PC and the image, once

@pytest.fixture(scope="module")
def wire():
    """The controller's address on a switch, and a PC's namespace on it."""
    root, pc = Namespace(), Namespace("hostd-pc")
    root.bridge("hostdlan", "10.79.0.1/24", "10.79.1.1/24")
    pc.cable("eth0", root, "hostdp", bridge="hostdlan", mac=MAC)
    pc.bridge("br0", "10.79.0.11/24")
    pc.ip("link", "set", "eth0", "master", "br0")
    pc.ip("link", "set", "br0", "address", MAC)
    yield pc
    pc.delete()
    for name in ("hostdp", "hostdlan", "hostdlan-plug"):
        root.run("ip", "link", "del", name, check=False)


class Machine:
    """The PC: its namespaces with libvirtd in them."""

    def __init__(self, ns: Namespace, folder: pathlib.Path):
        self.libvirtd = Daemon("libvirtd", ns.argv(
            "unshare", "--mount", "--propagation", "private", "sh", str(ROOT / "tests/rig/nspc.sh"),
            str(folder / "machine")), folder / "libvirtd.log").start()
        try:
            until(lambda: self.virsh("uri").returncode == 0, 60, "libvirtd")
        except TimeoutError as late:
            raise TimeoutError(f"libvirtd: {self.libvirtd.tail()}") from late

    def argv(self, *argv: str) -> list[str]:
        return ["nsenter", "-t", str(self.libvirtd.process.pid), "--mount", "--net", *argv]

    def virsh(self, *words: str) -> subprocess.CompletedProcess:
        return run(*self.argv("virsh", "-c", "qemu:///system", *words), check=False)

    def domains(self) -> set[str]:
        done = self.virsh("list", "--name")
        assert done.returncode == 0, done.stderr
        return set(done.stdout.split())

    def stop(self) -> None:
        for name in self.virsh("list", "--name").stdout.split():
            self.virsh("destroy", name)
        self.libvirtd.stop()


@pytest.fixture(scope="module")
def machine(wire):
    rig = pathlib.Path("/run/hostd-rig")  # the machine shows its own /run with only this in it
    rig.mkdir(exist_ok=True)
    folder = pathlib.Path(tempfile.mkdtemp(prefix="pc", dir=rig))
    made = Machine(wire, folder)
    yield made
    made.stop()


def libraries(program: pathlib.Path) -> list[str]:
    words = run("ldd", str(program)).stdout.split()
    return [word for word in words if word.startswith("/")]


def initrd_with_agent(folder: pathlib.Path) -> pathlib.Path:
    """The default image's initrd (busybox and drivers), with the guest agent as all there is to run."""
    tree = folder / "tree"
    for path in [str(GUEST), *libraries(GUEST)]:
        to = tree / ("bin/nightclass-guest" if path == str(GUEST) else path.lstrip("/"))
        to.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, to)
    shutil.copy(ROOT / "tests/rig/hostd_guest/init", tree / "init")
    (tree / "etc").mkdir(exist_ok=True)
    for file, line in (("passwd", "root:x:0:0:root:/root:/bin/sh\n"), ("group", "root:x:0:\n"), ("shadow", "root:*:1::::::\n")):
        (tree / "etc" / file).write_text(line)
    ours = subprocess.run(["cpio", "--quiet", "-o", "-H", "newc", "-R", "0:0"], cwd=tree, check=True,
                          input="\n".join(str(p.relative_to(tree)) for p in sorted(tree.rglob("*"))).encode(),
                          stdout=subprocess.PIPE).stdout
    made = folder / "initrd"
    first = (MPI / "initrd.img").read_bytes()
    made.write_bytes(first + bytes(-len(first) % 4) + ours)
    return made


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> dict:
    """A chunk store with images of the same tiny VM; their digests as "vm", "deaf" (to the power button) and "lost" (its
    kernel finds no init, panics and stays)."""
    folder = tmp_path_factory.mktemp("image")
    initrd = initrd_with_agent(folder)
    disk = folder / "disk.raw"
    disk.write_bytes(os.urandom(65536) + bytes((1 << 20) - 65536))
    found = {"dir": folder / "store"}
    for name, words in (("vm", "vm"), ("deaf", "deaf"), ("lost", "panic=0 rdinit=/nowhere")):
        done = run(str(IMPORT), "--no-sync", "--store", str(found["dir"]), "--name", name, "--revision", "1", "--kernel",
                   str(MPI / "vmlinuz"), "--initrd", str(initrd), "--cmdline",
                   f"console=ttyS0 quiet panic=-1 mitigations=off {words}", str(disk))
        found[name] = json.loads(done.stdout.splitlines()[-1])["digest"]
    return found


def keys(folder: pathlib.Path, name: str) -> tuple[str, str]:
    return f"-----BEGIN OPENSSH PRIVATE KEY-----\n{name}\n-----END OPENSSH PRIVATE KEY-----\n", f"ssh-ed25519 AAAA{name} {name}"


def vm(number: int, image: str, instance: str = "x") -> dict:
    name = f"alice-{number:03d}"
    private, public = keys(pathlib.Path(), name)
    return {"id": name, "image": image, "cpus": 1, "memory_mib": 320, "context": {
        "instance_id": f"{name}-{instance}", "hostname": name, "mac": f"52:4e:43:00:00:{number:02x}",
        "address": f"10.79.1.{10 + number}/24", "gateway": "10.79.1.1", "cluster_net": "10.79.0.0/16",
        "hosts": [{"ip": f"10.79.1.{10 + number}", "name": name}], "user": "night", "user_key": private,
        "user_key_pub": public, "host_key": private, "host_key_pub": public, "known_hosts": f"{name} {public}\n"}}


# --- one host, anew for each test

class Host:
    """A boot of the PC: hostd with folders, clock and boot id of its own."""

    def __init__(self, folder: pathlib.Path, argv, controller: Controller, **options):
        self.dir = folder
        self.controller = controller
        self.clock = Clock(folder / "clock")
        self.rebooted = folder / "rebooted"
        reboot = folder / "reboot"
        reboot.write_text(f"#!/bin/sh\nexec touch {self.rebooted}\n")
        reboot.chmod(0o755)
        (folder / "cmdline").write_text(
            f"quiet BOOTIF=01-{MAC.replace(':', '-')} nightclass.url={controller.url} "
            f"nightclass.ca=sha256:{options.pop('ca', controller.authority.digest)} console=ttyS0\n")
        (folder / "screen").touch()
        words = {"cmdline": folder / "cmdline", "boot_id": uuid.uuid4(), "reboot_command": reboot, "accel": "tcg",
                 "run_dir": folder / "run", "image_dir": folder / "images", "vm_dir": folder / "vm",
                 "console": folder / "screen", "report_s": "2s", "poll_s": "5s", **options}
        env = dict(os.environ, NIGHTCLASS_CLOCK=str(self.clock.path))
        self.hostd = Daemon("hostd", argv(str(HOSTD), *[w for k, v in words.items() for w in ("-o", f"{k}={v}")]),
                            folder / "hostd.log", env).start()
        controller.tail = self.last_words

    def last_words(self) -> str:
        """What hostd said, and the consoles of its VMs, for who waits in vain."""
        consoles = [f"\n{path.parent.name}: {path.read_text(errors='replace')[-800:]}"
                    for path in sorted((self.dir / "vm").glob("*/console.log"))]
        return self.hostd.tail(30) + "".join(consoles)

    def wait_reboot(self, timeout: float) -> None:
        until(lambda: self.rebooted.exists() and not self.hostd.alive(), timeout, f"reboot: {self.hostd.tail()}")
        assert self.hostd.process.returncode == 0, self.hostd.tail()

    def stop(self) -> None:
        self.hostd.stop()
        assert "Sanitizer" not in self.hostd.text(), self.hostd.tail(60)


@pytest.fixture
def boot(wire):
    """boot(controller, **options) -> Host. The folder has a short name: a unix socket's path must fit."""
    made: list = []
    folder = pathlib.Path(tempfile.mkdtemp(prefix="h-", dir="/tmp"))  # /run is the PC's own

    def make(controller: Controller, where=None, **options) -> Host:
        host = Host(folder, where or wire.argv, controller, **options)
        made.append(host)
        return host

    make.folder = folder
    yield make
    for host in made:
        host.stop()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def controller(wire, tmp_path, request):
    """The fake; with the image store when the test uses it."""
    store = request.getfixturevalue("store") if "store" in request.fixturenames else None
    made = Controller(tmp_path, "10.79.0.1", store["dir"] if store else None)
    yield made
    made.stop()


def states(report: dict) -> dict:
    return {line["id"]: line["state"] for line in report["vms"]}


# --- enrolment and life without VMs

def test_refused_then_expected(boot, controller):
    controller.expected = False
    host = boot(controller, libvirt_uri="test:///default")
    line = host.hostd.wait_for("enrolment: .*not expected", 30)
    assert "52:54:00:79:00:01" in line
    until(lambda: "not expected" in (host.dir / "screen").read_text(), 5, "the reason on the screen")
    controller.expected = True
    controller.want(1)
    report = controller.wait_report(lambda r: r["generation"] == 1, 60, "a report of goal 1")
    assert controller.enrolled == 1 and controller.strangers == 0
    facts = report["facts"]
    assert facts["mac"] == MAC and facts["firmware"] in ("bios", "uefi") and facts["kvm"] is False
    assert facts["cpus"] >= 1 and facts["memory_mib"] > 100
    assert "2026-11-22T06:30:00Z" in (host.dir / "screen").read_text()
    for secret in ("key.pem", "cert.pem", "identity.json", "keep.json"):
        assert (host.dir / "run" / secret).stat().st_mode & 0o777 == 0o600


def test_wrong_ca_is_told_nothing(boot, controller, tmp_path):
    other = Authority(tmp_path / "other", "10.79.0.1")
    host = boot(controller, libvirt_uri="test:///default", ca=other.digest)
    host.hostd.wait_for("enrolment: .*not the controller", 30)
    assert controller.asked_tokens == 0 and controller.enrolled == 0


def test_restart_keeps_identity_and_lease(boot, controller):
    controller.want(1, lease_s=1000)
    host = boot(controller, libvirt_uri="test:///default")
    controller.wait_report(lambda r: r["generation"] == 1, 60, "a report")
    host.hostd.kill(signal.SIGKILL)
    controller.stop()
    host.clock.forward(900)
    host.hostd.start()
    host.hostd.wait_for("goes on after a restart", 30)
    assert not host.rebooted.exists()
    host.clock.forward(102)
    host.wait_reboot(60)
    assert controller.enrolled == 1


def test_no_goal_no_host(boot, controller):
    """A controller that dies right after the boot, before the first goal."""
    host = boot(controller, libvirt_uri="test:///default", first_goal_s="15m")
    until(lambda: controller.enrolled, 60, "enrolment")
    controller.stop()
    host.clock.forward(15 * 60 + 1)
    host.wait_reboot(60)


def test_role_desktop_reports_and_reboots(boot, controller):
    controller.want(1)
    host = boot(controller, libvirt_uri="test:///default")
    controller.wait_report(lambda r: r["generation"] == 1, 60, "a report")
    controller.want(2, role="desktop", lease_s=0)
    host.wait_reboot(30)
    assert controller.reports[-1]["role"] == "desktop" and controller.reports[-1]["generation"] == 2


def test_another_pcs_goal_is_refused(boot, controller):
    controller.want(1, pc="pc-02", role="desktop", lease_s=0)
    host = boot(controller, libvirt_uri="test:///default")
    controller.wait_report(lambda r: "another PC" in r.get("problem", ""), 60, "the problem")
    assert not host.rebooted.exists()


def test_a_refused_report_is_told_once(boot, controller):
    """The controller takes a host for lost whose reports it refuses: the host's own log has to say why."""
    controller.refusal = "too many of them"
    controller.want(1)
    host = boot(controller, libvirt_uri="test:///default")
    until(lambda: controller.refused >= 3, 60, "three refused reports")
    controller.refusal = "too few of them"
    host.hostd.wait_for("too few of them", 30)
    controller.refusal = ""
    controller.wait_report(lambda r: r["generation"] == 1, 30, "a report that is taken")
    lines = [line for line in host.hostd.text().splitlines() if "refuses this host's report" in line]
    assert [line.rsplit(": ", 1)[1] for line in lines] == ["too many of them", "too few of them"]


# --- with VMs

FOREIGN = """<domain type='qemu'><name>somebody</name><memory unit='MiB'>16</memory><vcpu>1</vcpu>
<os><type arch='x86_64' machine='pc'>hvm</type></os></domain>"""


@pytest.fixture
def foreign(machine, tmp_path):
    """A domain that is not ours; it must run on, the same, whatever we do."""
    (tmp_path / "foreign.xml").write_text(FOREIGN)
    done = machine.virsh("create", str(tmp_path / "foreign.xml"))
    assert done.returncode == 0, done.stderr
    before = machine.virsh("domid", "somebody").stdout
    yield
    assert machine.virsh("domid", "somebody").stdout == before
    machine.virsh("destroy", "somebody")


@needs_vms
def test_vm_runs_survives_hostd_and_goes(boot, controller, machine, store, foreign):
    controller.want(1, [vm(1, store["vm"])])
    host = boot(controller, machine.argv)
    report = controller.wait_report(lambda r: states(r) == {"alice-001": "ready"}, 180, "VM ready")
    assert report["vms"][0]["ready_ms"] > 0
    held = {image["digest"]: image for image in report["images"]}[store["vm"]]
    assert held["have"] == held["total"] > 0
    assert run("ping", "-c", "1", "-w", "30", "10.79.1.11", check=False).returncode == 0
    number = machine.virsh("domid", "nc-alice-001").stdout

    host.hostd.kill(signal.SIGKILL)
    told = len(controller.reports)
    host.hostd.start()
    until(lambda: len(controller.reports) > told and states(controller.reports[-1]) == {"alice-001": "ready"}, 60,
          "still ready after a restart of hostd")
    assert controller.enrolled == 1
    assert machine.virsh("domid", "nc-alice-001").stdout == number

    controller.want(2, [vm(2, store["vm"])])
    controller.wait_report(lambda r: states(r) == {"alice-002": "ready"}, 180, "the first gone, the second ready")
    assert machine.domains() == {"nc-alice-002", "somebody"}

    controller.want(3)
    controller.wait_report(lambda r: r["generation"] == 3 and not r["vms"] and not r["images"], 90, "all gone")
    assert machine.domains() == {"somebody"}
    assert list((host.dir / "vm").iterdir()) == [] and list((host.dir / "images").iterdir()) == []


@needs_vms
def test_lease_ends_with_controller_dead(boot, controller, machine, store, foreign):
    controller.want(1, [vm(3, store["deaf"])], lease_s=7200, grace_s=30)
    host = boot(controller, machine.argv)
    controller.wait_report(lambda r: states(r) == {"alice-003": "ready"}, 180, "VM ready")
    controller.stop()
    host.clock.forward(7190)
    assert machine.domains() == {"nc-alice-003", "somebody"}
    host.clock.forward(10)
    host.hostd.wait_for("hand-back begins: the lease has ended", 20)
    host.hostd.wait_for("stop VM alice-003: done", 20)
    assert "nc-alice-003" in machine.domains()  # deaf: it has its grace
    host.clock.forward(30)
    host.wait_reboot(60)
    assert machine.domains() == {"somebody"}
    assert not (host.dir / "vm" / "alice-003").exists()


@needs_vms
def test_start_that_fails_says_why(boot, controller, machine, store):
    controller.want(1, [vm(4, store["vm"])])
    host = boot(controller, machine.argv, bridge="nosuchbr")
    report = controller.wait_report(lambda r: states(r) == {"alice-004": "failed"}, 60, "VM failed")
    assert "nosuchbr" in report["vms"][0]["reason"]
    until(lambda: host.hostd.text().count("make VM alice-004: ") == 3, 60, "three tries")
    host.clock.forward(3600 - 60)
    controller.wait_report(lambda r: True, 10, "a report")
    assert host.hostd.text().count("make VM alice-004: ") == 3  # and no more
    controller.want(2, [vm(4, store["vm"], instance="y")])  # a new instance is a new chance
    until(lambda: host.hostd.text().count("make VM alice-004: ") >= 4, 30, "a try of the new instance")


@needs_vms
def test_a_guest_that_never_gets_ready_is_told_with_its_last_words(boot, controller, machine, store):
    controller.want(1, [vm(6, store["lost"])])
    host = boot(controller, machine.argv)
    report = controller.wait_report(lambda r: states(r) == {"alice-006": "running"}, 90, "VM running")
    assert not report["vms"][0].get("reason")
    console = host.dir / "vm" / "alice-006" / "console.log"
    until(lambda: "end Kernel panic" in console.read_text(errors="replace"), 90, "the panic")
    host.clock.forward(500)
    report = controller.wait_report(lambda r: r["vms"] and "Kernel panic" in (r["vms"][0].get("reason") or ""), 30, "a reason")
    assert states(report) == {"alice-006": "running"}
    assert re.match(r"its guest is not ready after \d+ minutes; its console ends with: ", report["vms"][0]["reason"])


def missed(host: Host, controller: Controller) -> dict:
    """Time passes until hostd misses libvirt; the report that says so."""
    def look():
        host.clock.forward(5)
        return controller.reports[-1].get("problem")

    until(look, 30, "libvirt is missed", every=0.5)
    return controller.reports[-1]


@needs_vms
def test_libvirtd_dies_and_comes_back(boot, controller, machine, store):
    """Unknown is not absent: while libvirt is silent nothing is made or taken away."""
    controller.want(1, [vm(5, store["vm"])])
    host = boot(controller, machine.argv)
    controller.wait_report(lambda r: states(r) == {"alice-005": "ready"}, 180, "VM ready")
    machine.libvirtd.kill(signal.SIGSTOP)
    report = missed(host, controller)
    assert "libvirt" in report["problem"] and states(report) == {"alice-005": "ready"}
    machine.libvirtd.kill(signal.SIGCONT)
    controller.wait_report(lambda r: not r.get("problem"), 60, "libvirt is back")
    assert host.hostd.text().count("make VM alice-005") == 1
    # Hand-back does not wait for a libvirt that hangs: grace and slack, then the restart ends the VM.
    machine.libvirtd.kill(signal.SIGSTOP)
    missed(host, controller)
    controller.want(2, role="desktop", lease_s=0, grace_s=20)
    host.hostd.wait_for("hand-back: none -> emptying", 20)
    host.clock.forward(49)
    assert not host.rebooted.exists()
    host.clock.forward(2)
    try:
        host.wait_reboot(30)
    finally:
        machine.libvirtd.kill(signal.SIGCONT)
    assert "VMs are left" in host.hostd.text()
