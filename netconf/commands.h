/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What netd does, as the commands a person would type. Pure. */
#ifndef NETCONF_COMMANDS_H
#define NETCONF_COMMANDS_H

#include "lib/hostlist.h"
#include "netconf/net.h"

/* The sysctl, ip and nft commands that have the effect of the goal's leases, in their order; none
 * without leases. The caller frees with strings_done. */
void commands_list(
	const struct net_site *site, const struct net_goal *goal, struct strings *ret_commands);

#endif
