/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The ssh session that carries one run: fed with script, hostfile and program, its output kept in a file. */
#ifndef CONTROLLER_DRIVE_RUN_CHILD_H
#define CONTROLLER_DRIVE_RUN_CHILD_H

#include "controller/plan/run.h"
#include "lib/loop.h"

struct run_child;

enum { RUN_SIGNALED = 256 };
typedef void run_child_end_fn(int status, void *arg); /* exit code, or RUN_SIGNALED + signal */

/* Starts ssh to the first VM of the plan with DIR/key and DIR/known_hosts; output goes to DIR/output. on_output is
 * called when there is more of it; on_end once, last, from the loop (it may free the child). */
int run_child_start(struct loop *loop, const struct run_plan *plan, const char *dir, const char *program,
	loop_fn *on_output, run_child_end_fn *on_end, void *arg, struct run_child **ret_child,
	struct error **err);
/* Asks it to end; on_end follows. */
void run_child_end(struct run_child *child);
/* Kills what still runs. NULL is fine. */
void run_child_free(struct run_child *child);

#endif
