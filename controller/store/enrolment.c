/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Host sessions as rows: who asked with which boot id, with which one-time token, and which
 * certificate speaks for it since.
 *
 * A session is held together with every other of its PC, never alone: when two claim one PC,
 * nothing here can tell which of them is the right one. Held rows stay until an operator releases
 * the PC or it is seen at its desktop again. */
#include "controller/store/enrolment.h"

#include "controller/store/store.h"

void enrolment_done(struct enrolment *enrolment)
{
	free(enrolment->boot_id);
	free(enrolment->pc);
	free(enrolment->token);
	free(enrolment->certificate);
	*enrolment = (struct enrolment){0};
}

void enrolments_done(struct enrolments *enrolments)
{
	vec_each (struct enrolment, enrolment, enrolments)
		enrolment_done(enrolment);
	vec_done(enrolments);
}

static struct enrolment read_row(sqlite3_stmt *stmt)
{
	return (struct enrolment){.boot_id = store_text(stmt, 0),
		.pc = store_text(stmt, 1),
		.token = store_text(stmt, 2),
		.expires = sqlite3_column_int64(stmt, 3),
		.used = sqlite3_column_int64(stmt, 4) != 0,
		.certificate = store_text(stmt, 5),
		.held = sqlite3_column_int64(stmt, 6) != 0};
}

static int read_one(struct store *store, sqlite3_stmt *stmt, struct enrolment *ret_enrolment,
	struct error **err)
{
	int r = store_step(store, stmt, err);
	if (r > 0)
		*ret_enrolment = read_row(stmt);
	store_finish(store, stmt);
	if (r == 0)
		return error_make(err, -ENOENT, "there is no such host session");
	return r < 0 ? r : 0;
}

#define SELECT "SELECT boot_id, pc, token, expires, used, certificate, held FROM enrolment "

int store_enrolment_by_token(struct store *store, const char *digest,
	struct enrolment *ret_enrolment, struct error **err)
{
	sqlite3_stmt *stmt = NULL;
	int r = store_query(store, &stmt, err, SELECT "WHERE token = ?", "s", digest);
	return r < 0 ? r : read_one(store, stmt, ret_enrolment, err);
}

int store_enrolment_by_certificate(struct store *store, const char *key_id,
	struct enrolment *ret_enrolment, struct error **err)
{
	sqlite3_stmt *stmt = NULL;
	int r = store_query(store, &stmt, err, SELECT "WHERE certificate = ? AND certificate <> ''",
		"s", key_id);
	return r < 0 ? r : read_one(store, stmt, ret_enrolment, err);
}

int store_enrolment_list(
	struct store *store, const char *pc, struct enrolments *ret_enrolments, struct error **err)
{
	struct enrolments enrolments = {0};
	sqlite3_stmt *stmt = NULL;
	int r = store_query(store, &stmt, err, SELECT "WHERE pc = ? ORDER BY rowid", "s", pc);
	if (r < 0)
		return r;
	while ((r = store_step(store, stmt, err)) > 0)
		vec_push(&enrolments, read_row(stmt));
	store_finish(store, stmt);
	if (r < 0) {
		enrolments_done(&enrolments);
		return r;
	}
	*ret_enrolments = enrolments;
	return 0;
}

int store_enrolment_put(struct store *store, const struct enrolment *e, struct error **err)
{
	return store_exec(store, NULL, err,
		"INSERT INTO enrolment(boot_id, pc, token, expires) VALUES(?,?,?,?) ON CONFLICT(boot_id) DO UPDATE"
		" SET token = excluded.token, expires = excluded.expires WHERE pc = excluded.pc",
		"sssi", e->boot_id, e->pc, e->token, e->expires);
}

int store_enrolment_use(
	struct store *store, const char *boot_id, const char *certificate, struct error **err)
{
	int changes = 0;
	int r = store_exec(store, &changes, err,
		"UPDATE enrolment SET used = 1, certificate = ?1 WHERE boot_id = ?2 AND (used = 0 OR certificate = ?1)",
		"ss", certificate, boot_id);
	return r >= 0 && changes == 0 ? error_make(err, -EACCES, "this token was used before") : r;
}

int store_enrolment_hold(struct store *store, const char *pc, const char *why, struct error **err)
{
	auto_free char *subject = xasprintf("pc/%s", pc);
	int r = store_begin(store, err);
	if (r < 0)
		return r;
	r = store_exec(store, NULL, err, "UPDATE enrolment SET held = 1 WHERE pc = ?", "s", pc);
	if (r >= 0)
		r = store_event(store, "enrol.held", subject, NULL, err, "ALARM: PC %s is held: %s",
			pc, why);
	return store_end(store, r, err);
}

int store_enrolment_forget(struct store *store, const char *pc, struct error **err)
{
	return store_exec(store, NULL, err, "DELETE FROM enrolment WHERE pc = ?", "s", pc);
}
