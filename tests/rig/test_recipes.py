# SPDX-License-Identifier: GPL-2.0-or-later
"""The images that the shipped recipes make: whole, nobody's yet, the same bytes from the same packages; what is promised
to be in them works in a VM; and what a recipe says when it cannot begin or go on."""
import hashlib
import json
import os
import pathlib
import shutil
import subprocess

import pytest

from tests.rig import NamespacePC, School
from tests.rig.lab import BUILD, IMAGES, ROOT
from tests.rig.vm import ImageVm, read_picture
from tests.rig.wait import until
from tests.rig.wire import run

RECIPES = ROOT / "images" / "recipes"
WALLPAPER = bytes.fromhex("2f5d8a")  # images/recipes/desktop-class/root/etc/jwm/system.jwmrc
BAR = bytes.fromhex("17324d")
every_image = pytest.mark.parametrize("name", ["mpi", "mpi-lean", "desktop-class"])


def image(name: str) -> pathlib.Path:
    if not (IMAGES / name / "disk.raw").exists():
        pytest.skip(f"no image {name}: make images-check")
    return IMAGES / name


def in_image(name: str, command: str) -> subprocess.CompletedProcess:
    return run("debugfs", "-R", command, str(image(name) / "disk.raw"))


@every_image
def test_image_is_nobody_yet(name):
    for path in ("/etc/machine-id", "/etc/hostname", "/etc/ssh/ssh_host_ed25519_key", "/etc/ssh/ssh_host_rsa_key",
                 "/home/night/.ssh", "/root/.ssh", "/etc/munge/munge.key", "/var/lib/dbus/machine-id"):
        assert "File not found" in in_image(name, f"stat {path}").stderr, path


@every_image
def test_image_is_whole(name):
    run("e2fsck", "-fn", str(image(name) / "disk.raw"))
    assert "Mode:  0755" in in_image(name, "stat /usr/sbin/nightclass-guest").stdout
    assert "\nnight:x:1000:1000:" in in_image(name, "cat /etc/passwd").stdout
    assert "\nnight:*:" in in_image(name, "cat /etc/shadow").stdout
    assert "Mode:  0640" in in_image(name, "stat /etc/shadow").stdout


def test_mpi_compiles_and_runs_the_example_and_has_slurm(tmp_path):
    example = (ROOT / "docs/examples/matmul.c").read_bytes()
    with ImageVm(image("mpi"), tmp_path) as vm:
        vm.wait_ready()
        made = vm.ssh("cat >matmul.c && mpicc -O2 -o matmul matmul.c -lm && mpirun -n 2 ./matmul 128", example, 240)
        assert b"check: ok" in made.stdout, made
        said = vm.ssh("/usr/sbin/slurmd -V; /usr/sbin/munged --version; sinfo -V; gfortran --version; g++ --version; make --version; "
                      "ls /etc/munge; ls /usr/lib/x86_64-linux-gnu/slurm-wlm/mpi_pmix.so").stdout.decode()
        for word in ("slurm-wlm 22.05", "munge-0.5", "GNU Fortran", "g++ (Debian", "GNU Make", "mpi_pmix.so"):
            assert word in said, said
        assert "munge.key" not in said
        # Nothing of it runs until somebody configures it.
        running = vm.ssh("ps -e -o comm=").stdout.decode().split()
        assert "nightclass-gues" in running and "sshd" in running
        assert not {"munged", "slurmd", "slurmctld"} & set(running)


def share(picture: tuple[int, int, bytes], colour: bytes, top: int = 0, bottom: int | None = None) -> float:
    """How much of the rows top..bottom has that colour."""
    width, height, pixels = picture
    rows = pixels[top * width * 3:(bottom or height) * width * 3]
    return sum(rows[i:i + 3] == colour for i in range(0, len(rows), 3)) * 3 / len(rows)


def test_desktop_comes_up_and_takes_keys(tmp_path):
    with ImageVm(image("desktop-class"), tmp_path, screen=True) as vm:
        vm.wait(lambda: "desktop: up" in vm.text(), 180, "desktop up")

        def shown():
            picture = vm.screenshot()
            height = picture[1]
            return picture if share(picture, WALLPAPER, 0, height - 40) > 0.95 and \
                share(picture, BAR, height - 28) > 0.5 else None

        width, height, _ = vm.wait(shown, 30, "wallpaper and bar on the screen")
        assert width >= 1024 and height >= 700
        vm.press("ctrl", "alt", "t")
        vm.wait(lambda: share(vm.screenshot(), b"\xff\xff\xff") > 0.2, 60, "a terminal on the screen")
        vm.wait_ready()

        def typed():
            """A keyboard holds five keys for a machine that has no time: what is lost is typed again."""
            for key in "ret", "touch", "spc", "typed", "ret":
                vm.press(key) if key in ("spc", "ret") else [vm.press(letter) for letter in key]
            return b"typed" in vm.ssh("ls -l /home/student").stdout

        vm.wait(typed, 60, "a file made by typing")
        # The screen is the student's, and X has no more rights than he.
        users = dict(reversed(line.split()) for line in vm.ssh("ps -e -o user=,comm=").stdout.decode().splitlines())
        assert users["Xorg"] == users["jwm"] == users["xterm"] == "student", users
        found = vm.ssh("which netsurf-gtk geany; fc-list | grep -c Fallback").stdout.decode().split()
        assert found == ["/usr/bin/netsurf-gtk", "/usr/bin/geany", "1"], found


READ_GREETING = """
import socket, sys
s = socket.socket(socket.AF_UNIX)
s.connect(sys.argv[1])
print(s.recv(12).decode())
"""


def test_desktop_of_a_cluster_has_a_screen_on_its_pc(tmp_path):
    """The image asks for a screen by a word on its kernel line, so the VM on a PC has one: VNC on a unix socket there."""
    with School(tmp_path / "logs") as school:
        lab = school.lab("north")
        lab.cli("image", "import", "desk", str(image("desktop-class")), "--level", "3", timeout=300)
        pc = NamespacePC(lab, "pc1")
        lab.cli("night", "start", "--for", "2h", "--no-wait")
        lab.wait_pcs("host", 120)
        lab.cli("cluster", "create", "alice", "-n", "1", "--image", "desk", "--memory", "512MiB", "--no-wait")
        until(lambda: lab.api("GET", "/clusters/alice")["state"] == "ready", 300, "the desktop VM is ready")

        def shown():
            path = tmp_path / "screen.ppm"
            done = pc.virsh("qemu-monitor-command", "nc-alice-001",
                            json.dumps({"execute": "screendump", "arguments": {"filename": str(path)}}))
            assert '"return":{}' in done, done
            return share(read_picture(path), WALLPAPER) > 0.8
        until(shown, 60, "the desktop on the VM's screen")
        address = pc.virsh("domdisplay", "nc-alice-001").split()[0]
        assert address.startswith("vnc+unix:///"), address
        said = run(*pc.argv("/usr/bin/python3", "-c", READ_GREETING, address.removeprefix("vnc+unix://")))
        assert said.stdout.startswith("RFB 003.")
        listening = run(*pc.argv("ss", "-Hltn")).stdout
        assert ":59" not in listening, listening


def digests(folder: pathlib.Path) -> dict:
    names = ("disk.raw", "vmlinuz", "initrd.img", "cmdline", "packages")
    return {name: hashlib.file_digest(open(folder / name, "rb"), "sha256").hexdigest() for name in names}


def only(folder: pathlib.Path, *without: str) -> str:
    """A PATH with the machine's programs but those."""
    folder.mkdir()
    for place in ("/usr/sbin", "/usr/bin"):
        for program in os.scandir(place):
            link = folder / program.name
            if program.name not in without and not link.is_symlink():
                link.symlink_to(program.path)
    return str(folder)


def build(recipe: str, out: pathlib.Path, guest: pathlib.Path, *wrap: str, **env: str) -> subprocess.CompletedProcess:
    return subprocess.run([*wrap, str(RECIPES / recipe / "build"), str(out), str(guest)], capture_output=True, text=True,
                          timeout=300, env={**os.environ, **env}, stdin=subprocess.DEVNULL, check=False)


def offline() -> dict[str, str]:
    """There are no mirrors in the sandbox, but the packages that lie beside the image, however old they are."""
    trees = image("mpi-lean") / ".trees"
    if not any(trees.glob("*.done")):
        pytest.skip("no packages beside the image mpi-lean: touch images/recipes/vm-image && make images-check")
    return {"NIGHTCLASS_OFFLINE": "1", "NIGHTCLASS_TREES": str(trees)}


def shipped_agent(folder: pathlib.Path) -> pathlib.Path:
    """The agent that the images have in them: a build under test may need libraries that no image has."""
    guest = folder / "shipped-guest"
    in_image("mpi-lean", f"dump /usr/sbin/nightclass-guest {guest}")
    guest.chmod(0o755)
    return guest


def test_same_packages_same_bytes(tmp_path):
    """Built again, at another time and place. (All recipes from nothing: `make recipes-twice`, which asks the mirrors.)"""
    first = digests(image("mpi-lean"))
    done = build("mpi-lean", tmp_path / "out", shipped_agent(tmp_path), **offline())
    assert done.returncode == 0, done.stderr
    assert digests(tmp_path / "out") == first


def test_packages_are_kept_for_a_day_and_longer_offline(tmp_path):
    tools, trees = only(tmp_path / "tools", "mmdebstrap"), tmp_path / "trees"
    fake = tmp_path / "tools" / "mmdebstrap"
    fake.write_text("#!/bin/sh\nwhile [ \"$1\" != bookworm ]; do shift; done\nmkdir $2\ndate +%s%N >$2/made\n")
    fake.chmod(0o755)

    def tree(*packages: str, **env: str) -> subprocess.CompletedProcess:
        return subprocess.run([str(RECIPES / "debian-tree"), "minbase", str(tmp_path / "out"), *packages], check=False,
                              capture_output=True, text=True, stdin=subprocess.DEVNULL,
                              env={**os.environ, "PATH": tools, "NIGHTCLASS_DEB_CACHE": str(tmp_path / "debs"),
                                   "NIGHTCLASS_TREES": str(trees), **env})

    def made(*packages: str, **env: str) -> str:
        done = tree(*packages, **env)
        assert done.returncode == 0, done
        return (tmp_path / "out" / "made").read_text()

    first = made("a")
    assert made("a") == first
    [mark] = trees.glob("*.done")
    os.utime(mark, (0, 0))
    assert made("a", NIGHTCLASS_OFFLINE="1") == first
    refused = tree("b", NIGHTCLASS_OFFLINE="1")
    assert refused.returncode == 1 and "no tree of these packages" in refused.stderr
    assert made("a") != first
    os.utime(mark, (0, 0))
    made("b")
    assert not mark.exists(), "nobody asks for it any more"
    assert not list((tmp_path / "debs" / "trees").glob("*"))


def test_the_manuals_recipe_works(tmp_path):
    """The example of nightclass-recipe(7), with the packages of mpi-lean for those it names."""
    page = (ROOT / "docs/man/nightclass-recipe.7.scd").read_text().partition("# AN OWN RECIPE")[2]
    own, top = tmp_path / "class3", tmp_path / "tree"
    (own / "root" / "etc").mkdir(parents=True)
    (own / "root" / "etc" / "motd").write_text("class 3\n")
    (own / "build").write_text(page.split("```")[1].lstrip())
    (own / "build").chmod(0o755)
    shutil.copytree(RECIPES, top / "images" / "recipes")
    shutil.copytree(ROOT / "boot" / "host-image", top / "boot" / "host-image")
    tool = top / "images" / "recipes" / "debian-tree"
    tool.write_text(f"#!/bin/sh\nexec {RECIPES}/debian-tree minbase \"$2\" busybox-static iproute2 openssh-server "
                    "libjansson4 openmpi-bin\n")
    done = subprocess.run([str(pathlib.Path(BUILD).resolve() / "nightclass"), "image", "build", "./class3", "--out", "out", "--no-import",
                           "-o", "json", "--guest", str(shipped_agent(tmp_path))],
                          cwd=tmp_path, capture_output=True, text=True, timeout=300, stdin=subprocess.DEVNULL, check=False,
                          env={**os.environ, "NIGHTCLASS_RECIPES": str(tool.parent), **offline()})
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["size"] == 2 << 30 and "class3: disk: writing" in done.stderr
    assert run("debugfs", "-R", "cat /etc/motd", str(tmp_path / "out" / "disk.raw")).stdout == "class 3\n"
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"disk.raw", "vmlinuz", "initrd.img", "cmdline", "packages"}


@pytest.fixture
def guest(tmp_path):
    path = tmp_path / "nightclass-guest"
    shutil.copy("/bin/true", path)
    return path


@pytest.fixture
def small_disk(tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    run("mount", "-t", "tmpfs", "-o", "size=64m", "small", str(disk))
    yield disk
    run("umount", str(disk))


def test_no_root_is_told(tmp_path, guest):
    tmp_path.chmod(0o755)
    done = build("mpi-lean", tmp_path / "out", guest, "setpriv", "--reuid=65534", "--regid=65534", "--clear-groups")
    assert done.returncode == 1 and "mpi-lean: needs root" in done.stderr
    assert not (tmp_path / "out").exists()


def test_missing_tools_and_agent_are_told(tmp_path, guest):
    path = only(tmp_path / "tools", "mmdebstrap", "mke2fs", "debugfs")
    done = build("mpi", tmp_path / "out", guest, PATH=path)
    # The recipe looks into the usual places of root's programs by itself.
    missing = {"mmdebstrap"} | (set() if shutil.which("mke2fs", path="/usr/sbin:/sbin") else {"e2fsprogs"})
    assert done.returncode == 1 and "mpi: missing Debian packages, apt install" in done.stderr
    assert missing <= set(done.stderr.split()), done.stderr
    done = build("mpi", tmp_path / "out", tmp_path / "nobody")
    assert done.returncode == 1 and "no guest agent at" in done.stderr


def test_too_small_a_disk_is_told_before_the_work(small_disk, guest):
    done = build("desktop-class", small_disk / "out", guest)
    assert done.returncode == 1 and "needs 2500 MiB of room" in done.stderr and "MiB are free there" in done.stderr
    assert not list((small_disk / "out").iterdir())


def test_a_disk_that_fills_up_is_told_and_left_clean(small_disk, guest, tmp_path):
    recipe = tmp_path / "own" / "build"
    recipe.parent.mkdir()
    recipe.write_text(f"#!/bin/sh\nset -eu\nNIGHTCLASS_RECIPES={RECIPES}\n. {RECIPES}/vm-image\nvm_begin own $1 $2 8\n"
                      "head -c 100M /dev/zero >$work/big\n")
    recipe.chmod(0o755)
    done = subprocess.run([str(recipe), str(small_disk / "out"), str(guest)], capture_output=True, text=True,
                          timeout=60, check=False)
    assert done.returncode != 0 and f"own: the disk of {small_disk}/out is full" in done.stderr, done.stderr
    assert not list((small_disk / "out").iterdir())
