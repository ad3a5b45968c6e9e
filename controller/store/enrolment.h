/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Host sessions that asked to be let in: one row per boot id. */
#ifndef CONTROLLER_STORE_ENROLMENT_H
#define CONTROLLER_STORE_ENROLMENT_H

#include <stdbool.h>
#include <stdint.h>
#include "lib/error.h"
#include "lib/vec.h"

struct store;

struct enrolment {
	char *boot_id, *pc;
	char *token;	 /* SHA-256 of the one-time token */
	int64_t expires; /* of the token */
	bool used;
	char *certificate; /* SHA-256 of the public key that was certified, "" before */
	bool held;	   /* a second session claimed the same PC: neither is served */
};
VEC_OF(enrolments, struct enrolment);
void enrolment_done(struct enrolment *enrolment);
void enrolments_done(struct enrolments *enrolments);

/* Each -ENOENT when there is none. */
int store_enrolment_by_token(struct store *store, const char *digest,
	struct enrolment *ret_enrolment, struct error **err);
int store_enrolment_by_certificate(struct store *store, const char *key_id,
	struct enrolment *ret_enrolment, struct error **err);
int store_enrolment_list(
	struct store *store, const char *pc, struct enrolments *ret_enrolments, struct error **err);
/* A new session, or a new token for a known one; what the session used before stays. */
int store_enrolment_put(struct store *store, const struct enrolment *enrolment, struct error **err);
/* The token is spent, this key speaks for the session. Again with the same key is success (its answer may have
 * been lost), with another one -EACCES. */
int store_enrolment_use(
	struct store *store, const char *boot_id, const char *certificate, struct error **err);
/* All sessions of the PC are held. Event "enrol.held". */
int store_enrolment_hold(struct store *store, const char *pc, const char *why, struct error **err);
/* The sessions of the PC are forgotten: their certificates are worth nothing from now on. */
int store_enrolment_forget(struct store *store, const char *pc, struct error **err);

#endif
