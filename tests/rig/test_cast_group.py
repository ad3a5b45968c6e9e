# SPDX-License-Identifier: GPL-2.0-or-later
"""The group of a cast: it goes to another one when it has sent away a PC whose port is too slow, since a switch would fill that
port for two seconds more, while the PC asks its peers; and a switch that forgets who is in it is told again."""
import json
import time

import pytest

from tests.rig.test_cast import GROUP, MBIT, PATIENCE, PORT, image, lab, run, whole  # noqa: F401

OTHER = "239.255.8.9"
RATE = MBIT / 4


def count(where: str, hook: str) -> None:
    run("ip", "netns", "exec", where, "nft", "-f", "-",
        input=(f"table ip counts {{ counter given {{}}; counter other {{}}; chain seen {{ type filter hook {hook} priority 0;"
               f" ip daddr {GROUP} counter name given; ip daddr {OTHER} counter name other; }}; }}"))


def counts(where: str) -> dict[str, int]:
    """Bytes to each group by now."""
    listed = json.loads(run("ip", "netns", "exec", where, "nft", "-j", "list", "counters").stdout)["nftables"]
    return {item["counter"]["name"]: item["counter"]["bytes"] for item in listed if "counter" in item}


@pytest.fixture
def moving(lab):  # noqa: F811
    """Three PCs and one, pc-4, with a port of a sixth of the rate: the sender, and how to start a receiver."""
    segment, sender, receive = lab(["pc-1", "pc-2", "pc-3", "pc-4"], rate=RATE)
    segment.rate("pc-4", RATE / 6)
    count("castsrv", "output")
    count("pc-4", "input")
    return sender, receive


def wait_moved() -> int:
    """Until something goes to the other group; how many bytes went to the given one by then."""
    end = time.monotonic() + PATIENCE
    while counts("castsrv")["other"] == 0:
        assert time.monotonic() < end, "the cast stayed where it was"
        time.sleep(0.02)  # a counter of the kernel's: polled
    return counts("castsrv")["given"]


def sent_away(sender, names) -> list[str]:
    return [line["name"] for line in sender.lines() if line.get("event") == "peers" and line["name"] in names]


def test_all_but_the_slow_one_follow(moving, image, tmp_path):  # noqa: F811
    sender, receive = moving
    slow = receive("pc-4")
    others = {name: receive(name, "--alone") for name in ("pc-1", "pc-2", "pc-3")}
    sender.wait_line(lambda line: line.get("event") == "peers" and line["name"] == "pc-4")
    before = wait_moved()
    for name, program in others.items():
        whole(program, tmp_path / name, image)
    assert counts("castsrv")["given"] == before, "what goes to the group before still fills the slow port"
    slow.wait_line(lambda line: "note" in line)
    assert counts("pc-4")["other"] == 0, "the slow one followed"
    assert not sent_away(sender, others)


def test_who_did_not_hear_of_it_finds_out(moving, image, tmp_path):  # noqa: F811
    """Every telling to this one PC is lost until the cast is gone."""
    sender, receive = moving
    where = "".join(f"{int(number):02x}" for number in OTHER.split("."))  # 16 bytes into the frame of a welcome
    run("ip", "netns", "exec", "pc-2", "nft", "-f", "-", input=(
        f"table ip deaf {{ chain seen {{ type filter hook input priority 0; udp sport {PORT} @th,192,32 0x{where} drop; }}; }}"))
    receive("pc-4")
    others = {name: receive(name, "--alone") for name in ("pc-1", "pc-2", "pc-3")}
    wait_moved()
    run("ip", "netns", "exec", "pc-2", "nft", "delete", "table", "ip", "deaf")
    for name, program in others.items():
        whole(program, tmp_path / name, image)
    assert not sent_away(sender, others)


def test_where_no_other_group_passes_it_goes_back(moving, image, tmp_path):  # noqa: F811
    """A network that was told to pass the given group only: nobody is sent away for the move."""
    sender, receive = moving
    names = ("pc-1", "pc-2", "pc-3")
    for name in names:
        run("ip", "netns", "exec", name, "nft", "-f", "-",
            input=f"table ip deaf {{ chain seen {{ type filter hook input priority 0; ip daddr {OTHER} drop; }}; }}")
    receive("pc-4")
    others = {name: receive(name, "--alone") for name in names}
    wait_moved()
    for name, program in others.items():
        whole(program, tmp_path / name, image)
    assert counts("castsrv")["given"] > len(image[2]) * 3 / 4, "what the PCs have came by the other group"
    assert not sent_away(sender, others)


def test_a_switch_that_forgets_the_group_is_told_again(lab, image, tmp_path):  # noqa: F811
    """A switch passes the group to who joined; without a querier it forgets that after some minutes, here in mid-cast."""
    names = ("pc-1", "pc-2")
    _, sender, receive = lab(names, rate=RATE)
    ports = ", ".join(names)
    run("nft", "-f", "-", input=(
        "table netdev castloss { set joined { type ifname; flags dynamic; size 8; };"
        f" chain in {{ type filter hook ingress devices = {{ {ports} }} priority 0; ip protocol igmp add @joined {{ iifname }}; }};"
        f" chain out {{ type filter hook egress devices = {{ {ports} }} priority 0; ip daddr {GROUP} oifname != @joined drop; }}; }}"))
    programs = {name: receive(name, "--alone") for name in names}
    for program in programs.values():
        program.wait_line(lambda line: line.get("have", 0) > 0)
    run("nft", "flush", "set", "netdev", "castloss", "joined")
    for name, program in programs.items():
        whole(program, tmp_path / name, image)
    assert not sent_away(sender, names)
