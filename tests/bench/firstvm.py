# SPDX-License-Identifier: GPL-2.0-or-later
"""How long until the first VM of a new image says ready: lazily, while the image is still on its way by the cast, against
after a full copy. The image is the default VM disk, and behind it, where no guest looks, noise up to the size asked for.

The lab has two PCs on the shaped network. The first runs a VM (QEMU, software emulation, as hostd would start it: direct
kernel boot, an overlay over nbdkit's disk); both receive the cast. It is done twice from nothing, as the first start of a
revision ever, and with the boot trace that this first start left; the second goes on until both have all. Then a VM is
started from the whole disk, for comparison."""
import hashlib
import json
import os
import pathlib
import shutil
import subprocess
import time

from tests.bench import lab as labs
from tests.bench.image import BLOCK, Image
from tests.bench.process import Load, Process, stop_all
from tests.bench.run import Run, Scenario, not_done
from tests.bench.settings import ROOT
from tests.bench.tools.ours import HTTP
from tests.rig.accel import WAYS

SOURCE = ROOT / "build/images/mpi-lean"
MAC = "52:4e:43:00:00:01"
BOOT = 240.0  # seconds that a VM may take


class Vm:
    """A VM on receiver `i`, begun at once; `base` is the path or the URL of its disk."""

    def __init__(self, run: Run, i: int, base: str, boot: pathlib.Path):
        self.dir = run.folder / "vm"
        shutil.rmtree(self.dir, ignore_errors=True)
        self.dir.mkdir()
        self.ready = self.dir / "guest"
        seed(self.dir)
        subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", "-F", "raw", "-b", base, self.dir / "disk",
                        str(run.image.size)], check=True)
        self.process = Process(run.lab.host(i), [
            "qemu-system-x86_64", "-machine", "pc", *WAYS["tcg"], "-m", "512",
            "-display", "none", "-vga", "none", "-serial", f"file:{self.dir}/console", "-kernel", boot / "kernel",
            "-initrd", boot / "initrd", "-append", (boot / "cmdline").read_text().strip(),
            "-drive", f"if=virtio,format=qcow2,cache=unsafe,file={self.dir}/disk",
            "-drive", f"if=virtio,format=raw,readonly=on,file={self.dir}/seed.iso",
            "-netdev", "user,id=n0", "-device", f"virtio-net-pci,netdev=n0,mac={MAC},romfile=",
            "-device", "virtio-serial", "-chardev", f"file,id=guest,path={self.ready}",
            "-device", "virtserialport,chardev=guest,name=org.nightclass.guest.0"], self.dir / "log")

    def wait_ready(self) -> None:
        end = time.monotonic() + BOOT
        while not (self.ready.exists() and b'"ready":true' in self.ready.read_bytes().replace(b" ", b"")):
            if self.process.look() or time.monotonic() > end:
                console = (self.dir / "console").read_text(errors="replace")[-200:] if (self.dir / "console").exists() else ""
                raise RuntimeError(f"the VM never said ready: {self.process.tail()} {console}")
            time.sleep(0.05)


def seed(folder: pathlib.Path) -> None:
    """The disc from which a guest takes its context."""
    parts = {
        "meta-data": {"instance-id": "i-1", "local-hostname": "alice-001"},
        "network-config": {"version": 2, "ethernets": {"nic0": {
            "match": {"macaddress": MAC}, "dhcp4": False, "addresses": ["10.0.2.15/24"],
            "routes": [{"to": "0.0.0.0/0", "via": "10.0.2.2"}]}}},
        "user-data": {
            "hostname": "alice-001", "preserve_hostname": False, "manage_etc_hosts": False, "disable_root": True,
            "ssh_pwauth": False, "users": [{"name": "night", "shell": "/bin/bash", "lock_passwd": True,
                                            "ssh_authorized_keys": ["ssh-ed25519 " + "A" * 68 + " bench"]}],
            "write_files": [{"path": "/etc/hosts", "owner": "root:root", "permissions": "0644",
                             "content": "127.0.0.1 localhost\n10.0.2.15 alice-001\n"}],
            "runcmd": [["true"]]}}
    (folder / "seed").mkdir()
    for name, content in parts.items():
        first = "#cloud-config\n" if name == "user-data" else ""
        (folder / "seed" / name).write_text(first + json.dumps(content) + "\n")
    subprocess.run(["xorriso", "-as", "mkisofs", "-quiet", "-R", "-V", "cidata", "-o", folder / "seed.iso", folder / "seed"],
                   check=True, stderr=subprocess.DEVNULL)


def make(tool, work: pathlib.Path, size: int) -> tuple[Image, str]:
    """The image in the store; its file is not kept, only its digest."""
    path = work / "vm.raw"
    subprocess.run(["cp", "--sparse=always", SOURCE / "disk.raw", path], check=True)
    with open(path, "ab") as file:
        for _ in range(size // BLOCK):
            file.write(os.urandom(BLOCK))
    image = Image("vm", path, path.stat().st_size, 0)
    tool.stores.pop(path, None)  # another noise each time
    tool.prepare(image, "--kernel", SOURCE / "vmlinuz", "--initrd", SOURCE / "initrd.img", "--cmdline",
                 (SOURCE / "cmdline").read_text().strip())
    image.packed = tool.packed
    with open(path, "rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    path.unlink()
    return image, digest


class FirstVm:
    """One lab and what is done in it."""

    def __init__(self, bench, tool):
        """In a folder and with a store of its own, which go with it: they would take the memory of the runs that follow."""
        self.work, self.settings = bench.work / "first-vm", bench.settings
        self.tool = type(tool)(self.work, tool.build)
        self.run: Run | None = None
        self.started: list[Process] = []
        self.lab = labs.Lab(2, self.settings.mbit, self.settings.snooping)

    def prepare(self) -> None:
        self.lab.meet()
        self.image, self.sum = make(self.tool, self.work, self.settings.vm_size)
        self.floor = self.image.packed * 8 / (self.lab.mbit * 1e6)
        self.run = Run(self.lab, Scenario("first-vm", 2, ()), self.image, self.work / "run", 0)
        self.digest = self.tool.digest(self.image)

    def held(self, i: int) -> pathlib.Path:
        return self.tool.held(self.run, i) / self.digest

    def client(self, *argv) -> Process:
        self.started.append(self.run.client(0, *argv))
        return self.started[-1]

    def lazy(self) -> tuple[float, float, list[Process]]:
        """The cast begins, and with it a VM on the first PC: when that was, seconds until it is ready, and the receivers."""
        for i in (0, 1):
            shutil.rmtree(self.tool.held(self.run, i), ignore_errors=True)
            (self.run.dir(i) / "log").unlink(missing_ok=True)  # it says that the image of the time before is whole
        self.tool.serve(self.run)
        url, held = f"http://{labs.ADDRESS}:{HTTP}", self.tool.held(self.run, 0)
        begin, self.run.begun = time.monotonic(), True
        receivers = [self.tool.receive(self.run, i) for i in (0, 1)]
        self.started += receivers
        start = self.client(self.tool.build / "bench/host", "start", url, self.digest, held)
        if not start.wait(60) or start.code != 0:
            raise RuntimeError(f"kernel and initrd did not come: {start.tail()}")
        socket = self.run.folder / "nbd"
        socket.unlink(missing_ok=True)
        nbd = self.client("nbdkit", "--foreground", "--exit-with-parent", "--unix", socket,
                          self.tool.build / "nightclass-base.so", f"dir={held}", f"digest={self.digest}", f"url={url}")
        while not socket.exists():
            if nbd.wait(0.01):
                raise RuntimeError(f"nbdkit: {nbd.tail()}")
        vm = Vm(self.run, 0, f"nbd+unix:///?socket={socket}", self.held(0))
        self.started.append(vm.process)
        vm.wait_ready()
        return begin, time.monotonic() - begin, receivers

    def copied(self, begin: float, receivers: list[Process]) -> float:
        """Seconds from `begin` until the last of them has all."""
        end = begin + 3 * self.floor + 30
        waiting = dict(enumerate(receivers))
        while waiting:
            for i, process in list(waiting.items()):
                if self.tool.has(self.run, i, process):
                    del waiting[i]
                elif process.look() or time.monotonic() > end:
                    raise RuntimeError(f"the full copy: {process.tail()}")
            time.sleep(0.05)
        return time.monotonic() - begin

    def stop(self) -> None:
        servers = self.run.servers if self.run else []
        stop_all([*self.started, *servers])
        self.started.clear()
        servers.clear()

    def trace(self) -> int:
        """What the VM has read becomes the trace of the image; how many bytes that are."""
        out = subprocess.run([self.tool.build / "bench/host", "trace", self.digest, self.tool.held(self.run, 0)],
                             check=True, capture_output=True, text=True).stdout
        (self.tool.store / "traces").mkdir(exist_ok=True)
        (self.tool.store / "traces" / self.digest).write_text(out)
        return len(out.split()) * (256 << 10)

    def measure(self) -> dict:
        load, sent = Load(), self.lab.server_bytes()[0]
        _, first, _ = self.lazy()
        boot_bytes = self.trace()
        self.stop()
        begin_sent = self.lab.server_bytes()[0]
        begin, traced, receivers = self.lazy()
        full = self.copied(begin, receivers)
        cast = self.lab.server_bytes()[0] - begin_sent
        self.stop()
        for i in (0, 1):
            with open(self.held(i) / "disk.raw", "rb") as file:
                if hashlib.file_digest(file, "sha256").hexdigest() != self.sum:
                    raise RuntimeError(f"{self.lab.host(i)}: the disk is not the one that was sent")
        begin = time.monotonic()
        vm = Vm(self.run, 0, str(self.held(0) / "disk.raw"), self.held(0))
        self.started.append(vm.process)
        vm.wait_ready()
        boot = time.monotonic() - begin
        eager = full + boot
        return {"ok": True, "why": "", "steady": {"seconds": round(full, 2), "ratio": round(full / self.floor, 4), "count": 2},
                "seconds": round(full, 2), "first_vm": round(traced, 2), "first_vm_untraced": round(first, 2),
                "first_vm_full_copy": round(eager, 2), "boot_alone": round(boot, 2), "boot_bytes": boot_bytes,
                "first_vm_of_full": round(traced / eager, 4), "size": self.image.size, "packed": self.image.packed,
                "server_sent": cast, "sent_of_size": round(cast / self.image.packed, 4), "server_cpu": 0, "receiver_cpu": 0,
                "receiver_anon": 0, "sent_before": begin_sent - sent, **load.share(),
                "note": f"first VM ready after {traced:.1f} s ({first:.1f} without a trace, {eager:.1f} after a full copy, "
                        f"{boot:.1f} of it the boot): {traced / eager:.1%}"}


def run(bench, tool) -> dict:
    """As one run of a bench."""
    first = None
    try:
        first = FirstVm(bench, tool)
        first.prepare()
        return first.measure()
    except (RuntimeError, OSError, subprocess.SubprocessError) as error:
        result = not_done(error)
        if first and first.run:
            first.stop()
            bench.keep(first.run, tool, result)  # with the console of its VM
        return result
    finally:
        if first:
            first.stop()
            shutil.rmtree(first.work, ignore_errors=True)
            first.lab.close()
