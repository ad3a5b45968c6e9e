/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The desired network as data: comparison, copy, union and expiry. Several leases may want the same
 * address or route (a lab's own cluster and a join share the gateway address); the kernel gets the
 * union, and a thing goes only with the last lease that wants it.
 *
 * Everything here is pure: time comes in as an argument, nothing is logged, nothing outside is
 * touched.
 */
#include "netconf/net.h"

const char *const net_mode_names[] = {"dhcp", "proxy", "none", NULL};

bool ip4_equal(struct ip4 a, struct ip4 b)
{
	return a.host == b.host;
}

bool prefix4_equal(struct prefix4 a, struct prefix4 b)
{
	return a.address.host == b.address.host && a.len == b.len;
}

bool net_route_equal(const struct net_route *a, const struct net_route *b)
{
	return prefix4_equal(a->to, b->to) && ip4_equal(a->via, b->via);
}

void prefix4s_add_once(struct prefix4s *set, struct prefix4 prefix)
{
	vec_each (struct prefix4, have, set)
		if (prefix4_equal(*have, prefix))
			return;
	vec_push(set, prefix);
}

void net_goal_addresses(const struct net_goal *goal, struct prefix4s *ret_addresses)
{
	vec_each (struct net_lease, lease, &goal->leases)
		vec_each (struct prefix4, address, &lease->addresses)
			prefix4s_add_once(ret_addresses, *address);
}

void net_goal_routes(const struct net_goal *goal, struct net_routes *ret_routes)
{
	vec_each (struct net_lease, lease, &goal->leases) {
		vec_each (struct net_route, route, &lease->routes) {
			bool have = false;

			vec_each (struct net_route, other, ret_routes)
				have = have || net_route_equal(other, route);
			if (!have)
				vec_push(ret_routes, *route);
		}
	}
}

struct net_lease *net_goal_lease(const struct net_goal *goal, const char *name)
{
	vec_each (struct net_lease, lease, &goal->leases)
		if (strcmp(lease->name, name) == 0)
			return lease;
	return NULL;
}

int64_t net_goal_next_expiry(const struct net_goal *goal)
{
	int64_t next = goal->boot_url ? goal->boot_expires_ms : -1;

	vec_each (struct net_lease, lease, &goal->leases)
		if (next < 0 || lease->expires_ms < next)
			next = lease->expires_ms;
	return next;
}

size_t net_goal_expire(struct net_goal *goal, int64_t now_ms)
{
	size_t dropped = 0;

	if (goal->boot_url && goal->boot_expires_ms <= now_ms) {
		free(TAKE_PTR(goal->boot_url));
		dropped++;
	}
	for (size_t i = goal->leases.n; i-- > 0;) {
		if (goal->leases.at[i].expires_ms > now_ms)
			continue;
		net_lease_done(&goal->leases.at[i]);
		vec_remove(&goal->leases, i);
		dropped++;
	}
	return dropped;
}

void net_hosts_done(struct net_hosts *hosts)
{
	vec_each (struct net_host, host, hosts)
		free(host->name);
	vec_done(hosts);
}

void net_names_done(struct net_names *names)
{
	vec_each (struct net_name, name, names)
		free(name->name);
	vec_done(names);
}

void net_lease_done(struct net_lease *lease)
{
	free(lease->name);
	vec_done(&lease->addresses);
	vec_done(&lease->routes);
	vec_done(&lease->exempt);
	vec_done(&lease->masquerade);
	memset(lease, 0, sizeof(*lease));
}

void net_goal_done(struct net_goal *goal)
{
	net_hosts_done(&goal->hosts);
	net_names_done(&goal->names);
	free(goal->boot_url);
	vec_each (struct net_lease, lease, &goal->leases)
		net_lease_done(lease);
	vec_done(&goal->leases);
	memset(goal, 0, sizeof(*goal));
}

static void copy_prefixes(struct prefix4s *to, const struct prefix4s *from)
{
	vec_each (struct prefix4, prefix, from)
		vec_push(to, *prefix);
}

void net_lease_copy(struct net_lease *to, const struct net_lease *from)
{
	to->name = xstrdup(from->name);
	copy_prefixes(&to->addresses, &from->addresses);
	copy_prefixes(&to->exempt, &from->exempt);
	copy_prefixes(&to->masquerade, &from->masquerade);
	vec_each (struct net_route, route, &from->routes)
		vec_push(&to->routes, *route);
	to->isolate = from->isolate;
	to->expires_ms = from->expires_ms;
}

void net_goal_copy(struct net_goal *to, const struct net_goal *from)
{
	vec_each (struct net_host, host, &from->hosts)
		vec_push(&to->hosts,
			((struct net_host){xstrdup(host->name), host->mac, host->address}));
	vec_each (struct net_name, name, &from->names)
		vec_push(&to->names, ((struct net_name){xstrdup(name->name), name->address}));
	to->boot_url = xstrdup(from->boot_url);
	to->boot_expires_ms = from->boot_expires_ms;
	vec_each (struct net_lease, lease, &from->leases)
		net_lease_copy(vec_add(&to->leases), lease);
}

static bool same_prefixes(const struct prefix4s *a, const struct prefix4s *b)
{
	if (a->n != b->n)
		return false;
	for (size_t i = 0; i < a->n; i++)
		if (!prefix4_equal(a->at[i], b->at[i]))
			return false;
	return true;
}

bool net_lease_equal(const struct net_lease *a, const struct net_lease *b)
{
	if (strcmp(a->name, b->name) != 0 || a->isolate != b->isolate ||
		!same_prefixes(&a->addresses, &b->addresses) ||
		!same_prefixes(&a->exempt, &b->exempt) ||
		!same_prefixes(&a->masquerade, &b->masquerade) || a->routes.n != b->routes.n)
		return false;
	for (size_t i = 0; i < a->routes.n; i++)
		if (!net_route_equal(&a->routes.at[i], &b->routes.at[i]))
			return false;
	return true;
}
