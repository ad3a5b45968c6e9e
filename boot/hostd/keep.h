/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What a hostd that is started again in the same boot must still know. */
#ifndef HOSTD_KEEP_H
#define HOSTD_KEEP_H

#include <stdbool.h>
#include "lib/error.h"
#include "lib/proto.h"

struct keep {
	char *boot_id;
	int64_t boot_ms;     /* clock_mono when the first hostd of this boot started */
	int64_t deadline_ms; /* clock_mono at which this host leaves by itself, whatever it is told
				later */
	int64_t leaving_ms;  /* clock_mono when hand-back began, -1: not; it is never taken back */
	bool has_goal;
	struct proto_goal goal; /* the last one received */
};

/* Reads RUN_DIR/keep.json. -ENOENT: there is none of this boot. Freed by keep_done. */
int keep_load(const char *run_dir, const char *boot_id, struct keep *ret_keep, struct error **err);
/* Writes it, whole, mode 0600 (the goal holds the night's keys). */
int keep_save(const char *run_dir, const struct keep *keep, struct error **err);
void keep_done(struct keep *keep);

#endif
