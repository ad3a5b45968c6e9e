# SPDX-License-Identifier: GPL-2.0-or-later
"""Nightclass's own lanes: the cast (multicast, with its fall-backs), the chain of peers alone, and plain HTTP. All start
from a store that nightclass-import filled, and all leave the image as a host holds it."""
import json
import pathlib
import subprocess

from tests.bench.lab import ADDRESS
from tests.bench.tools.base import Tool
from tests.bench.tools.unicast import nginx

GROUP, PORT, HTTP, CHAIN = "239.255.78.67", 7867, 8080, 8082

# A store as nightclassd serves it to hosts: BASE/manifests/DIGEST, BASE/chunks/DIGEST, by any web server.
CHUNKS = """daemon off; master_process off; error_log stderr crit; pid {folder}/pid;
events {{ worker_connections 1024; }}
http {{
	access_log off; sendfile on; tcp_nopush on; keepalive_requests 1000000;
	client_body_temp_path {folder}/t1; proxy_temp_path {folder}/t2; fastcgi_temp_path {folder}/t3;
	uwsgi_temp_path {folder}/t4; scgi_temp_path {folder}/t5;
	server {{
		listen {port};
		location ~ ^/chunks/(..)(.*)$ {{ alias {store}/chunks/$1/$1$2; }}
		location /manifests/ {{ alias {store}/manifests/; }}
		location /traces/ {{ alias {store}/traces/; }}
	}}
}}
"""


class Ours(Tool):
    """What the three have in common: the store, and where a host holds an image."""

    program = "nightclass-cast"
    stores: dict[pathlib.Path, str] = {}  # of all three together
    packed = 0  # bytes that the latest import has put into the store

    def missing(self):
        lack = [path for path in (self.build / "nightclass-import", self.build / self.program) if not path.exists()]
        return ", ".join(f"no {path}" for path in lack)

    @property
    def store(self) -> pathlib.Path:
        return self.work.parent / "store"

    def prepare(self, image, *options):
        if image.path in self.stores:
            return
        argv = [self.build / "nightclass-import", "--no-sync", "--store", self.store, "--format", "raw", "--name",
                image.name.replace(".", "-"), "--revision", "1", *options, image.path]
        done = subprocess.run([str(word) for word in argv], capture_output=True, text=True, timeout=1200)
        last = json.loads(done.stdout.splitlines()[-1])
        if done.returncode != 0:
            raise RuntimeError(f"nightclass-import: {last}")
        self.stores[image.path], self.packed = last["digest"], last["stored"]

    def digest(self, image) -> str:
        return self.stores[image.path]

    def held(self, run, i) -> pathlib.Path:
        return run.dir(i) / "images"

    def chunks(self, run):
        """The store by HTTP, on the server."""
        folder = run.folder / "chunks"
        if run.servers:
            return  # it runs since the receivers got their earlier revision
        folder.mkdir(exist_ok=True)
        (folder / "conf").write_text(CHUNKS.format(folder=folder, store=self.store, port=HTTP))
        run.server("nginx", "-c", folder / "conf", "-e", "stderr").wait_listens("tcp", HTTP)

    def bits(self, run) -> int:
        return round(run.lab.mbit * 1e6)

    def root(self, run):
        """The chain's first, on the server."""
        run.server(self.build / "unit/test_image_chain", "root", self.store, CHAIN, self.bits(run),
                   stdin=subprocess.PIPE).wait_says(b"ready")

    def serve(self, run):
        self.chunks(run)

    def fetch(self, run, i, image):
        return run.client(i, self.build / "unit/test_image_fetch", f"http://{ADDRESS}:{HTTP}", self.digest(image), self.held(run, i))

    def hold(self, run, i, image):
        self.prepare(image)
        self.chunks(run)
        process = self.fetch(run, i, image)
        while not process.look():
            process.wait(60)
        if process.code != 0:
            raise RuntimeError(f"no earlier revision: {process.tail()}")

    def file(self, run, i):
        return self.held(run, i) / self.digest(run.image) / "disk.raw"


class Cast(Ours):
    name = "ours"
    what = "nightclass-cast with a cap at the port's rate; a PC takes the cast, else the chain, else peers and HTTP"
    packages = ("nginx-light",)
    program = "bench/host"
    receivers_first = True  # a hostd runs when it is told of an image; so do udpcast's receivers
    polled = True  # a PC goes on serving its peers

    def missing(self):
        return super().missing() or ("" if (self.build / "nightclass-cast").exists() else f"no {self.build}/nightclass-cast")

    def serve(self, run):
        self.chunks(run)
        if not run.scenario.multicast:
            self.root(run)
        run.server(self.build / "nightclass-cast", "send", "--store", self.store, "--interface", ADDRESS, "--group", GROUP,
                   "--port", PORT, "--rate", self.bits(run), self.digest(run.image)).wait_listens("udp", PORT)

    def receive(self, run, i):
        process = run.client(i, self.build / self.program, "bring", ADDRESS, run.lab.host(i), self.digest(run.image),
                             self.held(run, i), self.bits(run), stdin=subprocess.PIPE)
        if run.begun:
            process.tell(b"go")
        return process

    def ready(self, run, i, process):
        process.wait_says(b"ready\n")

    def begin(self, run):
        for r in run.receivers:
            if r.process:
                r.process.tell(b"go")

    def has(self, run, i, process):
        return b"whole\n" in process.log.read_bytes()


class CastQuick(Cast):
    name = "ours-9"
    what = "the same from a store that was filled with --level 9"
    stores: dict[pathlib.Path, str] = {}

    @property
    def store(self):
        return self.work.parent / "store-9"

    def prepare(self, image, *options):
        super().prepare(image, "--level", "9", *options)


class Chain(Ours):
    name = "ours-chain"
    what = "the chain of peers alone: each takes from the one before it, the server sends one copy"
    program = "unit/test_image_chain"
    polled = True  # a node goes on serving

    def serve(self, run):
        self.root(run)

    def receive(self, run, i):
        before = [f"{run.lab.address(i - 1)}:{CHAIN}"] if i else []
        digest = self.digest(run.image)
        return run.client(i, self.build / self.program, "node", self.held(run, i), digest, self.store / "manifests" / digest,
                          CHAIN, self.bits(run), *before, f"{ADDRESS}:{CHAIN}", stdin=subprocess.PIPE)

    def has(self, run, i, process):
        return process.log.read_bytes().startswith(b"ok ") or b"\nok " in process.log.read_bytes()


class Http(Ours):
    name = "ours-http"
    what = "fetch_image over HTTP from a chunk server (nginx), four connections a receiver"
    packages = ("nginx-light",)
    program = "unit/test_image_fetch"
    unicast = True

    def receive(self, run, i):
        return self.fetch(run, i, run.image)


TOOLS = (Cast, CastQuick, Chain, Http)
