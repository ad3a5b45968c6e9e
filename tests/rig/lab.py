# SPDX-License-Identifier: GPL-2.0-or-later
"""A school of labs. Each lab has a lab server: a network namespace with `lan` (the switch of its PCs) and `uplink`
(towards the other labs), in which nightclass-netd (and through it dnsmasq) and nightclassd run as they would on a
real one, nightclassd as a user without any privilege."""
import json
import os
import pathlib
import shutil
import signal
import ssl
import subprocess
import urllib.error
import urllib.request

from . import sandbox
from .clock import Clock
from .daemon import Daemon
from .wait import until
from .wire import Namespace

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("NIGHTCLASS_BUILD", ROOT / "build"))
IMAGES = pathlib.Path(os.environ.get("NIGHTCLASS_IMAGES", ROOT / "build" / "images"))
PROGRAMS = ("nightclassd", "nightclass", "nightclass-netd", "nightclass-import", "nightclass-hostd", "nightclass-cast", "nightclass-download")
DAEMON_UID = sandbox.DAEMON_UID


class School:
    """Labs that can reach each other, one clock, and everything ended at the end of the `with`.

    `keep` is a folder that gets the logs; the rest lives in the sandbox's own /run and goes with it."""

    def __init__(self, keep: pathlib.Path):
        if not sandbox.inside():
            raise RuntimeError("the rig runs in its sandbox: python3 tests/rig/sandbox.py COMMAND")
        self.keep = pathlib.Path(keep)
        self.keep.mkdir(parents=True, exist_ok=True)
        number = next(n for n in range(1000) if not pathlib.Path(f"/run/rig{n}").exists())
        self.dir = pathlib.Path(f"/run/rig{number}")
        self.dir.mkdir(mode=0o755)
        self.tag = f"s{number}"
        self.bin = self.dir / "bin"
        self.bin.mkdir()
        for program in PROGRAMS:
            if (BUILD / program).exists():
                shutil.copy2(BUILD / program, self.bin)
        self.clock = Clock(self.dir / "clock")
        self.env = dict(os.environ, NIGHTCLASS_CLOCK=str(self.clock.path),
                        PATH=f"{self.bin}:/usr/sbin:/usr/bin:/sbin:/bin",
                        ASAN_OPTIONS="detect_leaks=1:abort_on_error=0", UBSAN_OPTIONS="print_stacktrace=1")
        self.labs: list[Lab] = []
        self.things: list = []  # ended in reverse order
        self.ns = Namespace()
        self.switch = f"sch{number}"
        self.number = number
        self.ns.bridge(self.switch, f"10.70.{number}.254/24")

    def lab(self, name: str, **options) -> "Lab":
        """A new lab with a running lab server. Options: Lab.__init__."""
        lab = Lab(self, name, len(self.labs) + 1, **options)
        self.labs.append(lab)
        lab.start()
        return lab

    def join_all_as_peers(self) -> None:
        for lab in self.labs:
            for other in self.labs:
                if other is not lab:
                    lab.add_peer(other)

    def __enter__(self) -> "School":
        return self

    def __exit__(self, *_failure) -> None:
        for thing in reversed(self.things):
            thing.stop()
        for lab in self.labs:
            lab.stop()
        for log in [*self.dir.rglob("*.log"), *self.dir.rglob("dnsmasq*.conf")]:
            to = self.keep / log.relative_to(self.dir)
            to.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(log, to)
        for lab in self.labs:
            # The kernel takes a namespace away some time later; the cable's end here has to be gone now.
            self.ns.run("ip", "link", "del", f"u{self.number}-{lab.number}", check=False)
            lab.ns.delete()
        for link in (self.switch, f"{self.switch}-plug"):
            self.ns.run("ip", "link", "del", link, check=False)
        shutil.rmtree(self.dir, ignore_errors=True)


class Lab:
    """One lab. Addresses follow from its number N: PCs 10.71.N.0/24, lab server .1, uplink 10.70.S.N."""

    def __init__(self, school: School, name: str, number: int, dhcp: str = "dhcp", probe: str = "tcp:22222",
                 settings: dict | None = None):
        self.school, self.name, self.number = school, name, number
        self.dir = school.dir / name
        self.dir.mkdir(mode=0o755)
        self.ns = Namespace(f"{school.tag}-{name}")
        self.ns.bridge("lan", f"10.71.{number}.1/24")
        self.uplink = f"10.70.{school.number}.{number}"
        self.ns.cable("uplink", school.ns, f"u{school.number}-{number}", bridge=school.switch)
        self.ns.ip("addr", "add", f"{self.uplink}/24", "dev", "uplink")
        self.url = f"https://{self.uplink}:8443"
        self.pcs: list = []
        self.router6: Daemon | None = None
        self.state = self.dir / "state"
        self.state.mkdir()
        os.chown(self.state, DAEMON_UID, DAEMON_UID)
        self._link_boot_files()
        self._configure(dhcp, probe, settings or {})
        self.netd = Daemon(f"{name}: nightclass-netd", self.ns.argv(
            str(school.bin / "nightclass-netd"), "-c", str(self.dir / "netd.conf")), self.dir / "netd.log", school.env)
        self.controller = Daemon(f"{name}: nightclassd", self.ns.argv(
            "setpriv", f"--reuid={DAEMON_UID}", f"--regid={DAEMON_UID}", "--clear-groups", "--no-new-privs",
            "--inh-caps=-all", "--bounding-set=-all,+net_raw",  # as in nightclassd.service: else ping(8) does not start
            str(school.bin / "nightclassd"), "-c", str(self.dir / "nightclass.conf")), self.dir / "nightclassd.log",
            school.env, cwd=self.dir)

    def _link_boot_files(self) -> None:
        """What a package would put in place: the host image. The loaders for TFTP are those of the machine's own."""
        self.boot = self.dir / "boot"
        self.boot.mkdir()
        for file in sorted((IMAGES / "host").glob("[!.]*")):
            shutil.copy(file, self.boot)

    def _configure(self, dhcp: str, probe: str, settings: dict) -> None:
        # An emulated PC unpacks some 15 MB/s; of a faster cast it throws most away.
        controller = {"state_dir": self.state, "boot_dir": self.boot, "netd_socket": self.dir / "netd.sock",
                      "listen": "0.0.0.0", "api_port": 8443, "boot_port": 8080, "cast_rate": 100, "log_level": "debug",
                      **settings}
        (self.dir / "nightclass.conf").write_text(
            f"[lab]\nname = {self.name}\nlan_address = 10.71.{self.number}.1/24\nuplink_address = {self.uplink}\n"
            f"cluster_net = 10.80.0.0/12\ndesktop_probe = {probe}\n\n[controller]\n"
            + "".join(f"{key} = {value}\n" for key, value in controller.items()), encoding="utf-8")
        (self.dir / "netd.conf").write_text(
            f"[netd]\nlan_interface = lan\nuplink_interface = uplink\nlan_address = 10.71.{self.number}.1/24\n"
            f"mode = {dhcp}\nsocket = {self.dir}/netd.sock\nstate_dir = {self.dir}/netd\n"
            f"allowed_user = {DAEMON_UID}\n", encoding="utf-8")

    def start(self) -> None:
        self.netd.start()
        until(lambda: (self.dir / "netd.sock").exists() or self._ended(self.netd), 20, f"{self.netd.name}: socket")
        self.start_controller()

    def start_controller(self) -> None:
        self.controller.start()
        until(lambda: self._healthy() or self._ended(self.controller), 60, f"{self.controller.name}: /health")

    def start_router6(self) -> None:
        """What firmware expects of a school's network (see router6.py); once per lab."""
        if not self.router6:
            self.router6 = Daemon(f"{self.name}: IPv6 router", self.ns.argv(
                "/usr/bin/python3", "-m", "tests.rig.router6", "lan"), self.dir / "router6.log", cwd=ROOT).start()

    @staticmethod
    def _ended(daemon: Daemon):
        if not daemon.alive():
            raise RuntimeError(f"{daemon.name} ended: {daemon.tail()}")

    def _healthy(self) -> bool:
        try:
            return self.api("GET", "/health")["status"] == "ok"
        except (OSError, urllib.error.URLError, KeyError):
            return False

    def stop(self) -> None:
        for pc in self.pcs:
            pc.stop()
        if self.router6:
            self.router6.stop()
        self.controller.stop()
        self.netd.stop()

    def kill_controller(self) -> None:
        self.controller.kill(signal.SIGKILL)

    # -- talking to it as its users do

    def cli_argv(self, *words: str) -> list[str]:
        return [str(self.school.bin / "nightclass"), "--server", self.url, "--ca", str(self.state / "tls" / "ca.pem"),
                "--token-file", str(self.state / "admin.token"), *words]

    def cli(self, *words: str, check: bool = True, timeout: float = 600) -> subprocess.CompletedProcess:
        """The CLI as an administrator; its output as text. check: wants exit code 0."""
        done = subprocess.run(self.cli_argv(*words), capture_output=True, text=True, timeout=timeout,
                              env=self.school.env, stdin=subprocess.DEVNULL)
        if check and done.returncode != 0:
            raise RuntimeError(f"nightclass {' '.join(words)}: exit {done.returncode}\n{done.stdout}{done.stderr}")
        return done

    def show(self, *words: str):
        """The CLI's answer as data; a list is the list of its items."""
        data = json.loads(self.cli("-o", "json", *words).stdout)
        return data["items"] if isinstance(data, dict) and "items" in data else data

    def api(self, method: str, path: str, body=None, token: str | None = None, timeout: float = 60):
        """One REST call; the answer as data. urllib.error.HTTPError for a problem."""
        trust = ssl.create_default_context(cafile=str(self.state / "tls" / "ca.pem"))
        request = urllib.request.Request(f"{self.url}/api/v1{path}", method=method)
        request.add_header("Authorization", f"Bearer {token or self.token()}")
        data = None
        if body is not None:
            data = json.dumps(body).encode()
            request.add_header("Content-Type", "application/json")
        with urllib.request.urlopen(request, data, timeout=timeout, context=trust) as answer:
            text = answer.read()
        return json.loads(text) if text else None

    def token(self) -> str:
        return (self.state / "admin.token").read_text(encoding="ascii").strip()

    def add_peer(self, other: "Lab") -> None:
        """This lab's controller may talk to the other's."""
        token = other.api("POST", "/tokens", {"name": f"lab-{self.name}", "role": "peer"})["token"]
        file = self.dir / f"{other.name}.token"
        file.write_text(token, encoding="ascii")
        self.cli("lab", "add", other.name, "--url", other.url, "--ca-file", str(other.state / "tls" / "ca.pem"),
                 "--peer-token-file", str(file))

    def pc_state(self, name: str) -> str:
        return self.api("GET", f"/pcs/{name}")["state"]

    def wait_pcs(self, state: str, timeout: float, names: list[str] | None = None) -> None:
        """Until all PCs (or the named ones) are in `state`; one that ends in exception raises with its reason. What is
        known of those that are late is part of the TimeoutError."""
        rows = []

        def settled():
            nonlocal rows
            rows = [pc for pc in self.api("GET", "/pcs")["items"] if names is None or pc["name"] in names]
            broken = [f"{pc['name']}: {pc['reason']}" for pc in rows if pc["state"] == "exception" != state]
            if broken:
                raise RuntimeError(f"{self.name}: " + "; ".join(broken))
            return all(pc["state"] == state for pc in rows)

        try:
            until(settled, timeout, f"{self.name}: PCs {state}", every=0.5)
        except TimeoutError as late:
            names = {pc["name"] for pc in rows if pc["state"] != state}
            raise TimeoutError("\n".join([str(late), *(pc.plight() for pc in self.pcs if pc.name in names)])) from None

    def vms(self, cluster: str) -> dict:
        """The VMs of a cluster of this lab by the name of their PC; one a PC."""
        return {vm["pc"]: vm for vm in self.api("GET", f"/clusters/{cluster}")["vms"]}

    def wait_vms(self, cluster: str, wanted: dict[str, str], timeout: float) -> None:
        """Until the VM of each PC is in its wanted state. What is known of PCs whose VM is late is part of the TimeoutError."""
        states, reasons = {}, []

        def settled():
            nonlocal states, reasons
            vms = self.vms(cluster)
            states = {pc: vm["state"] for pc, vm in vms.items()}
            reasons = [f"{pc}: {vm['reason']}" for pc, vm in vms.items() if vm.get("reason")]
            return states == wanted

        try:
            until(settled, timeout, f"{self.name}: VMs {wanted}")
        except TimeoutError as late:
            rest = [pc.plight() for pc in self.pcs if states.get(pc.name) != wanted.get(pc.name)]
            raise TimeoutError("\n".join([f"{late}: {states}", *reasons, *rest])) from None
