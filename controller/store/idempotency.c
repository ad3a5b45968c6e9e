/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Promise 7: the same request twice has the result of one. The first answer is kept under the
 * caller's key in the transaction of its change, so a crash leaves both or neither; the repeat gets
 * the kept answer. A key belongs to the token that used it, and names one request: its reuse for
 * another is refused. */
#include "controller/store/idempotency.h"

#include "controller/store/store.h"
#include "lib/clock.h"

enum { KEEP_S = 24 * 3600 };

int store_idempotency_find(struct store *store, const char *key, int64_t token, const char *request,
	int *ret_status, char **ret_answer, struct error **err)
{
	sqlite3_stmt *stmt = NULL;
	int r = store_query(store, &stmt, err,
		"SELECT request, status, answer FROM idempotency WHERE key = ? AND token = ?", "si",
		key, token);
	if (r < 0)
		return r;
	r = store_step(store, stmt, err);
	if (r > 0 && strcmp((const char *)sqlite3_column_text(stmt, 0), request) != 0) {
		r = error_field(err, -EEXIST, "Idempotency-Key",
			"this key was used for another request; take a new one");
	} else if (r > 0) {
		*ret_status = sqlite3_column_int(stmt, 1);
		*ret_answer = store_text(stmt, 2);
	}
	store_finish(store, stmt);
	return r;
}

int store_idempotency_keep(struct store *store, const char *key, int64_t token, const char *request,
	int status, const char *answer, struct error **err)
{
	int64_t now = clock_wall();
	int r = store_exec(
		store, NULL, err, "DELETE FROM idempotency WHERE created < ?", "i", now - KEEP_S);
	if (r < 0)
		return r;
	return store_exec(store, NULL, err,
		"INSERT OR REPLACE INTO idempotency(key, token, request, status, answer, created) "
		"VALUES(?,?,?,?,?,?)",
		"sisisi", key, token, request, (int64_t)status, answer, now);
}
