/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The way back to the desktop. */
#ifndef HOSTD_HANDBACK_H
#define HOSTD_HANDBACK_H

#include <stdbool.h>
#include <stdint.h>
#include "lib/error.h"

enum handback_stage {
	HANDBACK_NONE,
	HANDBACK_EMPTYING,  /* VMs are asked to end, then ended */
	HANDBACK_REPORTING, /* the last state is told to the controller, if it answers */
	HANDBACK_REBOOT,    /* now */
};
extern const char *const handback_names[];

enum {
	HANDBACK_SLACK_MS = 30000, /* for destroying and cleaning after the grace */
	HANDBACK_REPORT_MS = 5000, /* how long the last report may take */
};

struct handback_seen {
	bool called;	  /* the goal says desktop, or the lease has ended */
	bool empty;	  /* no VM of ours is left, and libvirt has said so */
	bool reported;	  /* the last report was answered */
	int64_t began_ms; /* when it was called */
	int64_t empty_ms; /* when it was empty first, or given up; -1: not yet */
	int64_t grace_ms; /* of the last goal */
	int64_t now_ms;
};

/* The stage that follows; *ret_next_ms: when to ask again at the latest, -1: on change only. Pure.
 */
enum handback_stage handback_next(
	enum handback_stage stage, const struct handback_seen *seen, int64_t *ret_next_ms);

/* Reboots: by reboot(2) after sync, or by running `command` to its end (at most 10 s). Returns only
 * on failure, or after the command (0). */
int handback_reboot(const char *command, struct error **err);

#endif
