/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The text of our nft table. It is always written whole, as one transaction that adds the table (so
 * that the delete cannot fail), deletes it and makes it again: the kernel swaps old for new in one
 * step and never stands without rules. No other table is named, so a school's own firewall is never
 * touched.
 *
 * NAT: traffic of our cluster subnets that leaves by the uplink is masqueraded, except towards the
 * other labs' subnets. That exemption is what makes MPI work: Open MPI refuses a peer whose packets
 * come from an address that it was not told. All exemptions stand before the first masquerade,
 * since two leases may speak of the same subnet.
 *
 * Isolation: guests run their users' code, so from a cluster subnet (ours, or one behind a route of
 * ours) only answers and ICMP echo reach the lab server itself. The other labs' gateways (the first
 * address of a routed subnet) are lab servers, not guests: they may connect, for the probes of a
 * join; a guest cannot take that address, because its own gateway drops packets that claim to come
 * from itself. A cluster has no IPv6, but a stock image has it, and so the link-local address of the
 * lab server: what comes by it from a MAC of ours is dropped, in and through. Neither rule holds a
 * guest that forges its address.
 *
 * Pure; must not read the kernel's state.
 */
#include "netconf/nft.h"
#include "netconf/pool.h"

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

	buf_adds(b,
		"\tchain nat {\n\t\ttype nat hook postrouting priority srcnat; policy accept;\n");
	vec_each (struct net_lease, lease, leases) {
		struct prefix4s from = {0}, to = {0};

		vec_each (struct prefix4, prefix, &lease->masquerade)
			add_outermost(&from, *prefix);
		vec_each (struct prefix4, prefix, &lease->exempt)
			add_outermost(&to, *prefix);
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
	vec_each (struct net_lease, lease, leases) {
		struct prefix4s from = {0};

		vec_each (struct prefix4, prefix, &lease->masquerade)
			add_outermost(&from, *prefix);
		if (from.n) {
			buf_adds(b, "\t\tip saddr ");
			add_set(b, &from);
			buf_addf(b, " %s masquerade comment \"%s\"\n", out, lease->name);
		}
		vec_done(&from);
	}
	buf_adds(b, "\t}\n");
}

struct isolation {
	struct prefix4s guests;	  /* ours and the other labs' */
	struct prefix4s gateways; /* the other labs' servers by their cluster address */
	struct prefix4s closed;	  /* what guests must not open connections to through us */
};

/* Guests are in the networks of our addresses, in what is masqueraded, and behind the routes. */
static void find_guests(const struct net_lease *lease, struct isolation *ret_isolation)
{
	vec_each (struct prefix4, address, &lease->addresses)
		add_outermost(&ret_isolation->guests, prefix4_network(*address));
	vec_each (struct prefix4, prefix, &lease->masquerade)
		add_outermost(&ret_isolation->guests, *prefix);
	vec_each (struct net_route, route, &lease->routes) {
		struct prefix4 first = {{route->to.address.host + 1}, 32};

		add_outermost(&ret_isolation->guests, route->to);
		add_outermost(&ret_isolation->closed, (struct prefix4){route->via, 32});
		if (route->to.len < 31)
			prefix4s_add_once(&ret_isolation->gateways, first);
	}
}

/* First of all, for an answer is none of theirs either. */
static void add_no_ipv6(struct buf *b, const struct net_site *site)
{
	const struct mac mac = {{POOL_MAC_PREFIX}};
	char text[MAC_TEXT];

	buf_addf(b,
		"\t\tiifname \"%s\" meta nfproto ipv6 ether saddr & ff:ff:ff:00:00:00 == %s drop\n",
		site->lan_interface, mac_format(&mac, text));
}

static void add_guests_in(
	struct buf *b, const struct net_site *site, const struct isolation *isolation)
{
	buf_adds(b, "\tchain guests_in {\n"
		    "\t\ttype filter hook input priority filter - 5; policy accept;\n");
	add_no_ipv6(b, site);
	buf_adds(b, "\t\tct state established,related accept\n");
	if (isolation->gateways.n) {
		buf_addf(b, "\t\tiifname != \"%s\" ip saddr ", site->lan_interface);
		add_set(b, &isolation->gateways);
		buf_adds(b, " accept\n");
	}
	buf_adds(b, "\t\tip saddr ");
	add_set(b, &isolation->guests);
	buf_adds(b, " icmp type echo-request accept\n\t\tip saddr ");
	add_set(b, &isolation->guests);
	buf_adds(b, " drop\n\t}\n");
}

static void add_guests_through(
	struct buf *b, const struct net_site *site, const struct isolation *isolation)
{
	buf_adds(b, "\tchain guests_through {\n"
		    "\t\ttype filter hook forward priority filter - 5; policy accept;\n");
	add_no_ipv6(b, site);
	buf_adds(b, "\t\tct state established,related accept\n"
		    "\t\ticmp type echo-request accept\n"
		    "\t\tip saddr ");
	add_set(b, &isolation->guests);
	buf_adds(b, " ip daddr ");
	add_set(b, &isolation->closed);
	buf_adds(b, " drop\n\t}\n");
}

static void add_isolation(
	struct buf *b, const struct net_site *site, const struct net_leases *leases)
{
	struct isolation isolation = {0};

	vec_each (struct net_lease, lease, leases)
		if (lease->isolate)
			find_guests(lease, &isolation);
	add_outermost(&isolation.closed, prefix4_network(site->lan_address));
	if (isolation.guests.n) {
		add_guests_in(b, site, &isolation);
		add_guests_through(b, site, &isolation);
	}
	vec_done(&isolation.guests);
	vec_done(&isolation.gateways);
	vec_done(&isolation.closed);
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
