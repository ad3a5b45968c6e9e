/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Sample sites and goals for the tests of netconf, and the comparison with golden files (REGEN=1
 * rewrites). */
#ifndef TESTS_UNIT_NET_SAMPLE_H
#define TESTS_UNIT_NET_SAMPLE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include "lib/file.h"
#include "netconf/net.h"

static inline struct ip4 ip(const char *text)
{
	struct ip4 address;

	assert_int_equal(ip4_parse(text, &address), 0);
	return address;
}

static inline struct prefix4 net(const char *text)
{
	struct prefix4 prefix;

	assert_int_equal(prefix4_parse(text, &prefix), 0);
	return prefix;
}

static inline struct mac hw(const char *text)
{
	struct mac mac;

	assert_int_equal(mac_parse(text, &mac), 0);
	return mac;
}

static inline struct net_site sample_site(enum net_mode mode)
{
	return (struct net_site){
		.lan_interface = (char *)"lan",
		.uplink_interface = (char *)"uplink",
		.lan_address = net("10.71.0.1/24"),
		.mode = mode,
		.tftp_root = (char *)"/usr/lib/ipxe",
		.state_dir = (char *)"/var/lib/nightclass-netd",
	};
}

static inline void add_host(
	struct net_goal *goal, const char *name, const char *mac, const char *address)
{
	vec_push(&goal->hosts, ((struct net_host){xstrdup(name), hw(mac), ip(address)}));
}

static inline struct net_goal sample_hosts(void)
{
	struct net_goal goal = {0};

	add_host(&goal, "pc-01", "52:54:00:00:01:11", "10.71.0.11");
	add_host(&goal, "pc-02", "52:54:00:00:01:12", "10.71.0.12");
	return goal;
}

/* Lab 1 of a join of three. */
static inline void add_join(struct net_goal *goal, const char *name)
{
	struct net_lease *lease = vec_add(&goal->leases);

	lease->name = xstrdup(name);
	vec_push(&lease->addresses, net("10.80.1.1/24"));
	vec_push(&lease->routes, ((struct net_route){net("10.80.2.0/24"), ip("10.70.0.2")}));
	vec_push(&lease->routes, ((struct net_route){net("10.80.3.0/24"), ip("10.70.0.3")}));
	vec_push(&lease->exempt, net("10.80.0.0/16"));
	vec_push(&lease->masquerade, net("10.80.1.0/24"));
	lease->isolate = true;
	lease->expires_ms = 60000;
}

/* The lab's own cluster subnet, without a join. */
static inline void add_own(struct net_goal *goal, const char *name)
{
	struct net_lease *lease = vec_add(&goal->leases);

	lease->name = xstrdup(name);
	vec_push(&lease->addresses, net("10.80.1.1/24"));
	vec_push(&lease->masquerade, net("10.80.1.0/24"));
	lease->expires_ms = 30000;
}

static inline void same_as_golden(const char *name, const char *text)
{
	auto_free char *path = xasprintf("tests/golden/netconf/%s", name), *golden = NULL;

	if (getenv("REGEN"))
		assert_int_equal(file_write(path, text, strlen(text), 0644, NULL), 0);
	if (file_read(path, 1 << 20, &golden, NULL, NULL) < 0)
		fail_msg("no golden file %s; REGEN=1 writes it", path);
	assert_string_equal(text, golden);
}

#endif
