/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Program runs over a cluster. */
#ifndef CONTROLLER_DRIVE_RUNS_H
#define CONTROLLER_DRIVE_RUNS_H

#include "controller/drive/state.h"

enum { RUN_OUTPUT_MAX = 64 << 20 };

/* Runs that were in flight when the daemon ended are failed with that reason; their keys are removed. */
int runs_after_restart(struct controller *controller, struct error **err);
/* At the end of the daemon: children get SIGTERM. */
void runs_stop(struct drive *drive);
/* STATE_DIR/runs/ID or, with a name, STATE_DIR/runs/ID/NAME; caller frees. */
char *run_path(struct controller *controller, int64_t id, const char *name);
/* STATE_DIR/incoming/SHA256, where finished uploads lie; caller frees. */
char *run_program_path(struct controller *controller, const char *sha256);

#endif
