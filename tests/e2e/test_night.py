# SPDX-License-Identifier: GPL-2.0-or-later
"""The demo's night as a test: the same phases, the same promises."""
import json
import os
import pathlib

from tests.e2e.night import Night


def test_one_night_of_two_labs():
    folder = pathlib.Path(os.environ["NIGHTCLASS_BUILD"]) / "e2e"
    Night(folder).run()
    report = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    assert report["ok"] and report["residue"] == {}
    assert {pc["firmware"] for pc in report["pcs"].values()} == {"bios", "uefi"}
    for pc in report["pcs"].values():
        assert pc["disk_before"] == pc["disk_after"]
    assert report["mpi"]["check"] and len(report["mpi"]["hosts"]) == len(report["vms"]) == 2
