# SPDX-License-Identifier: GPL-2.0-or-later
"""A real PC loses its power in mid deployment: the others finish, this one is named, and the morning comes for all."""
import os
import pathlib

from tests.rig import QemuPC, School
from tests.rig.lab import IMAGES
from tests.rig.wait import until


def test_a_pc_killed_in_mid_deployment_is_named_and_the_others_finish():
    with School(pathlib.Path(os.environ["NIGHTCLASS_BUILD"]) / "e2e-killed") as school:
        lab = school.lab("north")
        lab.cli("image", "import", "mpi", str(IMAGES / "mpi-lean"), "--level", "3")
        pcs = [QemuPC(lab, "pc1"), QemuPC(lab, "pc2", firmware="uefi"), QemuPC(lab, "pc3")]
        disks = [pc.disk_digest() for pc in pcs]
        lab.cli("night", "start", "--for", "2h", "--no-wait")
        lab.wait_pcs("host", 600)
        lab.cli("cluster", "create", "alice", "-n", "3", "--policy", "spread", "--image", "mpi", "--memory", "384MiB",
                "--no-wait")
        victim = pcs[1]
        until(lambda: lab.vms("alice")["pc2"]["state"] in ("waiting", "starting"), 120, "pc2 is deploying")
        victim.power_off()
        lab.wait_vms("alice", {"pc1": "ready", "pc2": "failed", "pc3": "ready"}, 600)
        assert "pc2" in lab.vms("alice")["pc2"]["reason"]
        assert lab.api("GET", "/clusters/alice")["state"] == "partly"
        lost = lab.api("GET", "/pcs/pc2")
        assert lost["state"] == "exception" and lost["reason"]

        lab.cli("night", "end", "--no-wait")
        lab.wait_pcs("desktop", 600, names=["pc1", "pc3"])
        for pc in pcs:
            pc.power_off()
        assert [pc.disk_digest() for pc in pcs] == disks
