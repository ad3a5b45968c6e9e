/* SPDX-License-Identifier: GPL-2.0-or-later */
/* MAC and IP addresses of VMs. Pure. */
#ifndef CONTROLLER_PLAN_ADDR_H
#define CONTROLLER_PLAN_ADDR_H

#include "lib/error.h"
#include "netconf/pool.h"

enum { ADDR_FIRST_VM = 10 }; /* .1 is the gateway, .2-.9 stay free for a lab's own needs */

struct addr_taken { /* by other VMs, in any lab we know */
	struct macs macs;
	struct ip4s ips;
};
void addr_taken_done(struct addr_taken *taken);

/* The lab server's address in a cluster subnet: .1. */
struct prefix4 addr_gateway(struct prefix4 subnet);
/* 52:4e:43:xx:xx:xx from lab, cluster and serial number: the same question has the same answer, unless the
 * address is taken; then the next of its row. The result is added to taken. */
struct mac plan_mac(const char *lab, const char *cluster, uint64_t number, struct addr_taken *taken);
/* The lowest free address of the subnet from .10 on, with the subnet's length; added to taken.
 * -EBUSY when the subnet is full. */
int plan_ip(struct prefix4 subnet, struct addr_taken *taken, struct prefix4 *ret_ip, struct error **err);

#endif
