/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The desired network of one lab server as plain data: who gets which address by DHCP, whether boot
 * answers are given, and what each lease brings: addresses, routes, NAT. Renderers and diffs read
 * these structs; netconf/wire.h reads and writes them as JSON; netconf/apply.h makes the kernel
 * match them. */
#ifndef NETCONF_NET_H
#define NETCONF_NET_H

#include "lib/str.h"
#include "lib/vec.h"

enum {
	NET_ROUTE_PROTOCOL = 78, /* 0x4e, 'N': rtm_protocol of every route of ours */
	NET_URL_MAX = 127,	 /* the boot file field of a DHCP answer has 128 bytes */
	NET_LABEL_SIZE = 16,	 /* IFNAMSIZ: an address label with its NUL */
};

enum net_mode {
	NET_MODE_DHCP,	/* we are the segment's DHCP server */
	NET_MODE_PROXY, /* the school has one: boot answers only, never an address */
	NET_MODE_NONE,	/* no dnsmasq of ours */
};
extern const char *const net_mode_names[]; /* NULL-terminated, indexed by enum net_mode */

VEC_OF(ip4s, struct ip4);
VEC_OF(macs, struct mac);
VEC_OF(prefix4s, struct prefix4);

struct net_host { /* a reservation */
	char *name;
	struct mac mac;
	struct ip4 address;
};
VEC_OF(net_hosts, struct net_host);

struct net_name { /* a DNS name (of a VM) */
	char *name;
	struct ip4 address;
};
VEC_OF(net_names, struct net_name);

struct net_route {
	struct prefix4 to; /* host bits zero */
	struct ip4 via;
};
VEC_OF(net_routes, struct net_route);

/* What one `apply` brought and one expiry (or `withdraw`) takes away again. */
struct net_lease {
	char *name;
	struct prefix4s addresses; /* on the LAN interface */
	struct net_routes routes;
	struct prefix4s exempt;	    /* destinations that are never masqueraded (the other labs) */
	struct prefix4s masquerade; /* sources masqueraded where they leave by the uplink */
	bool isolate;		    /* guests reach no port of the lab server */
	int64_t expires_ms;	    /* clock_mono_ms */
};
VEC_OF(net_leases, struct net_lease);

/* Everything netd wants to be true. */
struct net_goal {
	struct net_hosts hosts;
	struct net_names names;
	char *boot_url; /* NULL: no boot answers */
	int64_t boot_expires_ms;
	struct net_leases leases;
};

/* Where it is to be true: the fixed facts of this lab server. */
struct net_site {
	char *lan_interface;
	char *uplink_interface; /* NULL: whatever is not the LAN */
	struct prefix4 lan_address;
	enum net_mode mode;
	char *tftp_root;
	char *state_dir;
	struct ip4 range_first,
		range_last; /* for PCs without reservation; zero: they get nothing */
	struct ip4 router,
		dns; /* told to PCs by DHCP; zero: the lab server as router, no DNS server */
};

bool ip4_equal(struct ip4 a, struct ip4 b);
bool prefix4_equal(struct prefix4 a, struct prefix4 b);
bool net_route_equal(const struct net_route *a, const struct net_route *b);

/* Pushes `prefix` unless it is in the vector already. */
void prefix4s_add_once(struct prefix4s *set, struct prefix4 prefix);
/* The addresses and routes that all leases together want, each once; ret vectors are freed by the
 * caller. */
void net_goal_addresses(const struct net_goal *goal, struct prefix4s *ret_addresses);
void net_goal_routes(const struct net_goal *goal, struct net_routes *ret_routes);
/* The lease of that name or NULL. */
struct net_lease *net_goal_lease(const struct net_goal *goal, const char *name);
/* When the next lease (of boot or of an apply) ends, clock_mono_ms; -1: none. */
int64_t net_goal_next_expiry(const struct net_goal *goal);
/* Drops what has ended at `now_ms`; the number of leases dropped. */
size_t net_goal_expire(struct net_goal *goal, int64_t now_ms);

void net_hosts_done(struct net_hosts *hosts);
void net_names_done(struct net_names *names);
void net_lease_done(struct net_lease *lease);
void net_goal_done(struct net_goal *goal);
/* Deep copies into empty structs. */
void net_lease_copy(struct net_lease *to, const struct net_lease *from);
void net_goal_copy(struct net_goal *to, const struct net_goal *from);
/* Same content (expiry aside). */
bool net_lease_equal(const struct net_lease *a, const struct net_lease *b);

#endif
