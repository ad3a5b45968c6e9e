/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Outside effects as wishes: "under this key, this should have been done". rethink() repeats its wishes; a
 * wish already fulfilled, or in flight, costs nothing. The work itself blocks and runs in a worker. */
#ifndef CONTROLLER_DRIVE_TASK_H
#define CONTROLLER_DRIVE_TASK_H

#include <stdbool.h>
#include <stdint.h>
#include "lib/error.h"
#include "lib/json.h"

struct tasks;
struct controller;

/* Runs in a worker; touches nothing but its arguments. 0 and an answer (or NULL), or -errno and a text. */
typedef int task_fn(json_t *input, json_t **ret_answer, struct error **err);

struct task_result {
	int code;	       /* 0 or -errno */
	const char *text;      /* of the error, "" without one */
	const json_t *answer;  /* borrowed, may be NULL */
	int64_t at_ms;	       /* clock_mono_ms when it ended */
};

struct tasks *tasks_new(struct controller *controller);
void tasks_free(struct tasks *tasks); /* results of what still runs are dropped when they come */

/* Wishes that fn(input) has been done under `key`. `identity` names what exactly is wished: another identity
 * under the same key starts anew (after the one that runs, never beside it). A success is repeated after
 * again_ms (0: never), a failure after retry_ms (0: never). Consumes `input`.
 * True when a result of this identity is there: ret_result (borrowed until the next call into tasks). When a
 * run ends, http_wake(key) and drive_kick follow. */
bool task_want(struct tasks *tasks, const char *key, const char *identity, int64_t again_ms, int64_t retry_ms,
	task_fn *fn, json_t *input, struct task_result *ret_result);
/* The answer of the run that ended last under a key, borrowed until the next call into tasks; NULL: none. */
const json_t *task_answer(struct tasks *tasks, const char *key);
/* Forgets the result under a key; what runs is finished but not remembered. */
void task_forget(struct tasks *tasks, const char *key);

#endif
