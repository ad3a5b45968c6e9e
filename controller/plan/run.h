/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What is sent to a cluster to run a program on it. Pure renderers. */
#ifndef CONTROLLER_PLAN_RUN_H
#define CONTROLLER_PLAN_RUN_H

#include "controller/model/model.h"

/* How the script ends when the program did not reach every VM, and what it says then before anything else: a program
 * may end with the same code. */
enum { RUN_EXIT_STAGING = 250 };
#define RUN_NOT_STAGED "The program could not be copied to every VM"
/* A run whose session breaks off is asked to end, and killed so many seconds later. */
enum { RUN_END_GRACE_S = 5 };

struct run_plan {
	int64_t id;
	const char *name;	    /* plain file name of the program */
	const struct strings *args;
	uint64_t ranks, cpus;	    /* cpus: of one VM */
	struct prefix4 net;	    /* covers all VMs: Open MPI's interfaces */
	const struct vms *vms;	    /* that are ready, the one that starts the program first */
};

/* How many of the VMs take part: one per rank, at most all. */
size_t run_vms(const struct run_plan *plan);
/* "alice-001 slots=2" per VM that takes part; caller frees. */
char *plan_run_hostfile(const struct run_plan *plan);
/* The script that the first VM executes in $HOME/run-ID; caller frees. */
char *plan_run_script(const struct run_plan *plan);
/* The command line given to ssh: reads script, hostfile and program from standard input, in this order, and becomes the
 * script, to which the end of that input is the end of the run; caller frees. */
char *plan_run_command(const struct run_plan *plan, size_t script_len, size_t hostfile_len, size_t program_len);
/* One word of a POSIX shell that means exactly this text; appended. */
void shell_quote(struct buf *out, const char *text);

#endif
