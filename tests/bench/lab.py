# SPDX-License-Identifier: GPL-2.0-or-later
"""An emulated lab: one switch (a bridge), a server and N receivers, each in a network namespace of its own behind a port
of R Mbit/s. It lives in the sandbox's namespaces, so nothing of it outlives the bench.

What makes it honest:
- tbf at *both* ends of every port, the server's too. tbf counts layer-2 bytes: 1514 for a full frame. Preamble and gap
  (24 bytes more on a real cable) are not charged, to nobody.
- every frame on the cables is a real frame: segmentation offloads are off on all interfaces, aggregation (GRO) on the
  switch's ports, for every tool. A sender may hand 64 KiB to its kernel (UDP_SEGMENT, TCP), which cuts it before the
  port's queue, so loss strikes single frames and queues hold single frames. GRO is on where a host receives, as on
  any Linux PC; it costs nobody a rate and spares the two cores that emulate the lab.
- nobody feels another's port: Linux forwards the frame itself to the last port of a group, and with it the sender's
  account of what waits in its socket. So the sender of a cast was held back by the slowest port, where that was the last.
  A switch that listens too (promisc) forwards copies only.
- the switch filters nothing: where br_netfilter is loaded, it would take every copy of a frame through iptables' hooks,
  which no switch does and which made the two cores too slow for 32 ports.
- a switch port queues 256 KiB, then drops. A host's own port queues 1000 frames, then drops, as Linux does by default.
- loss is independent per receiver, at its switch port: one frame in so many, at random.
"""
import json
import os
import subprocess
import time

from tests.bench.process import namespace

SERVER = "srv"
ADDRESS = "10.99.0.1"
PORT_QUEUE = 256 << 10
HOST_QUEUE = 1000 * 1514
BURST = 32 << 10  # 2.6 ms at 100 Mbit/s: what a late timer may make up for
SYS = "/run/bench-sys"  # the sandbox's own network devices; /sys shows the machine's
FILTERS = ("iptables", "ip6tables", "arptables")
OFFLOADS = ("tso", "off", "gso", "off", "tx-udp-segmentation", "off")


def run(*argv: str, stdin: str | None = None, check: bool = True) -> str:
    """A command to its end; its output. A failure shows what it said."""
    done = subprocess.run(argv, input=stdin, capture_output=True, text=True, timeout=120)
    if check and done.returncode != 0:
        raise RuntimeError(f"{' '.join(argv)}: exit {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout


class Lab:
    """One switch and its ports. `close` takes all of it away (so does the end of the sandbox)."""

    def __init__(self, receivers: int, mbit: float, snooping: bool = True, apart: bool = False):
        """apart: the server has a processor to itself (see `_apart`), and no port is shaped."""
        if apart and (os.cpu_count() or 1) < 2:
            raise RuntimeError("the server is to have a processor to itself, and this machine has one")
        self.receivers, self.mbit, self.apart = receivers, mbit, apart
        self.names = [SERVER, *(f"r{i:03d}" for i in range(receivers))]
        self.snooping = snooping
        try:
            self._switch()
            self._ports()
            if apart:
                self._apart()
            else:
                for name in self.names:
                    self.rate(name, mbit)
        except BaseException:
            self.close()  # nobody else can, and the next lab's names are the same
            raise

    def address(self, i: int) -> str:
        return f"10.99.0.{10 + i}"

    def host(self, i: int) -> str:
        """The namespace of receiver i."""
        return self.names[1 + i]

    def argv(self, name: str, *argv: object) -> list[str]:
        """argv that runs in a namespace. `ip` execs it: the process is the program."""
        return ["ip", "netns", "exec", name, *map(str, argv)]

    def pinned(self, name: str) -> list[str]:
        """What comes before the argv of a program of this host: on which processor it runs."""
        return ["taskset", "-c", "0" if name == SERVER else "1"] if self.apart else []

    def close(self) -> None:
        for name in self.names:
            run("ip", "link", "del", name, check=False)  # a namespace takes its end away when the kernel finds time
            run("ip", "netns", "del", name, check=False)
        run("ip", "link", "del", "sw", check=False)
        # A hook names its devices, and would take the next lab's of the same names.
        self.loss(0)
        self.multicast(True)

    def _switch(self) -> None:
        run("ip", "link", "add", "sw", "type", "bridge", "stp_state", "0", "forward_delay", "0", "mcast_snooping",
            "1" if self.snooping else "0")
        run("sysctl", "-qw", "net.ipv6.conf.sw.disable_ipv6=1")
        # without br_netfilter there are none, and nothing to turn off
        run("sysctl", "-qw", *(f"net.bridge.bridge-nf-call-{of}=0" for of in FILTERS), check=False)
        run("ip", "link", "set", "sw", "up", "promisc", "on")
        if self.snooping:
            # IGMPv3: nobody keeps quiet because a neighbour spoke. A new querier floods for the time of one answer, so
            # that time is one second (hundredths here) until the switch has settled, and RFC 3376's ten from then on.
            for words in (("mcast_igmp_version", "3"), ("mcast_query_response_interval", "100"), ("mcast_querier", "1")):
                run("ip", "link", "set", "sw", "type", "bridge", *words)
            self._settled = time.monotonic() + 1.1

    def _ports(self) -> None:
        outer = []
        for name in self.names:
            run("ip", "netns", "add", name)
            outer += [f"link add {name} type veth peer name eth0 netns {name}", f"link set {name} master sw up"]
        run("ip", "-batch", "-", stdin="\n".join(outer))
        for i, name in enumerate(self.names):
            address = ADDRESS if i == 0 else self.address(i - 1)
            run("ip", "netns", "exec", name, "sysctl", "-qw", "net.ipv6.conf.all.disable_ipv6=1")
            run("ip", "-n", name, "-batch", "-", stdin="\n".join((
                "link set lo up", f"addr add {address}/24 brd + dev eth0", "link set eth0 up",
                "route add 224.0.0.0/4 dev eth0")))
            run("ethtool", "-K", name, *OFFLOADS, "gro", "off")
            run(*self.argv(name, "ethtool", "-K", "eth0", *OFFLOADS, "gro", "on"))

    def _apart(self) -> None:
        """A frame that leaves the server is carried on by another processor, as by a network card. Otherwise the kernel
        runs the whole lab in the sender's time: each cable, the switch and the receiver's half of the stack."""
        run("sh", "-c", f"mkdir -p {SYS} && {{ mountpoint -q {SYS} || mount -t sysfs sysfs {SYS}; }} && "
            f"echo 2 >{SYS}/class/net/{SERVER}/queues/rx-0/rps_cpus")

    def rate(self, name: str, mbit: float) -> None:
        """Both ends of a host's port get this rate."""
        for at, dev, queue in (((), name, PORT_QUEUE), (("-n", name), "eth0", HOST_QUEUE)):
            run("tc", *at, "qdisc", "replace", "dev", dev, "root", "tbf", "rate", f"{int(mbit * 1e6)}bit",
                "burst", str(BURST), "limit", str(queue))

    def loss(self, per_mille: float) -> None:
        """Every receiver loses that many of a thousand frames that were sent to it."""
        run("nft", "delete", "table", "netdev", "loss", check=False)
        if per_mille:
            ports = ", ".join(self.names[1:])
            run("nft", "-f", "-", stdin=(
                f"table netdev loss {{ chain out {{ type filter hook egress devices = {{ {ports} }} priority 0;"
                f" numgen random mod 100000 < {round(per_mille * 100)} drop; }}; }}"))

    def multicast(self, works: bool) -> None:
        """A switch that passes multicast, or one that drops all of it beyond the local 224.0.0.x."""
        run("nft", "delete", "table", "bridge", "bench", check=False)
        if not works:
            run("nft", "-f", "-", stdin=(
                "table bridge bench { chain forward { type filter hook forward priority 0;"
                " ip daddr 224.0.0.0/24 accept; ip daddr 224.0.0.0/4 drop; }; }"))

    def meet(self) -> None:
        """Every host knows every other's address, as after a day's work."""
        jobs = [subprocess.Popen(self.argv(SERVER, "ping", "-qc3", "-i0.3", "-w20", self.address(i)), stdout=subprocess.DEVNULL)
                for i in range(self.receivers)]
        silent = [self.host(i) for i, job in enumerate(jobs) if job.wait() != 0]
        if silent:
            raise RuntimeError(f"no answer from {', '.join(silent)}")
        if self.snooping:
            time.sleep(max(0.0, self._settled - time.monotonic()))
            run("ip", "link", "set", "sw", "type", "bridge", "mcast_query_response_interval", "1000")

    def server_bytes(self) -> tuple[int, int]:
        """Layer-2 bytes that left the server and that came to it, at the switch's side of its port."""
        stats = json.loads(run("ip", "-j", "-s", "link", "show", "dev", SERVER))[0]["stats64"]
        return stats["rx"]["bytes"], stats["tx"]["bytes"]

    def sockets(self, name: str) -> str:
        """What a host is connected to, with what waits in its queues, and the groups it is in: for a look afterwards."""
        return run(*self.argv(name, "ss", "-tuanpi")) + run("ip", "-n", name, "maddr", "show", "dev", "eth0")

    def drops(self) -> dict[str, int]:
        """Dropped so far: by switch ports' queues, by hosts' own queues, by sockets that were not read in time, and by
        the machine that emulates all this (then it was too slow, and the figure is not the tool's fault)."""
        count = {"port": 0, "host": 0, "socket": 0, "machine": 0}
        for name in self.names:
            with namespace(name), open("/proc/thread-self/net/snmp", encoding="ascii") as file:
                head, values = (line.split() for line in file if line.startswith("Udp:"))
            count["socket"] += int(values[head.index("RcvbufErrors")])
        for where, at in (("port", ()), *(("host", ("-n", name)) for name in self.names)):
            for link in json.loads(run("ip", *at, "-j", "-s", "link", "show")):
                count["machine"] += link["stats64"]["rx"]["dropped"]
            for qdisc in json.loads(run("tc", *at, "-j", "-s", "qdisc", "show")):
                count[where] += qdisc["drops"] if qdisc["kind"] == "tbf" else 0
        with open("/proc/net/softnet_stat", encoding="ascii") as file:
            count["machine"] += sum(int(line.split()[1], 16) for line in file)
        return count


def offloads(name: str) -> str:
    """What ethtool says of a host's interface, for the record."""
    text = run("ip", "netns", "exec", name, "ethtool", "-k", "eth0")
    words = ("generic-segmentation", "tcp-segmentation", "generic-receive", "tx-udp-segmentation", "scatter-gather")
    return ", ".join(line.strip() for line in text.splitlines() if line.strip().startswith(words))


def inside() -> bool:
    return os.environ.get("NIGHTCLASS_SANDBOX") == "1"
