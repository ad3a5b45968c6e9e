/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Answers kept under the caller's Idempotency-Key, in the transaction of the change they answer. */
#ifndef CONTROLLER_STORE_IDEMPOTENCY_H
#define CONTROLLER_STORE_IDEMPOTENCY_H

#include <stdint.h>
#include "lib/error.h"

struct store;

/* 1: the same request was answered before, ret_status and ret_answer (caller frees) say how. 0: a
 * new key. -EEXIST: the key was used for another request. `request` is the SHA-256 of method, path
 * and body. */
int store_idempotency_find(struct store *store, const char *key, int64_t token, const char *request,
	int *ret_status, char **ret_answer, struct error **err);
/* Keeps the answer; those older than a day are dropped. */
int store_idempotency_keep(struct store *store, const char *key, int64_t token, const char *request,
	int status, const char *answer, struct error **err);

#endif
