/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Nights in the store. */
#ifndef CONTROLLER_STORE_NIGHT_H
#define CONTROLLER_STORE_NIGHT_H

#include "controller/model/model.h"
#include "lib/error.h"

struct store;

int store_night_get(struct store *store, int64_t id, struct night *ret_night, struct error **err);
/* The one that is running or ending; -ENOENT: none. */
int store_night_current(struct store *store, struct night *ret_night, struct error **err);
/* Newest first; open_only: without those that are done. */
int store_night_list(
	struct store *store, bool open_only, struct nights *ret_nights, struct error **err);
/* The id of the struct is ignored. Event "night.planned". */
int store_night_insert(
	struct store *store, const struct night *night, int64_t *ret_id, struct error **err);
/* Event "night.state" when it differs. */
int store_night_set_state(
	struct store *store, int64_t id, enum night_state state, struct error **err);
int store_night_set_ends(struct store *store, int64_t id, int64_t ends, struct error **err);
/* report: JSON text. */
int store_night_set_report(struct store *store, int64_t id, const char *report, struct error **err);

#endif
