# SPDX-License-Identifier: GPL-2.0-or-later
"""Nights in which something goes wrong: real daemons, real libvirtd and real VMs on namespace PCs."""
import subprocess

import pytest

from tests.rig import NamespacePC, School, residue
from tests.rig.lab import IMAGES
from tests.rig.wait import until
from tests.rig.wire import Namespace

pytestmark = pytest.mark.skipif(not (IMAGES / "mpi-lean" / "disk.raw").exists(), reason="no default image: make images")

VM = ("--image", "mpi", "--memory", "256MiB")


@pytest.fixture
def school(tmp_path):
    with School(tmp_path / "logs") as made:
        yield made


def lab_with_pcs(school, name: str, pcs: int):
    """A lab in its day: PCs off, image imported; remembers what its lab server looked like."""
    lab = school.lab(name)
    lab.cli("image", "import", "mpi", str(IMAGES / "mpi-lean"), "--level", "3")
    for number in range(1, pcs + 1):
        NamespacePC(lab, f"pc{number}")
    lab.before = residue.snapshot(lab)
    return lab


def begin(lab) -> None:
    lab.cli("night", "start", "--for", "8h", "--no-wait")


def hosts(lab) -> None:
    until(lambda: all(pc["state"] in ("host", "hosting") for pc in lab.api("GET", "/pcs")["items"]), 120,
          f"{lab.name}: all PCs are hosts")


def cluster(lab, *states: str, timeout: float = 240) -> dict:
    """The cluster `alice` once it is in one of the states."""
    def reached():
        row = lab.api("GET", "/clusters/alice")
        return row if row["state"] in states else None
    return until(reached, timeout, f"{lab.name}: cluster alice {'/'.join(states)}")


def end(lab) -> None:
    """Hands back and looks that nothing is left."""
    lab.cli("night", "end", "--no-wait")
    over(lab)


def over(lab) -> None:
    until(lambda: lab.show("night", "list")[-1]["state"] == "done", 240, f"{lab.name}: night done")
    lab.wait_pcs("desktop", 10)
    assert all("desktop: ready" in pc.console_text() for pc in lab.pcs)
    nothing_left(lab)


def nothing_left(lab) -> None:
    until(lambda: not residue.difference(lab.before, residue.snapshot(lab)), 30, f"{lab.name}: no residue")
    for pc in lab.pcs:
        assert pc.virsh("list", "--all", "--name").split() == []


def restart(lab) -> None:
    lab.kill_controller()
    lab.start_controller()


def test_controller_killed_at_every_phase_and_restarted(school):
    north, south = lab_with_pcs(school, "north", 1), lab_with_pcs(school, "south", 1)
    school.join_all_as_peers()
    for lab in (north, south):
        begin(lab)
    restart(north)  # while PCs are woken
    hosts(north)
    hosts(south)

    north.api("POST", "/joins", {"labs": ["north", "south"]})
    restart(north)  # between the steps of a join: it is finished or rolled back
    state = until(lambda: next((j["state"] for j in north.api("GET", "/joins")["items"]
                                if j["state"] in ("committed", "failed", "withdrawn")), None), 90, "join settled")
    if state != "committed":
        north.cli("join", "create", "north", "south")

    north.cli("cluster", "create", "alice", "-n", "2", "--policy", "spread", *VM, "--no-wait")
    restart(north)  # while VMs are made
    assert len(cluster(north, "ready")["vms"]) == 2
    restart(south)  # the peer, while VMs run
    assert cluster(north, "ready")["state"] == "ready"

    for lab in (north, south):
        lab.cli("night", "end", "--no-wait")
    restart(north)  # while PCs are handed back
    over(north)
    over(south)


def test_controller_killed_while_a_program_runs(school, tmp_path):
    """A run does not outlive its controller, on no VM: it is failed, said so, and can be started again."""
    lab = lab_with_pcs(school, "north", 1)
    begin(lab)
    hosts(lab)
    lab.cli("cluster", "create", "alice", "-n", "2", *VM, "--no-wait")
    cluster(lab, "ready")
    program = tmp_path / "program"
    program.write_text('#!/bin/sh\nif [ ! -e /tmp/seen ]; then\n'
                       'echo $$ >/tmp/seen; echo started; exec sleep 3600\nfi\n'
                       'for i in 1 2 3 4 5 6 7 8 9 10; do\n'
                       'kill -0 $(cat /tmp/seen) 2>/dev/null || { echo again; exit; }\nsleep 1\ndone\n'
                       'echo it still runs\n', encoding="ascii")
    program.chmod(0o755)

    words = ("run", "--cluster", "alice", "-n", "2", str(program))
    with subprocess.Popen(lab.cli_argv(*words), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, text=True, env=school.env) as cli:
        assert [cli.stdout.readline() for _ in range(2)] == ["started\n"] * 2
        assert "runs/1/key" in residue.files(lab.state)
        restart(lab)
        out, err = cli.communicate(timeout=120)
    assert cli.returncode == 1, (cli.returncode, out, err)
    run = lab.show("run", "list")[0]
    assert run["state"] == "failed" and "restarted" in run["reason"]
    assert run["reason"] in err and out == ""
    until(lambda: "ssh" not in residue.processes(lab), 30, "the session of the run is ended")

    assert lab.cli(*words).stdout == "again\n" * 2

    # A program's own exit code is the run's and the command's, also that of a program which reaches no VM.
    for code in (42, 250):
        program.write_text(f"#!/bin/sh\necho no\nexit {code}\n", encoding="ascii")
        done = lab.cli(*words, check=False)
        assert done.returncode == code and "no\n" in done.stdout, done
        run = lab.show("run", "list")[0]
        assert (run["state"], run["exit_code"]) == ("done", code), run

    # A signal's is the shell's.
    program.write_text("#!/bin/sh\necho here; exec sleep 3600\n", encoding="ascii")
    with subprocess.Popen(lab.cli_argv(*words), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, text=True, env=school.env) as cli:
        assert cli.stdout.readline() == "here\n"
        residue.kill(lab, "ssh")
        err = cli.communicate(timeout=120)[1]
    run = lab.show("run", "list")[0]
    assert (run["state"], run["exit_code"], cli.returncode) == ("failed", 137, 137) and "signal 9" in run["reason"], run
    assert run["reason"] in err
    end(lab)


def test_controller_dead_all_night(school):
    """Promise 1: nobody tells the PCs to go home, they go by themselves; routes and NAT end by their lease."""
    north, south = lab_with_pcs(school, "north", 1), lab_with_pcs(school, "south", 1)
    school.join_all_as_peers()
    for lab in (north, south):
        begin(lab)
    hosts(north)
    hosts(south)
    south.cli("join", "create", "north", "south")  # any member makes clusters, not only the coordinator
    until(lambda: north.api("GET", "/joins")["items"][0]["state"] == "committed", 60, "north: join committed")
    north.cli("cluster", "create", "alice", "-n", "2", "--policy", "spread", *VM, "--no-wait")
    cluster(north, "ready")
    assert residue.difference(north.before, residue.snapshot(north)), "the night must have changed something"

    for lab in (north, south):
        lab.kill_controller()
        lab.before["processes"] = [name for name in lab.before["processes"] if name != "nightclassd"]
    school.clock.forward(8 * 3600 + 60)
    for lab in (north, south):
        for pc in lab.pcs:
            until(lambda pc=pc: "desktop: ready" in pc.console_text(), 120, f"{lab.name}/{pc.name}: desktop")
        nothing_left(lab)


def test_a_stations_address_is_not_taken_from_it(school):
    """Somebody's machine has the address of a PC that is off: that PC is not woken and named, the others come."""
    lab = school.lab("north")
    taken, free = NamespacePC(lab, "pc1"), NamespacePC(lab, "pc2")
    taken.ns.ip("addr", "del", f"{taken.address}/24", "dev", "br0")
    station = Namespace(f"{lab.ns.name}-station")
    station.cable("eth0", lab.ns, "station", bridge="lan", mac="52:54:00:99:00:01")
    station.ip("addr", "add", f"{taken.address}/24", "dev", "eth0")
    begin(lab)
    lab.wait_pcs("host", 120, names=[free.name])
    row = lab.api("GET", "/pcs/pc1")
    assert row["state"] == "exception" and "52:54:00:99:00:01" in row["reason"] and not taken.running()
    assert [(e["subject"], e["text"]) for e in lab.show("event", "list") if e["kind"] == "pc.conflict"] == \
        [("pc/pc1", row["reason"])]


def test_pc_unplugged_in_mid_deployment(school):
    """The others finish, this one is named."""
    lab = lab_with_pcs(school, "north", 3)
    begin(lab)
    hosts(lab)
    lab.cli("cluster", "create", "alice", "-n", "3", "--policy", "spread", *VM, "--no-wait")
    victim = lab.pcs[1]
    until(lambda: victim.virsh("list", "--name").strip(), 120, "a VM starts on pc2")
    victim.power_off()
    row = until(lambda: (c := cluster(lab, "partly")) and all(vm["state"] in ("ready", "failed") for vm in c["vms"])
                and c, 240, "the others are ready")
    states = {vm["pc"]: vm for vm in row["vms"]}
    assert states["pc1"]["state"] == states["pc3"]["state"] == "ready"
    assert states["pc2"]["state"] == "failed" and "pc2" in states["pc2"]["reason"]
    assert lab.api("GET", "/pcs/pc2")["state"] == "exception"
    lab.cli("night", "end", "--no-wait")
    lab.wait_pcs("desktop", 240, names=["pc1", "pc3"])


def test_three_labs_join_and_leave(school):
    """D1-D3 for N labs: N-1 routes each, every ordered pair probed, nothing left when they part."""
    labs = [lab_with_pcs(school, name, 1) for name in ("north", "south", "west")]
    school.join_all_as_peers()
    for lab in labs:
        begin(lab)
    labs[0].cli("join", "create", "north", "south", "west")
    join = labs[0].show("join", "list")[0]
    assert join["state"] == "committed"
    assert {(p["from"], p["to"]) for p in join["probes"] if p["ok"]} == \
        {(a.name, b.name) for a in labs for b in labs if a is not b}
    for lab in labs:
        routes = lab.ns.ip("route", "show", "proto", "78").splitlines()
        assert len(routes) == 2, routes
        commands = "\n".join(lab.show("join", "show", join["id"])["commands"])
        assert commands.count("ip route add") == 2 and 'oifname "uplink" masquerade' in commands, commands
    labs[0].cli("join", "delete", join["id"])
    for lab in labs:
        until(lambda lab=lab: not lab.ns.ip("route", "show", "proto", "78"), 30, f"{lab.name}: routes gone")
        end(lab)


def test_a_member_that_cannot_be_reached_rolls_the_join_back(school):
    north, south = lab_with_pcs(school, "north", 1), lab_with_pcs(school, "south", 1)
    school.join_all_as_peers()
    for lab in (north, south):
        begin(lab)
    # The controllers see each other, the VMs' networks would not: exactly what the probes are for.
    south.ns.run("nft", "add table inet wall; add chain inet wall in { type filter hook input priority -10; }; "
                 "add rule inet wall in ip saddr 10.80.0.0/12 drop")
    done = north.cli("join", "create", "north", "south", check=False)
    assert done.returncode != 0 and "south" in done.stdout + done.stderr
    assert north.show("join", "list")[0]["state"] in ("failed", "withdrawn")
    south.ns.run("nft", "delete table inet wall")
    for lab in (north, south):
        until(lambda lab=lab: not lab.ns.ip("route", "show", "proto", "78"), 30, f"{lab.name}: rolled back")
        end(lab)
