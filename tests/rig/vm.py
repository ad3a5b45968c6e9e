# SPDX-License-Identifier: GPL-2.0-or-later
"""One image, started alone in QEMU as hostd would start it: direct kernel boot, a copy-on-write overlay, the context on
a NoCloud disc, the guest agent's channel. For tests of what is in an image; how VMs come onto PCs is the lab's."""
import json
import pathlib
import socket
import subprocess
import time

from .daemon import Daemon
from .accel import WAYS
from .qmp import qmp
from .wait import until
from .wire import run

MAC, ADDRESS, GATEWAY = "52:4e:43:00:00:01", "10.0.2.15", "10.0.2.2"


def read_picture(path: pathlib.Path) -> tuple[int, int, bytes]:
    """Width, height and the pixels (R G B, one byte each) of a PPM file."""
    magic, size, depth, pixels = path.read_bytes().split(b"\n", 3)
    assert (magic, depth) == (b"P6", b"255"), (magic, depth)
    width, height = map(int, size.split())
    return width, height, pixels


class ImageVm:
    """`screen`: with a VGA card, keyboard and pointer. Its ssh answers on 127.0.0.1:port."""

    def __init__(self, image: pathlib.Path, folder: pathlib.Path, screen: bool = False, memory_mib: int = 512):
        self.image, self.dir, self.screen, self.memory_mib = image, folder, screen, memory_mib
        self.dir.mkdir(parents=True, exist_ok=True)
        self.key, self.console = folder / "key", folder / "console.log"
        run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(self.key))
        run("qemu-img", "create", "-q", "-f", "qcow2", "-F", "raw", "-b", str(image / "disk.raw"), str(folder / "disk"))
        self._seed()
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.began = time.monotonic()
        self.machine = Daemon("vm", self._argv(), folder / "qemu.log").start()

    def _seed(self) -> None:
        public = self.key.with_suffix(".pub").read_text().strip()
        parts = {
            "meta-data": {"instance-id": "i-1", "local-hostname": "alice-001"},
            "network-config": {"version": 2, "ethernets": {"nic0": {
                "match": {"macaddress": MAC}, "dhcp4": False, "addresses": [f"{ADDRESS}/24"],
                "routes": [{"to": "0.0.0.0/0", "via": GATEWAY}]}}},
            "user-data": {
                "hostname": "alice-001", "preserve_hostname": False, "manage_etc_hosts": False, "disable_root": True,
                "ssh_pwauth": False, "users": [{"name": "night", "shell": "/bin/bash", "lock_passwd": True,
                                                "ssh_authorized_keys": [public]}],
                "write_files": [{"path": "/etc/hosts", "owner": "root:root", "permissions": "0644",
                                 "content": f"127.0.0.1 localhost\n{ADDRESS} alice-001\n"}],
                "runcmd": [["true"]]}}
        seed = self.dir / "seed"
        seed.mkdir()
        for name, content in parts.items():
            first = "#cloud-config\n" if name == "user-data" else ""
            (seed / name).write_text(first + json.dumps(content) + "\n", encoding="utf-8")
        run("xorriso", "-as", "mkisofs", "-quiet", "-R", "-V", "cidata", "-o", str(self.dir / "seed.iso"), str(seed))

    def _argv(self) -> list[str]:
        cmdline = (self.image / "cmdline").read_text().strip()
        screen = ["-vga", "std", "-device", "virtio-tablet-pci"] if self.screen else ["-vga", "none"]
        return ["qemu-system-x86_64", "-machine", "pc", *WAYS["tcg"], "-m", str(self.memory_mib),
                "-display", "none", *screen, "-serial", f"file:{self.console}",
                "-qmp", f"unix:{self.dir}/qmp,server=on,wait=off",
                "-kernel", str(self.image / "vmlinuz"), "-initrd", str(self.image / "initrd.img"), "-append", cmdline,
                "-drive", f"if=virtio,format=qcow2,cache=unsafe,file={self.dir}/disk",
                "-drive", f"if=virtio,format=raw,readonly=on,file={self.dir}/seed.iso",
                "-netdev", f"user,id=n0,hostfwd=tcp:127.0.0.1:{self.port}-:22",
                "-device", f"virtio-net-pci,netdev=n0,mac={MAC},romfile=",
                "-device", "virtio-serial", "-chardev", f"file,id=guest,path={self.dir}/guest",
                "-device", "virtserialport,chardev=guest,name=org.nightclass.guest.0"]

    def __enter__(self) -> "ImageVm":
        return self

    def __exit__(self, *_failure) -> None:
        self.machine.kill()

    def text(self) -> str:
        return self.console.read_text(encoding="utf-8", errors="replace") if self.console.exists() else ""

    def wait(self, condition, timeout: float, what: str):
        """until() that ends early, with the console, when the machine does."""
        def look():
            assert self.machine.alive(), f"QEMU ended: {self.machine.tail()}\n{self.text()[-2000:]}"
            return condition()
        try:
            value = until(look, timeout, what)
        except TimeoutError as late:
            raise TimeoutError(f"{late}\n{self.text()[-3000:]}") from late
        print(f"{what} after {time.monotonic() - self.began:.1f} s")
        return value

    def wait_ready(self, timeout: float = 120) -> None:
        """Until the guest agent says that the context is applied."""
        said = self.dir / "guest"
        self.wait(lambda: said.exists() and '"ready":true' in said.read_text().replace(" ", ""), timeout, "agent ready")

    def ssh(self, command: str, stdin: bytes | None = None, timeout: float = 120) -> subprocess.CompletedProcess:
        """A command as user night in the VM; its output, whatever the exit code."""
        return subprocess.run(
            ["ssh", "-F", "none", "-i", str(self.key), "-p", str(self.port), "-o", "BatchMode=yes",
             "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR",
             "-o", "ConnectTimeout=60", "night@127.0.0.1", command],
            input=stdin if stdin is not None else b"", capture_output=True, timeout=timeout, check=False)

    def qmp(self, command: str, **arguments) -> dict:
        answer = qmp(self.dir / "qmp", command, **arguments)
        assert "error" not in answer, answer
        return answer

    def press(self, *keys: str) -> None:
        """Keys at the same time, by QEMU's names: "ctrl", "alt", "t"."""
        self.qmp("send-key", keys=[{"type": "qcode", "data": key} for key in keys])

    def screenshot(self) -> tuple[int, int, bytes]:
        """As read_picture() has it."""
        path = self.dir / "screen.ppm"
        self.qmp("screendump", filename=str(path))
        return read_picture(path)
