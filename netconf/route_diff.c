/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Goal against seen, for routes and addresses. The result is the shortest list of steps: a renewed
 * or repeated request gives none, a changed gateway gives one removal and one addition, and
 * everything that two leases share stays untouched while one of them lives.
 *
 * Only what the scan recognised as ours is ever in `seen`, so nothing foreign can appear in the
 * removals. Pure.
 */
#include "netconf/route.h"

void route_label(const char *interface, char ret_label[NET_LABEL_SIZE])
{
	snprintf(ret_label, NET_LABEL_SIZE, "%.12s:nc", interface);
}

static bool has_route(const struct net_routes *routes, const struct net_route *route)
{
	vec_each (struct net_route, other, routes)
		if (net_route_equal(other, route))
			return true;
	return false;
}

static bool has_prefix(const struct prefix4s *prefixes, struct prefix4 prefix)
{
	vec_each (struct prefix4, other, prefixes)
		if (prefix4_equal(*other, prefix))
			return true;
	return false;
}

void route_diff(
	const struct net_goal *goal, const struct route_seen *seen, struct route_steps *ret_steps)
{
	struct prefix4s addresses = {0};
	struct net_routes routes = {0};

	net_goal_addresses(goal, &addresses);
	net_goal_routes(goal, &routes);
	vec_each (struct net_route, route, &seen->routes)
		if (!has_route(&routes, route))
			vec_push(&ret_steps->remove_routes, *route);
	vec_each (struct prefix4, address, &seen->addresses)
		if (!has_prefix(&addresses, *address))
			vec_push(&ret_steps->remove_addresses, *address);
	vec_each (struct prefix4, address, &addresses)
		if (!has_prefix(&seen->addresses, *address))
			vec_push(&ret_steps->add_addresses, *address);
	vec_each (struct net_route, route, &routes)
		if (!has_route(&seen->routes, route))
			vec_push(&ret_steps->add_routes, *route);
	vec_done(&addresses);
	vec_done(&routes);
}

bool route_steps_empty(const struct route_steps *steps)
{
	return !steps->remove_routes.n && !steps->add_routes.n && !steps->remove_addresses.n &&
	       !steps->add_addresses.n;
}

void route_steps_done(struct route_steps *steps)
{
	vec_done(&steps->remove_routes);
	vec_done(&steps->add_routes);
	vec_done(&steps->remove_addresses);
	vec_done(&steps->add_addresses);
}

void route_seen_done(struct route_seen *seen)
{
	vec_done(&seen->addresses);
	vec_done(&seen->routes);
}
