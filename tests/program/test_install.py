# SPDX-License-Identifier: GPL-2.0-or-later
"""`make install`: what it puts where, that it works from there, and that it touches nothing else."""
import os
import pathlib
import re
import shutil
import subprocess

import pytest

from tests.program.conftest import BUILD, ROOT

PROGRAMS = {"bin": {"nightclass"},
            "sbin": {f"nightclass{name}" for name in ("d", "-netd", "-import", "-download", "-cast", "-hostd", "-guest")}}


def install(dest: pathlib.Path, *words: str) -> subprocess.CompletedProcess:
    """Of what is built already."""
    env = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
    return subprocess.run(["make", "-s", "-o", "all", "install", f"B={BUILD.resolve()}", f"DESTDIR={dest}", *words],
                          cwd=ROOT, env=env, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=60)


@pytest.fixture(scope="module", params=["/usr", "/usr/local"])
def installed(request, tmp_path_factory):
    """DESTDIR and the prefix in it."""
    dest = tmp_path_factory.mktemp("dest")
    done = install(dest, f"PREFIX={request.param}")
    assert done.returncode == 0, done
    return dest, request.param


def mode(path: pathlib.Path) -> str:
    return oct(path.stat().st_mode & 0o7777)


def files(folder: pathlib.Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_programs_start_from_there(installed):
    dest, prefix = installed
    for folder, names in PROGRAMS.items():
        there = dest / prefix[1:] / folder
        assert files(there) == names
        for name in names:
            assert mode(there / name) == "0o755"
            said = subprocess.run([there / name, "--version"], capture_output=True, text=True, check=True).stdout
            assert re.fullmatch(rf"{name} \d+\.\d+\.\d+\n", said), said


def test_units_name_the_programs(installed):
    dest, prefix = installed
    units = dest / "lib/systemd/system"
    assert files(units) == {path.name for end in ("service", "socket") for path in (ROOT / "debian").glob(f"*.{end}")}
    for unit in units.glob("*.service"):
        [program] = re.findall(r"^ExecStart=(\S+)", unit.read_text(), re.M)
        assert program.startswith(f"{prefix}/sbin/") and os.access(dest / program[1:], os.X_OK), program
        assert mode(unit) == "0o644"


def test_pages_settings_and_completion(installed):
    dest, prefix = installed
    there = dest / prefix[1:]
    pages = {f"man{path.suffixes[-2][1:]}/{path.stem}" for path in (ROOT / "docs/man").glob("*.scd")}
    assert files(there / "share/man") == pages and len(pages) >= 8
    assert {f"man8/{program}.8" for program in files(there / "sbin")} <= pages
    named = re.findall(r"man:([\w.-]+)\((\d)\)", "".join(unit.read_text() for unit in (dest / "lib/systemd/system").iterdir()))
    assert {f"man{section}/{name}.{section}" for name, section in named} <= pages and len(named) >= 4
    assert "ping_group_range" in (there / "lib/sysctl.d/60-nightclass.conf").read_text()
    assert "complete" in (there / "share/bash-completion/completions/nightclass").read_text()
    for name in ("nightclass-base.so", "nightclass-root"):
        assert mode(there / "lib/nightclass" / name) == "0o755"
    assert {path.name: mode(path) for path in (dest / "etc/nightclass").iterdir()} == \
        {"nightclass.conf": "0o644", "netd.conf": "0o644"}


def test_recipes_are_found_and_leave_the_source_tree_alone(installed, tmp_path):
    dest, prefix = installed
    data = dest / prefix[1:] / "share/nightclass"
    said = subprocess.run([dest / prefix[1:] / "bin/nightclass", "image", "build", "--list"], cwd=tmp_path, check=True,
                          capture_output=True, text=True).stdout
    for name in ("mpi", "mpi-lean", "desktop-class"):
        assert re.search(rf"^{name} .* {data}/images/recipes/{name}$", said, re.M), said
        assert os.access(data / "images/recipes" / name / "build", os.X_OK)
    assert "${NIGHTCLASS_DEB_CACHE:-/var/cache/nightclass/debs}" in (data / "images/recipes/debian-tree").read_text()
    assert os.access(data / "boot/host-image/build", os.X_OK) and os.access(data / "day/nightclass-day", os.X_OK)
    for path in dest.rglob("*"):
        if path.is_file() and path.suffix in ("", ".service", ".conf") and path.stat().st_size < 1 << 16:
            assert str(ROOT).encode() not in path.read_bytes(), path


def test_a_second_installation_keeps_the_settings(tmp_path):
    dest = tmp_path / "dest"
    assert install(dest).returncode == 0
    first = files(dest)
    conf = dest / "etc/nightclass/nightclass.conf"
    conf.write_text("# mine\n")
    shutil.copy(conf, dest / "usr/share/nightclass/images/recipes/old-file")
    assert install(dest).returncode == 0
    assert conf.read_text() == "# mine\n" and files(dest) == first


def test_a_prefix_that_would_not_work_is_refused(tmp_path):
    done = install(tmp_path / "dest", "PREFIX=/opt/nightclass")
    assert done.returncode != 0 and "PREFIX has to be /usr or below it" in done.stderr
    assert not (tmp_path / "dest").exists()
