/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Joins as rows, their members in a table of their own.
 *
 * A join is written as a whole (put), because its members and subnets belong together; afterwards
 * only states, probes and the lease change. Each change of the join's state is an event in the same
 * transaction. */
#include "controller/store/join.h"

#include "controller/store/store.h"

static int read_members(struct store *store, struct join *join, struct error **err)
{
	sqlite3_stmt *stmt = NULL;
	int r = store_query(store, &stmt, err,
		"SELECT lab, uplink, cluster_net, state FROM join_member WHERE net_join = ? ORDER "
		"BY lab",
		"s", join->id);
	if (r < 0)
		return r;
	while ((r = store_step(store, stmt, err)) > 0) {
		struct join_member *member = vec_add(&join->members);
		int state =
			name_index(join_state_names, (const char *)sqlite3_column_text(stmt, 3));
		if (state < 0 ||
			ip4_parse((const char *)sqlite3_column_text(stmt, 1), &member->uplink) <
				0 ||
			prefix4_parse((const char *)sqlite3_column_text(stmt, 2),
				&member->cluster_net) < 0) {
			r = error_make(err, -EIO, "a member of join %s cannot be read", join->id);
			break;
		}
		member->lab = store_text(stmt, 0);
		member->state = (enum join_state)state;
	}
	store_finish(store, stmt);
	return r;
}

static int read_row(
	struct store *store, sqlite3_stmt *stmt, struct join *ret_join, struct error **err)
{
	struct join join = {0};
	int state = name_index(join_state_names, (const char *)sqlite3_column_text(stmt, 2));
	if (state < 0 || prefix4_parse((const char *)sqlite3_column_text(stmt, 4), &join.net) < 0)
		return error_make(err, -EIO, "the row of join %s cannot be read",
			(const char *)sqlite3_column_text(stmt, 0));
	join.id = store_text(stmt, 0);
	join.coordinator = store_text(stmt, 1);
	join.state = (enum join_state)state;
	join.expires = sqlite3_column_int64(stmt, 3);
	join.reason = store_text(stmt, 5);
	join.probes = store_text(stmt, 6);
	int r = read_members(store, &join, err);
	if (r < 0) {
		join_done(&join);
		return r;
	}
	*ret_join = join;
	return 0;
}

int store_join_get(struct store *store, const char *id, struct join *ret_join, struct error **err)
{
	sqlite3_stmt *stmt = NULL;
	int r = store_query(store, &stmt, err,
		"SELECT id, coordinator, state, expires, net, reason, probes FROM net_join WHERE "
		"id = ?",
		"s", id);
	if (r < 0)
		return r;
	r = store_step(store, stmt, err);
	if (r > 0) {
		int read = read_row(store, stmt, ret_join, err);
		r = read < 0 ? read : 1;
	}
	store_finish(store, stmt);
	if (r == 0)
		return error_make(err, -ENOENT,
			"there is no join %s; `nightclass join list` shows those there are", id);
	return r < 0 ? r : 0;
}

int store_join_list(
	struct store *store, bool open_only, struct joins *ret_joins, struct error **err)
{
	struct joins joins = {0};
	sqlite3_stmt *stmt = NULL;
	int r = store_query(store, &stmt, err,
		"SELECT id, coordinator, state, expires, net, reason, probes FROM net_join"
		" WHERE ?1 = 0 OR state IN ('proposed','prepared','committed') ORDER BY rowid",
		"i", (int64_t)open_only);
	if (r < 0)
		return r;
	while ((r = store_step(store, stmt, err)) > 0) {
		struct join join;
		r = read_row(store, stmt, &join, err);
		if (r < 0)
			break;
		vec_push(&joins, join);
	}
	store_finish(store, stmt);
	if (r < 0) {
		joins_done(&joins);
		return r;
	}
	*ret_joins = joins;
	return 0;
}

static int state_event(struct store *store, const char *id, const char *from, enum join_state to,
	const char *reason, struct error **err)
{
	auto_free char *subject = xasprintf("join/%s", id);
	auto_json json_t *data = json_pack(
		"{s:s, s:s, s:s}", "from", from, "to", join_state_names[to], "reason", reason);
	return store_event(store, "join.state", subject, data, err, "join %s: %s -> %s%s%s", id,
		from, join_state_names[to], *reason ? ": " : "", reason);
}

static int write_members(struct store *store, const struct join *join, struct error **err)
{
	int r = store_exec(
		store, NULL, err, "DELETE FROM join_member WHERE net_join = ?", "s", join->id);
	vec_each (struct join_member, member, &join->members) {
		char uplink[IP4_TEXT], net[PREFIX4_TEXT];
		if (r < 0)
			break;
		r = store_exec(store, NULL, err,
			"INSERT INTO join_member(net_join, lab, uplink, cluster_net, state) "
			"VALUES(?,?,?,?,?)",
			"sssss", join->id, member->lab, ip4_format(member->uplink, uplink),
			prefix4_format(member->cluster_net, net), join_state_names[member->state]);
	}
	return r;
}

int store_join_put(struct store *store, const struct join *join, struct error **err)
{
	char net[PREFIX4_TEXT];
	const char *reason = join->reason ? join->reason : "";
	struct join old = {0};
	bool known = store_join_get(store, join->id, &old, NULL) == 0;
	const char *from = known ? join_state_names[old.state] : "new";
	bool told = !known || old.state != join->state || strcmp(old.reason, reason) != 0;
	join_done(&old);
	int r = store_begin(store, err);
	if (r < 0)
		return r;
	r = store_exec(store, NULL, err,
		"INSERT INTO net_join(id, coordinator, state, expires, net, reason, probes) "
		"VALUES(?,?,?,?,?,?,?)"
		" ON CONFLICT(id) DO UPDATE SET coordinator = excluded.coordinator, state = "
		"excluded.state,"
		" expires = excluded.expires, net = excluded.net, reason = excluded.reason, probes "
		"= excluded.probes",
		"sssisss", join->id, join->coordinator, join_state_names[join->state],
		join->expires, prefix4_format(join->net, net), reason, join->probes);
	if (r >= 0)
		r = write_members(store, join, err);
	if (r >= 0 && told)
		r = state_event(store, join->id, from, join->state, reason, err);
	return store_end(store, r, err);
}

int store_join_set_state(struct store *store, const char *id, enum join_state state,
	const char *reason, struct error **err)
{
	const char *why = reason ? reason : "";
	struct join join = {0};
	int r = store_join_get(store, id, &join, err);
	if (r < 0)
		return r;
	enum join_state before = join.state;
	bool same = before == state && strcmp(join.reason, why) == 0;
	join_done(&join);
	if (same)
		return 0;
	r = store_begin(store, err);
	if (r < 0)
		return r;
	r = store_exec(store, NULL, err, "UPDATE net_join SET state = ?, reason = ? WHERE id = ?",
		"sss", join_state_names[state], why, id);
	if (r >= 0)
		r = state_event(store, id, join_state_names[before], state, why, err);
	return store_end(store, r, err);
}

static int changed(struct error **err, int r, int changes, const char *id)
{
	return r >= 0 && changes == 0 ? error_make(err, -ENOENT, "there is no join %s", id) : r;
}

int store_join_set_member(struct store *store, const char *id, const char *lab,
	enum join_state state, struct error **err)
{
	int changes = 0;
	int r = store_exec(store, &changes, err,
		"UPDATE join_member SET state = ? WHERE net_join = ? AND lab = ?", "sss",
		join_state_names[state], id, lab);
	return changed(err, r, changes, id);
}

int store_join_set_probes(
	struct store *store, const char *id, const char *probes, struct error **err)
{
	int changes = 0;
	int r = store_exec(store, &changes, err, "UPDATE net_join SET probes = ? WHERE id = ?",
		"ss", probes, id);
	return changed(err, r, changes, id);
}

int store_join_set_expires(struct store *store, const char *id, int64_t expires, struct error **err)
{
	int changes = 0;
	int r = store_exec(store, &changes, err, "UPDATE net_join SET expires = ? WHERE id = ?",
		"is", expires, id);
	return changed(err, r, changes, id);
}
