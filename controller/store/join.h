/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Joins of labs in the store, members with them. */
#ifndef CONTROLLER_STORE_JOIN_H
#define CONTROLLER_STORE_JOIN_H

#include "controller/model/model.h"
#include "lib/error.h"

struct store;

int store_join_get(struct store *store, const char *id, struct join *ret_join, struct error **err);
/* Oldest first; open_only: proposed, prepared and committed ones. */
int store_join_list(
	struct store *store, bool open_only, struct joins *ret_joins, struct error **err);
/* A new one with its members, or all fields of a known one replaced. Event "join.state" when the
 * state differs. */
int store_join_put(struct store *store, const struct join *join, struct error **err);
/* reason NULL: "". Event "join.state" when state or reason differ. */
int store_join_set_state(struct store *store, const char *id, enum join_state state,
	const char *reason, struct error **err);
int store_join_set_member(struct store *store, const char *id, const char *lab,
	enum join_state state, struct error **err);
/* probes: JSON text. */
int store_join_set_probes(
	struct store *store, const char *id, const char *probes, struct error **err);
int store_join_set_expires(
	struct store *store, const char *id, int64_t expires, struct error **err);

#endif
