# SPDX-License-Identifier: GPL-2.0-or-later
"""nightclass-netd alone, on real kernels and a real dnsmasq: labs as namespaces, guests and PCs as namespaces, and
its socket spoken to directly. What a lease brings, that it ends without anybody's help, and what is never touched."""
import contextlib
import json
import os
import pathlib
import re
import select
import shutil
import signal
import socket
import subprocess
import tempfile
import threading

import pytest

from tests.rig import residue
from tests.rig.clock import Clock
from tests.rig.daemon import Daemon
from tests.rig.dhcp_client import DhcpClient, dhcp_storm, socket_in
from tests.rig.wait import until
from tests.rig.wire import Namespace, run

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("NIGHTCLASS_BUILD", ROOT / "build"))
URL = "http://10.71.1.1:8080/boot/start"
PC1, PC2, STRANGER = "52:54:00:00:01:11", "52:54:00:00:01:12", "52:54:00:00:09:99"


class Site:
    """A lab server with netd, one lab of a switch; one guest (a VM) and any number of PCs on the lab's segment."""

    def __init__(self, rig, number: int, mode: str = "dhcp", more: str = "", tftp_root: str = ""):
        self.rig, self.number, self.name = rig, number, f"nd{number}"
        self.dir = rig.dir / self.name
        self.dir.mkdir(mode=0o755)
        (self.dir / "tftp").mkdir()
        for name in ("undionly.kpxe", "snponly.efi", "ipxe.iso"):
            (self.dir / "tftp" / name).write_bytes(f"{name}\n".encode() * 400)
        self.ns = rig.namespace(self.name)
        self.ns.bridge("lan", f"10.71.{number}.1/24")
        self.ns.cable("uplink", rig.world, f"w{number}", bridge="switch")
        self.ns.ip("addr", "add", f"10.70.0.{number}/24", "dev", "uplink")
        self.ns.ip("route", "add", "default", "via", "10.70.0.254")
        (self.dir / "netd.conf").write_text(
            f"[netd]\nlan_interface = lan\nuplink_interface = uplink\nlan_address = 10.71.{number}.1/24\nmode = {mode}\n"
            f"socket = {self.dir}/netd.sock\nstate_dir = {self.dir}/state\n"
            f"tftp_root = {tftp_root or self.dir / 'tftp'}\n"
            f"allowed_user = 64123\n{more}", encoding="ascii")
        self.daemon = Daemon(self.name, self.ns.argv(str(BUILD / "nightclass-netd"), "-c", str(self.dir / "netd.conf")),
                             self.dir / "netd.log", rig.env)
        self.before = self.snapshot()
        self.start()

    def start(self) -> None:
        self.daemon.start()
        until(lambda: self._answers() or self._alive(), 20, f"{self.name}: socket", every=0.02)

    def _alive(self):
        assert self.daemon.alive(), self.daemon.tail(40)

    def _answers(self) -> bool:
        try:
            return self.ask({"op": "show"})["ok"]
        except OSError:
            return False

    def ask_text(self, text: bytes) -> dict:
        with socket.socket(socket.AF_UNIX) as s:
            s.settimeout(15)
            s.connect(str(self.dir / "netd.sock"))
            s.sendall(text)
            return json.loads(s.makefile("rb").readline())

    def ask(self, request: dict) -> dict:
        return self.ask_text(json.dumps(request).encode() + b"\n")

    def ok(self, **request) -> dict:
        answer = self.ask(request)
        assert answer["ok"], answer
        return answer

    def lease(self, labs: list, lease_s: int = 60, name: str = "join-1", **more) -> dict:
        """The `apply` of this lab in a join of all `labs`: N-1 routes, everything of ours exempt."""
        routes = [{"to": f"10.80.{o.number}.0/24", "via": f"10.70.0.{o.number}"} for o in labs if o is not self]
        return {"op": "apply", "name": name, "lease_s": lease_s, "addresses": [f"10.80.{self.number}.1/24"],
                "routes": routes, "exempt": ["10.80.0.0/16"], "masquerade": [f"10.80.{self.number}.0/24"],
                "isolate": True, **more}

    def station(self, name: str, mac: str = "", *addresses: str) -> Namespace:
        """A machine on the segment, its interface is called `eth`."""
        ns = self.rig.namespace(f"{self.name}{name}")
        ns.cable("eth", self.ns, f"p{name}", bridge="lan", mac=mac)
        for address in addresses:
            ns.ip("addr", "add", address, "dev", "eth")
        return ns

    def guest(self) -> Namespace:
        guest = self.station("g", "", f"10.80.{self.number}.10/24")
        guest.ip("route", "add", "default", "via", f"10.80.{self.number}.1")
        return guest

    def snapshot(self) -> dict:
        shot = residue.snapshot(self)
        del shot["links"], shot["processes"]  # of this test's own making
        return shot

    def clean(self) -> bool:
        return not residue.difference(self.before, self.snapshot())

    def our_table(self) -> str:
        return self.ns.run("nft", "-s", "list", "table", "inet", "nightclass", check=False).stdout

    def our_routes(self) -> list:
        return self.ns.ip("-4", "route", "show", "proto", "78").splitlines()


class Rig:
    def __init__(self, directory: pathlib.Path):
        self.dir = directory
        self.clock = Clock(directory / "clock")
        self.env = dict(os.environ, NIGHTCLASS_CLOCK=str(self.clock.path), PATH="/usr/sbin:/usr/bin:/sbin:/bin")
        self.namespaces, self.sites, self.daemons = [], [], []
        self.world = self.namespace("ndworld")
        self.world.bridge("switch", "10.70.0.254/24")

    def namespace(self, name: str) -> Namespace:
        ns = Namespace(name)
        self.namespaces.append(ns)
        return ns

    def site(self, number: int = 1, **options) -> Site:
        site = Site.__new__(Site)
        self.sites.append(site)
        site.__init__(self, number, **options)
        return site

    def stop(self) -> None:
        for daemon in self.daemons + [s.daemon for s in self.sites if hasattr(s, "daemon")]:
            daemon.stop()
        for ns in self.namespaces:
            for pid in run("ip", "netns", "pids", ns.name, check=False).stdout.split():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(int(pid), signal.SIGKILL)  # an orphan that a failed test left
            ns.delete()


@pytest.fixture(name="rig")
def _rig():
    if os.environ.get("NIGHTCLASS_SANDBOX") != "1":
        pytest.skip("runs in the rig's sandbox: python3 tests/rig/sandbox.py COMMAND")
    directory = pathlib.Path(tempfile.mkdtemp(prefix="netd", dir="/run"))  # the sandbox's own /run
    directory.chmod(0o755)
    rig = Rig(directory)
    try:
        yield rig
        for site in rig.sites:
            assert "ERROR: AddressSanitizer" not in site.daemon.text(), site.daemon.tail(60)
            assert "runtime error:" not in site.daemon.text(), site.daemon.tail(60)
    finally:
        rig.stop()


def pings(ns: Namespace, address: str) -> bool:
    """Whether an answer comes, asked once."""
    return ns.run("ping", "-c1", "-W2", address, check=False).returncode == 0


def reaches(ns: Namespace, address: str) -> bool:
    """Whether an answer comes in time: a port that has just come up may cost the first question, on every hop."""
    return ns.run("ping", "-c1", "-w15", address, check=False).returncode == 0


class Listener:
    """A TCP port in a namespace that tells each caller the address it came from."""

    def __init__(self, ns: Namespace, port: int):
        self.socket = socket_in(ns, socket.AF_INET, socket.SOCK_STREAM)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(("0.0.0.0", port))
        self.socket.listen()
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                peer, address = self.socket.accept()
            except OSError:
                return
            with peer:
                peer.sendall(address[0].encode())


def seen_as(ns: Namespace, address: str, port: int, source: str = "", wait_s: float = 15) -> str:
    """The address that a listener at address:port sees us coming from; empty when it cannot be reached within wait_s."""
    with socket_in(ns, socket.AF_INET, socket.SOCK_STREAM) as s:
        s.settimeout(wait_s)
        try:
            if source:
                s.bind((source, 0))
            s.connect((address, port))
            return s.recv(100).decode()
        except OSError:
            return ""


# --- a join of three labs

def test_three_labs_joined(rig):
    labs = [rig.site(n) for n in (1, 2, 3)]
    guests = [lab.guest() for lab in labs]
    for lab in labs:
        lab.ok(**lab.lease(labs))
        assert len(lab.our_routes()) == 2
    for guest in guests:
        Listener(guest, 5000)
        for other in labs:
            assert reaches(guest, f"10.80.{other.number}.10")
    Listener(rig.world, 5001)
    for lab, guest in zip(labs, guests):
        for other in labs:
            if other is not lab:
                # MPI's condition: the peer sees the address that it was told
                assert seen_as(guest, f"10.80.{other.number}.10", 5000) == f"10.80.{lab.number}.10"
        assert seen_as(guest, "10.70.0.254", 5001) == f"10.70.0.{lab.number}"
    for lab in labs:
        lab.ok(op="withdraw", name="join-1")
        assert lab.clean(), residue.text(residue.difference(lab.before, lab.snapshot()))


def test_guests_reach_no_port_of_a_lab_server(rig):
    one, two = rig.site(1), rig.site(2)
    guest = one.guest()
    pc = one.station("pc", "", "10.71.1.11/24")
    pc.ip("route", "add", "default", "via", "10.71.1.1")
    for lab in (one, two):
        Listener(lab.ns, 8443)
        lab.ok(**lab.lease([one, two]))
    for address in ("10.80.1.1", "10.71.1.1", "10.70.0.1", "10.70.0.2", "10.80.2.1", "10.71.2.1"):
        assert not seen_as(guest, address, 8443, wait_s=1.5), address
    assert reaches(guest, "10.80.1.1") and reaches(guest, "10.80.2.1")
    assert seen_as(pc, "10.71.1.1", 8443) == "10.71.1.11"  # PCs are not guests
    Listener(pc, 22)
    assert not seen_as(guest, "10.71.1.11", 22, wait_s=1.5), "a guest reaches no PC"
    # a lab server itself, from its cluster address: the probes of a join
    assert seen_as(one.ns, "10.80.2.1", 8443, source="10.80.1.1") == "10.80.1.1"
    Listener(guest, 22)
    assert seen_as(one.ns, "10.80.1.10", 22) == "10.80.1.1"  # the lab server reaches its guests


def test_guests_reach_no_lab_server_by_ipv6(rig):
    """Nobody gave them an address of that kind; the kernel of a stock image takes one by itself."""
    lab = rig.site()
    lab.ns.ip("addr", "add", "fd71::1/64", "dev", "lan", "nodad")
    guest, pc = lab.station("g", "52:4e:43:00:00:01"), lab.station("pc", PC1)
    for number, ns in enumerate((guest, pc), 2):
        ns.ip("addr", "add", f"fd71::{number}/64", "dev", "eth", "nodad")
    until(lambda: pings(guest, "fd71::1"), 10, "IPv6 works")
    lab.ok(**lab.lease([lab]))
    assert not pings(guest, "fd71::1")
    assert reaches(pc, "fd71::1"), "PCs are not guests"
    lab.ok(**lab.lease([lab], isolate=False))
    assert reaches(guest, "fd71::1")


def test_without_isolation_guests_reach_the_lab_server(rig):
    lab = rig.site()
    guest = lab.guest()
    Listener(lab.ns, 8443)
    lab.ok(**lab.lease([lab], isolate=False))
    assert seen_as(guest, "10.80.1.1", 8443) == "10.80.1.10"


# --- leases

def test_lease_ends_with_netd_alone(rig):
    lab = rig.site()
    lab.ok(op="dhcp", hosts=[{"name": "pc1", "mac": PC1, "address": "10.71.1.11"}])
    lab.ok(op="boot", lease_s=600, url=URL)
    lab.ok(**lab.lease([lab, rig.site(2)], lease_s=600))
    assert not lab.clean()
    rig.clock.forward(500)
    assert lab.ok(op="show")["applied"][0]["left_s"] <= 100
    assert lab.our_table() and lab.our_routes()
    rig.clock.forward(101)
    until(lambda: lab.clean(), 20, "withdrawn at the lease's end", every=0.05)
    show = lab.ok(op="show")
    assert show["applied"] == [] and show["boot"] is None and show["commands"] == []
    assert show["dnsmasq"]["running"], "addresses are still served"


def test_renewal_keeps_it(rig):
    lab = rig.site()
    lab.ok(**lab.lease([lab], lease_s=3600))
    rig.clock.forward(3000)
    lab.ok(**lab.lease([lab], lease_s=3600))
    rig.clock.forward(3000)
    assert 0 < lab.ok(op="show")["applied"][0]["left_s"] <= 600
    assert "10.80.1.0/24" in lab.our_table()


def test_one_of_two_leases_ends(rig):
    lab, other = rig.site(1), rig.site(2)
    lab.ok(**lab.lease([lab], lease_s=30, name="lab"))
    lab.ok(**lab.lease([lab, other], lease_s=90))
    rig.clock.forward(31)
    until(lambda: len(lab.ok(op="show")["applied"]) == 1, 20, "the first lease ended", every=0.05)
    assert "10.80.1.1/24" in lab.ns.ip("addr", "show", "dev", "lan"), "shared with the other lease"
    assert lab.our_routes() and 'comment "lab"' not in lab.our_table()
    rig.clock.forward(60)
    until(lab.clean, 20, "the second lease ended", every=0.05)


@pytest.mark.parametrize("while_dead", [False, True])
def test_killed_and_restarted_still_withdraws(rig, while_dead):
    lab = rig.site()
    lab.ok(op="dhcp", hosts=[{"name": "pc1", "mac": PC1, "address": "10.71.1.11"}])
    lab.ok(op="boot", lease_s=60, url=URL)
    lab.ok(**lab.lease([lab, rig.site(2)], lease_s=60))
    lab.ok(**lab.lease([lab], lease_s=60, name="lab", addresses=["10.81.1.1/24"]))
    lab.daemon.kill()
    assert lab.our_table() and lab.our_routes(), "a killed netd cannot clean up"
    if while_dead:
        rig.clock.forward(61)
    lab.start()
    if not while_dead:
        assert lab.our_table() and lab.ok(op="show")["boot"]["url"] == URL
        assert [lease["name"] for lease in lab.ok(op="show")["applied"]] == ["join-1", "lab"]
        rig.clock.forward(61)
    until(lab.clean, 20, "withdrawn at the lease's end", every=0.05)
    assert lab.ok(op="show")["boot"] is None
    dnsmasqs = [name for name in residue.processes(lab) if name == "dnsmasq"]
    assert len(dnsmasqs) == 1, "the killed netd's dnsmasq was ended"


def test_stop_takes_down_and_start_puts_back(rig):
    lab = rig.site()
    lab.ok(op="dhcp", hosts=[{"name": "pc1", "mac": PC1, "address": "10.71.1.11"}])
    lab.ok(**lab.lease([lab, rig.site(2)]))
    joined = lab.snapshot()
    lab.daemon.stop()
    assert lab.clean() and lab.daemon.process.returncode == 0
    assert "dnsmasq" not in residue.processes(lab)
    assert not (lab.dir / "netd.sock").exists()
    lab.start()
    assert not residue.difference(joined, lab.snapshot())
    assert lab.ok(op="show")["hosts"] == 1
    lab.ok(op="withdraw", name="join-1")
    assert lab.clean()


def test_broken_state_file_is_told_and_nothing_of_ours_stays(rig):
    lab = rig.site()
    lab.ok(**lab.lease([lab, rig.site(2)]))
    lab.daemon.kill()
    (lab.dir / "state" / "state.json").write_text('{"format":1,', encoding="ascii")
    lab.start()
    until(lambda: not lab.our_table() and not lab.our_routes(), 20, "cleaned up", every=0.05)
    assert "10.80.1.1" not in lab.ns.ip("addr")
    assert "not usable" in lab.daemon.text()


# --- what is not ours

def test_foreign_tables_routes_and_addresses_stay(rig):
    lab = rig.site()
    lab.ns.run("nft", "add table inet school; add chain inet school in { type filter hook input priority 0; }; "
               "add rule inet school in tcp dport 9 drop")
    lab.ns.ip("route", "add", "10.99.0.0/16", "via", "10.70.0.254", "proto", "static")
    lab.ns.ip("route", "add", "10.98.0.0/16", "via", "10.70.0.254")
    lab.ns.ip("addr", "add", "10.80.1.1/24", "dev", "lan")  # the administrator has it there already
    lab.ns.run("sysctl", "-w", "net.ipv4.ip_forward=1")
    before = lab.snapshot()
    lab.ok(**lab.lease([lab, rig.site(2)]))
    lab.ok(op="withdraw", name="join-1")
    assert not residue.difference(before, lab.snapshot())
    answer = lab.ask(lab.lease([lab], routes=[{"to": "10.99.0.0/16", "via": "10.70.0.2"}]))
    assert answer["code"] == "EEXIST" and "not ours" in answer["text"]
    assert not residue.difference(before, lab.snapshot()), "a refused apply leaves everything as it was"


def test_failed_replacement_leaves_the_former(rig):
    lab = rig.site()
    lab.ok(**lab.lease([lab, rig.site(2)]))
    joined = lab.snapshot()
    answer = lab.ask(lab.lease([lab], routes=[{"to": "10.90.0.0/16", "via": "192.0.2.1"}], lease_s=999,
                               addresses=["10.90.9.1/24"]))
    assert answer["code"] == "EHOSTUNREACH" and "192.0.2.1" in answer["text"]
    assert not residue.difference(joined, lab.snapshot())
    assert lab.ok(op="show")["applied"][0]["left_s"] <= 60


class Monitor:
    """What the kernel tells about IPv4 routes and addresses between start and changes(). Of IPv6 netd knows nothing,
    and the kernel gives every interface an address of that kind by itself, a second or two after it is up."""

    def __init__(self, lab: Site):
        self.ns = lab.ns
        self.process = subprocess.Popen(lab.ns.argv("ip", "-4", "monitor", "route", "address"), stdout=subprocess.PIPE)
        os.set_blocking(self.process.stdout.fileno(), False)
        self.text = ""
        until(lambda: self._mark("10.97.1.0/24"), 10, "ip monitor", every=0.02)  # it does not say when it is ready

    def _mark(self, to: str) -> bool:
        self.ns.ip("route", "add", to, "via", "10.70.0.254")
        self.ns.ip("route", "del", to)
        self.text += (self.process.stdout.read() or b"").decode()
        return to in self.text

    def changes(self) -> list[str]:
        until(lambda: self._mark("10.97.2.0/24"), 10, "ip monitor", every=0.02)
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()
        return [line for line in self.text.splitlines() if "10.97." not in line]


def test_same_request_twice_changes_nothing(rig):
    lab = rig.site()
    request = lab.lease([lab, rig.site(2)])
    lab.ok(**request)
    table = lab.ns.run("nft", "-a", "list", "ruleset").stdout  # with handles: a new table would have new ones
    monitor = Monitor(lab)
    lab.ok(**request)
    assert monitor.changes() == []
    assert lab.ns.run("nft", "-a", "list", "ruleset").stdout == table


def test_changed_gateway_touches_only_that_route(rig):
    lab = rig.site()
    routes = [{"to": "10.80.2.0/24", "via": "10.70.0.2"}, {"to": "10.80.3.0/24", "via": "10.70.0.3"}]
    lab.ok(**lab.lease([lab], routes=routes))
    monitor = Monitor(lab)
    routes[1]["via"] = "10.70.0.4"
    lab.ok(**lab.lease([lab], routes=routes))
    seen = monitor.changes()
    assert len(seen) == 2, seen
    assert seen[0].startswith("Deleted 10.80.3.0/24") and seen[1].startswith("10.80.3.0/24 via 10.70.0.4"), seen
    assert len(lab.our_routes()) == 2


@pytest.mark.parametrize("damage", [
    ["nft", "flush", "ruleset"],
    ["nft", "add", "rule", "inet", "nightclass", "nat", "counter", "accept"],
    ["ip", "route", "del", "10.80.2.0/24"],
    ["ip", "addr", "del", "10.80.1.1/24", "dev", "lan"],
    ["ip", "route", "add", "10.96.0.0/16", "via", "10.70.0.2", "proto", "78"],
    ["sysctl", "-w", "net.ipv4.ip_forward=0"],
])
def test_repaired(rig, damage):
    lab = rig.site()
    lab.ok(**lab.lease([lab, rig.site(2)], lease_s=3600))
    joined = lab.snapshot()
    for _ in range(2):
        lab.daemon.kill(signal.SIGSTOP)  # its own check must not come between the damage and the look at it
        lab.ns.run(*damage)
        assert residue.difference(joined, lab.snapshot())
        lab.daemon.kill(signal.SIGCONT)
        rig.clock.forward(6)  # the check's period is five seconds
        until(lambda: not residue.difference(joined, lab.snapshot()), 20, "repaired", every=0.05)
    lab.daemon.wait_for("repaired", 20)


def test_commands_shown_do_the_same(rig):
    lab, other = rig.site(1), rig.site(2)
    commands = lab.ok(**lab.lease([lab, other]))["commands"]
    assert commands == lab.ok(op="show")["commands"]
    hand = rig.namespace("ndhand")
    hand.bridge("lan", "10.71.1.1/24")
    hand.cable("uplink", rig.world, "whand", bridge="switch")
    hand.ip("addr", "add", "10.70.0.1/24", "dev", "uplink")
    hand.ip("route", "add", "default", "via", "10.70.0.254")
    for command in commands:
        hand.run("sh", "-c", command)
    typed = type("Typed", (), {"ns": hand})
    assert residue.snapshot(typed)["nft"] == residue.snapshot(lab)["nft"]
    assert residue.snapshot(typed)["addresses"] == residue.snapshot(lab)["addresses"]
    assert residue.snapshot(typed)["routes"] == residue.snapshot(lab)["routes"]
    assert residue.snapshot(typed)["forwarding"] == ["1"]


# --- DHCP and boot answers

HOSTS = [{"name": "pc1", "mac": PC1, "address": "10.71.1.11"}, {"name": "pc2", "mac": PC2, "address": "10.71.1.12"}]


def test_reserved_pc_with_and_without_boot_lease(rig):
    lab = rig.site()
    lab.ok(op="dhcp", hosts=HOSTS)
    pc = DhcpClient(lab.station("pc1", PC1), PC1)
    lease = pc.acquire()
    assert (lease.address, lease.file, lease.router) == ("10.71.1.11", "", "10.71.1.1")
    lab.ok(op="boot", lease_s=60, url=URL)
    assert pc.discover(arch=0).file == "undionly.kpxe"
    assert pc.discover(arch=7).file == "snponly.efi"
    assert pc.discover(arch=9).file == "snponly.efi"
    offer = pc.discover(arch=0, ipxe=True)
    assert offer.file == URL and offer.next_server == "10.71.1.1"
    assert pc.discover().file == "", "a desktop that asks for an address gets no boot file"
    rig.clock.forward(61)
    until(lambda: lab.ok(op="show")["boot"] is None, 20, "boot lease ended", every=0.05)
    assert pc.discover(arch=0).file == "" and pc.discover(arch=0, ipxe=True).file == ""
    assert pc.acquire().address == "10.71.1.11"


def test_two_hundred_pcs_get_their_addresses_without_a_retry(rig):
    """The firmware of a whole school within one second: each sends one DISCOVER and one REQUEST, and is acknowledged."""
    lab = rig.site()
    for attempt in range(3):  # where the machine stands still for a second, a socket runs over; each time it is other PCs
        macs = [f"52:54:00:00:{attempt + 2:02x}:{n:02x}" for n in range(200)]
        lab.ok(op="dhcp", hosts=[{"name": f"s{n}", "mac": mac, "address": f"10.71.1.{n + 20}"} for n, mac in enumerate(macs)])
        lab.ok(op="boot", lease_s=600, url=URL)
        acknowledged = dhcp_storm(lab.station(f"storm{attempt}", macs[0]), macs, arch=0)
        wanted = {mac: (f"10.71.1.{n + 20}", "undionly.kpxe") for n, mac in enumerate(macs)}
        if acknowledged == wanted:
            break
    assert acknowledged == wanted


def test_busybox_client_gets_its_address(rig):
    lab = rig.site()
    lab.ok(op="dhcp", hosts=HOSTS)
    pc = lab.station("pc1", PC1)
    script = lab.dir / "took"
    script.write_text(f'#!/bin/sh\n[ "$1" != bound ] || echo "$ip $subnet $router" >{lab.dir}/bound\n', encoding="ascii")
    script.chmod(0o755)
    pc.run("busybox", "udhcpc", "-i", "eth", "-n", "-q", "-f", "-t", "20", "-T", "1", "-s", str(script))
    assert (lab.dir / "bound").read_text() == "10.71.1.11 255.255.255.0 10.71.1.1\n"


class Tftp:
    """What PC 1 gets from site 1 by TFTP."""

    def __init__(self, lab):
        self.got, self.pc = lab.dir / "got", lab.station("pc1", PC1, "10.71.1.11/24")

    def __call__(self, name: str, seconds: int = 5) -> bytes | None:
        self.got.unlink(missing_ok=True)
        done = self.pc.run("timeout", str(seconds), "busybox", "tftp", "-g", "-r", name, "-l", str(self.got), "10.71.1.1",
                           check=False)
        return self.got.read_bytes() if done.returncode == 0 else None


def test_loader_by_tftp_only_with_boot_lease(rig):
    lab = rig.site()
    lab.ok(op="dhcp", hosts=HOSTS)
    fetch = Tftp(lab)
    assert fetch("undionly.kpxe") is None
    lab.ok(op="boot", lease_s=60, url=URL)
    assert fetch("undionly.kpxe", 30) == b"undionly.kpxe\n" * 400 and fetch("snponly.efi", 30) == b"snponly.efi\n" * 400
    assert fetch("../netd.conf") is None and fetch("/etc/passwd") is None
    assert fetch("ipxe.iso") is None, "it lies beside the loaders, and no PC is told of it"


def test_tftp_gives_the_loaders_of_the_installed_package_and_nothing_beside_them(rig):
    installed = pathlib.Path("/usr/lib/ipxe")
    lab = rig.site(tftp_root=str(installed))
    lab.ok(op="dhcp", hosts=HOSTS)
    lab.ok(op="boot", lease_s=60, url=URL)
    fetch = Tftp(lab)
    for name in ("undionly.kpxe", "snponly.efi"):
        assert fetch(name, 30) == (installed / name).read_bytes()
    others = [str(path.relative_to(installed)) for path in sorted(installed.glob("**/*.*")) if path.is_file()]
    for name in [name for name in others if name not in ("undionly.kpxe", "snponly.efi")][:3] + ["qemu/pxe-virtio.rom"]:
        assert fetch(name) is None, name
    assert sorted(path.name for path in (lab.dir / "state" / "dnsmasq.tftp").iterdir()) == ["snponly.efi", "undionly.kpxe"]


def test_loaders_are_copied_anew_when_boot_answers_begin(rig):
    """An upgrade of ipxe needs no restart; what is no loader any more is gone."""
    lab = rig.site()
    lab.ok(op="dhcp", hosts=HOSTS)
    lab.ok(op="boot", lease_s=60, url=URL)
    lab.ok(op="boot", lease_s=0)
    (lab.dir / "tftp" / "undionly.kpxe").write_bytes(b"upgraded")
    (lab.dir / "state" / "dnsmasq.tftp" / "former.kpxe").write_bytes(b"of an earlier version")
    lab.ok(op="boot", lease_s=60, url=URL)
    fetch = Tftp(lab)
    assert fetch("undionly.kpxe", 30) == b"upgraded" and fetch("former.kpxe") is None


def test_a_loader_that_is_missing_is_named(rig):
    """No boot answers, which would leave a PC at a file that is not there; addresses go on."""
    lab = rig.site()
    lab.ok(op="dhcp", hosts=HOSTS)
    (lab.dir / "tftp" / "snponly.efi").unlink()
    answer = lab.ask({"op": "boot", "lease_s": 60, "url": URL})
    assert (answer["ok"], answer["code"]) == (False, "ENOENT"), answer
    for word in (str(lab.dir / "tftp" / "snponly.efi"), "Debian package ipxe", "tftp_root"):
        assert word in answer["text"], answer
    pc = DhcpClient(lab.station("pc2", PC2), PC2)
    assert pc.acquire().address == "10.71.1.12" and pc.discover(arch=7).file == ""
    lab.daemon.stop()
    lab.start()
    assert "Debian package ipxe" in lab.daemon.tail(40), "told before the night, too"


def test_boot_renewal_does_not_restart_dnsmasq_and_leases_outlive_a_restart(rig):
    lab = rig.site(more="dhcp_range = 10.71.1.200-10.71.1.210\n")
    lab.ok(op="dhcp", hosts=HOSTS)
    stranger = DhcpClient(lab.station("x", STRANGER), STRANGER)
    address = stranger.acquire().address
    lab.ok(op="boot", lease_s=60, url=URL)
    first = lab.ok(op="show")["dnsmasq"]
    for _ in range(3):
        rig.clock.forward(30)
        lab.ok(op="boot", lease_s=60, url=URL)
        lab.ok(op="dhcp", hosts=HOSTS)
    assert lab.ok(op="show")["dnsmasq"] == first
    lab.ok(op="boot", lease_s=0)
    assert lab.ok(op="show")["dnsmasq"]["pid"] != first["pid"]
    assert STRANGER in (lab.dir / "state" / "dnsmasq.leases").read_text()
    # known from the lease file: a request without a discover before it is acknowledged
    assert stranger.request(address).address == address


def test_unknown_pc_gets_nothing_or_the_small_range_but_never_a_boot_answer(rig):
    lab, ranged = rig.site(1), rig.site(2, more="dhcp_range = 10.71.2.200-10.71.2.210\n")
    for site in (lab, ranged):
        site.ok(op="dhcp", hosts=[{"name": "pc1", "mac": PC1, "address": f"10.71.{site.number}.11"}])
        site.ok(op="boot", lease_s=60, url=URL)
    nobody = DhcpClient(lab.station("x", STRANGER), STRANGER)
    assert nobody.discover(arch=0, wait=1.5) is None
    guest = DhcpClient(ranged.station("x", STRANGER), STRANGER)
    offer = guest.discover(arch=0)
    assert offer, ranged.daemon.tail(60)
    assert re.match(r"10\.71\.2\.2(0\d|10)$", offer.address) and offer.file == ""
    assert guest.discover(arch=7, ipxe=True).file == ""
    known = DhcpClient(ranged.station("pc1", PC1), PC1)
    assert known.discover(arch=0).address == "10.71.2.11" and known.discover(arch=0).file == "undionly.kpxe"


def test_reservations_are_replaced_as_a_whole(rig):
    lab = rig.site()
    lab.ok(op="dhcp", hosts=HOSTS)
    lab.ok(op="dhcp", hosts=[HOSTS[1] | {"address": "10.71.1.50"}])
    assert DhcpClient(lab.station("pc2", PC2), PC2).acquire().address == "10.71.1.50"
    assert DhcpClient(lab.station("pc1", PC1), PC1).discover(wait=1.5) is None


def test_dns_names_of_vms(rig):
    lab = rig.site()
    lab.ok(op="dhcp", hosts=HOSTS, names=[{"name": "alice-001", "address": "10.80.1.10"}])
    pc = lab.station("pc1", PC1, "10.71.1.11/24")
    query = b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x09alice-001\x00\x00\x01\x00\x01"
    with socket_in(pc, socket.AF_INET, socket.SOCK_DGRAM) as s:
        s.settimeout(1)

        def answer() -> bytes:
            s.sendto(query, ("10.71.1.1", 53))
            with contextlib.suppress(TimeoutError):
                return s.recv(512)
            return b""

        until(lambda: answer().endswith(socket.inet_aton("10.80.1.10")), 20, "the VM's address")
    with socket_in(rig.world, socket.AF_INET, socket.SOCK_DGRAM) as s:
        s.settimeout(1)
        s.sendto(query, ("10.70.0.1", 53))
        with pytest.raises(OSError):  # the LAN alone is served
            s.recv(512)


def test_proxy_never_offers_an_address(rig):
    lab = rig.site(mode="proxy")
    school = lab.station("school", "", "10.71.1.2/24")
    server = Daemon("school", school.argv(
        "dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--port=0", "--interface=eth", "--bind-interfaces",
        "--no-ping", "--log-facility=-", "--user=root", "--dhcp-range=10.71.1.100,10.71.1.150,1h",
        f"--dhcp-leasefile={lab.dir}/school.leases", f"--pid-file={lab.dir}/school.pid"), lab.dir / "school.log")
    rig.daemons.append(server.start())
    until((lab.dir / "school.pid").exists, 20, "the school's DHCP server", every=0.02)
    lab.ok(op="dhcp", hosts=HOSTS)
    lab.ok(op="boot", lease_s=60, url=URL)
    pc, stranger = DhcpClient(lab.station("pc1", PC1), PC1), DhcpClient(lab.station("x", STRANGER), STRANGER)
    seen = []
    for arch, ipxe in ((0, False), (7, False), (9, False), (0, True), (7, True), (None, False)):
        both = ("10.71.1.2", "10.71.1.1") if arch is not None else ("10.71.1.2",)
        offers = pc.offers(arch=arch, ipxe=ipxe, servers=both) + stranger.offers(arch=arch, ipxe=ipxe, servers=("10.71.1.2",))
        assert any(o.server == "10.71.1.2" and o.address.startswith("10.71.1.1") for o in offers)
        ours = [o for o in offers if o.server == "10.71.1.1"]
        assert all(o.address == "0.0.0.0" for o in ours), ours
        assert all(o.mac == PC1 for o in ours), "strangers are not answered"
        seen.append([o.file for o in ours])
    assert [len(files) for files in seen[:3]] == [1, 1, 1], "firmware is sent to our boot server"
    assert [pc.proxy_file(arch) for arch in (0, 7, 9)] == ["undionly.kpxe", "snponly.efi", "snponly.efi"]
    assert seen[3] == [URL] and seen[4] == [URL]
    assert seen[5] == [], "a desktop hears the school's server alone"
    lab.ok(op="boot", lease_s=0)
    assert [o for o in pc.offers(arch=0) + pc.offers(arch=7, ipxe=True) if o.server == "10.71.1.1" and o.file] == []


def test_dnsmasq_killed_is_started_again(rig):
    lab = rig.site()
    lab.ok(op="dhcp", hosts=HOSTS)
    pid = lab.ok(op="show")["dnsmasq"]["pid"]
    os.kill(pid, signal.SIGKILL)
    until(lambda: lab.ok(op="show")["dnsmasq"]["pid"] not in (0, pid), 20, "dnsmasq again", every=0.05)
    assert DhcpClient(lab.station("pc1", PC1), PC1).acquire().address == "10.71.1.11"


def test_boot_answers_end_though_dnsmasq_would_not_at_first(rig):
    """No other lease, no request: nothing but the check sees that dnsmasq still serves what has ended."""
    tools, broken = rig.dir / "tools", rig.dir / "broken"
    tools.mkdir()
    (tools / "dnsmasq").write_text(f'#!/bin/sh\n[ ! -e {broken} ] || exit 3\nexec {shutil.which("dnsmasq")} "$@"\n')
    (tools / "dnsmasq").chmod(0o755)
    rig.env["PATH"] = f"{tools}:{rig.env['PATH']}"
    lab = rig.site()
    lab.ok(op="dhcp", hosts=HOSTS)
    lab.ok(op="boot", lease_s=60, url=URL)
    pc = DhcpClient(lab.station("pc1", PC1), PC1)
    assert pc.discover(arch=0).file == "undionly.kpxe"
    broken.touch()
    rig.clock.forward(61)
    lab.daemon.wait_for("does not accept its new configuration", 20)
    assert lab.ok(op="show")["boot"] is None and pc.discover(arch=0).file == "undionly.kpxe"
    starts = lab.ok(op="show")["dnsmasq"]["starts"]
    broken.unlink()
    rig.clock.forward(6)
    until(lambda: lab.ok(op="show")["dnsmasq"]["starts"] > starts, 20, "dnsmasq with the goal", every=0.05)
    assert pc.discover(arch=0).file == ""
    assert lab.daemon.text().count("does not accept its new configuration") == 1


def test_mode_none_runs_no_dnsmasq(rig):
    lab = rig.site(mode="none")
    lab.ok(op="dhcp", hosts=HOSTS)
    lab.ok(op="boot", lease_s=60, url=URL)
    assert lab.ok(op="show")["dnsmasq"] == {"mode": "none", "running": False, "pid": 0, "starts": 0}
    assert "dnsmasq" not in residue.processes(lab)


# --- address conflicts

def test_conflicts(rig):
    lab = rig.site()
    lab.station("thief", "52:54:00:00:07:77", "10.71.1.12/24")
    lab.station("pc1", PC1, "10.71.1.11/24")
    answer = lab.ok(op="conflicts", addresses=[f"10.71.1.{n}" for n in range(11, 111)], mine=[PC1, PC2])
    assert answer["conflicts"] == [{"address": "10.71.1.12", "mac": "52:54:00:00:07:77"}]
    assert lab.ok(op="conflicts", addresses=["10.71.1.11"])["conflicts"] == [{"address": "10.71.1.11", "mac": PC1}]
    assert lab.ok(op="conflicts", addresses=[])["conflicts"] == []


def test_netd_serves_others_while_it_probes_and_ends_in_mid_probe(rig):
    lab = rig.site()
    probe = b'{"op":"conflicts","addresses":["10.71.1.9"]}\n'
    with socket.socket(socket.AF_UNIX) as s:
        s.settimeout(15)
        s.connect(str(lab.dir / "netd.sock"))
        lines = s.makefile("rb")
        served = False
        for _ in range(5):  # the probe takes about a second; on a busy machine we may come too late to see it
            s.sendall(probe + b'{"op":"show"}\n')
            lab.ok(op="show")
            served = served or not select.select([s], [], [], 0)[0]
            assert json.loads(lines.readline())["conflicts"] == [] and "applied" in json.loads(lines.readline())
            if served:
                break
        assert served
        s.sendall(probe)
        lab.daemon.stop()
    assert lab.daemon.process.returncode == 0


# --- the socket

def test_foreign_user_is_refused(rig):
    lab = rig.site()
    code = (f"import socket; s = socket.socket(socket.AF_UNIX); s.connect('{lab.dir}/netd.sock')\n"
            "try: s.sendall(b'{\"op\":\"show\"}\\n')\n"
            "except BrokenPipeError: pass\n"  # refused before it asked; the reason can be read all the same
            "print(s.makefile().readline())")
    as_user = {uid: json.loads(run("setpriv", f"--reuid={uid}", f"--regid={uid}", "--clear-groups", "/usr/bin/python3",
                                   "-c", code).stdout) for uid in (64123, 64124)}
    assert as_user[64123]["ok"]
    assert as_user[64124]["code"] == "EPERM" and "applied" not in as_user[64124]
    lab.daemon.wait_for("user 64124 refused", 2)


@pytest.mark.parametrize("text, field", [
    (b'{"op":"show","op":"show"}', "op"),
    (b'{"op":"show","extra":1}', "extra"),
    (b'{"op":"shutdown"}', "op"),
    (b'{}', "op"),
    (b'{"op":"withdraw","name":7}', "name"),
    (b'{"op":"apply","name":"j","lease_s":9,"routes":[{"to":"10.80.2.0/24","via":"10.70.0.2"},{"to":"x","via":"10.70.0.2"}]}',
     "routes[1].to"),
    (b'not json', None),
])
def test_strict_requests(rig, text, field):
    lab = rig.site()
    answer = lab.ask_text(text + b"\n")
    assert answer["ok"] is False and answer["code"] == "EINVAL" and answer.get("field") == field and answer["text"]
    assert lab.ok(op="show")["applied"] == []


def test_endless_line_is_refused(rig):
    lab = rig.site()
    with socket.socket(socket.AF_UNIX) as s:
        s.settimeout(20)
        s.connect(str(lab.dir / "netd.sock"))
        sent = 0
        try:
            while sent < 64 << 20:
                sent += s.send(b"x" * 65536)
        except OSError:
            pass
        assert sent < 16 << 20
    assert lab.ok(op="show")["ok"]


def test_second_netd_gives_up_and_spoils_nothing(rig):
    lab = rig.site()
    lab.ok(**lab.lease([lab]))
    before = lab.ok(op="show")["dnsmasq"]
    done = lab.ns.run(str(BUILD / "nightclass-netd"), "-c", str(lab.dir / "netd.conf"), check=False, env=rig.env)
    assert done.returncode == 1 and "Another nightclass-netd" in done.stderr
    assert lab.our_table() and lab.ok(op="show")["applied"] and lab.ok(op="show")["dnsmasq"] == before


def test_configuration_errors_name_the_key(rig):
    lab = rig.site()
    assert shutil.which("dnsmasq")
    text = (lab.dir / "netd.conf").read_text()
    for change, names in (("mode = dhcp", "mode = both"), ("lan_interface = lan", "lan_interface = a,b"),
                          ("state_dir", "stat_dir")):
        (lab.dir / "bad.conf").write_text(text.replace(change, names), encoding="ascii")
        done = lab.ns.run(str(BUILD / "nightclass-netd"), "-c", str(lab.dir / "bad.conf"), check=False)
        assert done.returncode == 1 and names.split(" ")[0] in done.stderr and "bad.conf" in done.stderr
