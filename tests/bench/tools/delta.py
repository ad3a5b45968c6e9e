# SPDX-License-Identifier: GPL-2.0-or-later
"""Debian's tools that bring only what a new revision changed. Each receiver has the revision before."""
import pathlib
import subprocess

from tests.bench.lab import ADDRESS
from tests.bench.tools.base import Tool
from tests.bench.tools.unicast import nginx


class Delta(Tool):
    unicast = True

    def old(self, run, i) -> pathlib.Path:
        return run.dir(i) / "old"

    def hold(self, run, i, image):
        # A copy of its own, as each PC would have.
        subprocess.run(["cp", image.path, self.old(run, i)], check=True)


class Rsync(Delta):
    name = "rsync"
    what = "rsync --inplace from an rsync daemon"
    packages = programs = ("rsync",)

    def old(self, run, i):
        return self.file(run, i)  # it is changed in place

    def serve(self, run):
        conf = run.folder / "rsyncd.conf"
        conf.write_text(f"use chroot = no\nuid = 0\ngid = 0\n[images]\npath = {run.image.path.parent}\nread only = yes\n")
        run.server("rsync", "--daemon", "--no-detach", f"--config={conf}", "--port=873").wait_listens("tcp", 873)

    def receive(self, run, i):
        return run.client(i, "rsync", "--inplace", "--no-whole-file", "--ignore-times",
                          f"rsync://{ADDRESS}/images/{run.image.path.name}", self.file(run, i))


class Zsync(Delta):
    name = "zsync"
    what = "zsync over nginx"
    packages = ("zsync", "nginx-light")
    programs = ("zsync", "zsyncmake", "nginx")

    def index(self, image) -> pathlib.Path:
        return image.path.with_suffix(".zsync")

    def prepare(self, image):
        if not self.index(image).exists():
            subprocess.run(["zsyncmake", "-C", "-u", image.path.name, "-o", self.index(image), image.path], check=True,
                           stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def serve(self, run):
        nginx(run, run.image.path.parent)

    def receive(self, run, i):
        # It works in its own folder and renames from there.
        return run.client(i, "env", "-C", run.dir(i), "zsync", "-q", "-i", self.old(run, i), "-o", "image",
                          f"http://{ADDRESS}/{self.index(run.image).name}")


class Casync(Delta):
    name = "casync"
    what = "casync with a chunk store over nginx and the old revision as seed"
    packages = ("casync", "nginx-light")
    programs = ("casync", "nginx")

    def index(self, image) -> pathlib.Path:
        return self.work / f"{image.name}.caibx"

    def prepare(self, image):
        if not self.index(image).exists():
            subprocess.run(["casync", "make", f"--store={self.work}/default.castr", self.index(image), image.path],
                           check=True, stdout=subprocess.DEVNULL)

    def serve(self, run):
        nginx(run, self.work)

    def receive(self, run, i):
        return run.client(i, "casync", "extract", f"--store=http://{ADDRESS}/default.castr", f"--seed={self.old(run, i)}",
                          f"http://{ADDRESS}/{self.index(run.image).name}", self.file(run, i))


TOOLS = (Rsync, Zsync, Casync)
