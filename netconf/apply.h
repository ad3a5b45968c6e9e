/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The moving part of netd: holds the goal, makes kernel and dnsmasq match it, ends leases, repairs.
 */
#ifndef NETCONF_APPLY_H
#define NETCONF_APPLY_H

#include <jansson.h>
#include "lib/error.h"
#include "lib/loop.h"
#include "netconf/net.h"

struct apply;

/* Reads the state file (leases of an earlier boot of the machine are dropped, ended ones too) and
 * makes everything match; what fails now is logged and tried again. An error only when netd cannot
 * work at all. `site` must outlive it. */
int apply_new(struct loop *loop, const struct net_site *site, struct apply **ret_apply,
	struct error **err);
/* Takes routes, addresses, NAT and dnsmasq down (the leases stay in the state file: a netd that
 * starts again before they end puts all of it back) and frees. */
void apply_free(struct apply *apply);

/* Replaces reservations and DNS names; takes both over (the caller's vectors are empty afterwards).
 */
int apply_dhcp(
	struct apply *apply, struct net_hosts *hosts, struct net_names *names, struct error **err);
/* Boot answers at `url` for `lease_s` seconds from now; 0: none from now on. */
int apply_boot(struct apply *apply, const char *url, int64_t lease_s, struct error **err);
/* Adds, replaces or renews the lease of that name for `lease_s` seconds; takes it over. On failure
 * everything is as it was. -EEXIST: another lease or the administrator has such a route. */
int apply_lease(struct apply *apply, struct net_lease *lease, int64_t lease_s, struct error **err);
/* Ends the lease of that name; absent is success. */
int apply_withdraw(struct apply *apply, const char *name, struct error **err);
/* The commands that do the same as these leases, for a person: a new reference to an array. */
json_t *apply_commands(const struct apply *apply, const struct net_leases *leases);
/* {"applied":[...],"boot":{...}|null,"dnsmasq":{...},"commands":[...]}: a new reference. */
json_t *apply_show(const struct apply *apply);

#endif
