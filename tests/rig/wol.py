# SPDX-License-Identifier: GPL-2.0-or-later
"""The network card of a PC that is off: prints the MAC of every Wake-on-LAN magic packet seen on an interface.

    ip netns exec LAB python3 -m tests.rig.wol INTERFACE
"""
import socket
import sys


def magic(frame: bytes) -> str:
    """The MAC a frame would wake, or ''. A magic packet holds six 0xff and sixteen times the MAC, anywhere."""
    at = frame.find(b"\xff" * 6, 14)
    while at >= 0:
        mac = frame[at + 6:at + 12]
        if len(mac) == 6 and mac != b"\xff" * 6 and frame[at + 6:at + 102] == mac * 16:
            return mac.hex(":")
        at = frame.find(b"\xff" * 6, at + 1)
    return ""


def main(interface: str) -> None:
    everything = 3  # ETH_P_ALL: outgoing frames too, the lab server sends from here
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(everything)) as card:
        card.bind((interface, everything))
        print("listening", flush=True)
        while True:
            mac = magic(card.recv(2048))
            if mac:
                print(mac, flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
