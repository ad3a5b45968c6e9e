/* SPDX-License-Identifier: GPL-2.0-or-later */
/* "What would I have typed?" For teachers of networking, and for the one who wants to check us: the
 * goal as sysctl, ip and nft commands. The nft lines are made from the transaction that netd loads,
 * line by line, so they cannot drift away from it; a rig test types them into an empty namespace
 * and compares.
 *
 * netd itself never runs these commands. Pure.
 */
#include "netconf/commands.h"
#include "netconf/nft.h"
#include "netconf/route.h"

static void add_addresses(
	const struct net_site *site, const struct net_goal *goal, struct strings *commands)
{
	struct prefix4s addresses = {0};
	char text[PREFIX4_TEXT], label[NET_LABEL_SIZE];

	net_goal_addresses(goal, &addresses);
	route_label(site->lan_interface, label);
	vec_each (struct prefix4, address, &addresses)
		vec_push(commands,
			xasprintf("ip address add %s broadcast + dev %s label %s",
				prefix4_format(*address, text), site->lan_interface, label));
	vec_done(&addresses);
}

static void add_routes(const struct net_goal *goal, struct strings *commands)
{
	struct net_routes routes = {0};
	char to[PREFIX4_TEXT], via[IP4_TEXT];

	net_goal_routes(goal, &routes);
	vec_each (struct net_route, route, &routes)
		vec_push(commands,
			xasprintf("ip route add %s via %s proto %d", prefix4_format(route->to, to),
				ip4_format(route->via, via), NET_ROUTE_PROTOCOL));
	vec_done(&routes);
}

/* One line of the transaction; `chain` remembers which chain we are in. */
static void add_nft_line(const char *line, char **chain, struct strings *commands)
{
	if (str_starts(line, "table ")) {
		vec_push(commands, xstrdup("nft 'add table " NFT_TABLE "'"));
	} else if (str_starts(line, "\tchain ")) {
		free(*chain);
		*chain = xstrndup(line + 7, strcspn(line + 7, " "));
	} else if (str_starts(line, "\t\ttype ")) {
		vec_push(commands,
			xasprintf("nft 'add chain " NFT_TABLE " %s { %s }'", *chain, line + 2));
	} else if (str_starts(line, "\t\t")) {
		vec_push(commands,
			xasprintf("nft 'add rule " NFT_TABLE " %s %s'", *chain, line + 2));
	}
}

static void add_nft(
	const struct net_site *site, const struct net_goal *goal, struct strings *commands)
{
	auto_free char *text = nft_render(site, goal), *chain = NULL;
	char *rest = text;

	for (char *line; (line = strsep(&rest, "\n"));)
		add_nft_line(line, &chain, commands);
}

void commands_list(
	const struct net_site *site, const struct net_goal *goal, struct strings *ret_commands)
{
	if (!goal->leases.n)
		return;
	add_nft(site, goal, ret_commands);
	add_addresses(site, goal, ret_commands);
	add_routes(goal, ret_commands);
	vec_push(ret_commands, xstrdup("sysctl -w net.ipv4.ip_forward=1"));
}
