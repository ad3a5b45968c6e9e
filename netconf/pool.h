/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Stable addresses: the next free IPv4 address of a prefix, and the MAC of a VM. Pure. */
#ifndef NETCONF_POOL_H
#define NETCONF_POOL_H

#include "lib/error.h"
#include "netconf/net.h"

/* The lowest address of `net` with host part >= `first` that is not in `taken`; network and
 * broadcast address are never given. -ENOSPC names the prefix when none is left, -EINVAL when `net`
 * is /31 or /32. */
int pool_address(struct prefix4 net, uint32_t first, const struct ip4s *taken,
	struct ip4 *ret_address, struct error **err);

/* What the MACs of all guests begin with, and of nobody else: locally administered. */
#define POOL_MAC_PREFIX 0x52, 0x4e, 0x43

/* The MAC of VM `number` of `cluster` in `lab`: 52:4e:43 and 24 bits of a digest over all three, so
 * it is the same every night. `attempt` 0 is the first choice; the store counts up when the MAC is
 * taken. */
struct mac pool_mac(const char *lab, const char *cluster, uint32_t number, uint32_t attempt);
/* The first MAC of pool_mac's row that is not in `taken`. */
struct mac pool_free_mac(
	const char *lab, const char *cluster, uint32_t number, const struct macs *taken);

#endif
