# SPDX-License-Identifier: GPL-2.0-or-later
"""Classroom PCs, off until woken by a magic packet or powered on. QemuPC: firmware, network card, memory and a disk of
its own; boots for real. NamespacePC: a network namespace on the lab's switch with its own libvirtd, for what needs a
host but no boot: dozens of them fit on one machine, and their VMs are emulated once, not twice."""
import hashlib
import os
import pathlib
import shutil
import subprocess
import sys
import threading
import time

from .accel import WAYS, choose
from .daemon import Daemon
from .lab import IMAGES, ROOT, Lab
from .qmp import qmp
from .wait import until
from .wire import Namespace

OVMF = pathlib.Path("/usr/share/OVMF")


class PC:
    """What both kinds have: a name, a MAC, a reserved address, a card that hears Wake-on-LAN while the PC is off."""

    firmware = "bios"

    def __init__(self, lab: Lab, name: str, register: bool):
        self.lab, self.name = lab, name
        self.number = len(lab.pcs) + 1
        self.mac = f"52:54:00:71:{lab.number:02x}:{self.number:02x}"
        self.address = f"10.71.{lab.number}.{10 + self.number}"
        self.dir = lab.dir / name
        self.dir.mkdir()
        self.woken_at: float | None = None
        self.machine: Daemon | None = None
        self.card = subprocess.Popen(lab.ns.argv("/usr/bin/python3", "-m", "tests.rig.wol", "lan"), cwd=ROOT,
                                     stdout=subprocess.PIPE, text=True)
        self.card.stdout.readline()  # it listens
        threading.Thread(target=self._hear, daemon=True).start()
        lab.pcs.append(self)
        if register:
            lab.cli("pc", "add", name, "--mac", self.mac, "--address", self.address)

    def _hear(self) -> None:
        for line in self.card.stdout:
            if line.strip() == self.mac and not self.running():
                self.power_on()

    def running(self) -> bool:
        return self.machine is not None and self.machine.alive()

    def power_on(self) -> None:
        raise NotImplementedError

    def power_off(self) -> None:
        """The plug is pulled."""
        if self.machine:
            self.machine.kill()

    def console_text(self) -> str:
        raise NotImplementedError

    def plight(self) -> str:
        """For who waits for it in vain: its last words."""
        words = [line for line in self.console_text().replace("\r", "\n").splitlines() if line.strip()]
        return "\n".join([f"{self.name} ({'on' if self.running() else 'off'}):", *words[-12:]])

    def stop(self) -> None:
        self.card.kill()
        self.card.wait()
        self.power_off()


class QemuPC(PC):
    """A PC that boots from the network first and from its own disk second."""

    def __init__(self, lab: Lab, name: str, firmware: str = "bios", memory_mib: int = 2048, register: bool = True):
        self.firmware, self.memory_mib = firmware, memory_mib
        super().__init__(lab, name, register)
        self.tap = f"tap{self.number}"
        lab.ns.tap(self.tap, "lan")
        lab.start_router6()
        self.disk = self.dir / "disk.img"
        shutil.copy(IMAGES / "desktop.img", self.disk)
        self.console = self.dir / "console.log"
        self.accel = choose(IMAGES / "host" / "vmlinuz", ROOT / "build" / "accel")

    def disk_digest(self) -> str:
        """SHA-256 of the PC's own disk."""
        with open(self.disk, "rb") as f:
            return hashlib.file_digest(f, "sha256").hexdigest()

    def argv(self) -> list[str]:
        nic = f"virtio-net-pci,netdev=n0,mac={self.mac},bootindex=1"
        if self.firmware == "uefi":
            shutil.copy(OVMF / "OVMF_VARS_4M.fd", self.dir / "vars.fd")
            machine = ["-machine", "q35", "-drive",
                       f"if=pflash,format=raw,readonly=on,file={OVMF}/OVMF_CODE_4M.fd", "-drive",
                       f"if=pflash,format=raw,file={self.dir}/vars.fd",
                       "-fw_cfg", "name=opt/org.tianocore/IPv6PXESupport,string=n"]
            nic += ",romfile="  # the firmware itself boots from the network, not the card's ROM
        else:
            machine = ["-machine", "pc"]
        return self.lab.ns.argv(
            "qemu-system-x86_64", *machine, *WAYS[self.accel], "-m", str(self.memory_mib),
            "-display", "none", "-serial", f"file:{self.console}",
            "-qmp", f"unix:{self.dir}/qmp,server=on,wait=off", "-name", self.name,
            "-netdev", f"tap,id=n0,ifname={self.tap},script=no,downscript=no", "-device", nic,
            "-drive", f"if=none,id=d0,format=raw,file={self.disk}", "-device", "virtio-blk-pci,drive=d0,bootindex=2")

    def power_on(self) -> None:
        self.woken_at = time.time()
        self.machine = Daemon(f"{self.name} (QEMU)", self.argv(), self.dir / "qemu.log").start()

    def qmp(self, command: str, **arguments) -> dict:
        """One command to the machine: system_reset, send-key, quit, ..."""
        return qmp(self.dir / "qmp", command, **arguments)

    def plight(self) -> str:
        """And where its processors are, twice: does it stand still?"""
        looks = []
        while self.running() and len(looks) < 2:
            try:
                text = self.qmp("human-monitor-command", **{"command-line": "info registers -a"})["return"]
            except (OSError, ValueError, KeyError) as trouble:
                looks.append(f"its monitor does not answer: {trouble!r}")
                break
            looks.append(" ".join(word for word in text.split() if word.startswith(("CPU#", "RIP=", "EIP=", "HLT="))))
            time.sleep(1)  # a while to compare
        return "\n".join([super().plight(), *looks])

    def console_text(self) -> str:
        try:
            return self.console.read_text(encoding="utf-8", errors="replace")
        except FileNotFoundError:
            return ""


class NamespacePC(PC):
    """A PC without firmware and disk: tests/rig/firmware.py asks for the boot script as iPXE would and runs hostd in
    the namespace when it says "host", or a desktop that answers on TCP 22222 when it says "local disk"."""

    def __init__(self, lab: Lab, name: str, register: bool = True):
        super().__init__(lab, name, register)
        self.ns = Namespace(f"{lab.ns.name}-{name}")
        self.ns.cable("eth0", lab.ns, f"pc{self.number}", bridge="lan", mac=self.mac)
        self.ns.bridge("br0", f"{self.address}/24")
        self.ns.ip("link", "set", "eth0", "master", "br0")
        self.ns.ip("link", "set", "br0", "address", self.mac)
        self.ns.ip("route", "add", "default", "via", f"10.71.{lab.number}.1")
        self.libvirtd = Daemon(f"{name}: libvirtd", self.ns.argv(
            "unshare", "--mount", "--propagation", "private", "sh", str(ROOT / "tests/rig/nspc.sh"),
            str(self.dir / "machine")), self.dir / "libvirtd.log").start()
        until((self.dir / "machine" / "run").exists, 60, f"{name}: mounts of its own", every=0.02)

    def argv(self, *argv: str) -> list[str]:
        """argv that runs on the PC (its network and its mounts)."""
        return ["nsenter", "-t", str(self.libvirtd.process.pid), "--mount", "--net", *argv]

    def virsh(self, *words: str) -> str:
        done = subprocess.run(self.argv("virsh", "-c", "qemu:///system", *words), capture_output=True, text=True,
                              timeout=60)
        return done.stdout + done.stderr

    def power_on(self) -> None:
        self.woken_at = time.time()
        env = dict(self.lab.school.env, PYTHONPATH=str(ROOT))
        self.machine = Daemon(f"{self.name} (namespace)", self.argv(
            "unshare", "--pid", "--fork", "--kill-child=SIGKILL", "/usr/bin/python3", "-m", "tests.rig.firmware", str(self.lab.school.bin / "nightclass-hostd"),
            f"http://10.71.{self.lab.number}.1:8080", self.mac, str(self.dir)), self.dir / "machine.log", env).start()

    def power_off(self) -> None:
        super().power_off()
        for name in self.virsh("list", "--name").split():
            self.virsh("destroy", name)

    def console_text(self) -> str:
        return self.machine.text() if self.machine else ""

    def stop(self) -> None:
        super().stop()
        self.libvirtd.stop()
        self.ns.delete()
