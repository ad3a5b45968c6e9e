# SPDX-License-Identifier: GPL-2.0-or-later
"""The CLI as users meet it: what it prints, its exit codes, uploads that resume, runs whose exit code is the
program's; against a fake controller that can be bent into every state. The real daemon
is in test_cli_daemon.py."""
import hashlib
import io
import json
import os
import pathlib
import pty
import re
import shutil
import signal
import subprocess
import tarfile
import threading

import pytest

from tests.program.fake_api import FakeApi, empty
from tests.rig.wait import until

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("NIGHTCLASS_BUILD", ROOT / "build"))
OK, FAILED, USAGE, PARTLY, NOT_FOUND, DENIED, CONFLICT, UNREACHABLE, TIMED_OUT = range(9)


@pytest.fixture
def api():
    fake = FakeApi().start()
    yield fake
    fake.stop()


class Cli:
    def __init__(self, home, url):
        self.home = home
        (home / "token").write_text("good\n")
        self.env = {"PATH": os.environ["PATH"], "HOME": str(home), "NIGHTCLASS_SERVER": url, "TZ": "UTC",
                    "NIGHTCLASS_TOKEN_FILE": str(home / "token"), "LC_ALL": "C.UTF-8"}

    def __call__(self, *words, expect=OK, cwd=None, **env):
        done = subprocess.run([BUILD / "nightclass", *map(str, words)], env={**self.env, **env}, cwd=cwd or self.home,
                              stdin=subprocess.DEVNULL, capture_output=True, timeout=60)
        done.out, done.err = done.stdout.decode(errors="replace"), done.stderr.decode()
        assert done.returncode == expect, (done.returncode, done.out, done.err)
        return done


@pytest.fixture
def cli(api, tmp_path):
    return Cli(tmp_path, api.url)


# ---- what is printed

def test_tables_are_aligned(cli):
    lines = cli("pc", "list").out.splitlines()
    assert len(lines) == 11
    state = lines[0].index("STATE")
    assert lines[0].startswith("NAME ")
    assert all(line[state - 2:state] == "  " and line[state] != " " for line in lines)
    assert "alice-[001-002]" in lines[1]
    assert all(line == line.rstrip() for line in lines)
    assert "\x1b" not in "".join(lines)


def test_columns_without_content_are_left_out(cli):
    assert "REASON" in cli("pc", "list").out
    assert "REASON" not in cli("pc", "list", "pc[1-3]").out


def test_json_is_what_the_controller_said(cli, api):
    assert json.loads(cli("pc", "list", "-o", "json").out) == {"items": api.data["pcs"]}
    assert json.loads(cli("join", "show", "join-ab12", "-o", "json").out) == api.data["joins"][0]


def test_names_alone(cli):
    assert cli("cluster", "list", "-o", "name").out == "alice\nrehearsal\n"
    assert cli("event", "list", "--after", 8, "-o", "name").out == "9\n"


def test_nothing_there_is_no_error(tmp_path):
    fake = FakeApi(empty()).start()
    try:
        cli = Cli(tmp_path, fake.url)
        for noun in ("pc", "image", "cluster", "join", "night", "run", "event", "lab"):
            assert cli(noun, "list").out == ""
            assert json.loads(cli(noun, "list", "-o", "json").out) == {"items": []}
    finally:
        fake.stop()


def in_terminal(cli, *words, **env):
    """The same with standard output and error on a terminal."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen([BUILD / "nightclass", *words], env={**cli.env, **env}, stdin=subprocess.DEVNULL,
                               stdout=theirs, stderr=theirs)
    os.close(theirs)
    text = b""
    while True:
        try:
            part = os.read(ours, 65536)
        except OSError:     # the other end is closed
            break
        text += part
        if not part:
            break
    os.close(ours)
    assert process.wait(30) == 0
    return text.decode()


def test_colour_is_for_terminals_only(cli):
    shown = in_terminal(cli, "pc", "list")
    assert "\x1b[32mhosting\x1b[0m" in shown and "\x1b[31mexception\x1b[0m" in shown
    assert "\x1b" not in in_terminal(cli, "pc", "list", NO_COLOR="1")


def test_pc_show_says_why_an_image_does_not_come(cli, api):
    assert re.search(r"^abab[0-9a-f]+ +77.0 MiB +180.0 MiB$", cli("pc", "show", "pc4").out, re.M)
    api.data["pcs"][3]["images"][0]["reason"] = "no room for it"
    assert re.search(r"^abab[0-9a-f]+ +77.0 MiB +180.0 MiB +no room for it$", cli("pc", "show", "pc4").out, re.M)


def test_every_show_shows(cli):
    assert "OptiPlex 7090" in cli("pc", "show", "pc1").out
    assert re.search(r"alice-005 +ready +10\.80\.2\.14 +52:4e:43:02:00:05 +south +pc1 +37\.2 s",
                     cli("cluster", "show", "alice").out)
    assert "nft 'add table inet nightclass'" in cli("join", "show", "join-ab12").out
    assert "did not ask for its boot script" in cli("night", "show").out
    assert "10.70.0.1" in cli("lab", "show").out
    assert "south" in cli("lab", "show", "south").out
    assert "180.0 MiB" in cli("image", "show", "mpi").out


def test_escape_sequences_of_a_reason_stay_text(cli, api):
    api.data["pcs"][0]["reason"] = "\x1b]0;owned\x07"
    assert "\x1b" not in in_terminal(cli, "pc", "list", NO_COLOR="1")


# ---- errors and exit codes

def test_usage_errors_say_the_usage(cli, api):
    err = cli("pc", "add", "pc1", expect=USAGE).err
    assert "--mac" in err and "Usage: nightclass pc add NAME --mac MAC --address IP" in err
    assert not api.requests


def test_unknown_thing(cli):
    err = cli("pc", "show", "nope", expect=NOT_FOUND).err
    assert "nope" in err and "Next: `nightclass pc list`" in err


def test_value_refused_names_the_field(cli):
    err = cli("pc", "add", "pc11", "--mac", "zz", "--address", "10.71.0.21", expect=USAGE).err
    assert "mac: " in err and "six hex bytes" in err


def test_conflict(cli):
    err = cli("pc", "add", "pc11", "--mac", "52:54:00:71:00:01", "--address", "10.71.0.21", expect=CONFLICT).err
    assert "pc1 has this MAC already" in err


def test_denied(cli, tmp_path):
    (tmp_path / "token").write_text("bad\n")
    assert "--token-file" in cli("pc", "list", expect=DENIED).err


@pytest.mark.parametrize("status,code", [(403, DENIED), (409, CONFLICT), (500, FAILED), (503, UNREACHABLE),
                                         (504, TIMED_OUT), (404, NOT_FOUND), (400, USAGE)])
def test_statuses(cli, api, status, code):
    api.broken = status
    err = cli("pc", "list", expect=code).err
    assert "The store cannot be read." in err and "Is nightclassd running" not in err, "it answered"


def test_nobody_answers(cli, api):
    api.stop()
    err = cli("pc", "list", expect=UNREACHABLE).err
    assert "Is nightclassd running there" in err
    api.server.server_close = api.stop = lambda: None


def test_token_is_not_sent_in_the_clear(cli):
    err = cli("pc", "list", "--server", "http://192.0.2.1:8443", expect=USAGE).err
    assert "https" in err


def test_output_that_cannot_be_written(cli):
    with open("/dev/full", "w", encoding="ascii") as full:
        done = subprocess.run([BUILD / "nightclass", "pc", "list"], env=cli.env, stdout=full, stderr=subprocess.PIPE)
    assert done.returncode == FAILED and b"standard output" in done.stderr


def test_host_lists_go_on_after_a_failure(cli, api):
    err = cli("pc", "remove", "pc[2-3,44]", expect=PARTLY).err
    assert "pc44" in err and "1 of 3 PCs failed" in err
    assert [pc["name"] for pc in api.data["pcs"]][:2] == ["pc1", "pc4"]
    cli("pc", "edit", "pc[4-5]", "--seat", "window")
    assert [pc["seat"] for pc in api.data["pcs"][1:3]] == ["window", "window"]
    cli("pc", "release", "pc7")
    assert json.loads(api.requests[-1][2]) == {"release": True}
    cli("pc", "remove", "pc[50-51]", expect=NOT_FOUND)
    cli("pc", "remove", "pc[5-", expect=USAGE)


# ---- settings

def test_settings_from_the_users_file(cli, api, tmp_path):
    config = tmp_path / ".config" / "nightclass"
    config.mkdir(parents=True)
    (config / "client.conf").write_text(f"[client]\nserver = {api.url}\ntoken_file = {tmp_path / 'token'}\n")
    del cli.env["NIGHTCLASS_SERVER"], cli.env["NIGHTCLASS_TOKEN_FILE"]
    cli("pc", "list")
    (config / "client.conf").write_text("[client]\nsrever = x\n")
    err = cli("pc", "list", expect=USAGE).err
    assert "client.conf" in err and "srever" in err


def test_option_wins_over_environment(cli, api):
    cli("pc", "list", "--server", api.url, NIGHTCLASS_SERVER="http://127.0.0.1:1")


def test_peer_is_added_with_its_files(cli, api, tmp_path):
    (tmp_path / "ca.pem").write_text("PEM\n")
    (tmp_path / "peer").write_text("secret\n")
    words = ["lab", "add", "west", "--url", "https://10.70.0.4:8443", "--ca-file", "ca.pem"]
    assert "--peer-token-file" in cli(*words, "--token-file", "token", expect=USAGE).err, "ours is not for the other lab"
    cli(*words, "--peer-token-file", "peer", "--token-file", "token", NIGHTCLASS_TOKEN_FILE="/nonexistent")
    made = api.data["labs"][-1]
    assert (made["name"], made["ca_pem"], made["token"]) == ("west", "PEM\n", "secret")


def test_token_is_printed_once_and_alone(cli):
    assert cli("token", "create", "wall", "--role", "viewer", "--expires", "30d").out == "secret-viewer\n"


# ---- waiting

def test_cluster_create_waits_until_ready(cli, api):
    done = cli("cluster", "create", "bob", "-n", 3, "--image", "mpi", "--memory", "512MiB")
    asked = json.loads([body for verb, path, body in api.requests if verb == "POST"][0])
    assert asked == {"name": "bob", "n": 3, "image": "mpi", "memory_mib": 512}
    steps = [line.split(None, 1)[1] for line in done.err.splitlines()]
    assert steps == ["bob: deploying (3 starting)", "bob: deploying (3 running)", "bob: ready (3 ready)"]
    assert "bob-003" in done.out


def test_cluster_larger_than_any(cli, api):
    assert "1 to 512" in cli("cluster", "create", "bob", "-n", 513, expect=USAGE).err
    assert not api.requests


def test_cluster_partly_ready(cli, api):
    api.cluster_ends = "partly"
    cli("cluster", "create", "bob", "-n", 3, expect=PARTLY)


def test_cluster_failed(cli, api):
    api.cluster_ends = "failed"
    assert "no host has room" in cli("cluster", "create", "bob", "-n", 3, expect=FAILED).err


def test_a_failed_cluster_is_deleted_at_once(cli, api):
    api.data["clusters"][0]["state"] = "failed"
    assert "alice: failed" in cli("cluster", "delete", "alice", "--timeout", "2s").err


def test_a_cluster_that_a_lost_pc_keeps_is_not_waited_for(cli, api):
    lost = "PC pc2: no report for 31 s. Its address is kept until the hand-back, or `nightclass pc release pc2`"
    alice = api.data["clusters"][0]
    alice["vms"] = [{**alice["vms"][0], "state": "failed", "reason": lost}, {**alice["vms"][1], "state": "stopping"}]
    alice["state"] = "closing"
    assert "goes on" in cli("cluster", "delete", "alice", "--timeout", "2s", expect=TIMED_OUT).err, "one is on its way"
    alice["vms"].pop()
    assert f"{alice['vms'][0]['id']}: {lost}" in cli("cluster", "delete", "alice", "--timeout", "9s", expect=PARTLY).err


def test_no_wait_and_dry_run(cli, api):
    cli("cluster", "create", "bob", "-n", 2, "--no-wait")
    assert api.data["clusters"][-1]["looks"] == 0
    assert "carol-002" in cli("cluster", "create", "carol", "-n", 2, "--dry-run").out
    assert api.data["clusters"][-1]["name"] == "bob"


def test_wait_ends_at_the_timeout(cli, api):
    api.cluster_ends = "deploying"
    err = cli("cluster", "create", "bob", "-n", 2, "--timeout", "2s", expect=TIMED_OUT).err
    assert "goes on" in err


def test_join_names_this_lab_too(cli, api):
    cli("join", "create", "south")
    assert api.data["joins"][-1]["labs"] == ["north", "south"]


def test_night(cli, api):
    cli("night", "start", "--for", "8h", "pc[1-10]", "--no-wait")
    assert api.data["nights"][0]["asked"] == {"for_s": 28800, "pcs": "pc[1-10]"}
    cli("night", "start", "--until", "07:30", "--no-wait")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT07:30:00Z", api.data["nights"][0]["asked"]["ends"])
    cli("night", "start", expect=USAGE)
    cli("night", "start", "--until", "7:30pm", expect=USAGE)
    done = cli("night", "end", expect=PARTLY)
    assert "9 desktop, 1 exception" in done.err and "did not ask" in done.out


def test_report_of_the_last_night(cli, api):
    report = {"ends": "2026-11-21T06:30:00Z", "done": "2026-11-21T06:41:00Z", "back": 9, "pcs": {},
              "exceptions": [{"pc": "pc7", "reason": "no desktop within 10 min"}]}
    assert "Not back" not in cli("night", "show").out
    api.data["nights"][0].update(state="done", report=report)
    api.data["nights"].append({**api.data["nights"][0], "id": 7, "report": {**report, "exceptions": []}})
    shown = cli("night", "show").out
    assert re.search(r"Not back in the morning\nPC +REASON\npc7 +no desktop within 10 min\n$", shown), shown
    assert re.search(r"^Desktops back +9$", shown, re.M) and re.search(r"^Night +1$", shown, re.M)
    assert "Not back" not in cli("night", "show", 7).out
    assert json.loads(cli("night", "show", "-o", "json").out)["report"] == report
    api.data["nights"] = []
    assert "nights" in cli("night", "show", expect=NOT_FOUND).err


def nights_pcs(api, of_this):
    """PC 7 is an exception, of this night or of an earlier one; the others are hosts."""
    for one in api.data["pcs"]:
        night = api.data["nights"][0]["id"] if of_this else None
        one.update(state="exception", night=night) if one["name"] == "pc7" else one.update(state="host")


def test_night_start_ends_with_the_pcs_settled(cli, api):
    nights_pcs(api, True)
    cli("night", "start", "--for", "8h", "--timeout", "20s", expect=PARTLY)


def test_night_start_at_its_timeout_is_neither_failed_nor_partly(cli, api):
    assert "goes on" in cli("night", "start", "--for", "8h", "--timeout", "1s", expect=TIMED_OUT).err


def test_an_exception_of_an_earlier_night_is_not_the_end(cli, api):
    nights_pcs(api, False)
    cli("night", "start", "--for", "8h", "--timeout", "1s", expect=TIMED_OUT)


def test_waiting_begins_at_the_newest_event(cli, api):
    cli("night", "start", "--for", "8h", "--timeout", "5s", expect=TIMED_OUT)
    asked = [int(re.search(r"after=(\d+)", path)[1]) for _, path, _ in api.requests if "/events?" in path]
    assert asked[1:] and min(asked[1:]) == len(api.data["events"]), asked


# ---- images

def test_image_import_resumes_and_waits(cli, api, tmp_path):
    disk = os.urandom(9 << 20)
    digest = hashlib.sha256(disk).hexdigest()
    (tmp_path / "disk.raw").write_bytes(disk)
    (tmp_path / "k").write_bytes(b"kernel")
    api.uploads[digest] = (disk[:4 << 20], len(disk))     # an earlier try came so far
    api.drop_pieces = 1
    done = cli("image", "import", "lab-image", "disk.raw", "--kernel", "k", "--cmdline", "root=/dev/vda quiet")
    assert api.uploads[digest] == (disk, len(disk))
    offsets = [path.partition("offset=")[2] for verb, path, _ in api.requests if verb == "PUT" and digest in path]
    assert offsets == [str(4 << 20), str(4 << 20), str(8 << 20)]
    asked = json.loads([body for verb, path, body in api.requests if verb == "POST"][0])
    assert asked == {"name": "lab-image", "upload": digest, "cmdline": "root=/dev/vda quiet",
                     "kernel": hashlib.sha256(b"kernel").hexdigest()}
    assert "lab-image" in done.out and "import: " in done.err


@pytest.mark.parametrize("no_zeros", [False, True])
def test_zeros_of_a_disk_are_told_not_sent(cli, api, tmp_path, no_zeros):
    disk = bytes(8 << 20) + os.urandom(5 << 20) + bytes((16 << 20) + 512)
    digest = hashlib.sha256(disk).hexdigest()
    (tmp_path / "disk.raw").write_bytes(disk)
    api.no_zeros = no_zeros
    cli("image", "import", "lab-image", "disk.raw")
    assert api.uploads[digest] == (disk, len(disk))
    puts = [path.partition("?")[2] for verb, path, _ in api.requests if verb == "PUT" and digest in path]
    if no_zeros:
        assert puts == [f"offset=0&zero={8 << 20}"] + [f"offset={n << 20}" for n in range(0, 32, 4) if n << 20 < len(disk)]
    else:
        assert puts == [f"offset=0&zero={8 << 20}", f"offset={8 << 20}", f"offset={12 << 20}",
                        f"offset={16 << 20}&zero={(13 << 20) + 512}"]


def test_image_from_a_recipes_folder(cli, api, tmp_path):
    made = tmp_path / "made"
    made.mkdir()
    for name, content in (("disk.qcow2", b"QFI\xfb" + b"\0" * 60), ("vmlinuz", b"k"), ("initrd.img", b"i"),
                          ("cmdline", b"root=/dev/vda\n")):
        (made / name).write_bytes(content)
    cli("image", "import", "mpi2", made)
    asked = json.loads([body for verb, path, body in api.requests if verb == "POST"][0])
    assert (asked["format"], asked["cmdline"]) == ("qcow2", "root=/dev/vda")
    assert {"kernel", "initrd", "upload"} < asked.keys()


def export(folder, disks, named=None, extra=""):
    """A VM exported as OVF, as VirtualBox does it: vm.ovf, vm.mf, disks."""
    folder.mkdir()
    files = "".join(f'<File ovf:id="file{i}" ovf:href="{name}"/>' for i, name in enumerate(named or disks))
    text = f'<?xml version="1.0"?>\n<Envelope xmlns:ovf="x"><References>{files}</References>{extra}</Envelope>\n'
    for name, content in {"vm.ovf": text.encode(), **disks}.items():
        (folder / name).write_bytes(content)
    sums = [f"SHA256({name})= {hashlib.sha256((folder / name).read_bytes()).hexdigest()}\n" for name in ("vm.ovf", *disks)]
    (folder / "vm.mf").write_text("".join(sums))
    return folder / "vm.ovf"


def sent_ova(api):
    """What was uploaded for the newest import, as a tar."""
    asked = [json.loads(body) for verb, _, body in api.requests if verb == "POST"][-1]
    assert asked["format"] == "ova"
    return tarfile.open(fileobj=io.BytesIO(api.uploads[asked["upload"]][0]), mode="r:")


def test_an_exported_vm_is_sent_as_an_ova(cli, api, tmp_path):
    disks = {"vm-disk2.vmdk": os.urandom((5 << 20) + 7), "vm-disk1.vmdk": b"\1" * 512, "vm file.nvram": b""}
    ovf = export(tmp_path / "out", disks, extra='<Disk fileRef="file9"/>')
    for other in ("other.vmdk", "file9", ".hidden", "vm"):
        (tmp_path / "out" / other).write_bytes(b"not named by the .ovf as a file")
    cli("image", "import", "vm", "out/vm.ovf")
    with sent_ova(api) as tar:
        assert tar.getnames() == ["vm.ovf", "vm.mf", *disks], "the description first, the rest as it is named"
        for member in tar.getmembers():
            assert tar.extractfile(member).read() == (tmp_path / "out" / member.name).read_bytes()
            assert (member.isreg(), member.uid, member.gid, member.mtime) == (True, 0, 0, 0)
    os.utime(ovf, (1, 1))
    shutil.copytree(tmp_path / "out", tmp_path / "again")
    puts = len([path for verb, path, _ in api.requests if verb == "PUT"])
    cli("image", "import", "vm", "again")
    cli("image", "import", "vm", "vm.ovf", cwd=tmp_path / "again")
    assert len([path for verb, path, _ in api.requests if verb == "PUT"]) == puts, "the same files: nothing is sent again"


def test_an_exported_vm_that_cannot_be_packed(cli, api, tmp_path):
    ovf = export(tmp_path / "out", {"vm.vmdk": b"\1" * 512})
    assert "--on-server" in cli("image", "import", "vm", ovf, "--on-server", expect=USAGE).err
    assert "--format" in cli("image", "import", "vm", ovf, "--format", "vmdk", expect=USAGE).err
    (tmp_path / "out" / "vm.vmdk").rename(tmp_path / "elsewhere.vmdk")
    err = cli("image", "import", "vm", ovf, expect=NOT_FOUND).err
    assert "vm.ovf names no disk that lies beside it" in err
    (tmp_path / "out" / "vm.vmdk").symlink_to(tmp_path / "elsewhere.vmdk")
    assert "vm.vmdk is a link" in cli("image", "import", "vm", ovf, expect=USAGE).err
    (tmp_path / "out" / "vm.vmdk").unlink()
    (tmp_path / "out" / "vm.vmdk").mkdir()
    assert "vm.vmdk is a link, a folder" in cli("image", "import", "vm", ovf, expect=USAGE).err
    long = "d" * 101 + ".vmdk"
    assert "more than 100 bytes" in cli("image", "import", "vm", export(tmp_path / "long", {long: b"1"}), expect=USAGE).err
    away = export(tmp_path / "away", {}, named=["../elsewhere.vmdk", "/etc/passwd", "sub/x.vmdk"])
    assert "names no disk" in cli("image", "import", "vm", away, expect=NOT_FOUND).err
    (tmp_path / "away" / "second.OVF").write_text("<Envelope/>")
    assert "several .ovf" in cli("image", "import", "vm", "away", expect=USAGE).err
    (tmp_path / "empty").mkdir()
    assert "nor an .ovf" in cli("image", "import", "vm", "empty", expect=NOT_FOUND).err
    assert not [path for verb, path, _ in api.requests if verb in ("PUT", "POST")], "nothing was sent"


def test_image_from_a_url_is_named_not_sent(cli, api):
    url, digest = "https://images.example.org/disk.vmdk", "ab" * 32
    cli("image", "import", "web", url, "--sha256", digest, "--format", "vmdk")
    assert [json.loads(body) for verb, path, body in api.requests if verb == "POST"] == [
        {"name": "web", "url": url, "sha256": digest, "format": "vmdk"}]
    assert not [path for verb, path, _ in api.requests if verb == "PUT"]
    cli("image", "import", "web", url, "--on-server", expect=USAGE)


def test_an_image_is_packed_as_hard_as_asked(cli, api, tmp_path):
    (tmp_path / "disk.raw").write_bytes(b"\1" * 4096)
    cli("image", "import", "mpi2", "disk.raw", "--level", "14")
    assert [json.loads(body)["level"] for verb, _, body in api.requests if verb == "POST"] == [14]
    for wrong in ("0", "20", "most"):
        assert f'"{wrong}" is not a whole number from 1 to 19' in cli(
            "image", "import", "mpi2", "disk.raw", "--level", wrong, expect=USAGE).err
    assert len([path for verb, path, _ in api.requests if verb == "PUT"]) == 1, "what is wrong is not uploaded first"


def test_a_wrong_level_is_told_before_the_build(cli, tmp_path):
    make_recipe(tmp_path / "quick", "touch built\n")
    assert "from 1 to 19" in cli("image", "build", "./quick", "--level", "20", expect=USAGE).err
    err = cli("image", "build", "./quick", "--no-import", "--out", "there", "--level", "3", expect=USAGE).err
    assert "--level" in err and "image import" in err and not list(tmp_path.rglob("built"))


def test_an_imports_phases_are_told_and_json_stays_clean(cli, api, tmp_path):
    (tmp_path / "disk.raw").write_bytes(b"\1" * 4096)
    api.import_steps = [{"phase": "convert", "done": 1 << 30, "total": 4 << 30}, {"phase": "cut", "done": 1 << 20, "total": 0}]
    done = cli("-o", "json", "image", "import", "lab-image", "disk.raw")
    assert "convert: 1.0 GiB of 4.0 GiB, 25 %" in done.err and "cut: 1.0 MiB" in done.err
    assert json.loads(done.out)["name"] == "lab-image"


def test_image_refused_says_why(cli, api, tmp_path):
    (tmp_path / "evil.qcow2").write_bytes(b"QFI\xfb" + b"\0" * 60)
    api.import_ends = ("failed", "it names a backing file, /etc/shadow")
    err = cli("image", "import", "evil", "evil.qcow2", expect=FAILED).err
    assert "refused: it names a backing file" in err
    cli("image", "import", "gone", "nothing.raw", expect=NOT_FOUND)
    cli("image", "import", "Bad_Name", "evil.qcow2", expect=USAGE)


def make_recipe(folder, script, about=None):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "build").write_text("#!/bin/sh\n" + script)
    (folder / "build").chmod(0o755)
    if about:
        (folder / "about").write_text(about + "\n")


def test_image_build_runs_the_recipe(cli, api, tmp_path):
    recipe = tmp_path / "images" / "recipes" / "tiny"
    make_recipe(recipe, "echo step one\necho beware >&2\nprintf disk >\"$1/disk.raw\"\ncp \"$2\" \"$1/vmlinuz\"\n")
    (tmp_path / "guest").write_bytes(b"guest agent")
    done = cli("image", "build", "tiny", "--out", "out", "--guest", "guest", "-o", "json")
    assert re.search(r"^ +0:\d\d  tiny: step one$", done.err, re.M) and "beware" in done.err
    assert json.loads(done.out)["name"] == "tiny" and api.data["images"][-1]["name"] == "tiny"
    assert (tmp_path / "out" / "vmlinuz").read_bytes() == b"guest agent"


def test_image_build_says_why_it_failed(cli, api, tmp_path):
    recipe = tmp_path / "images" / "recipes" / "tiny"
    make_recipe(recipe, "echo 'tiny: the oven\033[2J is cold' >&2\nexit 3\n")
    err = cli("image", "build", "tiny", expect=FAILED).err
    assert "recipe tiny failed: tiny: the oven?[2J is cold" in err
    make_recipe(recipe, "kill -9 $$\n")
    assert "ended by signal 9" in cli("image", "build", "tiny", expect=FAILED).err
    make_recipe(recipe, "exit 0\n")
    assert "holds neither disk.raw" in cli("image", "build", "tiny", "--out", "out", "--no-import", expect=FAILED).err
    (recipe / "build").chmod(0o644)
    assert "chmod +x" in cli("image", "build", "tiny", expect=DENIED).err
    err = cli("image", "build", "nosuch", expect=NOT_FOUND).err
    assert 'no recipe "nosuch"' in err and "tiny" in err and "./nosuch" in err
    assert "no recipe: a recipe is a folder" in cli("image", "build", "./images", expect=NOT_FOUND).err
    assert "--list" in cli("image", "build", expect=USAGE).err
    assert "--name" in cli("image", "build", "./images/recipes/tiny", "--name", "Bad_Name", expect=USAGE).err
    assert not [path for verb, path, _ in api.requests if verb == "POST"]


def test_image_build_by_path_and_without_a_controller(cli, tmp_path):
    make_recipe(tmp_path / "my-class", 'echo "${NIGHTCLASS_RECIPES-none}" >"$1/disk.raw"\n')
    nobody = {"NIGHTCLASS_SERVER": "https://127.0.0.1:1"}
    made = json.loads(cli("image", "build", "./my-class", "--out", "out", "--no-import", "-o", "json", **nobody).out)
    assert (made["recipe"], made["folder"], made["size"]) == ("my-class", "out", (tmp_path / "out/disk.raw").stat().st_size)
    # Asked before the work, not after it.
    make_recipe(tmp_path / "my-class", ": >started\n")
    cli("image", "build", "./my-class", expect=UNREACHABLE, **nobody)
    assert not (tmp_path / "started").exists()


def test_image_build_list(cli, tmp_path):
    recipes = tmp_path / "images" / "recipes"
    make_recipe(recipes / "zeta", "exit 1\n", "the last one")
    make_recipe(recipes / "alpha", "exit 1\n")
    (recipes / "common").mkdir()
    nobody = {"NIGHTCLASS_SERVER": "https://127.0.0.1:1"}
    items = json.loads(cli("image", "build", "--list", "-o", "json", **nobody).out)
    listed = [item for item in items if item["folder"].startswith("images/recipes/")]
    assert [(item["name"], item["about"]) for item in listed] == [("alpha", ""), ("zeta", "the last one")]
    assert "the last one" in cli("image", "build", "--list", **nobody).out


def start_build(cli, tmp_path, recipe):
    """A build in a folder of its own; the recipe says `in FOLDER` first."""
    child = subprocess.Popen([BUILD / "nightclass", "image", "build", recipe], env=cli.env, cwd=tmp_path, text=True,
                             stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    return child, next(line.split(" in ")[1].strip() for line in child.stderr if " in /var/tmp/" in line)


@pytest.mark.parametrize("signo", [signal.SIGINT, signal.SIGTERM])
def test_image_build_interrupted_leaves_nothing(cli, tmp_path, signo):
    """What the recipe waits for is ended, too: a shell hears a signal only then."""
    make_recipe(tmp_path / "slow", "trap 'echo cleaned >cleaned; exit 1' TERM\n"
                "sh -c 'echo \"in $0\"; sleep 120' \"$1\"\n")
    child, folder = start_build(cli, tmp_path, "./slow")
    child.send_signal(signo)
    _, err = child.communicate(timeout=20)
    assert child.returncode == FAILED and "interrupted" in err
    assert (tmp_path / "cleaned").exists() and not pathlib.Path(folder).exists()


@pytest.mark.parametrize("signo", [signal.SIGINT, signal.SIGKILL])
def test_image_build_interrupted_in_its_import_leaves_nothing(cli, api, tmp_path, signo):
    make_recipe(tmp_path / "quick", "echo \"in $1\"\nprintf disk >\"$1/disk.raw\"\n")
    api.import_ends, api.import_steps = ("running", ""), [{"phase": "cut", "done": 1 << 20, "total": 0}]
    child, folder = start_build(cli, tmp_path, "./quick")
    assert any("cut: 1.0 MiB" in line for line in child.stderr) and pathlib.Path(folder).exists()
    child.send_signal(signo)
    child.communicate(timeout=20)
    assert child.returncode == -signo
    until(lambda: not pathlib.Path(folder).exists(), 10, "the build's folder is removed")


# ---- run

def test_run_streams_and_gives_the_programs_code(cli, api, tmp_path):
    (tmp_path / "prog").write_bytes(b"#!/bin/true\n")
    api.data["clusters"] = api.data["clusters"][1:]       # one is ready
    api.output, api.exit_code = b"line \xff\n" * 60000, 42
    done = cli("run", "-n", 4, "./prog", "-n", "7", "--help", expect=42)
    assert done.stdout == api.output
    run = api.data["runs"][0]
    assert (run["cluster"], run["ranks"], run["name"], run["args"]) == ("rehearsal", 4, "prog", ["-n", "7", "--help"])
    before = len([1 for verb, _, _ in api.requests if verb == "PUT"])
    cli("run", "-n", 4, "./prog", expect=42)
    assert len([1 for verb, _, _ in api.requests if verb == "PUT"]) == before, "the same file was sent twice"


def test_run_needs_a_ready_cluster(cli, api, tmp_path):
    (tmp_path / "prog").write_bytes(b"x")
    api.data["clusters"][0]["state"] = "ready"
    assert "alice, rehearsal" in cli("run", "-n", 2, "./prog", expect=USAGE).err
    api.data["clusters"] = []
    assert "cluster create" in cli("run", "-n", 2, "./prog", expect=NOT_FOUND).err


def test_run_that_failed_without_a_code(cli, api):
    api.data["runs"] = [{"id": 5, "state": "failed", "exit_code": None, "reason": "alice-001 was lost", "cluster": "a",
                         "ranks": 2, "name": "p"}]
    assert "alice-001 was lost" in cli("run", "follow", 5, expect=FAILED).err
    assert "failed" in cli("run", "list").out


# ---- events

def test_follow_shows_events_as_they_happen(cli, api):
    process = subprocess.Popen([BUILD / "nightclass", "event", "follow"], env=cli.env, stdout=subprocess.PIPE, text=True)
    try:
        asked = threading.Event()
        watch = api.changed.wait_for

        def waited(*args):
            asked.set()
            return watch(*args)
        api.changed.wait_for = waited
        assert asked.wait(10)
        while not any("wait=" in path for _, path, _ in list(api.requests)):
            pass        # it has read what is old and waits for what is new
        api.event("pc.state", "pc/pc9", "pc9 is a desktop again.")
        assert "pc9 is a desktop again." in process.stdout.readline()
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


# ---- local verbs

def test_config_check(cli, tmp_path):
    good = tmp_path / "good.conf"
    good.write_text("[lab]\nname = north\nlan_address = 10.71.0.1/24\n")
    assert "ok" in cli("config", "check", good).out
    for line in ("nmae = x", "name = UPPER", "name = north\nname = south", "lan_address = 10.71.0.1"):
        bad = tmp_path / "bad.conf"
        bad.write_text(f"[lab]\n{line}\n")
        assert "bad.conf" in cli("config", "check", bad, expect=FAILED).err
    cli("config", "check", tmp_path / "none.conf", expect=NOT_FOUND)
    for port, why in (("8081", "hosts answer, too"), ("8082", "hosts answer, too"), ("0", "is no probe"), ("8083", None)):
        bad.write_text(good.read_text() + f"desktop_probe = tcp:{port}\n")
        said = cli("config", "check", bad, expect=FAILED if why else 0).err
        assert not why or why in said and "desktop_probe" in said
    for key, value, fits in (("lan_address", "10.71.0.0/24", False), ("lan_address", "10.71.0.1/32", False),
                             ("cluster_net", "10.80.0.0/25", False), ("cluster_net", "10.80.0.0/24", True)):
        bad.write_text(f"[lab]\nname = north\n{key} = {value}\n" + "lan_address = 10.71.0.1/24\n" * (key != "lan_address"))
        assert fits or f'"{key}"' in cli("config", "check", bad, expect=FAILED).err
        assert not fits or "ok" in cli("config", "check", bad).out
    assert "lab1" in cli("config", "check", ROOT / "debian/nightclass.conf").out


def test_manual_is_the_programs_own(cli):
    page = (ROOT / "docs/man/nightclass.1.scd").read_text()
    commands = cli("help", "--manual").out
    if os.environ.get("REGEN"):
        head, tail = page.partition("# COMMANDS")[0], "# OPTIONS" + page.partition("# OPTIONS")[2]
        (ROOT / "docs/man/nightclass.1.scd").write_text(head + commands + tail)
    assert commands in (ROOT / "docs/man/nightclass.1.scd").read_text(), "REGEN=1 rewrites the COMMANDS part"


def test_manual_names_every_key(cli):
    page = (ROOT / "docs/man/nightclass.conf.5.scd").read_text()
    for key in cli("config", "keys", "-o", "name").out.split():
        assert f"*{key}*" in page, f"{key} is not in nightclass.conf(5)"


def test_manual_names_every_event():
    page = (ROOT / "docs/man/nightclass.1.scd").read_text().partition("# EVENTS")[2].partition("# EXIT")[0]
    source = "".join(path.read_text() for path in (ROOT / "controller").rglob("*.c") if path.parent.name != "cli")
    nouns = "auth boot cluster enrol host image import join lab night pc run token vm".replace(" ", "|")
    written = set(re.findall(rf'"((?:{nouns})\.[a-z]+)"', source)) - {"host.squashfs"}
    called = re.findall(r'(?:store_event|api_alarm)\([^;]*?,\s*"([a-z]+\.[a-z]+)",', source)
    assert set(called) <= written, "a noun is missing in this test"
    assert written == set(re.findall(r"^\|.. ?\*([a-z.]+)\*$", page, re.M))


@pytest.mark.skipif(not shutil.which("scdoc"), reason="scdoc is not installed")
def test_manual_pages_are_good_scdoc():
    pages = sorted((ROOT / "docs/man").glob("*.scd"))
    assert len(pages) >= 6
    for page in pages:
        done = subprocess.run(["scdoc"], stdin=page.open("rb"), capture_output=True)
        assert done.returncode == 0, (page, done.stderr)


def complete(cli, *words):
    script = ('. <("$0" completion bash); COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); nightclass() { "$BIN" "$@"; }; '
              '_nightclass; printf "%s\\n" "${COMPREPLY[@]}"')
    done = subprocess.run(["bash", "-c", script, str(BUILD / "nightclass"), "nightclass", *words], text=True,
                          env={**cli.env, "BIN": str(BUILD / "nightclass")}, capture_output=True)
    assert done.stderr == ""
    return done.stdout.split()


def test_completion(cli):
    assert complete(cli, "cl") == ["cluster"]
    assert complete(cli, "-o", "json", "pc", "") == ["list", "show", "add", "remove", "edit", "release"]
    assert "--memory" in complete(cli, "cluster", "create", "--")
    assert complete(cli, "pc", "show", "pc1") == ["pc1", "pc10"]
    assert complete(cli, "pc", "list", "-o", "") == ["table", "json", "name"]


def test_help(cli):
    overview = cli("help").out
    for noun in ("lab", "pc", "image", "cluster", "join", "night", "run", "event", "token", "config", "completion"):
        assert f"\n  {noun} " in overview
    assert "--address IP" in cli("help", "pc", "add").out == cli("pc", "add", "--help").out
    alone = cli("help", "run").out  # a noun that is its own verb
    assert "--ranks N" in alone == cli("run", "--help").out and "run follow ID" in alone
    assert max(len(line) for line in overview.splitlines()) <= 100
    cli("help", "nothing", expect=USAGE)
    assert re.fullmatch(r"nightclass \d+\.\d+\.\d+\n", cli("--version").out)
