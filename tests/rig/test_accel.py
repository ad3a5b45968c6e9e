# SPDX-License-Identifier: GPL-2.0-or-later
"""Whether the rig's PCs run by KVM: found out by starting a kernel, once, and never waited for without end."""
import os
import pathlib
import shutil

import pytest

from tests.rig import accel
from tests.rig.lab import IMAGES

KERNEL = IMAGES / "host" / "vmlinuz"


@pytest.fixture
def fake(tmp_path, monkeypatch):
    """fake(TEXT): a QEMU that is this script and writes a line to `runs`."""
    monkeypatch.delenv("NIGHTCLASS_ACCEL", raising=False)
    monkeypatch.setattr(os, "access", lambda path, mode: True)

    def make(text: str) -> dict:
        program = tmp_path / "qemu"
        program.write_text(f"#!/bin/sh\necho run >>{tmp_path}/runs\n{text}\n", encoding="ascii")
        program.chmod(0o755)
        return {"qemu": str(program)}
    return make


def runs(tmp_path: pathlib.Path) -> int:
    return len((tmp_path / "runs").read_text(encoding="ascii").splitlines())


@pytest.mark.skipif(not KERNEL.exists() or not shutil.which("qemu-system-x86_64"), reason="no images: make images")
def test_a_kernel_that_starts_is_seen():
    assert accel.starts("tcg", KERNEL, 120)
    assert not accel.starts("tcg", pathlib.Path("/dev/null"), 120)


def test_a_kernel_that_hangs_is_given_up(fake):
    assert not accel.starts("kvm", KERNEL, 1, **fake("echo 'Unable to mount root fs'; exec sleep 1000"))
    assert not accel.starts("kvm", KERNEL, 20, **fake("echo 'Unable to mount root fs'; exit 134"))
    assert accel.starts("kvm", KERNEL, 20, **fake("echo 'Unable to mount root fs'"))


def test_the_answer_is_kept_for_this_boot(fake, tmp_path, monkeypatch):
    answer = tmp_path / "build" / "accel"
    good, bad = "echo 'Unable to mount root fs'", "exit 1"
    assert accel.choose(KERNEL, answer, **fake(bad)) == "tcg"
    assert accel.choose(KERNEL, answer, **fake(good)) == "tcg" and runs(tmp_path) == 1
    answer.write_text("another-boot tcg\n")
    assert accel.choose(KERNEL, answer, **fake(good)) == "kvm" and runs(tmp_path) == 2
    monkeypatch.setenv("NIGHTCLASS_ACCEL", "tcg")
    assert accel.choose(KERNEL, answer) == "tcg"
    monkeypatch.delenv("NIGHTCLASS_ACCEL")
    monkeypatch.setattr(os, "access", lambda path, mode: path != "/dev/kvm")
    assert accel.choose(KERNEL, answer) == "tcg"
