/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A join is a transaction over several lab servers:
 *
 *   proposed   each member holds its share (gateway address, N-1 routes, exemption) for two minutes
 *   prepared   every member probes every other one, gateway to gateway, with full-sized segments
 *   committed  each member holds its share until the earliest hand-back time of all
 *   failed, withdrawn   each member is told to let go, again and again, until it did or its lease ended
 *
 * The lab that took the request coordinates. Whatever it decides is in the store before anybody is told, every
 * message is idempotent, and members hold nothing for longer than a short lease before the commit: so a
 * coordinator that is killed goes on where it was, and one that never comes back leaves nothing behind. A member
 * drives only its own share; its controller may veto. A lab alone has the same machine with one member: the net
 * of its own clusters.
 *
 * Never here: routes and addresses themselves. netd holds them, and ends them by itself. */
#include "controller/drive/joins.h"

#include "controller/drive/labdoc.h"
#include "controller/drive/netd.h"
#include "controller/drive/peers.h"
#include "controller/drive/share.h"
#include "controller/store/join.h"
#include "controller/store/lab.h"
#include "controller/store/night.h"
#include "controller/store/store.h"
#include "lib/clock.h"
#include "lib/log.h"

enum {
	AGAIN_MS = 1000,
	RETRY_MS = 3000,
	STALE_S = 30, /* a call to a peer takes less: what is heard later was written since */
};

static bool mine(struct drive *drive, const struct join *join)
{
	return strcmp(join->coordinator, drive->controller->config.lab) == 0;
}

static bool is_self(struct drive *drive, const struct join_member *member)
{
	return strcmp(member->lab, drive->controller->config.lab) == 0;
}

static bool all_members(const struct join *join, enum join_state state)
{
	vec_each (struct join_member, member, &join->members)
		if (member->state != state)
			return false;
	return true;
}

static int set_member(struct drive *drive, struct join *join, struct join_member *member, enum join_state state,
	struct error **err)
{
	member->state = state;
	return store_join_set_member(drive->controller->store, join->id, member->lab, state, err);
}

static int set_state(struct drive *drive, struct join *join, enum join_state state, const char *reason,
	struct error **err)
{
	log_notice("join %s: %s -> %s%s%s", join->id, join_state_names[join->state], join_state_names[state],
		reason && *reason ? ": " : "", reason ? reason : "");
	join->state = state;
	return store_join_set_state(drive->controller->store, join->id, state, reason, err);
}

int join_withdraw(struct controller *controller, const struct join *join, const char *reason, struct error **err)
{
	if (join->state == JOIN_FAILED || join->state == JOIN_WITHDRAWN)
		return 0;
	drive_kick(controller);
	return store_join_set_state(controller->store, join->id, JOIN_WITHDRAWN, reason, err);
}

/* One message to one member; its answer says in which state its share is. */
static int tell(struct drive *drive, struct join *join, struct join_member *member, enum join_state to,
	struct error **err)
{
	struct task_result result;
	int64_t left = to == JOIN_COMMITTED ? join->expires - clock_wall() : PREPARE_LEASE_S;
	auto_free char *name = xasprintf("%s/join/%s", member->lab, join->id);
	auto_free char *path = xasprintf("/peers/joins/%s", join->id);
	json_t *body = request_peer_join_write(join, to, left);
	if (!peer_want(drive, name, member->lab, "PUT", path, body, join_state_names[to], AGAIN_MS, RETRY_MS,
		    &result))
		return 0;
	if (result.code < 0 && (peer_refused(&result) || to == JOIN_PREPARED)) {
		auto_free char *reason = xasprintf("lab %s: %s", member->lab, result.text);
		return set_state(drive, join, JOIN_FAILED, reason, err);
	}
	if (result.code < 0)
		return 0;
	const char *state = json_string_value(json_object_get(result.answer, "state"));
	const char *why = json_string_value(json_object_get(result.answer, "reason"));
	if (state && strcmp(state, join_state_names[to]) == 0)
		return set_member(drive, join, member, to, err);
	if (state && (strcmp(state, join_state_names[JOIN_FAILED]) == 0 ||
			     strcmp(state, join_state_names[JOIN_WITHDRAWN]) == 0)) {
		auto_free char *reason = xasprintf("lab %s: %s", member->lab, why ? why : "failed");
		return set_state(drive, join, JOIN_FAILED, reason, err);
	}
	return 0;
}

/* Every other member to `to`; nobody who is already there. */
static int tell_all(struct drive *drive, struct join *join, enum join_state to, struct error **err)
{
	int r = 0;
	vec_each (struct join_member, member, &join->members)
		if (r >= 0 && join->state != JOIN_FAILED && !is_self(drive, member) && member->state != to)
			r = tell(drive, join, member, to, err);
	return r;
}

static int release(struct drive *drive, struct join *join, struct join_member *member, struct error **err)
{
	struct task_result result;
	auto_free char *name = xasprintf("%s/join/%s", member->lab, join->id);
	auto_free char *path = xasprintf("/peers/joins/%s", join->id);
	bool known = peer_want(
		drive, name, member->lab, "DELETE", path, NULL, "withdraw", AGAIN_MS, RETRY_MS, &result);
	const char *state = known ? json_string_value(json_object_get(result.answer, "state")) : NULL;
	bool gone = known && ((state && strcmp(state, join_state_names[JOIN_WITHDRAWN]) == 0) ||
				     result.code == -ENOENT);
	if (gone || clock_wall() >= join->expires)
		return set_member(drive, join, member, JOIN_WITHDRAWN, err);
	return 0;
}

static int64_t watched_since(struct drive *drive, const char *id)
{
	vec_each (struct join_watch, watch, &drive->watches)
		if (strcmp(watch->id, id) == 0)
			return watch->since;
	vec_push(&drive->watches, ((struct join_watch){xstrdup(id), clock_wall()}));
	return clock_wall();
}

/* Has the member let go by itself? Its document names the nets of all its live joins, and ours from before the commit
 * on; one that was perhaps written earlier says nothing. */
static bool has_left(struct drive *drive, const struct join *join, const char *lab,
	const struct lab_document *document)
{
	struct lab row = {0};
	int64_t since = watched_since(drive, join->id);
	bool fresh = store_lab_get(drive->controller->store, lab, &row, NULL) >= 0 && row.seen_at > since + STALE_S;
	lab_done(&row);
	vec_each (struct lab_net, net, &document->nets)
		if (net->net.address.host == join->net.address.host && net->net.len == join->net.len)
			return false;
	return fresh;
}

/* Labs whose night is over cannot stay, their hosts are gone; nor does a join live on that a member has left. */
static int watch(struct drive *drive, struct join *join, struct error **err)
{
	vec_each (struct join_member, member, &join->members) {
		struct lab_document document = {0};
		if (labdoc_of(drive->controller, member->lab, &document, NULL) < 0)
			continue; /* unknown is not absent */
		bool runs = document.has_night && document.night.state == NIGHT_RUNNING;
		bool left = !is_self(drive, member) && has_left(drive, join, member->lab, &document);
		lab_document_done(&document);
		if (runs && !left)
			continue;
		auto_free char *reason = runs ? xasprintf("lab %s left the join", member->lab)
					      : xasprintf("the night of lab %s is over", member->lab);
		return set_state(drive, join, JOIN_WITHDRAWN, reason, err);
	}
	return 0;
}

static int coordinate(struct drive *drive, struct join *join, struct error **err)
{
	int r = 0;
	switch (join->state) {
	case JOIN_PROPOSED:
		r = tell_all(drive, join, JOIN_PREPARED, err);
		if (r >= 0 && join->state == JOIN_PROPOSED && all_members(join, JOIN_PREPARED))
			r = set_state(drive, join, JOIN_PREPARED, NULL, err);
		break;
	case JOIN_PREPARED:
		if (!share_probed(drive, join, &r, err))
			break;
		r = tell_all(drive, join, JOIN_COMMITTED, err);
		if (r >= 0 && join->state == JOIN_PREPARED && all_members(join, JOIN_COMMITTED))
			r = set_state(drive, join, JOIN_COMMITTED, NULL, err);
		break;
	case JOIN_COMMITTED:
		r = watch(drive, join, err);
		break;
	case JOIN_FAILED:
	case JOIN_WITHDRAWN:
		vec_each (struct join_member, member, &join->members)
			if (r >= 0 && !is_self(drive, member) && member->state != JOIN_WITHDRAWN)
				r = release(drive, join, member, err);
		break;
	}
	return r;
}

/* Everything ends with its lease, and with this lab's night. */
static int expire(struct drive *drive, struct join *join, struct error **err)
{
	if (join->state == JOIN_FAILED || join->state == JOIN_WITHDRAWN)
		return 0;
	if (clock_wall() >= join->expires)
		return set_state(drive, join, JOIN_WITHDRAWN,
			mine(drive, join) || join->state == JOIN_COMMITTED ? "its lease ended"
									 : "was not committed in time",
			err);
	struct night night = {0};
	bool runs = store_night_current(drive->controller->store, &night, NULL) >= 0 &&
		    night.state == NIGHT_RUNNING;
	night_done(&night);
	return runs ? 0 : set_state(drive, join, JOIN_WITHDRAWN, "the night of this lab is over", err);
}

static int step(struct drive *drive, struct join *join, struct error **err)
{
	if (all_members(join, JOIN_WITHDRAWN))
		return 0; /* history */
	struct join_member *self = join_member_of(join, drive->controller->config.lab);
	if (!mine(drive, join) && self && self->state == JOIN_WITHDRAWN)
		return 0;
	int r = expire(drive, join, err);
	if (r >= 0 && self)
		r = share_step(drive, join, self, err);
	if (r >= 0 && mine(drive, join))
		r = coordinate(drive, join, err);
	else if (r >= 0 && join->state == JOIN_PROPOSED && self && self->state == JOIN_PREPARED)
		r = set_state(drive, join, JOIN_PREPARED, NULL, err);
	return r;
}

int think_joins(struct drive *drive, struct error **err)
{
	struct joins joins = {0};
	int r = store_join_list(drive->controller->store, false, &joins, err);
	vec_each (struct join, join, &joins)
		if (r >= 0)
			r = step(drive, join, err);
	joins_done(&joins);
	return r;
}
