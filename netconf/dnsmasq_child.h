/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Our own dnsmasq as a supervised child: configuration checked, written, swapped, verified;
 * restarted with back-off when it dies; ended with us. */
#ifndef NETCONF_DNSMASQ_CHILD_H
#define NETCONF_DNSMASQ_CHILD_H

#include <jansson.h>
#include "lib/error.h"
#include "lib/loop.h"
#include "netconf/net.h"

struct dnsmasq;

/* No child yet. One that an earlier netd left behind (it was killed) is ended first. `site` must
 * outlive it. */
struct dnsmasq *dnsmasq_new(struct loop *loop, const struct net_site *site);
/* Makes a dnsmasq run with what the goal wants (mode none: no dnsmasq). Equal text and a living
 * child: nothing is done. -EINVAL when dnsmasq --test refuses it, -EIO when it does not come up;
 * the former configuration is then back in place and running. */
int dnsmasq_set(struct dnsmasq *dnsmasq, const struct net_goal *goal, struct error **err);
/* {"mode","running","pid","starts"}: a new reference. */
json_t *dnsmasq_show(const struct dnsmasq *dnsmasq);
/* Ends the child and waits for it. Configuration and DHCP leases stay on disk. */
void dnsmasq_free(struct dnsmasq *dnsmasq);

#endif
