/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Joining labs: which subnet each gets and what each lab server must route.
 *
 * Classrooms are full of equal subnets (every second one is 192.168.1.0/24), so VMs never use a lab's own
 * addresses: the join hands each lab a /24 out of the pool all labs are configured with. The /24s of one join
 * lie in one aligned block, because Open MPI's if_include and the masquerade exemption then take one prefix.
 * The block is the first that overlaps no member's LAN, no uplink address and no other live join; so the
 * same situation gives the same block and a dry run tells the truth.
 *
 * Each lab server then needs N-1 routes (to each other lab's /24 by that lab's uplink address), the exemption
 * of the block from masquerading, and masquerading for the rest of its cluster traffic. */
#include "controller/plan/join.h"

void join_labs_done(struct join_labs *labs)
{
	vec_each (struct join_lab, lab, labs)
		vec_done(&lab->taken);
	vec_done(labs);
}

static int check_labs(const struct join_labs *labs, struct error **err)
{
	if (labs->n == 0 || labs->n > JOIN_MAX_LABS)
		return error_field(err, -EINVAL, "labs", "a join has 1 to %d labs, this has %zu",
			JOIN_MAX_LABS, labs->n);
	for (size_t i = 0; i < labs->n; i++) {
		const struct join_lab *lab = &labs->at[i], *first = &labs->at[0];
		if (labs->n > 1 && lab->uplink.host == 0)
			return error_field(err, -EINVAL, "labs",
				"lab %s has no uplink_address in its configuration, so no other lab can "
				"reach it",
				lab->name);
		if (lab->pool.len != first->pool.len ||
			prefix4_network(lab->pool).address.host !=
				prefix4_network(first->pool).address.host)
			return error_field(err, -EINVAL, "labs",
				"labs %s and %s have different cluster_net settings; set the same pool in both",
				first->name, lab->name);
		for (size_t j = 0; j < i; j++) {
			if (strcmp(labs->at[j].name, lab->name) == 0)
				return error_field(
					err, -EINVAL, "labs", "lab %s is named twice", lab->name);
			if (labs->n > 1 && labs->at[j].uplink.host == lab->uplink.host)
				return error_field(err, -EINVAL, "labs",
					"labs %s and %s have the same uplink address",
					labs->at[j].name, lab->name);
		}
	}
	return 0;
}

static bool block_free(const struct join_labs *labs, struct prefix4 block)
{
	vec_each (struct join_lab, lab, labs) {
		if (prefix4_contains(block, lab->uplink))
			return false;
		vec_each (struct prefix4, taken, &lab->taken)
			if (prefix4_overlaps(block, *taken))
				return false;
	}
	return true;
}

/* The shortest prefix length whose block has `n` /24s. */
static uint8_t block_len(size_t n)
{
	uint8_t len = JOIN_SUBNET_LEN;
	while ((size_t)1 << (JOIN_SUBNET_LEN - len) < n)
		len--;
	return len;
}

static int find_block(const struct join_labs *labs, struct prefix4 *ret_block, struct error **err)
{
	struct prefix4 pool = prefix4_network(labs->at[0].pool);
	uint8_t len = block_len(labs->n);
	char text[PREFIX4_TEXT];
	if (len < pool.len)
		return error_make(err, -EBUSY, "cluster_net %s is too small for %zu labs",
			prefix4_format(pool, text), labs->n);
	uint64_t step = (uint64_t)1 << (32 - len), end = pool.address.host + ((uint64_t)1 << (32 - pool.len));
	for (uint64_t at = pool.address.host; at + step <= end; at += step) {
		struct prefix4 block = {{(uint32_t)at}, len};
		if (!block_free(labs, block))
			continue;
		*ret_block = block;
		return 0;
	}
	return error_make(err, -EBUSY,
		"no free /%u block is left in cluster_net %s: members' LANs and live joins cover it; "
		"end a join or set a larger pool",
		len, prefix4_format(pool, text));
}

int plan_join(const struct join_labs *labs, struct join *ret_join, struct error **err)
{
	struct prefix4 block;
	int r = check_labs(labs, err);
	if (r >= 0)
		r = find_block(labs, &block, err);
	if (r < 0)
		return r;
	ret_join->net = block;
	for (size_t i = 0; i < labs->n; i++) {
		struct join_member *member = vec_add(&ret_join->members);
		member->lab = xstrdup(labs->at[i].name);
		member->uplink = labs->at[i].uplink;
		member->cluster_net.address.host =
			block.address.host + ((uint32_t)i << (32 - JOIN_SUBNET_LEN));
		member->cluster_net.len = JOIN_SUBNET_LEN;
		member->state = JOIN_PROPOSED;
	}
	return 0;
}

int plan_join_check(const struct join *join, const struct prefixes *taken, struct error **err)
{
	char a[PREFIX4_TEXT], b[PREFIX4_TEXT];
	vec_each (struct join_member, member, &join->members)
		if (!prefix4_contains(join->net, member->cluster_net.address) ||
			member->cluster_net.len < join->net.len)
			return error_field(err, -EINVAL, "members", "subnet %s of lab %s is outside the net %s",
				prefix4_format(member->cluster_net, a), member->lab,
				prefix4_format(join->net, b));
	vec_each (struct prefix4, other, taken)
		if (prefix4_overlaps(join->net, *other))
			return error_field(err, -EBUSY, "net", "the net %s overlaps %s, which this lab uses",
				prefix4_format(join->net, a), prefix4_format(*other, b));
	return 0;
}

int plan_join_share(const struct join *join, const char *lab, struct join_share *ret_share, struct error **err)
{
	const struct join_member *self = NULL;
	vec_each (struct join_member, member, &join->members)
		if (strcmp(member->lab, lab) == 0)
			self = member;
	if (!self)
		return error_field(err, -ENOENT, "members", "lab %s is no member of join %s", lab, join->id);
	struct join_share share = {.masquerade = prefix4_network(self->cluster_net),
		.exempt = prefix4_network(join->net)};
	share.gateway = share.masquerade;
	share.gateway.address.host += 1;
	vec_each (struct join_member, member, &join->members)
		if (member != self)
			vec_push(&share.routes,
				((struct join_route){prefix4_network(member->cluster_net), member->uplink}));
	*ret_share = share;
	return 0;
}

void join_share_done(struct join_share *share)
{
	vec_done(&share->routes);
}
