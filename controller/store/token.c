/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Bearer tokens as rows. A token is 256 random bits, so its plain SHA-256 is enough at rest: there
 * is nothing to guess, and looking it up by the digest tells an onlooker with a stopwatch about the
 * digest only. */
#include "controller/store/token.h"

#include "controller/store/store.h"

void token_done(struct token *token)
{
	free(token->name);
	free(token->role);
	free(token->digest);
	*token = (struct token){0};
}

void tokens_done(struct tokens *tokens)
{
	vec_each (struct token, token, tokens)
		token_done(token);
	vec_done(tokens);
}

static struct token read_row(sqlite3_stmt *stmt)
{
	return (struct token){.id = sqlite3_column_int64(stmt, 0),
		.name = store_text(stmt, 1),
		.role = store_text(stmt, 2),
		.digest = store_text(stmt, 3),
		.expires = sqlite3_column_int64(stmt, 4)};
}

int store_token_by_digest(
	struct store *store, const char *digest, struct token *ret_token, struct error **err)
{
	sqlite3_stmt *stmt = NULL;
	int r = store_query(store, &stmt, err,
		"SELECT id, name, role, digest, expires FROM token WHERE digest = ?", "s", digest);
	if (r < 0)
		return r;
	r = store_step(store, stmt, err);
	if (r > 0)
		*ret_token = read_row(stmt);
	store_finish(store, stmt);
	if (r == 0)
		return error_make(err, -ENOENT, "no such token");
	return r < 0 ? r : 0;
}

int store_token_list(struct store *store, struct tokens *ret_tokens, struct error **err)
{
	struct tokens tokens = {0};
	sqlite3_stmt *stmt = NULL;
	int r = store_query(store, &stmt, err,
		"SELECT id, name, role, digest, expires FROM token ORDER BY name", "");
	if (r < 0)
		return r;
	while ((r = store_step(store, stmt, err)) > 0)
		vec_push(&tokens, read_row(stmt));
	store_finish(store, stmt);
	if (r < 0) {
		tokens_done(&tokens);
		return r;
	}
	*ret_tokens = tokens;
	return 0;
}

int store_token_insert(
	struct store *store, const struct token *token, int64_t *ret_id, struct error **err)
{
	struct error *why = NULL;
	auto_free char *subject = xasprintf("token/%s", token->name);
	int r = store_begin(store, err);
	if (r < 0)
		return r;
	r = store_exec(store, NULL, &why,
		"INSERT INTO token(name, role, digest, expires) VALUES(?,?,?,nullif(?,0))", "sssi",
		token->name, token->role, token->digest, token->expires);
	int64_t id = sqlite3_last_insert_rowid(store_db(store));
	if (r == -EEXIST)
		error_field(err, r, "name",
			"there is a token %s already; remove it or choose another name",
			token->name);
	else if (r < 0)
		error_make(err, r, "%s", error_text(why, r));
	error_free(why);
	if (r >= 0)
		r = store_event(store, "token.added", subject, NULL, err,
			"token %s of role %s was made", token->name, token->role);
	r = store_end(store, r, err);
	if (r >= 0 && ret_id)
		*ret_id = id;
	return r;
}

int store_token_delete(struct store *store, const char *name, struct error **err)
{
	int changes = 0;
	int r = store_begin(store, err);
	if (r < 0)
		return r;
	r = store_exec(store, &changes, err, "DELETE FROM token WHERE name = ?", "s", name);
	if (r >= 0 && changes == 0)
		r = error_make(err, -ENOENT, "no token is named \"%s\"", name);
	if (r >= 0) {
		auto_free char *subject = xasprintf("token/%s", name);
		r = store_event(
			store, "token.removed", subject, NULL, err, "token %s was removed", name);
	}
	return store_end(store, r, err);
}
