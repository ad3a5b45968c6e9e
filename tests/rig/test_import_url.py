# SPDX-License-Identifier: GPL-2.0-or-later
"""nightclass-download against a server that has Range and ETag, loses connections, redirects and lies when told to."""
import hashlib
import json
import os
import pathlib
import subprocess
import threading
import time

import pytest

from tests.rig import sandbox
from tests.rig.wait import open_files
from tests.rig.web import BODY, Handler, Web

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("NIGHTCLASS_BUILD", ROOT / "build")).resolve()
DOWNLOAD = BUILD / "nightclass-download"
DIGEST = hashlib.sha256(BODY).hexdigest()


@pytest.fixture
def web():
    with Web() as server:
        yield server


def download(url: str, where: pathlib.Path, *options, allow="127.0.0.1", silence: int = 20) -> dict:
    """The last line."""
    argv = [DOWNLOAD, "--into", where, "--silence", str(silence), *(("--allow", allow) if allow else ()), *options, url]
    done = subprocess.run([str(word) for word in argv], capture_output=True, text=True, timeout=100)
    assert done.stdout, done.stderr
    last = json.loads(done.stdout.splitlines()[-1])
    assert (done.returncode == 0) == ("size" in last), (done.returncode, last, done.stderr)
    return last


def left(folder: pathlib.Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir())


def test_a_file_arrives_whole(web, tmp_path):
    assert download(web.url(), tmp_path / "file", "--sha256", DIGEST) == {"size": len(BODY)}
    assert (tmp_path / "file").read_bytes() == BODY and left(tmp_path) == ["file"]
    assert len(web.asked) == 1


def test_without_an_announced_length_too(web, tmp_path):
    web.length = False
    assert download(web.url(), tmp_path / "file") == {"size": len(BODY)}
    assert (tmp_path / "file").read_bytes() == BODY


def test_a_lost_connection_goes_on_where_it_was(web, tmp_path):
    web.cut_after = [1_000_000, 500_000]
    assert download(web.url(), tmp_path / "file", "--sha256", DIGEST) == {"size": len(BODY)}
    assert (tmp_path / "file").read_bytes() == BODY
    assert [(r is not None, c) for _, r, c in web.asked] == [(False, None), (True, '"one"'), (True, '"one"')]
    assert web.sent == len(BODY), "no byte was sent twice"


def test_a_killed_download_goes_on_where_it_was(web, tmp_path):
    go_on = threading.Event()
    web.cut_after = [2_000_000]
    web.statuses = []
    argv = [DOWNLOAD, "--into", tmp_path / "file", "--allow", "127.0.0.1", web.url()]
    original = Handler.do_GET

    def slow(self):  # the second answer does not come before the child is killed
        if len(web.asked) >= 1 and not go_on.is_set():
            web.asked.append("held")
            go_on.wait(30)
        original(self)

    Handler.do_GET = slow
    try:
        child = subprocess.Popen([str(word) for word in argv], stdout=subprocess.DEVNULL)
        while "held" not in web.asked:
            assert child.poll() is None
            threading.Event().wait(0.02)  # the server's list is polled
        child.kill()
        child.wait()
    finally:
        go_on.set()
        Handler.do_GET = original
    assert left(tmp_path) == ["file.part", "file.state"]
    assert (tmp_path / "file.part").stat().st_size == 2_000_000
    web.sent = 0
    assert download(web.url(), tmp_path / "file", "--sha256", DIGEST) == {"size": len(BODY)}
    assert (tmp_path / "file").read_bytes() == BODY and left(tmp_path) == ["file"]
    assert web.asked[-1][1] == "bytes=2000000-"


def test_a_file_that_changed_is_loaded_anew(web, tmp_path):
    web.cut_after, web.statuses = [1_000_000], []
    (tmp_path / "file.part").write_bytes(BODY[:1000])
    (tmp_path / "file.state").write_text(json.dumps({"url": web.url(), "etag": '"older"', "total": len(BODY)}))
    web.cut_after = []
    assert download(web.url(), tmp_path / "file") == {"size": len(BODY)}
    assert (tmp_path / "file").read_bytes() == BODY
    assert web.asked[0][1:] == ("bytes=1000-", '"older"')


@pytest.mark.parametrize("etag, more", [('"older"', 0), ('"one"', -1)])
def test_two_files_are_not_joined(web, tmp_path, etag, more):
    """The server sends a range of what it has now, whatever was asked for."""
    web.if_range = False
    (tmp_path / "file.part").write_bytes(b"x" * 1000)
    (tmp_path / "file.state").write_text(json.dumps({"url": web.url(), "etag": etag, "total": len(BODY) + more}))
    assert download(web.url(), tmp_path / "file") == {"size": len(BODY)}
    assert (tmp_path / "file").read_bytes() == BODY
    assert [r for _, r, _ in web.asked] == ["bytes=1000-", None]


def test_a_part_that_was_whole_is_not_asked_for(web, tmp_path):
    """Killed after its last byte: a server that is asked for more answers 416, and all would come anew."""
    (tmp_path / "file.part").write_bytes(BODY)
    (tmp_path / "file.state").write_text(json.dumps({"url": web.url(), "etag": '"one"', "total": len(BODY)}))
    assert download(web.url(), tmp_path / "file", "--sha256", DIGEST) == {"size": len(BODY)}
    assert (tmp_path / "file").read_bytes() == BODY and web.asked == [] and left(tmp_path) == ["file"]


@pytest.mark.parametrize("most, total", [(5_000_000, len(BODY)), (3_500_000, 0)])
def test_a_part_that_is_too_long_is_not_believed(web, tmp_path, most, total):
    (tmp_path / "file.part").write_bytes(b"x" * 4_000_000)
    (tmp_path / "file.state").write_text(json.dumps({"url": web.url(), "etag": '"one"', "total": total}))
    assert download(web.url(), tmp_path / "file", "--max", str(most)) == {"size": len(BODY)}
    assert (tmp_path / "file").read_bytes() == BODY and [r for _, r, _ in web.asked] == [None]


def test_an_etag_that_is_too_long_is_none(web, tmp_path):
    web.etag = '"' + "e" * 1100 + '"'
    web.cut_after = [1_000_000]
    assert download(web.url(), tmp_path / "file", "--sha256", DIGEST) == {"size": len(BODY)}
    assert [c for _, _, c in web.asked] == [None, None]
    web.etag = '"' + "e" * 1000 + '"'
    web.cut_after = [1_000_000]
    assert download(web.url(), tmp_path / "two", "--sha256", DIGEST) == {"size": len(BODY)}
    assert [c for _, _, c in web.asked[2:]] == [None, None]


def test_a_long_redirect_is_followed(web, tmp_path):
    """As those of the large distributors, which are signed."""
    web.redirects["/disk.raw"] = "/disk.raw?signature=" + "a" * 1900
    assert download(web.url(), tmp_path / "file") == {"size": len(BODY)}


def test_a_part_without_an_etag_is_not_believed(web, tmp_path):
    web.etag = None
    web.cut_after = [1_000_000]
    (tmp_path / "file.part").write_bytes(b"x" * 1000)
    (tmp_path / "file.state").write_text(json.dumps({"url": web.url(), "total": len(BODY)}))
    assert download(web.url(), tmp_path / "file") == {"size": len(BODY)}
    assert (tmp_path / "file").read_bytes() == BODY and web.asked[0][1] is None


def test_with_the_digest_a_wrong_part_is_found_out(web, tmp_path):
    web.etag = None
    (tmp_path / "file.part").write_bytes(b"x" * 1000)
    (tmp_path / "file.state").write_text(json.dumps({"url": web.url(), "total": len(BODY)}))
    assert download(web.url(), tmp_path / "file", "--sha256", DIGEST) == {"size": len(BODY)}
    assert (tmp_path / "file").read_bytes() == BODY
    assert [r for _, r, _ in web.asked] == ["bytes=1000-", None]


def test_a_server_without_ranges_sends_it_again(web, tmp_path):
    web.ranges = False
    web.cut_after = [1_000_000]
    assert download(web.url(), tmp_path / "file") == {"size": len(BODY)}
    assert (tmp_path / "file").read_bytes() == BODY


def test_trouble_of_the_server_is_waited_out(web, tmp_path):
    web.statuses = [503, 429]
    assert download(web.url(), tmp_path / "file") == {"size": len(BODY)}


@pytest.mark.parametrize("change, options, reason", [
    (lambda w: setattr(w, "statuses", [404]), (), "status 404; look"),
    (lambda w: setattr(w, "statuses", [403]), (), "status 403; load the file yourself"),
    (lambda w: None, ("--sha256", "ab" * 32), "another SHA-256"),
    (lambda w: None, ("--max", "1000000"), "larger than 1000000"),
    (lambda w: setattr(w, "length", False), ("--max", "1000000"), "larger than 1000000"),
    (lambda w: w.redirects.update({"/disk.raw": "/disk.raw"}), (), "more than 5 times"),
    (lambda w: w.redirects.update({"/disk.raw": "file:///etc/passwd"}), (), "only http and https"),
    (lambda w: w.redirects.update({"/disk.raw": "http://user:word@127.0.0.1/"}), (), "no user name"),
    (lambda w: w.redirects.update({"/disk.raw": "http://[::1]:9/"}), (), "::1 is not allowed"),
    (lambda w: w.redirects.update({"/disk.raw": "http://169.254.169.254/latest/meta-data"}), (),
     "169.254.169.254 is not allowed"),
    (lambda w: w.redirects.update({"/disk.raw": f"http://127.0.0.2:{w.server_port}/disk.raw"}), (), "127.0.0.2 is not allowed"),
])
def test_refused_with_the_reason_and_nothing_left(web, tmp_path, change, options, reason):
    change(web)
    answer = download(web.url(), tmp_path / "file", *options)
    assert reason in answer["error"]["text"], answer
    assert left(tmp_path) == []


@pytest.mark.parametrize("status, pause, reason", [(404, 0, "status 404"), (404, 0.5, "status 404"), (302, 0, "more than 5 times")])
def test_a_refusal_without_end_is_a_refusal(web, tmp_path, status, pause, reason):
    """Neither takes it memory, nor all the time that a download has."""
    web.endless = (status, pause)
    start = time.monotonic()
    answer = download(web.url(), tmp_path / "file", silence=2)
    assert reason in answer["error"]["text"], answer
    assert web.sent < 64 << 20 and time.monotonic() - start < 60 and left(tmp_path) == []


def test_a_file_that_trickles_in_has_its_time(web, tmp_path):
    web.endless = (200, 0.2)
    answer = download(web.url(), tmp_path / "file", "--time", "3")
    assert "longer than 3 s" in answer["error"]["text"], answer


@pytest.mark.parametrize("url, reason", [
    ("http://127.0.0.1:{port}/x", "127.0.0.1 is not allowed"),
    ("http://localhost:{port}/x", "is not allowed"),
    ("http://[::ffff:127.0.0.1]:{port}/x", "127.0.0.1 is not allowed"),
    ("http://0x7f.1:{port}/x", "127.0.0.1 is not allowed"),
    ("http://2130706433:{port}/x", "127.0.0.1 is not allowed"),
    ("http://10.0.0.1/x", "10.0.0.1 is not allowed"),
    ("ftp://127.0.0.1/x", "only http and https"),
    ("file:///etc/passwd", "only http and https"),
    ("http://user:password@example.org/x", "no user name"),
    ("nonsense", ""),
    ("http://", "not a URL"),
])
def test_private_targets_are_refused_unless_listed(web, tmp_path, url, reason):
    answer = download(url.format(port=web.server_port), tmp_path / "file", allow=None)
    assert reason in answer["error"]["text"], answer
    assert web.asked == [] and left(tmp_path) == []


@pytest.fixture
def public():
    """Public addresses of this machine, which is a namespace of the test's own."""
    if not sandbox.inside():
        pytest.skip("needs a network namespace of its own")
    addresses = ["9.71.0.1/24", "2a00:71::1/64"]
    for address in addresses:
        subprocess.run(["ip", "address", "add", address, "dev", "lo"], check=True)
    yield
    for address in addresses:
        subprocess.run(["ip", "address", "del", address, "dev", "lo"], check=True)


@pytest.mark.parametrize("host, options, reason", [
    ("9.71.0.1", (), "9.71.0.1 is not allowed"),
    ("[2a00:71::1]", (), "2a00:71::1 is not allowed"),
    ("9.71.5.5", ("--deny", "10.0.0.0/8,9.71.4.0/23"), "9.71.5.5 is not allowed"),
])
def test_public_addresses_of_our_own_are_refused(public, tmp_path, host, options, reason):
    answer = download(f"http://{host}:1/x", tmp_path / "file", *options, allow=None)["error"]
    assert reason in answer["text"], answer
    assert answer["field"] == "url" and "import_urls_allowed" in answer["text"]


def test_a_listed_name_may_be_private(web, tmp_path):
    assert download(web.url(host="localhost"), tmp_path / "file", allow="localhost") == {"size": len(BODY)}


def test_two_downloads_do_not_write_one_part(web, tmp_path):
    import fcntl
    with open(tmp_path / "file.part", "wb") as part:
        fcntl.flock(part, fcntl.LOCK_EX)
        answer = download(web.url(), tmp_path / "file")
    assert "another download" in answer["error"]["text"] and web.asked == []


def test_a_part_that_became_the_file_is_left_alone(web, tmp_path):
    """The one that holds the part ends well while another waits for it."""
    import fcntl
    with open(tmp_path / "file.part", "w+b") as part:
        fcntl.flock(part, fcntl.LOCK_EX)
        argv = [DOWNLOAD, "--into", tmp_path / "file", "--allow", "127.0.0.1", web.url()]
        child = subprocess.Popen([str(word) for word in argv], stdout=subprocess.PIPE)
        while not any(name.endswith("file.part") for name in open_files(child.pid)):
            assert child.poll() is None
            threading.Event().wait(0.02)  # its list of files is polled
        part.write(b"whole")
        part.flush()
        (tmp_path / "file.part").rename(tmp_path / "file")
        fcntl.flock(part, fcntl.LOCK_UN)
        assert child.wait(60) == 0 and b"size" in child.stdout.read()
        part.seek(0)
        assert part.read() == b"whole" and (tmp_path / "file").read_bytes() == BODY


def test_it_may_write_only_its_folder(web, tmp_path):
    """The jail: the place to go is a link out of the folder."""
    inside, outside = tmp_path / "in", tmp_path / "out"
    inside.mkdir(), outside.mkdir()
    (inside / "file.part").symlink_to(outside / "written")
    answer = download(web.url(), inside / "file")
    assert "error" in answer and not (outside / "written").exists()
