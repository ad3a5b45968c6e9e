# SPDX-License-Identifier: GPL-2.0-or-later
"""Multicast tools of Debian: udpcast (the engine of Clonezilla and FOG) and UFTP; and the bare wire beside them."""
import pathlib
import subprocess

from tests.bench.tools.base import Tool

class Wire(Tool):
    """Plain paced datagrams, counted and thrown away: the best that any transport could do here and now."""
    name = "wire"
    what = "numbered datagrams at 0.99 of the rate, no protocol, no file"
    receivers_first = True
    late = restarts = False
    needs_multicast = True

    @property
    def blast(self) -> pathlib.Path:
        return self.build / "bench" / "blast"

    def missing(self) -> str:
        return "" if self.blast.exists() else f"no {self.blast}"

    def receive(self, run, i):
        return run.client(i, self.blast, "sink", "239.255.77.1", 7700, "eth0", run.image.size)

    def ready(self, run, i, process):
        process.wait_says(b"ready")

    def begin(self, run):
        run.server(self.blast, "send", "239.255.77.1", 7700, "eth0", run.image.size, 0.99 * run.lab.mbit)

    def has(self, run, i, process):
        return process.code == 0 and process.log.read_bytes().split()[-1] == b"0"

    def file(self, run, i):
        return run.image.path  # nothing to compare


class Udpcast(Tool):
    name = "udpcast"
    what = "full duplex, --max-bitrate at 0.98 of the rate, 4 MiB socket buffers"
    packages = ("udpcast",)
    programs = ("udp-sender", "udp-receiver")
    receivers_first = True
    late = restarts = False
    needs_multicast = True
    options: tuple[str, ...] = ()

    def receive(self, run, i):
        return run.client(i, "udp-receiver", "--file", self.file(run, i), "--interface", "eth0", "--nokbd", "--nosync",
                          "--no-progress", "--rcvbuf", 4 << 20)

    def ready(self, run, i, process):
        process.wait_listens("udp", 9000)

    def begin(self, run):
        # With --min-receivers it begins the moment all have said hello.
        run.server("udp-sender", "--file", run.image.path, "--interface", "eth0", "--nokbd", "--no-progress",
                   "--full-duplex", "--min-receivers", run.scenario.n, "--max-wait", 30,
                   "--max-bitrate", f"{run.lab.mbit * 980:.0f}k", "--retries-until-drop", 30, *self.options)


class UdpcastFec(Udpcast):
    name = "udpcast-fec"
    what = Udpcast.what + ", --fec 8x8/128"
    options = ("--fec", "8x8/128")


class UdpcastZstd(Udpcast):
    """As Clonezilla does it: the image is sent packed and unpacked while it arrives."""
    name = "udpcast-zstd"
    what = Udpcast.what + "; the image packed by zstd -3 beforehand"
    packages = ("udpcast", "zstd")

    def packed(self, image) -> pathlib.Path:
        return self.work / f"{image.name}.zst"

    def prepare(self, image):
        if not self.packed(image).exists():
            subprocess.run(["zstd", "-q", "-3", image.path, "-o", self.packed(image)], check=True)

    def receive(self, run, i):
        return run.client(i, "sh", "-c", "udp-receiver --interface eth0 --nokbd --nosync --no-progress --rcvbuf 4194304 "
                          f"| zstd -q -d --sparse -o {self.file(run, i)}")

    def begin(self, run):
        run.server("udp-sender", "--file", self.packed(run.image), "--interface", "eth0", "--nokbd", "--no-progress",
                   "--full-duplex", "--min-receivers", run.scenario.n, "--max-wait", 30,
                   "--max-bitrate", f"{run.lab.mbit * 980:.0f}k", "--retries-until-drop", 30)


class Uftp(Tool):
    name = "uftp"
    what = "fixed rate at 0.97, blocks of 1440 bytes, 4 MiB socket buffers, closed group"
    packages = ("uftp",)
    programs = ("uftp", "uftpd")
    receivers_first = polled = True
    late = restarts = False
    needs_multicast = True

    def receive(self, run, i):
        (run.dir(i) / "in").mkdir(exist_ok=True)
        done = run.dir(i) / "script"
        done.write_text(f"#!/bin/sh\n: >{run.dir(i)}/done\n")
        done.chmod(0o755)
        return run.client(i, "uftpd", "-d", "-I", "eth0", "-D", run.dir(i) / "in", "-B", 4 << 20, "-s", done)

    def ready(self, run, i, process):
        process.wait_listens("udp", 1044)

    def begin(self, run):
        group = ",".join("0x0A6300%02X" % (10 + i) for i in range(run.scenario.n))
        run.server("uftp", "-I", "eth0", "-R", round(run.lab.mbit * 970), "-b", 1440, "-B", 4 << 20, "-r", "0.05:0.01:1",
                   "-H", group, run.image.path)

    def has(self, run, i, process):
        return (run.dir(i) / "done").exists()

    def file(self, run, i):
        return run.dir(i) / "in" / run.image.path.name


TOOLS = (Wire, Udpcast, UdpcastFec, UdpcastZstd, Uftp)
