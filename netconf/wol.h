/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Wake-on-LAN: one magic packet by UDP broadcast, no privilege needed. */
#ifndef NETCONF_WOL_H
#define NETCONF_WOL_H

#include "lib/error.h"
#include "lib/str.h"

enum { WOL_PACKET = 6 + 16 * 6, WOL_PORT = 9 };

/* Six times 0xff, then the MAC sixteen times. Pure. */
void wol_packet(const struct mac *mac, uint8_t ret_packet[WOL_PACKET]);
/* Sends it from the lab server's address `from` to the segment's `broadcast` address, port 9. Sent
 * is not arrived: the caller repeats until the PC is seen. */
int wol_send(struct ip4 from, struct ip4 broadcast, const struct mac *mac, struct error **err);

#endif
