# SPDX-License-Identifier: GPL-2.0-or-later
"""How the first program of a host gets its root image, without a PC: its own functions, run by busybox, against a
server that knows ranges."""
import hashlib
import http.server
import pathlib
import re
import shutil
import subprocess
import threading

import pytest

INIT = pathlib.Path(__file__).resolve().parents[2] / "boot" / "host-image" / "initramfs" / "init"
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
