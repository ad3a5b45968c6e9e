/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Program runs in the store. */
#ifndef CONTROLLER_STORE_RUN_H
#define CONTROLLER_STORE_RUN_H

#include "controller/model/model.h"
#include "lib/error.h"

struct store;

int store_run_get(struct store *store, int64_t id, struct run *ret_run, struct error **err);
/* Newest first; open_only: staging and running ones; cluster NULL: any. */
int store_run_list(struct store *store, bool open_only, const char *cluster, struct runs *ret_runs,
	struct error **err);
/* The id of the struct is ignored. Event "run.added". */
int store_run_insert(
	struct store *store, const struct run *run, int64_t *ret_id, struct error **err);
/* exit_code counts with RUN_DONE and RUN_FAILED, which also set ended; reason NULL: "". Event
 * "run.state". */
int store_run_set_state(struct store *store, int64_t id, enum run_state state, int exit_code,
	const char *reason, struct error **err);

#endif
