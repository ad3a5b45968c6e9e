/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Nights as rows. The list of PCs is written once; which of them a night still holds is pc.night,
 * so that a PC which left early is free at once. The report is JSON text that grows with the night.
 */
#include "controller/store/night.h"

#include "controller/store/store.h"

static int read_row(sqlite3_stmt *stmt, struct night *ret_night, struct error **err)
{
	struct night night = {.id = sqlite3_column_int64(stmt, 0),
		.begins = sqlite3_column_int64(stmt, 1),
		.ends = sqlite3_column_int64(stmt, 2)};
	int state = name_index(night_state_names, (const char *)sqlite3_column_text(stmt, 4));
	auto_json json_t *pcs = json_loads((const char *)sqlite3_column_text(stmt, 3), 0, NULL);
	size_t i = 0;
	json_t *item = NULL;
	if (state < 0 || !json_is_array(pcs))
		return error_make(err, -EIO, "the row of night %d cannot be read", (int)night.id);
	json_array_foreach (pcs, i, item)
		if (json_is_string(item))
			vec_push(&night.pcs, xstrdup(json_string_value(item)));
	night.state = (enum night_state)state;
	night.report = store_text(stmt, 5);
	*ret_night = night;
	return 0;
}

static int read_one(
	struct store *store, sqlite3_stmt *stmt, struct night *ret_night, struct error **err)
{
	int r = store_step(store, stmt, err);
	if (r > 0) {
		int read = read_row(stmt, ret_night, err);
		r = read < 0 ? read : 1;
	}
	store_finish(store, stmt);
	return r;
}

int store_night_get(struct store *store, int64_t id, struct night *ret_night, struct error **err)
{
	sqlite3_stmt *stmt = NULL;
	int r = store_query(store, &stmt, err,
		"SELECT id, begins, ends, pcs, state, report FROM night WHERE id = ?", "i", id);
	if (r >= 0)
		r = read_one(store, stmt, ret_night, err);
	if (r == 0)
		return error_make(err, -ENOENT,
			"there is no night %d; `nightclass night list` shows those there are",
			(int)id);
	return r < 0 ? r : 0;
}

int store_night_current(struct store *store, struct night *ret_night, struct error **err)
{
	sqlite3_stmt *stmt = NULL;
	int r = store_query(store, &stmt, err,
		"SELECT id, begins, ends, pcs, state, report FROM night WHERE state IN "
		"('running','ending')"
		" ORDER BY id LIMIT 1",
		"");
	if (r >= 0)
		r = read_one(store, stmt, ret_night, err);
	if (r == 0)
		return error_make(
			err, -ENOENT, "no night is running; `nightclass night start` begins one");
	return r < 0 ? r : 0;
}

int store_night_list(
	struct store *store, bool open_only, struct nights *ret_nights, struct error **err)
{
	struct nights nights = {0};
	sqlite3_stmt *stmt = NULL;
	int r = store_query(store, &stmt, err,
		"SELECT id, begins, ends, pcs, state, report FROM night WHERE ?1 = 0 OR state <> "
		"'done'"
		" ORDER BY id DESC",
		"i", (int64_t)open_only);
	if (r < 0)
		return r;
	while ((r = store_step(store, stmt, err)) > 0) {
		struct night night;
		r = read_row(stmt, &night, err);
		if (r < 0)
			break;
		vec_push(&nights, night);
	}
	store_finish(store, stmt);
	if (r < 0) {
		nights_done(&nights);
		return r;
	}
	*ret_nights = nights;
	return 0;
}

int store_night_insert(
	struct store *store, const struct night *night, int64_t *ret_id, struct error **err)
{
	auto_json json_t *pcs = json_array();
	vec_each (char *, name, &night->pcs)
		json_array_append_new(pcs, json_string(*name));
	auto_free char *text = json_text(pcs);
	int r = store_begin(store, err);
	if (r < 0)
		return r;
	r = store_exec(store, NULL, err,
		"INSERT INTO night(begins, ends, pcs, state, report) VALUES(?,?,?,?,?)", "iisss",
		night->begins, night->ends, text, night_state_names[night->state], night->report);
	int64_t id = sqlite3_last_insert_rowid(store_db(store));
	if (r >= 0) {
		auto_free char *subject = xasprintf("night/%d", (int)id);
		r = store_event(store, "night.planned", subject, NULL, err, "night %d: %zu PCs",
			(int)id, night->pcs.n);
	}
	r = store_end(store, r, err);
	if (r >= 0)
		*ret_id = id;
	return r;
}

int store_night_set_state(
	struct store *store, int64_t id, enum night_state state, struct error **err)
{
	struct night night = {0};
	int r = store_night_get(store, id, &night, err);
	if (r < 0)
		return r;
	enum night_state before = night.state;
	night_done(&night);
	if (before == state)
		return 0;
	r = store_begin(store, err);
	if (r < 0)
		return r;
	r = store_exec(store, NULL, err, "UPDATE night SET state = ? WHERE id = ?", "si",
		night_state_names[state], id);
	if (r >= 0) {
		auto_free char *subject = xasprintf("night/%d", (int)id);
		auto_json json_t *data = json_pack("{s:s, s:s}", "from", night_state_names[before],
			"to", night_state_names[state]);
		r = store_event(store, "night.state", subject, data, err, "night %d: %s -> %s",
			(int)id, night_state_names[before], night_state_names[state]);
	}
	return store_end(store, r, err);
}

static int changed(struct error **err, int r, int changes, int64_t id)
{
	return r >= 0 && changes == 0 ? error_make(err, -ENOENT, "there is no night %d", (int)id)
				      : r;
}

int store_night_set_ends(struct store *store, int64_t id, int64_t ends, struct error **err)
{
	int changes = 0;
	int r = store_exec(
		store, &changes, err, "UPDATE night SET ends = ? WHERE id = ?", "ii", ends, id);
	return changed(err, r, changes, id);
}

int store_night_set_report(struct store *store, int64_t id, const char *report, struct error **err)
{
	int changes = 0;
	int r = store_exec(
		store, &changes, err, "UPDATE night SET report = ? WHERE id = ?", "si", report, id);
	return changed(err, r, changes, id);
}
