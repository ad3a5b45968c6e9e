/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Who holds these addresses? ARP probes (RFC 5227) for many addresses at once. */
#ifndef NETCONF_ARP_H
#define NETCONF_ARP_H

#include "lib/error.h"
#include "netconf/net.h"

struct arp_conflict {
	struct ip4 address;
	struct mac mac;
};
VEC_OF(arp_conflicts, struct arp_conflict);

enum { ARP_FRAME = 42, ARP_ROUNDS = 3, ARP_ROUND_MS = 300 };

/* The Ethernet frame of a probe: sender address 0.0.0.0, target `address`, broadcast. Pure. */
void arp_probe(const struct mac *from, struct ip4 address, uint8_t ret_frame[ARP_FRAME]);
/* The address a received frame claims or probes and whose MAC that is. False: it speaks of no
 * address (not ARP, not IPv4, too short). Pure. */
bool arp_claim(const uint8_t *frame, size_t len, struct arp_conflict *ret_claim);

/* Probes all addresses on `interface` three times within about a second. A claim by a MAC in `mine`
 * or by our own interface is no conflict; each address is listed once per MAC. Blocking: for a
 * worker. Needs CAP_NET_RAW. */
int arp_conflicts(const char *interface, const struct ip4s *addresses, const struct macs *mine,
	struct arp_conflicts *ret_conflicts, struct error **err);

#endif
