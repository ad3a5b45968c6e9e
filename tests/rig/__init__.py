# SPDX-License-Identifier: GPL-2.0-or-later
"""The rig: labs, lab servers and PCs on one machine, in namespaces that die with the process that made them.

    from tests.rig import NamespacePC, School

    def test_two_labs_join(tmp_path):
        with School(tmp_path) as school:
            north, south = school.lab("north"), school.lab("south")
            school.join_all_as_peers()
            for lab in (north, south):
                NamespacePC(lab, "pc1")
                lab.cli("night", "start", "--for", "1h")
            north.cli("join", "create", "north", "south")
            assert north.show("join", "list")[0]["state"] == "committed"
            north.cli("night", "end")
            assert north.pc_state("pc1") == "desktop"

Files, in the order in which they are used: sandbox (nothing outlives us), wire (namespaces, bridges, taps), clock
(day and night), lab (a lab server with its daemons), accel (KVM or not), pc (QEMU PCs and namespace PCs), residue (what
was left).
"""
from .lab import Lab, School  # noqa: F401
from .pc import NamespacePC, QemuPC  # noqa: F401
