/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Program runs as rows; their output is a file beside the database, not in it. A run that has ended
 * keeps its exit code for whoever asks later. */
#include "controller/store/run.h"

#include "controller/store/store.h"
#include "lib/clock.h"

#define COLUMNS                                                                                    \
	"id, cluster, owner, program, name, args, ranks, state, exit_code, reason, created, ended"

static int read_row(sqlite3_stmt *stmt, struct run *ret_run, struct error **err)
{
	int state = name_index(run_state_names, (const char *)sqlite3_column_text(stmt, 7));
	if (state < 0)
		return error_make(err, -EIO, "the row of a run cannot be read");
	*ret_run = (struct run){.id = sqlite3_column_int64(stmt, 0),
		.cluster = store_text(stmt, 1),
		.owner = store_text(stmt, 2),
		.program = store_text(stmt, 3),
		.name = store_text(stmt, 4),
		.args = store_text(stmt, 5),
		.ranks = (uint64_t)sqlite3_column_int64(stmt, 6),
		.state = (enum run_state)state,
		.exit_code = sqlite3_column_int(stmt, 8),
		.reason = store_text(stmt, 9),
		.created = sqlite3_column_int64(stmt, 10),
		.ended = sqlite3_column_int64(stmt, 11)};
	return 0;
}

int store_run_get(struct store *store, int64_t id, struct run *ret_run, struct error **err)
{
	sqlite3_stmt *stmt = NULL;
	int r = store_query(store, &stmt, err, "SELECT " COLUMNS " FROM run WHERE id = ?", "i", id);
	if (r < 0)
		return r;
	r = store_step(store, stmt, err);
	if (r > 0) {
		int read = read_row(stmt, ret_run, err);
		r = read < 0 ? read : 1;
	}
	store_finish(store, stmt);
	if (r == 0)
		return error_make(err, -ENOENT, "there is no run %d", (int)id);
	return r < 0 ? r : 0;
}

int store_run_list(struct store *store, bool open_only, const char *cluster, struct runs *ret_runs,
	struct error **err)
{
	struct runs runs = {0};
	sqlite3_stmt *stmt = NULL;
	int r = store_query(store, &stmt, err,
		"SELECT " COLUMNS " FROM run WHERE (?1 = 0 OR state IN ('staging','running'))"
		" AND (?2 IS NULL OR cluster = ?2) ORDER BY id DESC",
		"is", (int64_t)open_only, cluster);
	if (r < 0)
		return r;
	while ((r = store_step(store, stmt, err)) > 0) {
		struct run run;
		r = read_row(stmt, &run, err);
		if (r < 0)
			break;
		vec_push(&runs, run);
	}
	store_finish(store, stmt);
	if (r < 0) {
		runs_done(&runs);
		return r;
	}
	*ret_runs = runs;
	return 0;
}

int store_run_insert(
	struct store *store, const struct run *run, int64_t *ret_id, struct error **err)
{
	int r = store_begin(store, err);
	if (r < 0)
		return r;
	r = store_exec(store, NULL, err,
		"INSERT INTO run(cluster, owner, program, name, args, ranks, state, reason, "
		"created)"
		" VALUES(?,?,?,?,?,?,?,?,?)",
		"sssssissi", run->cluster, run->owner, run->program, run->name,
		run->args ? run->args : "[]", (int64_t)run->ranks, run_state_names[run->state],
		run->reason ? run->reason : "", run->created ? run->created : clock_wall());
	int64_t id = sqlite3_last_insert_rowid(store_db(store));
	if (r >= 0) {
		auto_free char *subject = xasprintf("run/%d", (int)id);
		r = store_event(store, "run.added", subject, NULL, err,
			"run %d: %s with %d ranks on cluster %s", (int)id, run->name,
			(int)run->ranks, run->cluster);
	}
	r = store_end(store, r, err);
	if (r >= 0)
		*ret_id = id;
	return r;
}

int store_run_set_state(struct store *store, int64_t id, enum run_state state, int exit_code,
	const char *reason, struct error **err)
{
	const char *why = reason ? reason : "";
	struct run run = {0};
	int r = store_run_get(store, id, &run, err);
	if (r < 0)
		return r;
	enum run_state before = run.state;
	bool same = before == state && run.exit_code == exit_code && strcmp(run.reason, why) == 0;
	run_done(&run);
	if (same)
		return 0;
	bool ended = state == RUN_DONE || state == RUN_FAILED;
	r = store_begin(store, err);
	if (r < 0)
		return r;
	r = store_exec(store, NULL, err,
		"UPDATE run SET state = ?1, exit_code = CASE WHEN ?2 THEN ?3 END,"
		" ended = CASE WHEN ?2 THEN ?4 END, reason = ?5 WHERE id = ?6",
		"siiisi", run_state_names[state], (int64_t)ended, (int64_t)exit_code, clock_wall(),
		why, id);
	if (r >= 0) {
		auto_free char *subject = xasprintf("run/%d", (int)id);
		auto_json json_t *data = json_pack("{s:s, s:s, s:s}", "from",
			run_state_names[before], "to", run_state_names[state], "reason", why);
		r = store_event(store, "run.state", subject, data, err, "run %d: %s -> %s%s%s",
			(int)id, run_state_names[before], run_state_names[state], *why ? ": " : "",
			why);
	}
	return store_end(store, r, err);
}
