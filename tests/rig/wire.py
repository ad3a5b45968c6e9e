# SPDX-License-Identifier: GPL-2.0-or-later
"""Cables and switches: network namespaces, bridges, veth pairs and taps, all inside the sandbox."""
import json
import subprocess

from tests.rig.wait import until


def run(*argv: str, check: bool = True, timeout: float = 60, **kwargs) -> subprocess.CompletedProcess:
    """Runs a command to its end with its output captured; a failure shows the output."""
    done = subprocess.run(argv, capture_output=True, text=True, timeout=timeout, **kwargs)
    if check and done.returncode != 0:
        raise RuntimeError(f"{' '.join(argv)}: exit {done.returncode}\n{done.stdout}{done.stderr}")
    return done


class Namespace:
    """A network namespace by name; the empty name is the sandbox's own."""

    def __init__(self, name: str = ""):
        self.name = name
        if name:
            run("ip", "netns", "add", name)
            self.ip("link", "set", "lo", "up")

    def argv(self, *argv: str) -> list[str]:
        """argv that runs inside."""
        return ["ip", "netns", "exec", self.name, *argv] if self.name else list(argv)

    def run(self, *argv: str, **kwargs) -> subprocess.CompletedProcess:
        return run(*self.argv(*argv), **kwargs)

    def ip(self, *words: str) -> str:
        at = ("-n", self.name) if self.name else ()
        return run("ip", *at, *words).stdout

    def ip_json(self, *words: str) -> list:
        at = ("-n", self.name) if self.name else ()
        return json.loads(run("ip", "-j", *at, *words).stdout or "[]")

    def bridge(self, name: str, *addresses: str) -> None:
        """A switch; no spanning tree, so that a port forwards at once. One port is always plugged in: a bridge without
        a carrier would drop what the lab server sends, a switch with all PCs off does not."""
        self.ip("link", "add", name, "type", "bridge", "stp_state", "0", "forward_delay", "0")
        for address in addresses:
            self.ip("addr", "add", address, "dev", name)
        self.ip("link", "add", f"{name}-plug", "type", "veth", "peer", "name", f"{name}-end")
        self.ip("link", "set", f"{name}-end", "arp", "off", "addrgenmode", "none", "up")
        self.ip("link", "set", f"{name}-plug", "master", name, "up")
        self.ip("link", "set", name, "up")

    def tap(self, name: str, bridge: str) -> None:
        """A port of the bridge for a QEMU PC."""
        self.ip("tuntap", "add", name, "mode", "tap")
        self.ip("link", "set", name, "master", bridge, "up")

    def cable(self, end: str, other: "Namespace", other_end: str, bridge: str = "", mac: str = "") -> None:
        """A veth pair; `other_end` becomes a port of `bridge` in `other` when one is named."""
        other.ip("link", "add", other_end, "type", "veth", "peer", "name", f"{other_end}p")
        if self.name:
            other.ip("link", "set", f"{other_end}p", "netns", self.name)
        if mac:
            self.ip("link", "set", f"{other_end}p", "address", mac)
        self.ip("link", "set", f"{other_end}p", "name", end, "up")
        if bridge:
            other.ip("link", "set", other_end, "master", bridge)
        other.ip("link", "set", other_end, "up")
        if bridge:  # the kernel opens a port some time after its carrier: a frame sent before that is lost
            until(lambda: other.port_state(other_end) == "forwarding", 20, f"port {other_end} of {bridge} to forward", 0.02)

    def port_state(self, port: str) -> str:
        """Of a bridge's port: "disabled", "forwarding", ..."""
        return self.ip_json("-d", "link", "show", "dev", port)[0]["linkinfo"]["info_slave_data"]["state"]

    def delete(self) -> None:
        if self.name:
            run("ip", "netns", "del", self.name, check=False)
