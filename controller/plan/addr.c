/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Addresses of VMs, handed out one after the other over what is taken.
 *
 * netconf/pool knows how an address comes about (a MAC is a digest of lab, cluster and number, so that it is
 * the same every night; an IP is the lowest free one of a prefix); this file keeps the list of those that are
 * taken, so that VMs planned together do not get the same, and words the refusal. The subnet is the join's
 * gift to the lab and unique by construction (plan/join), so the address is, too. */
#include "controller/plan/addr.h"

void addr_taken_done(struct addr_taken *taken)
{
	vec_done(&taken->macs);
	vec_done(&taken->ips);
}

struct prefix4 addr_gateway(struct prefix4 subnet)
{
	struct prefix4 gateway = prefix4_network(subnet);
	gateway.address.host += 1;
	return gateway;
}

struct mac plan_mac(const char *lab, const char *cluster, uint64_t number, struct addr_taken *taken)
{
	struct mac mac = pool_free_mac(lab, cluster, (uint32_t)number, &taken->macs);
	vec_push(&taken->macs, mac);
	return mac;
}

int plan_ip(struct prefix4 subnet, struct addr_taken *taken, struct prefix4 *ret_ip, struct error **err)
{
	struct prefix4 net = prefix4_network(subnet);
	struct ip4 address;
	char text[PREFIX4_TEXT];
	if (pool_address(net, ADDR_FIRST_VM, &taken->ips, &address, NULL) < 0)
		return error_make(err, -EBUSY,
			"no address is left in the cluster subnet %s; close a cluster first",
			prefix4_format(net, text));
	vec_push(&taken->ips, address);
	*ret_ip = (struct prefix4){address, net.len};
	return 0;
}
