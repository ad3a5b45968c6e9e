/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Clusters as rows. The row outlives its VMs: a closed cluster stays for the night's report,
 * without its keys.
 *
 * The state has one setter, which writes the event in the same transaction; a state that is set
 * again with the same reason changes nothing. */
#include "controller/store/cluster.h"

#include "controller/store/store.h"

#define COLUMNS                                                                                    \
	"name, owner, home, image, image_name, revision, n, cpus, memory_mib, policy, net_join, "  \
	"night, state, keys, created, reason"

static int read_row(sqlite3_stmt *stmt, struct cluster *ret_cluster, struct error **err)
{
	int state = name_index(cluster_state_names, (const char *)sqlite3_column_text(stmt, 12));
	if (state < 0)
		return error_make(err, -EIO, "the row of cluster %s cannot be read",
			(const char *)sqlite3_column_text(stmt, 0));
	*ret_cluster = (struct cluster){.name = store_text(stmt, 0),
		.owner = store_text(stmt, 1),
		.home = store_text(stmt, 2),
		.image = store_text(stmt, 3),
		.image_name = store_text(stmt, 4),
		.revision = (uint64_t)sqlite3_column_int64(stmt, 5),
		.n = (uint64_t)sqlite3_column_int64(stmt, 6),
		.cpus = (uint64_t)sqlite3_column_int64(stmt, 7),
		.memory_mib = (uint64_t)sqlite3_column_int64(stmt, 8),
		.policy = store_text(stmt, 9),
		.join = store_text(stmt, 10),
		.night = sqlite3_column_int64(stmt, 11),
		.state = (enum cluster_state)state,
		.keys = store_text(stmt, 13),
		.created = sqlite3_column_int64(stmt, 14),
		.reason = store_text(stmt, 15)};
	return 0;
}

static int unknown(struct error **err, const char *name)
{
	return error_make(err, -ENOENT,
		"no cluster is named \"%s\"; `nightclass cluster list` shows those there are",
		name);
}

int store_cluster_get(
	struct store *store, const char *name, struct cluster *ret_cluster, struct error **err)
{
	sqlite3_stmt *stmt = NULL;
	int r = store_query(
		store, &stmt, err, "SELECT " COLUMNS " FROM cluster WHERE name = ?", "s", name);
	if (r < 0)
		return r;
	r = store_step(store, stmt, err);
	if (r > 0) {
		int read = read_row(stmt, ret_cluster, err);
		r = read < 0 ? read : 1;
	}
	store_finish(store, stmt);
	if (r == 0)
		return unknown(err, name);
	return r < 0 ? r : 0;
}

int store_cluster_list(struct store *store, const struct cluster_filter *filter,
	struct clusters *ret_clusters, struct error **err)
{
	static const struct cluster_filter all = {0};
	const struct cluster_filter *f = filter ? filter : &all;
	struct clusters clusters = {0};
	sqlite3_stmt *stmt = NULL;
	int r = store_query(store, &stmt, err,
		"SELECT " COLUMNS " FROM cluster WHERE (?1 < 0 OR ifnull(night, 0) = ?1)"
		" AND (?2 = 0 OR state NOT IN ('closed','failed')) AND (?3 IS NULL OR net_join = "
		"?3)"
		" ORDER BY created, name",
		"iis", f->by_night ? f->night : (int64_t)-1, (int64_t)f->open_only, f->join);
	if (r < 0)
		return r;
	while ((r = store_step(store, stmt, err)) > 0) {
		struct cluster cluster;
		r = read_row(stmt, &cluster, err);
		if (r < 0)
			break;
		vec_push(&clusters, cluster);
	}
	store_finish(store, stmt);
	if (r < 0) {
		clusters_done(&clusters);
		return r;
	}
	*ret_clusters = clusters;
	return 0;
}

int store_cluster_insert(struct store *store, const struct cluster *c, struct error **err)
{
	auto_free char *subject = xasprintf("cluster/%s", c->name);
	int r = store_begin(store, err);
	if (r < 0)
		return r;
	r = store_exec(store, NULL, err,
		"INSERT INTO cluster(" COLUMNS
		") VALUES(?,?,?,?,?,?,?,?,?,?,?,nullif(?,0),?,?,?,?)",
		"sssssiiiississis", c->name, c->owner, c->home, c->image, c->image_name,
		(int64_t)c->revision, (int64_t)c->n, (int64_t)c->cpus, (int64_t)c->memory_mib,
		c->policy, c->join, c->night, cluster_state_names[c->state], c->keys, c->created,
		c->reason ? c->reason : "");
	if (r == -EEXIST) {
		if (err) {
			error_free(*err);
			*err = NULL;
		}
		error_field(err, r, "name", "there is a cluster %s already; choose another name",
			c->name);
	}
	if (r >= 0)
		r = store_event(store, "cluster.added", subject, NULL, err,
			"cluster %s of %s: %d VMs of image %s revision %d", c->name, c->owner,
			(int)c->n, c->image_name, (int)c->revision);
	return store_end(store, r, err);
}

int store_cluster_set_state(struct store *store, const char *name, enum cluster_state state,
	const char *reason, struct error **err)
{
	const char *why = reason ? reason : "";
	struct cluster cluster = {0};
	int r = store_cluster_get(store, name, &cluster, err);
	if (r < 0)
		return r;
	enum cluster_state before = cluster.state;
	bool same = before == state && strcmp(cluster.reason, why) == 0;
	cluster_done(&cluster);
	if (same)
		return 0;
	r = store_begin(store, err);
	if (r < 0)
		return r;
	r = store_exec(store, NULL, err, "UPDATE cluster SET state = ?, reason = ? WHERE name = ?",
		"sss", cluster_state_names[state], why, name);
	if (r >= 0) {
		auto_free char *subject = xasprintf("cluster/%s", name);
		auto_json json_t *data =
			json_pack("{s:s, s:s, s:s}", "from", cluster_state_names[before], "to",
				cluster_state_names[state], "reason", why);
		r = store_event(store, "cluster.state", subject, data, err,
			"cluster %s: %s -> %s%s%s", name, cluster_state_names[before],
			cluster_state_names[state], *why ? ": " : "", why);
	}
	return store_end(store, r, err);
}

int store_cluster_set_keys(
	struct store *store, const char *name, const char *keys, struct error **err)
{
	int changes = 0;
	int r = store_exec(store, &changes, err, "UPDATE cluster SET keys = ? WHERE name = ?", "ss",
		keys, name);
	return r >= 0 && changes == 0 ? unknown(err, name) : r;
}

int store_cluster_delete(struct store *store, const char *name, struct error **err)
{
	return store_exec(store, NULL, err, "DELETE FROM cluster WHERE name = ?", "s", name);
}
