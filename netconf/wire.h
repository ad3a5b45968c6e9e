/* SPDX-License-Identifier: GPL-2.0-or-later */
/* netd's documents: the requests on its socket (strict, typed) and the state file. Pure: bytes <->
 * structs. */
#ifndef NETCONF_WIRE_H
#define NETCONF_WIRE_H

#include <jansson.h>
#include "lib/error.h"
#include "netconf/net.h"

enum netd_op {
	NETD_OP_DHCP,
	NETD_OP_BOOT,
	NETD_OP_APPLY,
	NETD_OP_WITHDRAW,
	NETD_OP_SHOW,
	NETD_OP_CONFLICTS,
};

struct netd_request {
	enum netd_op op;
	struct net_hosts hosts; /* dhcp */
	struct net_names names; /* dhcp */
	char *url;		/* boot; NULL when lease_s is 0 */
	int64_t lease_s;	/* boot (0: withdraw), apply */
	struct net_lease lease; /* apply; expires_ms not set */
	char *name;		/* withdraw */
	struct ip4s addresses;	/* conflicts */
	struct macs mine;	/* conflicts: MACs that may answer */
};

/* One request line (without its newline). Unknown member, duplicate key, wrong type, an address
 * outside the lab's segment and the like: -EINVAL (two reservations with one MAC, name or address:
 * -EEXIST), the error names the field. The caller frees with netd_request_done. */
int netd_request_read(const char *bytes, size_t len, const struct net_site *site,
	struct netd_request *ret_request, struct error **err);
void netd_request_done(struct netd_request *request);

/* Of the state file: the goal, the boot of the machine it was written in, and what ip_forward was
 * before us (-1: it is not ours to restore). */
struct netd_state {
	char *boot_id;
	int forward_before;
	struct net_goal goal;
};
char *netd_state_write(const struct netd_state *state); /* caller frees */
int netd_state_read(
	const char *bytes, size_t len, struct netd_state *ret_state, struct error **err);
void netd_state_done(struct netd_state *state);

/* A lease as `show` prints it, with the seconds left at `now_ms`. */
json_t *netd_lease_show(const struct net_lease *lease, int64_t now_ms);

#endif
