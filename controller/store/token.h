/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Bearer tokens in the store: only their SHA-256, name, role and expiry are kept. */
#ifndef CONTROLLER_STORE_TOKEN_H
#define CONTROLLER_STORE_TOKEN_H

#include <stdint.h>
#include "lib/error.h"
#include "lib/vec.h"

struct store;

struct token {
	int64_t id;
	char *name, *role; /* a name of role_names (api/auth.h) */
	char *digest;	   /* SHA-256 of the token's text */
	int64_t expires;   /* Unix seconds, 0: never */
};
VEC_OF(tokens, struct token);
void token_done(struct token *token);
void tokens_done(struct tokens *tokens);

int store_token_by_digest(
	struct store *store, const char *digest, struct token *ret_token, struct error **err);
int store_token_list(struct store *store, struct tokens *ret_tokens, struct error **err);
/* -EEXIST when the name is taken. Events "token.added", "token.removed"; the texts hold no secret.
 */
int store_token_insert(
	struct store *store, const struct token *token, int64_t *ret_id, struct error **err);
int store_token_delete(struct store *store, const char *name, struct error **err);

#endif
