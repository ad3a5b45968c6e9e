# SPDX-License-Identifier: GPL-2.0-or-later
"""Classroom PCs. QemuPC: firmware, network card, memory and a disk of its own; boots for real, wakes by magic packet.
NamespacePC: a network namespace on the lab's switch with its own libvirtd, for what needs a host but no boot."""
import hashlib
import json
import os
import pathlib
import shutil
import socket
import subprocess
import sys
import threading
import time

from .daemon import Daemon
from .lab import IMAGES, ROOT, Lab

OVMF = pathlib.Path("/usr/share/OVMF")


class QemuPC:
    """A PC that boots from the network first and from its own disk second. Off until woken or powered on."""

    def __init__(self, lab: Lab, name: str, firmware: str = "bios", memory_mib: int = 2048, cpus: int = 1,
                 register: bool = True):
        self.lab, self.name, self.firmware, self.memory_mib, self.cpus = lab, name, firmware, memory_mib, cpus
        number = len(lab.pcs) + 1
        self.mac = f"52:54:00:71:{lab.number:02x}:{number:02x}"
        self.address = f"10.71.{lab.number}.{10 + number}"
        self.dir = lab.dir / name
        self.dir.mkdir()
        self.tap = f"tap{number}"
        lab.ns.tap(self.tap, "lan")
        self.disk = self.dir / "disk.img"
        shutil.copy(IMAGES / "desktop.img", self.disk)
        self.console = self.dir / "console.log"
        self.woken_at: float | None = None
        self.qemu: Daemon | None = None
        self._listen()
        lab.pcs.append(self)
        if register:
            lab.cli("pc", "add", name, "--mac", self.mac, "--address", self.address)

    def _listen(self) -> None:
        """The network card's Wake-on-LAN, while the PC is off."""
        self.card = subprocess.Popen(self.lab.ns.argv(sys.executable, "-m", "tests.rig.wol", "lan"), cwd=ROOT,
                                     stdout=subprocess.PIPE, text=True)
        self.card.stdout.readline()  # it listens

        def wait():
            for line in self.card.stdout:
                if line.strip() == self.mac and not self.running():
                    self.power_on()

        threading.Thread(target=wait, daemon=True).start()

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
                       f"if=pflash,format=raw,file={self.dir}/vars.fd"]
            nic += ",romfile="  # the firmware itself boots from the network, not the card's ROM
        else:
            machine = ["-machine", "pc"]
        return self.lab.ns.argv(
            "qemu-system-x86_64", *machine, "-accel", "tcg,thread=multi", "-cpu", "max", "-smp", str(self.cpus),
            "-m", str(self.memory_mib), "-display", "none", "-serial", f"file:{self.console}",
            "-qmp", f"unix:{self.dir}/qmp,server=on,wait=off", "-name", self.name,
            "-netdev", f"tap,id=n0,ifname={self.tap},script=no,downscript=no", "-device", nic,
            "-drive", f"if=none,id=d0,format=raw,file={self.disk}", "-device", "virtio-blk-pci,drive=d0,bootindex=2")

    def power_on(self) -> None:
        self.woken_at = time.time()
        self.qemu = Daemon(f"{self.name} (QEMU)", self.argv(), self.dir / "qemu.log").start()

    def running(self) -> bool:
        return self.qemu is not None and self.qemu.alive()

    def qmp(self, command: str, **arguments) -> dict:
        """One command to the machine: system_reset, send-key, quit, ..."""
        with socket.socket(socket.AF_UNIX) as s:
            s.settimeout(30)
            s.connect(str(self.dir / "qmp"))
            lines = s.makefile("rw")
            lines.readline()
            for request in ({"execute": "qmp_capabilities"}, {"execute": command, "arguments": arguments}):
                lines.write(json.dumps(request) + "\n")
                lines.flush()
                answer = {}
                while "return" not in answer and "error" not in answer:
                    answer = json.loads(lines.readline())
            return answer

    def console_text(self) -> str:
        try:
            return self.console.read_text(encoding="utf-8", errors="replace")
        except FileNotFoundError:
            return ""

    def power_off(self) -> None:
        """The plug is pulled."""
        if self.qemu:
            self.qemu.kill()

    def stop(self) -> None:
        self.card.kill()
        self.card.wait()
        self.power_off()
        if self.console.exists():
            os.replace(self.console, self.dir / "serial.log")
