/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Labs as rows: this one (self), and the peers with how to reach them and what they said last.
 *
 * The tokens in here are what we show to others, so they have to be kept in clear; the database
 * file is readable by the controller's user alone, and no handler puts them into an answer. Beats
 * are counted, not timed: at the third one missed in a row the lab counts as unreachable, and
 * people are told once. */
#include "controller/store/lab.h"

#include "controller/store/store.h"

enum { UNREACHABLE = 3 };

static struct lab read_row(sqlite3_stmt *stmt)
{
	return (struct lab){.name = store_text(stmt, 0),
		.self = sqlite3_column_int64(stmt, 1) != 0,
		.url = store_text(stmt, 2),
		.ca_pem = store_text(stmt, 3),
		.token = store_text(stmt, 4),
		.seen = store_text(stmt, 5),
		.seen_at = sqlite3_column_int64(stmt, 6),
		.missed = (uint64_t)sqlite3_column_int64(stmt, 7)};
}

static int unknown(struct error **err, const char *name)
{
	return error_make(err, -ENOENT,
		"no lab \"%s\" is known here; `nightclass lab list` shows those that are", name);
}

int store_lab_get(struct store *store, const char *name, struct lab *ret_lab, struct error **err)
{
	sqlite3_stmt *stmt = NULL;
	int r = store_query(store, &stmt, err,
		"SELECT name, self, url, ca_pem, token, seen, seen_at, missed FROM lab WHERE name "
		"= ?",
		"s", name);
	if (r < 0)
		return r;
	r = store_step(store, stmt, err);
	if (r > 0)
		*ret_lab = read_row(stmt);
	store_finish(store, stmt);
	if (r == 0)
		return unknown(err, name);
	return r < 0 ? r : 0;
}

int store_lab_list(struct store *store, bool with_self, struct labs *ret_labs, struct error **err)
{
	struct labs labs = {0};
	sqlite3_stmt *stmt = NULL;
	int r = store_query(store, &stmt, err,
		"SELECT name, self, url, ca_pem, token, seen, seen_at, missed FROM lab WHERE self "
		"<= ?1"
		" ORDER BY self DESC, name",
		"i", (int64_t)with_self);
	if (r < 0)
		return r;
	while ((r = store_step(store, stmt, err)) > 0)
		vec_push(&labs, read_row(stmt));
	store_finish(store, stmt);
	if (r < 0) {
		labs_done(&labs);
		return r;
	}
	*ret_labs = labs;
	return 0;
}

static int event(struct store *store, const char *kind, const char *name, const char *what,
	struct error **err)
{
	auto_free char *subject = xasprintf("lab/%s", name);
	return store_event(store, kind, subject, NULL, err, "lab %s %s", name, what);
}

int store_lab_put(struct store *store, const struct lab *lab, struct error **err)
{
	struct lab old = {0};
	bool known = store_lab_get(store, lab->name, &old, NULL) == 0;
	bool self = old.self;
	lab_done(&old);
	if (self)
		return error_field(err, -EEXIST, "name", "%s is this lab itself", lab->name);
	int r = store_begin(store, err);
	if (r < 0)
		return r;
	r = store_exec(store, NULL, err,
		"INSERT INTO lab(name, url, ca_pem, token) VALUES(?,?,?,?) ON CONFLICT(name) DO "
		"UPDATE SET"
		" url = excluded.url, ca_pem = excluded.ca_pem, token = excluded.token, missed = 0",
		"ssss", lab->name, lab->url, lab->ca_pem ? lab->ca_pem : "",
		lab->token ? lab->token : "");
	if (r >= 0)
		r = event(store, known ? "lab.changed" : "lab.added", lab->name,
			known ? "was changed" : "was made known", err);
	return store_end(store, r, err);
}

int store_lab_delete(struct store *store, const char *name, struct error **err)
{
	int changes = 0;
	int r = store_begin(store, err);
	if (r < 0)
		return r;
	r = store_exec(
		store, &changes, err, "DELETE FROM lab WHERE name = ? AND self = 0", "s", name);
	if (r >= 0 && changes == 0)
		r = unknown(err, name);
	if (r >= 0)
		r = event(store, "lab.removed", name, "was removed", err);
	return store_end(store, r, err);
}

int store_lab_set_self(struct store *store, const char *name, const char *url, struct error **err)
{
	int r = store_begin(store, err);
	if (r < 0)
		return r;
	r = store_exec(store, NULL, err, "DELETE FROM lab WHERE self = 1 AND name <> ?", "s", name);
	if (r >= 0)
		r = store_exec(store, NULL, err,
			"INSERT INTO lab(name, self, url) VALUES(?,1,?) ON CONFLICT(name) DO "
			"UPDATE SET self = 1,"
			" url = excluded.url, ca_pem = '', token = ''",
			"ss", name, url);
	return store_end(store, r, err);
}

int store_lab_set_seen(
	struct store *store, const char *name, const char *document, int64_t at, struct error **err)
{
	struct lab lab = {0};
	int r = store_lab_get(store, name, &lab, err);
	if (r < 0)
		return r;
	bool told = lab.missed >= UNREACHABLE || lab.seen_at == 0;
	lab_done(&lab);
	r = store_begin(store, err);
	if (r < 0)
		return r;
	r = store_exec(store, NULL, err,
		"UPDATE lab SET seen = ?, seen_at = ?, missed = 0 WHERE name = ?", "sis", document,
		at, name);
	if (r >= 0 && told)
		r = event(store, "lab.reachable", name, "answers", err);
	return store_end(store, r, err);
}

int store_lab_missed(
	struct store *store, const char *name, uint64_t *ret_missed, struct error **err)
{
	struct lab lab = {0};
	int r = store_lab_get(store, name, &lab, err);
	if (r < 0)
		return r;
	uint64_t missed = lab.missed + 1;
	lab_done(&lab);
	r = store_begin(store, err);
	if (r < 0)
		return r;
	r = store_exec(store, NULL, err, "UPDATE lab SET missed = ? WHERE name = ?", "is",
		(int64_t)missed, name);
	if (r >= 0 && missed == UNREACHABLE)
		r = event(store, "lab.unreachable", name, "does not answer", err);
	r = store_end(store, r, err);
	if (r >= 0 && ret_missed)
		*ret_missed = missed;
	return r;
}
