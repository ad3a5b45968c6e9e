# SPDX-License-Identifier: GPL-2.0-or-later
"""The rig: labs, lab servers and PCs on one machine, in namespaces that die with the process that made them.

    from tests.rig import School

    def test_two_labs_join(tmp_path):
        with School(tmp_path) as school:
            north, south = school.lab("north"), school.lab("south")
            north.peer_with(south)
            north.cli("night", "start", "--for", "10m")
            ...

Files, in the order in which they are used: sandbox (nothing outlives us), wire (namespaces, bridges, taps), clock
(day and night), lab (a lab server with its daemons), pc (QEMU PCs and namespace PCs), residue (what was left).
"""
from .lab import Lab, School  # noqa: F401
from .pc import NamespacePC, QemuPC  # noqa: F401
