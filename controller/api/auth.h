/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Tokens: how they are made and how they are kept. */
#ifndef CONTROLLER_API_AUTH_H
#define CONTROLLER_API_AUTH_H

#include <stdint.h>
#include "lib/error.h"
#include "lib/hash.h"

struct controller;
struct store;

/* The digest under which a token is kept. */
const char *token_digest(const char *token, char ret_text[SHA256_TEXT]);
/* Makes and stores a token; ret_token (caller frees) is the only time anybody sees it. expires 0:
 * never. */
int token_make(struct store *store, const char *name, const char *role, int64_t expires,
	char **ret_token, struct error **err);
/* At first start: an admin token into `path` (0600). Nothing when the file is there and any token
 * exists. */
int token_first(struct store *store, const char *path, struct error **err);
/* Two sessions claim one PC: all of them are held, the PC is an exception until an operator
 * releases it. */
int session_hold(
	struct controller *controller, const char *pc, const char *why, struct error **err);

#endif
