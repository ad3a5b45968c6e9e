# SPDX-License-Identifier: GPL-2.0-or-later
"""What needs no multicast: BitTorrent (opentracker and aria2) and a plain web server."""
import hashlib
import pathlib
import shutil

from tests.bench.lab import ADDRESS
from tests.bench.tools.base import Tool

PIECE = 256 << 10

NGINX = """daemon off; master_process off; error_log stderr crit; pid {folder}/nginx.pid;
events {{ worker_connections 512; }}
http {{
	access_log off; sendfile on; tcp_nopush on; default_type application/octet-stream;
	client_body_temp_path {folder}/t1; proxy_temp_path {folder}/t2; fastcgi_temp_path {folder}/t3;
	uwsgi_temp_path {folder}/t4; scgi_temp_path {folder}/t5;
	server {{ listen {port}; root {root}; max_ranges 100000; }}
}}
"""


def nginx(run, root: pathlib.Path, port: int = 80):
    """A web server of a folder, on the server."""
    folder = run.folder / f"nginx-{port}"
    folder.mkdir()
    (folder / "conf").write_text(NGINX.format(folder=folder, root=root, port=port))
    process = run.server("nginx", "-c", folder / "conf", "-e", "stderr")
    process.wait_listens("tcp", port)
    return process


class Nginx(Tool):
    name = "nginx"
    what = "nginx with sendfile, one curl per receiver"
    packages = ("nginx-light", "curl")
    programs = ("nginx", "curl")
    unicast = True

    def serve(self, run):
        nginx(run, run.image.path.parent)

    def receive(self, run, i):
        return run.client(i, "curl", "-sS", "--fail", "-o", self.file(run, i), f"http://{ADDRESS}/{run.image.path.name}")


class TcpChain(Tool):
    """Each passes on what it gets: what a chain costs without a check, a repair or a way around anybody."""
    name = "tcp-chain"
    what = "socat and tee: a plain TCP chain"
    packages = ("socat",)
    programs = ("socat",)
    receivers_first = True
    late = restarts = False
    port = 7900

    def receive(self, run, i):
        onward = f"| socat -u - TCP:{run.lab.address(i + 1)}:{self.port},retry=200,interval=0.05" if i + 1 < run.scenario.n else ">/dev/null"
        return run.client(i, "sh", "-c", f"socat -u TCP-LISTEN:{self.port} - | tee {self.file(run, i)} {onward}")

    def ready(self, run, i, process):
        process.wait_listens("tcp", self.port)

    def begin(self, run):
        run.server("socat", "-u", f"FILE:{run.image.path}", f"TCP:{run.lab.address(0)}:{self.port}")


def bencode(value) -> bytes:
    if isinstance(value, int):
        return b"i%de" % value
    if isinstance(value, bytes):
        return b"%d:%s" % (len(value), value)
    if isinstance(value, list):
        return b"l" + b"".join(map(bencode, value)) + b"e"
    return b"d" + b"".join(bencode(key) + bencode(value[key]) for key in sorted(value)) + b"e"


class BitTorrent(Tool):
    name = "bittorrent"
    what = f"opentracker, aria2 seeder and clients, pieces of {PIECE >> 10} KiB, no allocation, clients go on seeding"
    packages = ("opentracker", "aria2")
    programs = ("opentracker", "aria2c")
    polled = True
    common = ("--no-conf", "--quiet", "--enable-dht=false", "--enable-dht6=false", "--bt-enable-lpd=false", "--seed-ratio=0.0",
              "--disable-ipv6=true", "--file-allocation=none", "--summary-interval=0", "--listen-port=6881",
              "--allow-overwrite=true", "--bt-max-peers=64", "--disk-cache=4M", "--bt-request-peer-speed-limit=100M",
              "--bt-tracker-interval=5")

    def torrent(self, image) -> pathlib.Path:
        return self.work / f"{image.name}.torrent"

    def allowed(self, image) -> pathlib.Path:
        """Debian's opentracker tracks only what is in such a list."""
        return self.work / f"{image.name}.allowed"

    def prepare(self, image):
        if self.torrent(image).exists():
            return
        with open(image.path, "rb") as file:
            pieces = b"".join(hashlib.sha1(piece).digest() for piece in iter(lambda: file.read(PIECE), b""))
        info = {b"length": image.size, b"name": image.path.name.encode(), b"piece length": PIECE, b"pieces": pieces}
        self.torrent(image).write_bytes(bencode({b"announce": f"http://{ADDRESS}:6969/announce".encode(), b"info": info}))
        self.allowed(image).write_text(hashlib.sha1(bencode(info)).hexdigest() + "\n")

    def serve(self, run):
        shutil.copy(self.allowed(run.image), run.folder / "allowed")  # it reads it after its chroot
        run.server("opentracker", "-i", ADDRESS, "-p", 6969, "-P", 6969, "-d", run.folder, "-w",
                   "/allowed").wait_listens("tcp", 6969)
        run.server("aria2c", *self.common, "--bt-seed-unverified=true", "--check-integrity=false", "-d", run.image.path.parent,
                   self.torrent(run.image)).wait_listens("tcp", 6881)

    def receive(self, run, i):
        done = run.dir(i) / "script"
        done.write_text(f"#!/bin/sh\n: >{run.dir(i)}/done\n")
        done.chmod(0o755)
        return run.client(i, "aria2c", *self.common, "-d", run.dir(i), f"--on-bt-download-complete={done}",
                          self.torrent(run.image))

    def has(self, run, i, process):
        return (run.dir(i) / "done").exists()

    def file(self, run, i):
        return run.dir(i) / run.image.path.name


TOOLS = (BitTorrent, Nginx, TcpChain)
