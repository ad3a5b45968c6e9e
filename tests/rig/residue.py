# SPDX-License-Identifier: GPL-2.0-or-later
"""What a lab server's kernel and disk hold that is not there in the day: compare a snapshot of before the night with
one of after. Counters and lifetimes are left out; what stays is what somebody would have to clean up by hand."""
import json
import os
import re
import signal


def snapshot(lab) -> dict[str, list[str]]:
    """Addresses, routes, rules, links, nft rules, sysctls, files of the lab server, as sorted lines."""
    ns = lab.ns
    nft = ns.run("nft", "-s", "list", "ruleset").stdout
    return {
        "addresses": sorted(f"{link['ifname']} {a['local']}/{a['prefixlen']}" for link in ns.ip_json("addr")
                            for a in link.get("addr_info", []) if a["family"] == "inet"),
        "routes": sorted(ns.ip("-4", "route", "show", "table", "all", "proto", "78").splitlines()
                         + ns.ip("-4", "route").splitlines()),
        "rules": sorted(ns.ip("rule").splitlines()),
        "links": sorted(link["ifname"] for link in ns.ip_json("link") if not link["ifname"].startswith("tap")),
        "nft": [line for line in nft.splitlines() if line.strip()],
        "forwarding": [ns.run("sysctl", "-n", "net.ipv4.ip_forward").stdout.strip()],
        "processes": sorted(processes(lab)),
        "files": files(lab.state) if hasattr(lab, "state") else [],  # a lab with netd alone has no controller
    }


# What outlives a night on purpose: what runs wrote, programs that came whole (for a week), the peers' CAs (and the
# moment in which one is written).
STAYS = re.compile(r"runs/\d+/output|incoming/[0-9a-f]{64}|peers/[a-z0-9-]+\.pem(\.\w{6})?")


def files(state) -> list[str]:
    """What the controller keeps for runs, uploads and calls: keys of the night, pieces, files half-written."""
    found = (path.relative_to(state).as_posix() for folder in ("runs", "incoming", "loading", "peers")
             for path in (state / folder).rglob("*") if not path.is_dir())
    return sorted(name for name in found if not STAYS.fullmatch(name))


def _programs(lab) -> list[tuple[int, str]]:
    pids = lab.ns.run("ip", "netns", "pids", lab.ns.name).stdout.split()
    programs = []
    for pid in pids:
        try:
            with open(f"/proc/{pid}/cmdline", "rb") as f:
                argv = f.read().split(b"\0")
        except OSError:
            continue  # ended while we looked
        programs.append((int(pid), os.path.basename(argv[0].decode())))
    return programs


def processes(lab) -> list[str]:
    """Programs that run in the lab server's network namespace, without the rig's own QEMU PCs and listeners."""
    return [name for _, name in _programs(lab) if not re.match(r"qemu-system|python3|ip$", name) and name]


def kill(lab, program: str) -> None:
    """Ends the lab server's processes of this name."""
    for pid, name in _programs(lab):
        if name == program:
            os.kill(pid, signal.SIGKILL)


def difference(before: dict, after: dict) -> dict[str, list[str]]:
    """Per kind: what came ('+ line') and what went ('- line'); empty when nothing differs."""
    changed = {}
    for kind, old in before.items():
        new = after[kind]
        lines = [f"+ {line}" for line in new if line not in old] + [f"- {line}" for line in old if line not in new]
        if lines:
            changed[kind] = lines
    return changed


def text(difference_: dict) -> str:
    return json.dumps(difference_, indent=2)
