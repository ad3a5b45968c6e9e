/* SPDX-License-Identifier: GPL-2.0-or-later */
/* One SQLite connection, its statements and its transactions.
 *
 * WAL with synchronous=FULL: a commit that returned is on the disk, so what the API acknowledged
 * after it survives a power cut. There is one connection, used by the loop thread alone; so there
 * is no locking here. Transactions nest by counting: handlers open one and call verbs that open
 * their own, and only the outermost really commits. A rollback inside dooms the whole, because half
 * of a change is worse than none.
 *
 * Prepared statements are kept by their text. One that is in use (a query inside the loop over the
 * same query) is prepared a second time and finalised at its end. Texts are constants of our own;
 * values are bound, never printed into SQL.
 *
 * Heartbeats would cost a flush of the disk each; what they write may be lost in a crash, so they
 * wait for a transaction that comes anyway (store_later), a second's worth of them at once.
 *
 * Events are appended in the transaction of what they tell of; the listener hears of them after the
 * commit. */
#include "controller/store/store.h"

#include <stdarg.h>
#include "controller/store/migrations.h"
#include "lib/clock.h"
#include "lib/vec.h"

enum { BUCKETS = 256, BUSY_MS = 5000, LATER_MS = 1000 };

struct statement {
	struct statement *next;
	sqlite3_stmt *stmt;
	bool in_use;
};

struct later {
	const char *sql;
	char *key;
	int64_t value;
};
VEC_OF(laters, struct later);

struct store {
	sqlite3 *db;
	struct laters laters;
	int64_t later_ms; /* when they are written at the earliest */
	struct statement *statements[BUCKETS];
	unsigned depth;
	bool doomed;
	int64_t last_event;
	void (*on_event)(int64_t seq, void *arg);
	void *arg;
};

sqlite3 *store_db(struct store *store)
{
	return store->db;
}

static int fail(struct store *store, struct error **err, const char *what)
{
	const char *text = sqlite3_errmsg(store->db);
	switch (sqlite3_extended_errcode(store->db)) {
	case SQLITE_CONSTRAINT_UNIQUE:
	case SQLITE_CONSTRAINT_PRIMARYKEY:
		return error_make(err, -EEXIST, "%s: %s", what, text);
	case SQLITE_CONSTRAINT_FOREIGNKEY:
		return error_make(
			err, -EBUSY, "%s: another row needs it, or one it needs is missing", what);
	default:
		break;
	}
	switch (sqlite3_errcode(store->db)) {
	case SQLITE_FULL:
		return error_make(err, -ENOSPC,
			"%s: the disk is full; make room in the controller's state directory",
			what);
	case SQLITE_BUSY:
	case SQLITE_LOCKED:
		return error_make(
			err, -EAGAIN, "%s: the database is in use by another program", what);
	case SQLITE_READONLY:
		return error_make(err, -EROFS, "%s: the database cannot be written", what);
	case SQLITE_CONSTRAINT:
		return error_make(err, -EINVAL, "%s: %s", what, text);
	default:
		return error_make(err, -EIO, "%s: %s", what, text);
	}
}

static int run_text(struct store *store, const char *sql, struct error **err)
{
	if (sqlite3_exec(store->db, sql, NULL, NULL, NULL) != SQLITE_OK)
		return fail(store, err, "database");
	return 0;
}

static int check_whole(struct store *store, const char *path, struct error **err)
{
	sqlite3_stmt *stmt = NULL;
	int r = store_query(store, &stmt, err, "PRAGMA quick_check(1)", "");
	if (r >= 0)
		r = store_step(store, stmt, err);
	if (r > 0) {
		const char *verdict = (const char *)sqlite3_column_text(stmt, 0);
		r = verdict && strcmp(verdict, "ok") == 0 ? 0
							  : error_make(err, -EIO, "%s", verdict);
	}
	if (stmt)
		store_finish(store, stmt);
	if (r < 0)
		return error_wrap(err, r,
			"%s is damaged; stop the controller, put the newest backup in its place "
			"and start it",
			path);
	return 0;
}

static int migrate(struct store *store, const char *path, struct error **err)
{
	int64_t version = 0;
	int r = store_number(store, &version, err, "PRAGMA user_version", "");
	if (r < 0)
		return r;
	if ((size_t)version > n_migrations)
		return error_make(err, -EPROTO,
			"%s was written by a newer nightclassd (schema %d, this one knows %zu); "
			"install that one again",
			path, (int)version, n_migrations);
	if ((size_t)version == n_migrations)
		return 0;
	r = run_text(store, "BEGIN IMMEDIATE", err);
	for (size_t i = (size_t)version; r >= 0 && i < n_migrations; i++)
		r = run_text(store, migrations[i], err);
	if (r >= 0) {
		auto_free char *stamp = xasprintf("PRAGMA user_version = %zu", n_migrations);
		r = run_text(store, stamp, err);
	}
	if (r >= 0)
		r = run_text(store, "COMMIT", err);
	if (r < 0) {
		sqlite3_exec(store->db, "ROLLBACK", NULL, NULL, NULL);
		return error_wrap(err, r, "%s: cannot bring it to schema %zu", path, n_migrations);
	}
	return 0;
}

int store_open(const char *path, struct store **ret_store, struct error **err)
{
	struct store *store = xnew(struct store);
	int r = 0;
	if (sqlite3_open_v2(path, &store->db,
		    SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX,
		    NULL) != SQLITE_OK) {
		r = error_make(err, -EIO, "%s: %s", path, sqlite3_errmsg(store->db));
	} else {
		sqlite3_extended_result_codes(store->db, 1);
		sqlite3_busy_timeout(store->db, BUSY_MS);
		r = check_whole(store, path, err);
	}
	if (r >= 0)
		r = run_text(store,
			"PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA foreign_keys=ON;"
			"PRAGMA trusted_schema=OFF; PRAGMA secure_delete=ON",
			err);
	if (r >= 0)
		r = migrate(store, path, err);
	if (r < 0) {
		store_close(store);
		return r;
	}
	*ret_store = store;
	return 0;
}

static void drop_laters(struct store *store)
{
	vec_each (struct later, later, &store->laters)
		free(later->key);
	store->laters.n = 0;
}

void store_close(struct store *store)
{
	if (!store)
		return;
	for (size_t i = 0; i < BUCKETS; i++) {
		for (struct statement *s = store->statements[i]; s;) {
			struct statement *next = s->next;
			sqlite3_finalize(s->stmt);
			free(s);
			s = next;
		}
	}
	drop_laters(store);
	vec_done(&store->laters);
	sqlite3_close(store->db);
	free(store);
}

static void settle(struct store *store)
{
	store->doomed = false;
	if (!sqlite3_get_autocommit(store->db))
		sqlite3_exec(store->db, "ROLLBACK", NULL, NULL, NULL);
	store->last_event = 0;
}

void store_later(struct store *store, const char *sql, int64_t value, const char *key)
{
	vec_each (struct later, later, &store->laters) {
		if (later->sql == sql && strcmp(later->key, key) == 0) {
			later->value = value;
			return;
		}
	}
	if (store->laters.n == 0)
		store->later_ms = clock_mono_ms() + LATER_MS;
	vec_push(&store->laters, ((struct later){.sql = sql, .key = xstrdup(key), .value = value}));
}

/* In the transaction that has just begun. */
static int write_laters(struct store *store, struct error **err)
{
	int r = 0;
	vec_each (struct later, later, &store->laters)
		if (r >= 0)
			r = store_exec(
				store, NULL, err, later->sql, "is", later->value, later->key);
	drop_laters(store);
	return r;
}

int store_begin(struct store *store, struct error **err)
{
	if (store->depth == 0) {
		int r = run_text(store, "BEGIN", err);
		if (r < 0)
			return r;
		if (store->laters.n && clock_mono_ms() >= store->later_ms)
			r = write_laters(store, err);
		if (r < 0) {
			settle(store);
			return r;
		}
	}
	store->depth++;
	return 0;
}

int store_commit(struct store *store, struct error **err)
{
	if (--store->depth > 0)
		return 0;
	if (store->doomed) {
		settle(store);
		return error_make(
			err, -ECANCELED, "a part of the change failed, nothing was changed");
	}
	int r = run_text(store, "COMMIT", err);
	if (r < 0) {
		settle(store);
		return r;
	}
	int64_t seq = store->last_event;
	store->last_event = 0;
	if (seq > 0 && store->on_event)
		store->on_event(seq, store->arg);
	return 0;
}

void store_rollback(struct store *store)
{
	if (--store->depth > 0)
		store->doomed = true;
	else
		settle(store);
}

int store_end(struct store *store, int r, struct error **err)
{
	if (r < 0) {
		store_rollback(store);
		return r;
	}
	return store_commit(store, err);
}

static unsigned bucket_of(const char *sql)
{
	unsigned hash = 5381;
	for (; *sql; sql++)
		hash = hash * 33 + (unsigned char)*sql;
	return hash % BUCKETS;
}

static int prepare(
	struct store *store, const char *sql, sqlite3_stmt **ret_stmt, struct error **err)
{
	struct statement **bucket = &store->statements[bucket_of(sql)];
	bool known = false;
	for (struct statement *s = *bucket; s; s = s->next) {
		if (strcmp(sqlite3_sql(s->stmt), sql) != 0)
			continue;
		known = true;
		if (!s->in_use) {
			s->in_use = true;
			*ret_stmt = s->stmt;
			return 0;
		}
	}
	sqlite3_stmt *stmt = NULL;
	if (sqlite3_prepare_v3(store->db, sql, -1, SQLITE_PREPARE_PERSISTENT, &stmt, NULL) !=
		SQLITE_OK)
		return fail(store, err, "database");
	if (!known) {
		struct statement *s = xnew(struct statement);
		*s = (struct statement){.next = *bucket, .stmt = stmt, .in_use = true};
		*bucket = s;
	}
	*ret_stmt = stmt;
	return 0;
}

void store_finish(struct store *store, sqlite3_stmt *stmt)
{
	for (struct statement *s = store->statements[bucket_of(sqlite3_sql(stmt))]; s;
		s = s->next) {
		if (s->stmt == stmt) {
			sqlite3_reset(stmt);
			sqlite3_clear_bindings(stmt);
			s->in_use = false;
			return;
		}
	}
	sqlite3_finalize(stmt);
}

static void bind_all(sqlite3_stmt *stmt, const char *types, va_list args)
{
	for (int i = 1; *types; types++, i++) {
		const char *text = NULL;
		switch (*types) {
		case 's':
			text = va_arg(args, const char *);
			if (text)
				sqlite3_bind_text(stmt, i, text, -1, SQLITE_TRANSIENT);
			else
				sqlite3_bind_null(stmt, i);
			break;
		case 'i':
			sqlite3_bind_int64(stmt, i, va_arg(args, int64_t));
			break;
		default:
			sqlite3_bind_null(stmt, i);
			break;
		}
	}
}

static int query(struct store *store, sqlite3_stmt **ret_stmt, struct error **err, const char *sql,
	const char *types, va_list args)
{
	sqlite3_stmt *stmt = NULL;
	int r = prepare(store, sql, &stmt, err);
	if (r < 0)
		return r;
	bind_all(stmt, types, args);
	*ret_stmt = stmt;
	return 0;
}

int store_query(struct store *store, sqlite3_stmt **ret_stmt, struct error **err, const char *sql,
	const char *types, ...)
{
	va_list args;
	va_start(args, types);
	int r = query(store, ret_stmt, err, sql, types, args);
	va_end(args);
	return r;
}

int store_number(struct store *store, int64_t *ret_number, struct error **err, const char *sql,
	const char *types, ...)
{
	sqlite3_stmt *stmt = NULL;
	va_list args;
	va_start(args, types);
	int r = query(store, &stmt, err, sql, types, args);
	va_end(args);
	if (r < 0)
		return r;
	r = store_step(store, stmt, err);
	if (r > 0)
		*ret_number = sqlite3_column_int64(stmt, 0);
	store_finish(store, stmt);
	return r < 0 ? r : 0;
}

int store_step(struct store *store, sqlite3_stmt *stmt, struct error **err)
{
	int code = sqlite3_step(stmt);
	if (code == SQLITE_ROW)
		return 1;
	if (code == SQLITE_DONE)
		return 0;
	return fail(store, err, "database");
}

int store_exec(struct store *store, int *ret_changes, struct error **err, const char *sql,
	const char *types, ...)
{
	sqlite3_stmt *stmt = NULL;
	va_list args;
	va_start(args, types);
	int r = query(store, &stmt, err, sql, types, args);
	va_end(args);
	if (r < 0)
		return r;
	r = store_step(store, stmt, err);
	store_finish(store, stmt);
	if (r < 0)
		return r;
	if (ret_changes)
		*ret_changes = sqlite3_changes(store->db);
	return 0;
}

char *store_text(sqlite3_stmt *stmt, int column)
{
	return xstrdup((const char *)sqlite3_column_text(stmt, column));
}

int store_event(struct store *store, const char *kind, const char *subject, const json_t *data,
	struct error **err, const char *fmt, ...)
{
	char *text = NULL;
	va_list args;
	va_start(args, fmt);
	int n = vasprintf(&text, fmt, args);
	va_end(args);
	if (n < 0)
		abort();
	auto_free char *owned = text;
	auto_free char *data_text = data ? json_text(data) : NULL;

	int r = store_begin(store, err);
	if (r < 0)
		return r;
	r = store_exec(store, NULL, err,
		"INSERT INTO event(at, kind, subject, text, data) VALUES(?,?,?,?,?)", "issss",
		clock_wall(), kind, subject, text, data_text);
	if (r < 0) {
		store_rollback(store);
		return r;
	}
	store->last_event = sqlite3_last_insert_rowid(store->db);
	return store_commit(store, err);
}

void store_on_event(struct store *store, void (*fn)(int64_t seq, void *arg), void *arg)
{
	store->on_event = fn;
	store->arg = arg;
}
