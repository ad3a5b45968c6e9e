# SPDX-License-Identifier: GPL-2.0-or-later
"""The host image: what must not be in it, and what its first program does when something is wrong. The
PCs here are QEMU with the kernel given from outside; the way through the firmware is the e2e's. Images of VMs:
test_recipes.py."""
import hashlib
import http.server
import re
import subprocess
import threading

import pytest

from tests.rig.accel import WAYS
from tests.rig.lab import IMAGES
from tests.rig.wire import run

HOST = IMAGES / "host"
MAC = "52:54:00:00:77:01"
# The last parts of Linux that write to a disk of a PC. A host that has none cannot write one.
DISK_DRIVERS = re.compile(r"/(ahci|ata_piix|libata|nvme|nvme-core|sd_mod|usb-storage|uas|virtio_blk|virtio_scsi|mmc_block|"
                          r"pata_\w+|sata_\w+|megaraid\w*|mpt3sas|nbd|dm-mod|md-mod|vmd)\.ko$")


def host_files() -> list[str]:
    return run("unsquashfs", "-l", "-d", "", str(HOST / "host.squashfs")).stdout.split("\n")


def initrd_files() -> list[str]:
    packed = subprocess.run(["zstd", "-qdc", str(HOST / "initrd.img")], capture_output=True, check=True)
    return subprocess.run(["cpio", "-t", "--quiet"], input=packed.stdout, capture_output=True,
                          check=True).stdout.decode().split("\n")


def test_host_has_no_driver_for_a_disk():
    for files in (host_files(), initrd_files()):
        modules = [f for f in files if f.endswith(".ko")]
        assert any(f.endswith("/virtio_net.ko") for f in modules) and any("/r8169.ko" in f for f in modules)
        assert [f for f in modules if DISK_DRIVERS.search("/" + f)] == []


def test_the_drivers_of_disks_are_an_image_of_their_own():
    """Only a lab that lends a partition has it fetched; nothing that could be plugged in is in it."""
    files = run("unsquashfs", "-l", "-d", "", str(HOST / "disks.squashfs")).stdout.split("\n")
    names = {f.rpartition("/")[2] for f in files if f.endswith(".ko")}
    assert {"ahci.ko", "nvme.ko", "virtio_blk.ko", "sd_mod.ko", "ext4.ko"} <= names
    assert not {n for n in names if "usb" in n or n in ("uas.ko", "dm-mod.ko", "md-mod.ko", "nbd.ko")}
    assert [f for f in files if f and not f.startswith("/lib")] == []


def test_host_is_small_and_is_what_its_digest_says():
    image = HOST / "host.squashfs"
    assert image.stat().st_size <= 160 << 20
    assert sum((HOST / name).stat().st_size for name in ("vmlinuz", "initrd.img")) <= 20e6, "what each PC loads by itself"
    with open(image, "rb") as f:
        assert hashlib.file_digest(f, "sha256").hexdigest() == (HOST / "host.squashfs.sha256").read_text().strip()


def test_host_holds_no_secret_and_no_login():
    files = host_files()
    assert [f for f in files if re.search(r"machine-id|ssh_host|\.key$|\.pem$|/sshd|/agetty|shadow|authorized", f)] == []
    inittab = run("unsquashfs", "-cat", str(HOST / "host.squashfs"), "etc/inittab").stdout
    assert "respawn:/usr/lib/nightclass/run-hostd" in inittab and "getty" not in inittab and "/bin/sh" not in inittab


class Server:
    """Serves one file as /image; everything else is not found. Counts what was asked for, and from which byte. `cuts`:
    the connection breaks off after so many bytes, the first time, the second time and so on."""

    def __init__(self, content: bytes, cuts: tuple = ()):
        asked, ranges, left = [], [], list(cuts)
        self.asked, self.ranges = asked, ranges

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):  # noqa: N802 (the library's name)
                asked.append(self.path)
                begin = int((self.headers["Range"] or "bytes=0-")[6:].partition("-")[0])
                ranges.append(begin)
                self.send_response((206 if self.headers["Range"] else 200) if self.path == "/image" else 404)
                body = content[begin:] if self.path == "/image" else b""
                self.send_header("Content-Length", str(len(body)))
                if self.headers["Range"]:
                    self.send_header("Content-Range", f"bytes {begin}-{len(content) - 1}/{len(content)}")
                self.end_headers()
                self.wfile.write(body[:left.pop(0)] if left else body)

            def log_message(self, *_words):
                pass

        self.http = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self.http.server_address[1]
        threading.Thread(target=self.http.serve_forever, daemon=True).start()

    def __enter__(self) -> "Server":
        return self

    def __exit__(self, *_failure) -> None:
        self.http.shutdown()
        self.http.server_close()


def start_pc(words: str, mac: str = MAC) -> str:
    """A PC with the host's kernel and initramfs; what it wrote on its console until it restarted itself."""
    done = subprocess.run(
        ["qemu-system-x86_64", "-machine", "pc", *WAYS["tcg"], "-m", "512",
         "-display", "none", "-serial", "stdio", "-no-reboot", "-kernel", str(HOST / "vmlinuz"),
         "-initrd", str(HOST / "initrd.img"), "-netdev", "user,id=n0", "-device", f"virtio-net-pci,netdev=n0,mac={mac}",
         "-append", f"console=ttyS0 quiet nightclass.patience=6 nightclass.pause=1 {words}"],
        capture_output=True, text=True, errors="replace", timeout=120, stdin=subprocess.DEVNULL, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def bootif(mac: str = MAC) -> str:
    return "BOOTIF=01-" + mac.replace(":", "-")


def test_a_root_image_with_another_digest_is_never_started():
    with Server(b"not what was promised" * 1000) as server:
        console = start_pc(f"{bootif()} nightclass.root=http://10.0.2.2:{server.port}/image "
                           f"nightclass.root.sha256={'0' * 64}")
    assert "wrong SHA-256" in console and "FAILED: no root image" in console and "starting the host" not in console
    assert len(server.asked) >= 2  # it tried again before it gave up


def test_a_broken_transfer_goes_on_where_it_stopped():
    content = b"hsqs" + bytes(range(256)) * 8192
    with Server(content, cuts=(700000, 300000)) as server:
        console = start_pc(f"{bootif()} nightclass.patience=90 nightclass.root=http://10.0.2.2:{server.port}/image "
                           f"nightclass.root.sha256={hashlib.sha256(content).hexdigest()}")
    assert server.ranges == [0, 700000, 1000000], "no byte was asked for twice"
    assert "starting the host" in console, "and what was put together has the digest"


def test_where_nobody_casts_the_root_image_it_is_fetched():
    content = b"hsqs" + bytes(4092)
    digest = hashlib.sha256(content).hexdigest()
    with Server(content) as server:
        console = start_pc(f"{bootif()} nightclass.root=http://10.0.2.2:{server.port}/image nightclass.root.sha256={digest} "
                           f"nightclass.root.cast=10.0.2.2:9 nightclass.root.manifest={'1' * 64} nightclass.root.name=pc1")
    told = dict(map(reversed, re.findall(r"nightclass \[([\d.]+)\] (receiving|no root image by the cast|fetching|starting)", console)))
    assert "no root image by the cast: nobody casts there" in console and server.asked[-1] == "/image"
    assert list(told) == ["receiving", "no root image by the cast", "fetching", "starting"]
    assert float(told["fetching"]) - float(told["receiving"]) < 60, "it does not wait for what will not come"


def test_disk_drivers_with_another_digest_are_not_used():
    with Server(b"hsqs" + bytes(4092)) as server:
        url = f"http://10.0.2.2:{server.port}/image"
        console = start_pc(f"{bootif()} nightclass.root={url} nightclass.root.sha256={'0' * 64} nightclass.scratch=night "
                           f"nightclass.disks={url} nightclass.disks.sha256={'1' * 64}")
    assert "no disk drivers from" in console and "fetching http" in console, "it goes on without them"


def test_a_missing_root_image_is_told_on_the_screen():
    with Server(b"") as server:
        console = start_pc(f"{bootif()} nightclass.root=http://10.0.2.2:{server.port}/gone "
                           f"nightclass.root.sha256={'0' * 64}")
    assert "404" in console and "FAILED: no root image" in console and "This PC restarts" in console


def test_a_pc_that_does_not_become_a_host_restarts_at_the_backstop():
    with Server(b"") as server:
        console = start_pc(f"{bootif()} nightclass.patience=9999 nightclass.backstop=10 "
                           f"nightclass.root=http://10.0.2.2:{server.port}/gone nightclass.root.sha256={'0' * 64}")
    assert "FAILED: it is not a host by the time of its hand-back" in console and "This PC restarts" in console


def test_a_damaged_image_with_the_right_digest_restarts_the_pc():
    content = b"hsqs" + bytes(4092)
    with Server(content) as server:
        console = start_pc(f"{bootif()} nightclass.root=http://10.0.2.2:{server.port}/image "
                           f"nightclass.root.sha256={hashlib.sha256(content).hexdigest()}")
    assert "FAILED: the root image could not be started" in console


@pytest.mark.parametrize("words, why", [
    (f"{bootif('52:54:00:00:77:99')} nightclass.root=http://10.0.2.2/image nightclass.root.sha256={'0' * 64}",
     "no driver found for the network card 52:54:00:00:77:99"),
    (f"{bootif()} nightclass.root=http://10.0.2.2/image", "names no digest"),
])
def test_a_boot_script_that_cannot_work_says_why(words, why):
    console = start_pc(words)
    assert re.search(f"FAILED: .*{why}", console)
