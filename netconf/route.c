/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Routes and addresses in the kernel, by libnl-route. How we know what is ours, also after a crash
 * and without any file: routes carry our protocol number (78), addresses carry our label. A scan
 * asks the kernel each time; nothing is cached, since anybody may have changed it.
 *
 * An address or route that exists already without our mark belongs to the lab's administrator: an
 * address is then simply used, a route is an error that says so. Neither is ever changed or
 * removed.
 *
 * Removing the last address of a network also removes routes through it (the kernel does that); the
 * next scan sees it. Must not touch other interfaces' addresses, other tables, other protocols.
 */
#include <arpa/inet.h>
#include <netlink/errno.h>
#include <netlink/netlink.h>
#include <netlink/route/addr.h>
#include <netlink/route/link.h>
#include <netlink/route/nexthop.h>
#include <netlink/route/route.h>

#include "netconf/route.h"

struct route_kernel {
	struct nl_sock *socket;
	char *interface;
};

static void cleanup_cache(struct nl_cache **cache)
{
	if (*cache)
		nl_cache_free(*cache);
}
static void cleanup_nl_addr(struct nl_addr **address)
{
	if (*address)
		nl_addr_put(*address);
}
#define auto_cache __attribute__((cleanup(cleanup_cache)))
#define auto_nl_addr __attribute__((cleanup(cleanup_nl_addr)))

static int code_of(int nl_error)
{
	switch (-nl_error) {
	case NLE_EXIST:
		return -EEXIST;
	case NLE_OBJ_NOTFOUND:
	case NLE_NODEV:
		return -ENOENT;
	case NLE_NOADDR:
		return -EADDRNOTAVAIL;
	case NLE_PERM:
		return -EPERM;
	case NLE_NOMEM:
		return -ENOMEM;
	default:
		return -EIO;
	}
}

int route_open(const char *lan_interface, struct route_kernel **ret_kernel, struct error **err)
{
	struct route_kernel *kernel = xnew(struct route_kernel);
	int r = 0;

	kernel->interface = xstrdup(lan_interface);
	kernel->socket = nl_socket_alloc();
	r = kernel->socket ? nl_connect(kernel->socket, NETLINK_ROUTE) : -NLE_NOMEM;
	if (r < 0) {
		route_close(kernel);
		return error_make(err, code_of(r), "No netlink socket: %s", nl_geterror(r));
	}
	*ret_kernel = kernel;
	return 0;
}

void route_close(struct route_kernel *kernel)
{
	if (!kernel)
		return;
	if (kernel->socket)
		nl_socket_free(kernel->socket);
	free(kernel->interface);
	free(kernel);
}

static int lan_index(struct route_kernel *kernel, int *ret_index, struct error **err)
{
	struct rtnl_link *link = NULL;
	int r = rtnl_link_get_kernel(kernel->socket, 0, kernel->interface, &link);

	if (r < 0)
		return error_make(err, -ENOENT,
			"The LAN interface \"%s\" is not there: %s. See netd.conf.",
			kernel->interface, nl_geterror(r));
	*ret_index = rtnl_link_get_ifindex(link);
	rtnl_link_put(link);
	return 0;
}

static bool from_nl(const struct nl_addr *address, struct prefix4 *ret_prefix)
{
	uint32_t net = 0;

	if (!address || nl_addr_get_family(address) != AF_INET ||
		nl_addr_get_len(address) != sizeof(net))
		return false;
	memcpy(&net, nl_addr_get_binary_addr(address), sizeof(net));
	*ret_prefix = (struct prefix4){{ntohl(net)}, (uint8_t)nl_addr_get_prefixlen(address)};
	return true;
}

static struct nl_addr *to_nl(struct prefix4 prefix)
{
	uint32_t net = htonl(prefix.address.host);
	struct nl_addr *address = nl_addr_build(AF_INET, &net, sizeof(net));

	if (!address)
		abort();
	nl_addr_set_prefixlen(address, prefix.len);
	return address;
}

static int scan_addresses(
	struct route_kernel *kernel, int index, struct prefix4s *ret_addresses, struct error **err)
{
	auto_cache struct nl_cache *cache = NULL;
	char ours[NET_LABEL_SIZE];
	int r = rtnl_addr_alloc_cache(kernel->socket, &cache);

	if (r < 0)
		return error_make(
			err, code_of(r), "The addresses cannot be listed: %s", nl_geterror(r));
	route_label(kernel->interface, ours);
	for (struct nl_object *o = nl_cache_get_first(cache); o; o = nl_cache_get_next(o)) {
		struct rtnl_addr *address = (struct rtnl_addr *)o;
		const char *label = rtnl_addr_get_label(address);
		struct prefix4 prefix;

		if (rtnl_addr_get_ifindex(address) != index || !label || strcmp(label, ours) != 0)
			continue;
		if (from_nl(rtnl_addr_get_local(address), &prefix)) {
			prefix.len = (uint8_t)rtnl_addr_get_prefixlen(address);
			prefix4s_add_once(ret_addresses, prefix);
		}
	}
	return 0;
}

static int scan_routes(
	struct route_kernel *kernel, struct net_routes *ret_routes, struct error **err)
{
	auto_cache struct nl_cache *cache = NULL;
	int r = rtnl_route_alloc_cache(kernel->socket, AF_INET, 0, &cache);

	if (r < 0)
		return error_make(
			err, code_of(r), "The routes cannot be listed: %s", nl_geterror(r));
	for (struct nl_object *o = nl_cache_get_first(cache); o; o = nl_cache_get_next(o)) {
		struct rtnl_route *route = (struct rtnl_route *)o;
		struct rtnl_nexthop *hop = NULL;
		struct prefix4 to, via = {0};

		if (rtnl_route_get_protocol(route) != NET_ROUTE_PROTOCOL ||
			rtnl_route_get_table(route) != RT_TABLE_MAIN ||
			!from_nl(rtnl_route_get_dst(route), &to))
			continue;
		hop = rtnl_route_nexthop_n(route, 0);
		if (hop && rtnl_route_nh_get_gateway(hop))
			from_nl(rtnl_route_nh_get_gateway(hop), &via);
		vec_push(ret_routes, ((struct net_route){to, via.address}));
	}
	return 0;
}

int route_scan(struct route_kernel *kernel, struct route_seen *ret_seen, struct error **err)
{
	struct route_seen seen = {0};
	int index = 0;
	int r = lan_index(kernel, &index, err);

	if (r == 0)
		r = scan_addresses(kernel, index, &seen.addresses, err);
	if (r == 0)
		r = scan_routes(kernel, &seen.routes, err);
	if (r < 0)
		route_seen_done(&seen);
	else
		*ret_seen = seen;
	return r;
}

static int change_address(
	struct route_kernel *kernel, int index, struct prefix4 prefix, bool add, struct error **err)
{
	struct prefix4 ends_at = {{prefix.address.host | ~prefix4_mask(prefix.len)}, 32};
	auto_nl_addr struct nl_addr *local = to_nl(prefix), *broadcast = to_nl(ends_at);
	struct rtnl_addr *address = rtnl_addr_alloc();
	char label[NET_LABEL_SIZE], text[PREFIX4_TEXT];
	int r = 0;

	if (!address)
		abort();
	route_label(kernel->interface, label);
	rtnl_addr_set_ifindex(address, index);
	rtnl_addr_set_local(address, local);
	if (add) {
		rtnl_addr_set_label(address, label);
		rtnl_addr_set_broadcast(address, broadcast);
	}
	r = add ? rtnl_addr_add(kernel->socket, address, NLM_F_EXCL)
		: rtnl_addr_delete(kernel->socket, address, 0);
	rtnl_addr_put(address);
	if (r == 0 || (add && r == -NLE_EXIST) ||
		(!add && (r == -NLE_NOADDR || r == -NLE_OBJ_NOTFOUND)))
		return 0;
	return error_make(err, code_of(r), "The address %s cannot be %s on \"%s\": %s",
		prefix4_format(prefix, text), add ? "set" : "removed", kernel->interface,
		nl_geterror(r));
}

static int route_failed(const struct net_route *route, bool add, int r, struct error **err)
{
	char to[PREFIX4_TEXT], via[IP4_TEXT];

	prefix4_format(route->to, to);
	ip4_format(route->via, via);
	if (add && r == -NLE_EXIST)
		return error_make(err, -EEXIST,
			"There is a route to %s already that is not ours; it is left alone. Remove "
			"it or choose another network.",
			to);
	if (add && r == -NLE_FAILURE) /* how libnl says ENETUNREACH and EHOSTUNREACH */
		return error_make(err, -EHOSTUNREACH,
			"No route to %s can be set: the gateway %s is not on a network of this lab "
			"server.",
			to, via);
	return error_make(err, code_of(r), "The route to %s via %s cannot be %s: %s", to, via,
		add ? "set" : "removed", nl_geterror(r));
}

static int change_route(
	struct route_kernel *kernel, const struct net_route *step, bool add, struct error **err)
{
	auto_nl_addr struct nl_addr *to = to_nl(step->to),
				    *via = to_nl((struct prefix4){step->via, 32});
	struct rtnl_route *route = rtnl_route_alloc();
	struct rtnl_nexthop *hop = rtnl_route_nh_alloc();
	int r = 0;

	if (!route || !hop)
		abort();
	rtnl_route_set_family(route, AF_INET);
	rtnl_route_set_table(route, RT_TABLE_MAIN);
	rtnl_route_set_protocol(route, NET_ROUTE_PROTOCOL);
	rtnl_route_set_scope(route, RT_SCOPE_UNIVERSE);
	rtnl_route_set_type(route, RTN_UNICAST);
	rtnl_route_set_dst(route, to);
	if (step->via.host)
		rtnl_route_nh_set_gateway(hop, via);
	rtnl_route_add_nexthop(route, hop); /* the route owns it now */
	r = add ? rtnl_route_add(kernel->socket, route, NLM_F_EXCL)
		: rtnl_route_delete(kernel->socket, route, 0);
	rtnl_route_put(route);
	if (r == 0 || (!add && r == -NLE_OBJ_NOTFOUND))
		return 0;
	return route_failed(step, add, r, err);
}

int route_apply(struct route_kernel *kernel, const struct route_steps *steps, struct error **err)
{
	int index = 0;
	int r = lan_index(kernel, &index, err);

	for (size_t i = 0; r == 0 && i < steps->remove_routes.n; i++)
		r = change_route(kernel, &steps->remove_routes.at[i], false, err);
	for (size_t i = 0; r == 0 && i < steps->remove_addresses.n; i++)
		r = change_address(kernel, index, steps->remove_addresses.at[i], false, err);
	for (size_t i = 0; r == 0 && i < steps->add_addresses.n; i++)
		r = change_address(kernel, index, steps->add_addresses.at[i], true, err);
	for (size_t i = 0; r == 0 && i < steps->add_routes.n; i++)
		r = change_route(kernel, &steps->add_routes.at[i], true, err);
	return r;
}
