# SPDX-License-Identifier: GPL-2.0-or-later
"""A school's IPv6 router, as far as iPXE cares: answers router solicitations with "I am here, but no way out".
Without an answer iPXE waits 16 s at every boot before it goes on with IPv4.

    ip netns exec LAB python3 -m tests.rig.router6 INTERFACE
"""
import socket
import struct
import sys

SOLICITATION, ADVERTISEMENT = 133, 134
ALL_NODES, ALL_ROUTERS = "ff02::1", "ff02::2"
# type, code, checksum (the kernel's), hop limit, flags, lifetime 0: not a default router, reachable, retransmit
ANSWER = struct.pack("!BBHBBHII", ADVERTISEMENT, 0, 0, 64, 0, 0, 0, 0)


def main(interface: str) -> None:
    index = socket.if_nametoindex(interface)
    with socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6) as s:
        group = socket.inet_pton(socket.AF_INET6, ALL_ROUTERS) + struct.pack("@I", index)
        s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, group)
        s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_IF, index)
        s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, 255)
        s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_LOOP, 0)
        while True:
            packet, sender = s.recvfrom(1500)
            if packet[:1] == bytes([SOLICITATION]) and sender[3] == index:
                try:
                    s.sendto(ANSWER, (ALL_NODES, 0, 0, index))
                except OSError:
                    pass  # the interface's own address is still being checked; iPXE asks again


if __name__ == "__main__":
    main(sys.argv[1])
