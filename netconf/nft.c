/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The text of our nft table. It is always written whole, as one transaction that adds the table (so that the
 * delete cannot fail), deletes it and makes it again: the kernel swaps old for new in one step and never
 * stands without rules. No other table is named, so a school's own firewall is never touched.
 *
 * NAT: traffic of our cluster subnets that leaves by the uplink is masqueraded, except towards the other
 * labs' subnets. That exemption is what makes MPI work: Open MPI refuses a peer whose packets come from
 * an address that it was not told. All exemptions stand before the first masquerade, since two leases may
 * speak of the same subnet.
 *
 * Isolation: guests run their users' code, so from a cluster subnet (ours, or one behind a route of
 * ours) only answers and ICMP echo reach the lab server itself. The other labs' gateways (the first address
 * of a routed subnet) are lab servers, not guests: they may connect, for the probes of a join; a guest
 * cannot take that address, because its own gateway drops packets that claim to come from itself.
 *
 * Pure; must not read the kernel's state.
 */
#include "netconf/nft.h"

static void add_set(struct buf *b, const struct prefix4s *prefixes)
{
	char text[PREFIX4_TEXT];

	buf_adds(b, "{ ");
	for (size_t i = 0; i < prefixes->n; i++)
		buf_addf(b, "%s%s", i ? ", " : "", prefix4_format(prefixes->at[i], text));
	buf_adds(b, " }");
}

/* nft refuses overlapping elements in one set: what lies inside another is left out. */
static void add_outermost(struct prefix4s *set, struct prefix4 prefix)
{
	for (size_t i = set->n; i-- > 0;) {
		struct prefix4 have = set->at[i];

		if (!prefix4_overlaps(have, prefix))
			continue;
		if (have.len <= prefix.len)
			return;
		vec_remove(set, i);
	}
	vec_push(set, prefix);
}

static void add_nat(struct buf *b, const struct net_site *site, const struct net_leases *leases)
{
	auto_free char *out = site->uplink_interface
				      ? xasprintf("oifname \"%s\"", site->uplink_interface)
				      : xasprintf("oifname != \"%s\"", site->lan_interface);

	buf_adds(b, "\tchain nat {\n\t\ttype nat hook postrouting priority srcnat; policy accept;\n");
	vec_each(struct net_lease, lease, leases) {
		struct prefix4s from = {0}, to = {0};

		vec_each(struct prefix4, prefix, &lease->masquerade) add_outermost(&from, *prefix);
		vec_each(struct prefix4, prefix, &lease->exempt) add_outermost(&to, *prefix);
		if (from.n && to.n) {
			buf_adds(b, "\t\tip saddr ");
			add_set(b, &from);
			buf_adds(b, " ip daddr ");
			add_set(b, &to);
			buf_addf(b, " accept comment \"%s\"\n", lease->name);
		}
		vec_done(&from);
		vec_done(&to);
	}
	vec_each(struct net_lease, lease, leases) {
		struct prefix4s from = {0};

		vec_each(struct prefix4, prefix, &lease->masquerade) add_outermost(&from, *prefix);
		if (from.n) {
			buf_adds(b, "\t\tip saddr ");
			add_set(b, &from);
			buf_addf(b, " %s masquerade comment \"%s\"\n", out, lease->name);
		}
		vec_done(&from);
	}
	buf_adds(b, "\t}\n");
}

/* Where guests are: our interface addresses' networks, masqueraded sources, and what lies behind routes. */
static void guest_nets(const struct net_leases *leases, struct prefix4s *ret_guests, struct prefix4s *ret_gateways)
{
	vec_each(struct net_lease, lease, leases) {
		if (!lease->isolate)
			continue;
		vec_each(struct prefix4, address, &lease->addresses)
			add_outermost(ret_guests, prefix4_network(*address));
		vec_each(struct prefix4, prefix, &lease->masquerade) add_outermost(ret_guests, *prefix);
		vec_each(struct net_route, route, &lease->routes) {
			add_outermost(ret_guests, route->to);
			if (route->to.len < 31)
				prefix4s_add_once(ret_gateways,
					(struct prefix4){{route->to.address.host + 1}, 32});
		}
	}
}

static void add_isolation(struct buf *b, const struct net_site *site, const struct net_leases *leases)
{
	struct prefix4s guests = {0}, gateways = {0};

	guest_nets(leases, &guests, &gateways);
	if (guests.n) {
		buf_adds(b, "\tchain guests {\n\t\ttype filter hook input priority filter - 5; policy accept;\n"
			    "\t\tct state established,related accept\n");
		if (gateways.n) {
			buf_addf(b, "\t\tiifname != \"%s\" ip saddr ", site->lan_interface);
			add_set(b, &gateways);
			buf_adds(b, " accept\n");
		}
		buf_adds(b, "\t\tip saddr ");
		add_set(b, &guests);
		buf_adds(b, " icmp type echo-request accept\n\t\tip saddr ");
		add_set(b, &guests);
		buf_adds(b, " drop\n\t}\n");
	}
	vec_done(&guests);
	vec_done(&gateways);
}

char *nft_render(const struct net_site *site, const struct net_goal *goal)
{
	auto_buf struct buf b = {0};

	buf_adds(&b, "add table " NFT_TABLE "\ndelete table " NFT_TABLE "\n");
	if (goal->leases.n) {
		buf_adds(&b, "table " NFT_TABLE " {\n");
		add_nat(&b, site, &goal->leases);
		add_isolation(&b, site, &goal->leases);
		buf_adds(&b, "}\n");
	}
	return buf_take(&b);
}
