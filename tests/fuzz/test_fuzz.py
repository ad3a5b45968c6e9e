# SPDX-License-Identifier: GPL-2.0-or-later
"""Every fuzz target over its seeds and for two seconds on: what a long `make fuzz` found once stays found. The targets
are built by clang (`make fuzz-targets`); where there is no clang this is skipped, loudly."""
import os
import pathlib
import shutil
import subprocess

import pytest

HERE = pathlib.Path(__file__).resolve().parent
BUILD = pathlib.Path(os.environ.get("NIGHTCLASS_FUZZ", HERE.parents[1] / "build" / "fuzzing")).resolve()
TARGETS = sorted(p.stem.removeprefix("fuzz_") for p in HERE.glob("fuzz_*.c"))


@pytest.mark.parametrize("target", TARGETS)
def test_seeds(target):
    if not shutil.which("clang"):
        pytest.skip("no clang, so no libFuzzer: apt install clang libclang-rt-14-dev")
    assert (BUILD / "fuzz" / f"fuzz_{target}").exists(), "not built: make fuzz-targets (see FUZZ_MAKE in the Makefile)"
    assert any((HERE / "seeds" / target).iterdir()), "a target without seeds starts from nothing"
    done = subprocess.run([HERE / "run", BUILD, "2", target], capture_output=True, text=True, timeout=150)
    assert done.returncode == 0, done.stderr


def test_a_crash_is_seen(tmp_path):
    """The runner itself: a target that crashes fails it, and leaves the input."""
    if not shutil.which("clang"):
        pytest.skip("no clang, so no libFuzzer: apt install clang libclang-rt-14-dev")
    folder = tmp_path / "fuzz"
    folder.mkdir()
    crash = folder / "fuzz_manifest"
    crash.write_text('#!/bin/sh\nfor word; do case $word in -artifact_prefix=*) echo x >"${word#*=}1" ;; esac; done\nexit 77\n')
    crash.chmod(0o755)
    done = subprocess.run([HERE / "run", tmp_path, "1", "manifest"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 1 and "manifest failed" in done.stderr and list(folder.glob("crash-manifest-*"))
