/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Which nets this lab has: the live join its clusters span, the net of its own when there is none, and the
 * prefixes a new join must keep clear of. The own net is a join with one member: the same planner gives it its
 * subnet, the same machine brings it up and takes it down. One per night. */
#include "controller/drive/joins.h"

#include "controller/drive/labdoc.h"
#include "controller/store/join.h"

static void take(struct join *to, struct join *from)
{
	join_done(to);
	*to = *from;
	*from = (struct join){0};
}

int join_live(struct controller *controller, const char *id, struct join *ret_join, struct error **err)
{
	struct joins joins = {0};
	struct join found = {0};
	int r = store_join_list(controller->store, true, &joins, err);
	if (r < 0)
		return r;
	vec_each (struct join, join, &joins) {
		bool wanted = id ? strcmp(join->id, id) == 0 : join_is_shared(join);
		if (wanted && join->state == JOIN_COMMITTED && join_member_of(join, controller->config.lab))
			take(&found, join);
	}
	joins_done(&joins);
	if (found.id) {
		*ret_join = found;
		return 0;
	}
	if (id)
		return error_field(err, -ENOENT, "join", "there is no committed join %s of this lab", id);
	return error_make(err, -ENOENT, "there is no committed join of this lab");
}

int join_taken(struct controller *controller, const char *but, struct prefixes *ret_taken, struct error **err)
{
	struct joins joins = {0};
	int r = store_join_list(controller->store, true, &joins, err);
	if (r < 0)
		return r;
	vec_push(ret_taken, controller->config.lan_address);
	vec_each (struct join, join, &joins)
		if (!but || strcmp(join->id, but) != 0)
			vec_push(ret_taken, join->net);
	joins_done(&joins);
	return 0;
}

static int plan_alone(struct controller *controller, const struct night *night, struct join *ret_join,
	struct error **err)
{
	const struct config *config = &controller->config;
	struct join_labs labs = {0};
	struct join_lab *self = vec_add(&labs);
	self->name = config->lab;
	self->uplink = config->lan_address.address;
	self->pool = config->cluster_net;
	int r = join_taken(controller, NULL, &self->taken, err);
	struct join join = {.id = xasprintf("lab-%lld", (long long)night->id),
		.coordinator = xstrdup(config->lab),
		.state = JOIN_PROPOSED,
		.expires = night->ends,
		.reason = xstrdup("")};
	if (r >= 0)
		r = plan_join(&labs, &join, err);
	join_labs_done(&labs);
	if (r < 0)
		join_done(&join);
	else
		*ret_join = join;
	return r;
}

int join_alone(struct controller *controller, const struct night *night, bool keep, struct join *ret_join,
	struct error **err)
{
	auto_free char *id = xasprintf("lab-%lld", (long long)night->id);
	struct join join = {0};
	if (store_join_get(controller->store, id, &join, NULL) >= 0) {
		if (join.state != JOIN_FAILED && join.state != JOIN_WITHDRAWN) {
			*ret_join = join;
			return 0;
		}
		join_done(&join);
	}
	int r = plan_alone(controller, night, &join, err);
	if (r < 0)
		return r;
	if (keep)
		r = store_join_put(controller->store, &join, err);
	if (r < 0)
		join_done(&join);
	else
		*ret_join = join;
	return r;
}
