# SPDX-License-Identifier: GPL-2.0-or-later
"""How the first program of a host gets its root image, without a PC: its own functions, run by busybox, against a
server that knows ranges. And the scripts that the host then runs, with the PC's paths and programs replaced."""
import hashlib
import http.server
import pathlib
import re
import shutil
import socket
import subprocess
import threading

import pytest

HOST_IMAGE = pathlib.Path(__file__).resolve().parents[2] / "boot" / "host-image"
INIT = HOST_IMAGE / "initramfs" / "init"
SCRIPTS = HOST_IMAGE / "root" / "usr" / "lib" / "nightclass"
IMAGE = bytes(range(256)) * 700

pytestmark = pytest.mark.skipif(not shutil.which("busybox"), reason="busybox is not installed")


class Files(http.server.BaseHTTPRequestHandler):
    def log_message(self, *_words):
        pass

    def do_GET(self):
        self.server.asked.append(self.headers.get("Range"))
        begin = int(re.sub("[^0-9]", "", self.headers.get("Range", "0")))
        self.send_response(416 if begin >= len(IMAGE) else 206 if begin else 200)
        rest = b"" if begin >= len(IMAGE) else IMAGE[begin:]
        if begin and rest:
            self.send_header("Content-Range", f"bytes {begin}-{len(IMAGE) - 1}/{len(IMAGE)}")
        self.send_header("Content-Length", str(len(rest)))
        self.end_headers()
        self.wfile.write(rest)


@pytest.fixture
def server():
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Files) as made:
        made.asked = []
        thread = threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield made
        made.shutdown()
        thread.join()


def functions(*names) -> str:
    text = INIT.read_text()
    return "\n".join(re.search(rf"^{name}\(\) {{.*?(?:^}}$|}}$)", text, re.MULTILINE | re.DOTALL).group(0) for name in names)


@pytest.mark.parametrize("here, asked", [
    (b"", [None]),
    (IMAGE[:1000], ["bytes=1000-"]),
    (IMAGE, [f"bytes={len(IMAGE)}-"]),
    (bytes(len(IMAGE)), [f"bytes={len(IMAGE)}-", None]),
    (IMAGE + b"x", [f"bytes={len(IMAGE) + 1}-", None]),
], ids=["nothing is here", "a part is here", "all is here", "as long, and wrong", "longer"])
def test_what_an_earlier_try_left_is_used_or_goes(server, tmp_path, here, asked):
    """Two tries, then patience ends."""
    tools = tmp_path / "bin"
    tools.mkdir()
    subprocess.run([shutil.which("busybox"), "--install", "-s", tools], check=True, timeout=30)
    if here:
        (tmp_path / "host.squashfs").write_bytes(here)
    script = (f"url=http://127.0.0.1:{server.server_port}/image sha256={hashlib.sha256(IMAGE).hexdigest()}\n"
              "say() { echo \"$*\"; }\nout_of_patience() { true; }\nset_clock() { true; }\nrestart() { say \"$*\"; exit 3; }\n"
              + functions("fetch", "has_digest", "fetch_root").replace("/run/nightclass", str(tmp_path)) + "\nfetch_root\n")
    done = subprocess.run([tools / "sh"], input=script, env={"PATH": str(tools)}, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    assert (tmp_path / "host.squashfs").read_bytes() == IMAGE
    assert server.asked == asked


def run_script(name: str, folder: pathlib.Path, **places) -> list[list[str]]:
    """The commands that the script gave, in order, of sleep and those in `places`: what stands there instead of a path."""
    tools = folder / "tools"
    tools.mkdir()
    text = (SCRIPTS / name).read_text().replace("PATH=/usr/sbin:/usr/bin\n", f"PATH={tools}:/usr/bin:/bin\n")
    for path, place in places.items():
        assert path in text, path
        text = text.replace(path, str(place))
    (folder / "script").write_text(text)
    for tool in ("sleep", "reboot", "nightclass-hostd"):
        (tools / tool).write_text(f'#!/bin/sh\necho {tool} "$@" >>{folder}/told\n')
        (tools / tool).chmod(0o755)
    # not by busybox: its shell would not look for a sleep
    subprocess.run(["/bin/sh", folder / "script"], check=True, timeout=60, env={"PATH": f"{tools}:/usr/bin:/bin"})
    return [line.split() for line in (folder / "told").read_text().splitlines()]


@pytest.mark.parametrize("libvirt", [True, False])
def test_the_agent_starts_also_without_libvirt(tmp_path, libvirt):
    with socket.socket(socket.AF_UNIX) as s:
        if libvirt:
            s.bind(str(tmp_path / "libvirt-sock"))
        told = run_script("run-hostd", tmp_path, **{
            "/run/libvirt": tmp_path, "/run/nightclass": tmp_path, "/dev/console": tmp_path / "console",
            "/usr/sbin/nightclass-hostd": "nightclass-hostd"})
    slept = [float(words[1]) for words in told if words[0] == "sleep"]
    assert told[-1] == ["nightclass-hostd"] and sum(slept) == pytest.approx(0 if libvirt else 30)


@pytest.mark.parametrize("cmdline, uptime, want", [
    ("quiet nightclass.backstop=36000 panic=10", "12.97 20.11", ["sleep 35988", "reboot", "sleep 90", "reboot -f"]),
    ("nightclass.backstop=100", "100.20 20.11", ["sleep 0", "reboot", "sleep 90", "reboot -f"]),
    ("nightclass.backstop=100", "3000.20 20.11", ["sleep 0", "reboot", "sleep 90", "reboot -f"]),
    ("nightclass.backstop=0", "12.97 20.11", []),
    ("nightclass.backstop=1h", "12.97 20.11", []),
    ("quiet", "12.97 20.11", []),
])
def test_the_backstop_counts_from_the_boot(tmp_path, cmdline, uptime, want):
    (tmp_path / "cmdline").write_text(cmdline + "\n")
    (tmp_path / "uptime").write_text(uptime + "\n")
    (tmp_path / "told").touch()
    told = run_script("backstop", tmp_path, **{f"/proc/{name}": tmp_path / name for name in ("cmdline", "uptime")})
    assert [" ".join(words) for words in told] == want


def test_the_backstop_stands_before_anything_can_hang():
    commands = [line for line in (SCRIPTS / "sysinit").read_text().splitlines() if line and not line.startswith("#")]
    assert commands[:2] == ["mount -t proc proc /proc", "/usr/lib/nightclass/backstop &"]
    assert "backstop" not in (HOST_IMAGE / "root" / "etc" / "inittab").read_text(), "once is enough"


def watching(folder: pathlib.Path, backstop: str, then: str, times: int = 1) -> list[str]:
    """What so many initramfs say, all at once, that watch the time until `backstop` and do `then` meanwhile."""
    script = folder / "script"
    script.write_text(f"backstop={backstop} watcher=\nrestart() {{ echo \"restart $*\"; exit 3; }}\n" + functions("watch_the_time") +
                      f"\nwatch_the_time\n{then}\n")
    # it ends when the last process that holds its output does: a sleeper left behind would hold it for a day
    done = subprocess.run([shutil.which("busybox"), "sh", "-c", f"for i in $(seq {times}); do busybox sh {script} & done; wait"],
                          capture_output=True, text=True, timeout=60)
    assert not done.stderr
    return done.stdout.splitlines()


@pytest.mark.parametrize("backstop", ["86400", ""])
def test_the_initramfs_leaves_no_watcher_behind(tmp_path, backstop):
    """Three hundred at once, since what is killed may be a process that is only just made."""
    then = '[ -z "$watcher" ] || kill "$watcher"\necho started'
    assert watching(tmp_path, backstop, then, times=300) == ["started"] * 300


def test_the_initramfs_restarts_a_pc_that_is_stuck(tmp_path):
    """At once, so that nobody waits."""
    assert watching(tmp_path, "0", 'wait "$watcher"') == ["restart it is not a host by the time of its hand-back"]
