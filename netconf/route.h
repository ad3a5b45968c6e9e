/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Routes and interface addresses of ours in the kernel: scan, diff (pure), apply, by libnl-route.
 * Ours are the IPv4 routes of the main table with protocol 78, and the addresses on the LAN
 * interface with our label. */
#ifndef NETCONF_ROUTE_H
#define NETCONF_ROUTE_H

#include "lib/error.h"
#include "netconf/net.h"

struct route_seen {
	struct prefix4s addresses; /* ours */
	struct net_routes routes;  /* ours */
};
struct route_steps { /* in this order: remove routes, remove addresses, add addresses, add routes */
	struct net_routes remove_routes, add_routes;
	struct prefix4s remove_addresses, add_addresses;
};

/* The label that marks our addresses on `interface`: its name (as far as it fits) and ":nc". Pure.
 */
void route_label(const char *interface, char ret_label[NET_LABEL_SIZE]);
/* What has to change so that `seen` becomes what the goal wants; what is right already is not in
 * it. Pure. A route that loses its source address with a removed one is not foreseen: the kernel
 * has no such link here. */
void route_diff(
	const struct net_goal *goal, const struct route_seen *seen, struct route_steps *ret_steps);
bool route_steps_empty(const struct route_steps *steps);
void route_steps_done(struct route_steps *steps);

struct route_kernel; /* a netlink socket */
int route_open(const char *lan_interface, struct route_kernel **ret_kernel, struct error **err);
void route_close(struct route_kernel *kernel);
int route_scan(struct route_kernel *kernel, struct route_seen *ret_seen, struct error **err);
void route_seen_done(struct route_seen *seen);
/* Takes the steps; stops at the first that fails (-EEXIST: a route or address is there that is not
 * ours, and it is left alone). What is gone already is no failure. */
int route_apply(struct route_kernel *kernel, const struct route_steps *steps, struct error **err);

#endif
