/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Subnets and routes of joined labs. Pure; written for N labs, and for one (a cluster in one lab alone). */
#ifndef CONTROLLER_PLAN_JOIN_H
#define CONTROLLER_PLAN_JOIN_H

#include "controller/model/model.h"
#include "lib/error.h"

enum { JOIN_MAX_LABS = 64, JOIN_SUBNET_LEN = 24 };

VEC_OF(prefixes, struct prefix4);

/* One lab as the join planner sees it. Strings are borrowed. */
struct join_lab {
	const char *name;
	struct ip4 uplink;     /* host 0: it has none and can join nobody */
	struct prefix4 pool;   /* its cluster_net setting */
	struct prefixes taken; /* its LAN, and the nets of its live joins */
};
VEC_OF(join_labs, struct join_lab);
void join_labs_done(struct join_labs *labs);

/* Fills ret_join->net and ->members (state proposed; names copied) with one /24 per lab from the pool, inside
 * one block that overlaps nothing any member uses. Other fields of ret_join are left alone.
 * -EINVAL with the field at fault, -EBUSY when the pool has no such block left. */
int plan_join(const struct join_labs *labs, struct join *ret_join, struct error **err);

/* May a lab with `taken` take part in this join? -EBUSY names the two nets that overlap. */
int plan_join_check(const struct join *join, const struct prefixes *taken, struct error **err);

/* One member's share, for netd: N-1 routes and so on. */
struct join_route {
	struct prefix4 to;
	struct ip4 via;
};
VEC_OF(join_routes, struct join_route);
struct join_share {
	struct prefix4 gateway;	   /* on the LAN interface */
	struct prefix4 masquerade; /* this lab's cluster subnet */
	struct prefix4 exempt;	   /* the whole net of the join */
	struct join_routes routes;
};
/* -ENOENT: the lab is no member. */
int plan_join_share(const struct join *join, const char *lab, struct join_share *ret_share, struct error **err);
void join_share_done(struct join_share *share);

#endif
