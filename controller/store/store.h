/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The store: SQLite in WAL mode, synchronous=FULL, one connection on the loop thread, bound
 * parameters only. Rows come back as the structs of controller/model/model.h. What returned 0 from
 * store_commit survives a power cut. Typed verbs per noun are in store/{pc,image,cluster,...}.h;
 * this header has what they share. */
#ifndef CONTROLLER_STORE_STORE_H
#define CONTROLLER_STORE_STORE_H

#include <sqlite3.h>
#include "lib/error.h"
#include "lib/json.h"

struct store;

/* Opens or makes STATE_DIR/nightclass.db, brings it to the newest schema in one transaction. A
 * database of a newer program is refused (-EPROTO), a damaged one too (-EIO), with what to do next.
 * ":memory:" for tests. Typed verbs that change something return -ENOENT when the row they name is
 * not there. */
int store_open(const char *path, struct store **ret_store, struct error **err);
void store_close(struct store *store);
sqlite3 *store_db(struct store *store);

/* Transactions nest (the outermost commits). Handlers and drive steps run inside one. After a
 * rollback inside, the outermost commit fails with -ECANCELED. */
int store_begin(struct store *store, struct error **err);
int store_commit(struct store *store, struct error **err);
void store_rollback(struct store *store);
/* How most transactions end: r >= 0 commits, an error rolls back and stays the answer. */
int store_end(struct store *store, int r, struct error **err);

/* A statement from the cache with parameters bound in order by `types`: s text (NULL: null), i
 * int64_t, n null (takes no argument). Step it with store_step: 1 row, 0 done, -errno. store_finish
 * hands it back. */
int store_query(struct store *store, sqlite3_stmt **ret_stmt, struct error **err, const char *sql,
	const char *types, ...);
int store_step(struct store *store, sqlite3_stmt *stmt, struct error **err);
void store_finish(struct store *store, sqlite3_stmt *stmt);
/* The number in the first column of the first row; *ret_number stays as it is when there is none. */
int store_number(struct store *store, int64_t *ret_number, struct error **err, const char *sql,
	const char *types, ...);
/* Runs a statement without rows; ret_changes (may be NULL) gets the rows changed. A broken UNIQUE
 * is -EEXIST. */
int store_exec(struct store *store, int *ret_changes, struct error **err, const char *sql,
	const char *types, ...);
/* A write that a crash may take (a heartbeat): `sql` with the parameters value and key is run in a transaction that
 * begins about a second later, many together. The same key again replaces it. `sql` is kept by reference. */
void store_later(struct store *store, const char *sql, int64_t value, const char *key);
/* Column as a fresh string (caller frees; NULL for null) or borrowed until the next step. */
char *store_text(sqlite3_stmt *stmt, int column);

/* Appends an event in the current transaction; after the outermost commit the listener is told the
 * newest sequence number. `data` (may be NULL) is not consumed. */
int store_event(struct store *store, const char *kind, const char *subject, const json_t *data,
	struct error **err, const char *fmt, ...) PRINTF_LIKE(6, 7);
void store_on_event(struct store *store, void (*fn)(int64_t seq, void *arg), void *arg);

#endif
