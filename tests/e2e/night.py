# SPDX-License-Identifier: GPL-2.0-or-later
"""One night of two labs from dusk to morning, as their users would run it: by the CLI, on PCs that really boot.

`Night(folder).run()` goes through PHASES in order, prints a line for each with the elapsed time, and leaves
report.json in the folder, also when a phase fails. The demo and the end-to-end test are this one night."""
import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import time

from tests.rig import QemuPC, School
from tests.rig import residue
from tests.rig.lab import IMAGES, ROOT
from tests.rig.wait import until

RANKS = 2
MATRIX = 256


class Failed(Exception):
    """A phase did not do what it promises; the text says what."""


def want(condition, text: str) -> None:
    if not condition:
        raise Failed(text)


class Night:
    def __init__(self, folder: pathlib.Path, started: float | None = None, on_labs=None):
        self.folder = folder
        self.folder.mkdir(parents=True, exist_ok=True)
        self.started = started or time.time()
        self.on_labs = on_labs  # called with the first lab once it serves its page
        self.report: dict = {"phases": {}, "pcs": {}, "vms": {}, "ok": False}
        self.program = self.folder / "matmul"
        self.look = self.folder / "look"

    # -- the frame

    def say(self, text: str) -> None:
        print(f"[{time.time() - self.started:7.1f} s] {text}", flush=True)

    def run(self) -> None:
        """All phases. Raises Failed or what went wrong; the report is written in any case."""
        try:
            with School(self.folder / "logs") as self.school:
                for phase in self.PHASES:
                    self.step(phase)
            self.report["ok"] = True
        except BaseException as problem:
            self.report["failed"] = why(problem)
            raise
        finally:
            (self.folder / "report.json").write_text(json.dumps(self.report, indent=2) + "\n", encoding="utf-8")

    def step(self, phase) -> None:
        name = phase.__name__
        begin = time.monotonic()
        outcome = phase(self)
        seconds = time.monotonic() - begin
        self.report["phases"][name] = round(seconds, 1)
        self.say(f"{name:<10} {seconds:6.1f} s  {outcome}")

    # -- the phases

    def labs(self) -> str:
        """Two labs, each with its own lab server; each PC has firmware and a disk of its own."""
        self.north, self.south = self.school.lab("north"), self.school.lab("south")
        self.both = (self.north, self.south)
        if self.on_labs:
            self.on_labs(self)
        self.school.join_all_as_peers()
        self.pcs = [QemuPC(self.north, "pc1", firmware="bios"), QemuPC(self.south, "pc1", firmware="uefi")]
        self.before = {lab.name: residue.snapshot(lab) for lab in self.both}
        for pc in self.pcs:
            self.report["pcs"][self.label(pc)] = {"firmware": pc.firmware, "accel": pc.accel, "mac": pc.mac,
                                                  "address": pc.address, "disk_before": pc.disk_digest()}
        return "north (BIOS PC), south (UEFI PC): lab servers up, PCs off, disks " + \
            ", ".join(self.report["pcs"][self.label(pc)]["disk_before"][:8] for pc in self.pcs)

    @staticmethod
    def label(pc) -> str:
        return f"{pc.lab.name}/{pc.name}"

    def image(self) -> str:
        """The default image into both stores."""
        for lab in self.both:
            lab.cli("image", "import", "mpi", str(IMAGES / "mpi-lean"))
        image = self.north.show("image", "show", "mpi")
        self.report["image"] = image
        want(image["digest"] == self.south.show("image", "show", "mpi")["digest"],
             "the same image has two digests in the two labs")
        return f"mpi revision {image['revision']}, {image['size'] >> 20} MiB, {image['stored'] >> 20} MiB stored"

    def boot(self) -> str:
        """The night begins: PCs are woken, boot from the network and enrol as hosts."""
        for lab in self.both:
            lab.cli("night", "start", "--for", "2h", "--no-wait")
        for pc in self.pcs:
            until(pc.running, 120, f"{self.label(pc)}: woken by magic packet", every=0.1)
        waiting = list(self.pcs)
        while waiting:
            for pc in list(waiting):
                state = pc.lab.pc_state(pc.name)
                if state == "exception":
                    raise Failed(f"{self.label(pc)}: {pc.lab.api('GET', f'/pcs/{pc.name}')['reason']}\n"
                                 + pc.console_text()[-2000:])
                if state in ("host", "hosting"):
                    seconds = time.time() - pc.woken_at
                    self.report["pcs"][self.label(pc)]["boot_seconds"] = round(seconds, 1)
                    self.say(f"           {self.label(pc)} ({pc.firmware}) is a host after {seconds:.0f} s")
                    waiting.remove(pc)
                elif not pc.running():
                    raise Failed(f"{self.label(pc)}: QEMU ended: {pc.qemu.tail()}")
                elif time.time() - pc.woken_at > 600:
                    raise Failed(f"{self.label(pc)}: no host after 600 s, state {state}\n" + pc.console_text()[-2000:])
            time.sleep(0.5)
        return "both PCs run the host image in RAM"

    def join(self) -> str:
        """The two labs become one network."""
        self.north.cli("join", "create", "north", "south")
        join = self.north.show("join", "list")[0]
        want(join["state"] == "committed", f"join is {join['state']}: {join.get('reason')}")
        self.report["join"] = join
        self.report["joined"] = {
            lab.name: {"routes": lab.ns.ip("route").splitlines(),
                       "nft": lab.ns.run("nft", "list", "table", "inet", "nightclass").stdout.splitlines()}
            for lab in self.both}
        pairs = ", ".join(f"{p['from']}->{p['to']} {p['ms']:.1f} ms" for p in join["probes"])
        return f"{join['net']}: {pairs}"

    def deploy(self) -> str:
        """One cluster over both labs, its VMs from one image, each with its own MAC, IP and host name."""
        self.north.cli("cluster", "create", "alice", "-n", str(len(self.pcs)), "--image", "mpi", "--policy", "spread",
                       "--memory", "384MiB", "--no-wait")
        told: dict = {}

        def ready():
            cluster = self.north.show("cluster", "show", "alice")
            for vm in cluster["vms"]:
                if told.get(vm["id"]) != vm["state"]:
                    told[vm["id"]] = vm["state"]
                    self.say(f"           {vm['id']} on {vm['lab']}/{vm['pc']}, {vm['ip']}: {vm['state']}"
                             + (f" ({vm['reason']})" if vm.get("reason") else ""))
            want(cluster["state"] not in ("failed", "partly"), f"cluster alice: {cluster['state']}: {cluster.get('reason')}")
            return cluster if cluster["state"] == "ready" else None

        cluster = until(ready, 900, "cluster alice ready", every=1)
        for vm in cluster["vms"]:
            self.report["vms"][vm["id"]] = {key: vm.get(key) for key in ("mac", "ip", "lab", "pc", "ready_ms")}
        vms = list(self.report["vms"].values())
        want({vm["lab"] for vm in vms} == {"north", "south"}, "the cluster does not span both labs")
        for key in ("mac", "ip"):
            want(len({vm[key] for vm in vms}) == len(vms), f"two VMs have one {key}")
        self.look_into_vms()
        return f"{len(vms)} VMs ready in two labs"

    def look_into_vms(self) -> None:
        """What the VMs themselves say that they are."""
        self.look.write_text("#!/bin/sh\necho seen $(uname -n) $(id -u) $(cat /sys/class/net/*/address) $(ip -o -4 addr)\n", encoding="ascii")
        self.look.chmod(0o755)
        told = self.north.cli("run", "--cluster", "alice", "-n", str(len(self.report["vms"])), str(self.look)).stdout
        seen = [line.split()[1:] for line in told.splitlines() if line.startswith("seen ")]
        for name, vm in self.report["vms"].items():
            words = next((words for words in seen if vm["mac"] in words), None)
            want(words, f"no VM has the MAC {vm['mac']} of {name}:\n{told}")
            vm["hostname"] = words[0]
            want(words[0] == name, f"the VM {name} calls itself {words[0]}")
            want(words[1] == "1000", f"the program ran in {name} as user {words[1]}")
            want(any(word.startswith(vm["ip"] + "/") for word in words), f"{name} does not have {vm['ip']}: {words}")

    def compute(self) -> str:
        """A real MPI program across both labs, with a checked result."""
        run = subprocess.run(["mpicc", "-O2", "-o", str(self.program), str(ROOT / "docs/examples/matmul.c"), "-lm"],
                             capture_output=True, text=True)
        want(run.returncode == 0, f"mpicc: {run.stderr}")
        done = self.north.cli("run", "--cluster", "alice", "-n", str(RANKS), str(self.program), str(MATRIX),
                              check=False, timeout=900)
        hosts = sorted(set(re.findall(r"\balice-\d{3}\b", done.stdout)))
        self.report["mpi"] = {"ranks": RANKS, "exit_code": done.returncode, "hosts": hosts,
                              "output": done.stdout.splitlines(), "check": "check: ok" in done.stdout}
        want(done.returncode == 0, f"nightclass run: exit {done.returncode}\n{done.stdout}{done.stderr}")
        want("check: ok" in done.stdout, f"the product is wrong:\n{done.stdout}")
        want(hosts == sorted(self.report["vms"]), f"ranks ran on {hosts}, not on every VM")
        return f"{RANKS} ranks on {', '.join(hosts)}: {MATRIX} x {MATRIX} product checked"

    def handback(self) -> str:
        """Morning: VMs shut down, PCs reboot to their own desktop, which is seen to answer."""
        for lab in self.both:
            lab.cli("night", "end", "--no-wait")
        for lab in self.both:
            until(lambda lab=lab: lab.show("night", "list")[-1]["state"] == "done", 600,
                  f"{lab.name}: night done", every=0.5)
        for pc in self.pcs:
            row = pc.lab.show("pc", "show", pc.name)
            want(row["state"] == "desktop" and row.get("desktop_at"),
                 f"{self.label(pc)}: {row['state']}, {row.get('reason')}")
            self.report["pcs"][self.label(pc)]["desktop_verified_at"] = row["desktop_at"]
            until(lambda pc=pc: "desktop: ready" in pc.console_text(), 60, f"{self.label(pc)}: its own system")
        return "both desktops answer on TCP 22222"

    def morning(self) -> str:
        """Nothing of ours is left, on no disk and in no kernel."""
        for pc in self.pcs:
            pc.power_off()
            entry = self.report["pcs"][self.label(pc)]
            entry["disk_after"] = pc.disk_digest()
            want(entry["disk_after"] == entry["disk_before"], f"{self.label(pc)}: its disk was written to")
        left = {lab.name: residue.difference(self.before[lab.name], residue.snapshot(lab)) for lab in self.both}
        self.report["residue"] = {lab: changed for lab, changed in left.items() if changed}
        want(not self.report["residue"], f"left behind: {residue.text(self.report['residue'])}")
        return "disks bit by bit as before; no route, address, nft table, link or process of ours left"

    PHASES = (labs, image, boot, join, deploy, compute, handback, morning)


def why(problem: BaseException) -> str:
    """One line."""
    if isinstance(problem, KeyboardInterrupt):
        return "interrupted; nothing is left running"
    text = str(problem).strip().split("\n", 1)[0]
    return text if text and isinstance(problem, (Failed, RuntimeError, TimeoutError)) else f"{type(problem).__name__}: {text}"


def main() -> int:
    """The inner half of the demo: argv is the folder, the start time, the descriptor of the web page's listener, and the
    seconds of the phases before. Why a night failed is told here at length; the one line is demo.py's, from the report."""
    folder, started, listener, phases = pathlib.Path(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3]), json.loads(sys.argv[4])
    from tests.e2e.page import serve_page

    signal.signal(signal.SIGTERM, signal.default_int_handler)
    night = Night(folder, started, on_labs=lambda night: serve_page(night, listener))
    night.report["phases"].update(phases)
    try:
        night.run()
    except KeyboardInterrupt:
        return 1
    except Exception as problem:
        print(problem, flush=True)
        print(f"logs: {os.path.relpath(folder / 'logs')}", flush=True)
        return 1
    print(f"report: {os.path.relpath(folder / 'report.json')}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
