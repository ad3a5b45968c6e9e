/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Our one nft table: rendered (pure), checked and loaded as a single transaction by libnftables. */
#ifndef NETCONF_NFT_H
#define NETCONF_NFT_H

#include "lib/error.h"
#include "netconf/net.h"

#define NFT_TABLE "inet nightclass"

/* The transaction that makes `inet nightclass` hold what the goal's leases want, and nothing else;
 * without leases it removes the table. Pure; caller frees. */
char *nft_render(const struct net_site *site, const struct net_goal *goal);

/* Dry run of a transaction: -EINVAL with nft's own words. */
int nft_check(const char *transaction, struct error **err);
/* Runs it; all or nothing. */
int nft_load(const char *transaction, struct error **err);
/* The table as the kernel holds it, without counters and handles: equal text, equal table.
 * *ret_text is NULL when there is no table of ours. Caller frees. */
int nft_list(char **ret_text, struct error **err);

#endif
