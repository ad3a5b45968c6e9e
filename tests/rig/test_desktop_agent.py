# SPDX-License-Identifier: GPL-2.0-or-later
"""How a PC is known to be back when no port is asked: by the agent on its own desktop, or by ping."""
import re
import time

from tests.rig import NamespacePC, School
from tests.rig.lab import ROOT
from tests.rig.wait import until


def test_a_desktop_is_back_when_its_agent_says_so(tmp_path):
    with School(tmp_path / "logs") as school:
        lab = school.lab("north", probe="agent")
        pcs = [NamespacePC(lab, "pc1"), NamespacePC(lab, "pc2")]
        lab.cli("night", "start", "--for", "8h", "--no-wait")
        lab.wait_pcs("host", 120)
        lab.cli("night", "end", "--no-wait")
        for pc in pcs:
            until(lambda pc=pc: "desktop: ready" in pc.console_text(), 60, f"{pc.name}: desktop")

        def day(pc):
            return pc.ns.run(str(ROOT / "guest-agent/day/nightclass-day"), "--once", "http://10.71.1.1:8080",
                             check=False)

        assert day(pcs[0]).returncode == 0
        until(lambda: lab.pc_state("pc1") == "desktop", 30, "pc1 is back")
        assert lab.pc_state("pc2") == "returning"  # the port answers, but nobody asked it

        liar = pcs[0].ns.run("curl", "-sS", "-X", "POST", "-w", "%{http_code}",
                             f"http://10.71.1.1:8080/boot/desktop?mac={pcs[1].mac}")
        assert liar.stdout.endswith("403") and "speaks for itself only" in liar.stdout
        assert lab.pc_state("pc2") == "returning"

        assert day(pcs[1]).returncode == 0
        until(lambda: lab.show("night", "list")[-1]["state"] == "done", 30, "night done")


def test_a_desktop_is_back_when_it_answers_pings(tmp_path):
    """`desktop_probe = ping`, the default. The controller has no privilege: the setting that is installed is enough.
    A host or the firmware may answer, too: an answer counts 90 seconds after the boot script at the soonest."""
    shipped = re.search(r"^net\.ipv4\.ping_group_range = (.*)$", (ROOT / "debian/nightclass.sysctl").read_text(), re.M)
    with School(tmp_path / "logs") as school:
        lab = school.lab("north", probe="ping")
        lab.ns.run("sysctl", "-qw", f"net.ipv4.ping_group_range={shipped.group(1)}")
        pcs = [NamespacePC(lab, "pc1"), NamespacePC(lab, "pc2")]
        lab.cli("night", "start", "--for", "8h", "--no-wait")
        lab.wait_pcs("host", 120)
        pcs[1].ns.run("sysctl", "-qw", "net.ipv4.icmp_echo_ignore_all=1")
        lab.cli("night", "end", "--no-wait")
        until(lambda: "desktop: ready" in pcs[0].console_text(), 120, "pc1: desktop")
        until(lambda: lab.pc_state("pc1") == "returning", 60, "pc1's host has gone")
        time.sleep(5)
        assert lab.pc_state("pc1") == "returning"
        until(lambda: "desktop: ready" in pcs[1].console_text(), 120, "pc2: desktop")
        school.clock.forward(110)
        until(lambda: lab.pc_state("pc1") == "desktop", 30, "pc1 is back")
        assert lab.api("GET", "/pcs/pc1")["desktop_at"]
        assert lab.pc_state("pc2") == "returning"
        pcs[1].ns.run("sysctl", "-qw", "net.ipv4.icmp_echo_ignore_all=0")
        until(lambda: lab.show("night", "list")[-1]["state"] == "done", 60, "night done")
        assert lab.pc_state("pc2") == "desktop"
