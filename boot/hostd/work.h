/* SPDX-License-Identifier: GPL-2.0-or-later */
/* One step of reconcile, done in a worker. */
#ifndef HOSTD_WORK_H
#define HOSTD_WORK_H

#include "boot/hostd/hold.h"
#include "boot/hostd/vm.h"
#include "lib/loop.h"

/* A step that came to its end; lives until the callback returns. */
struct work_end {
	enum step_kind kind;
	const char *subject;
	int rc;
	const struct error *err;
	int64_t began_ms; /* for MAKE: when the domain was started */
};
typedef void work_fn(const struct work_end *end, void *arg);

struct work_wanted {
	const struct step *step;
	struct hold_progress *progress; /* of a fetch, else NULL; must live until fn */
	bool record; /* of a VM to be made: as vm_make takes it */
};

/* Copies what the step needs of `goal` (its VM, its chunk URL), runs it in a worker and calls fn on
 * the loop thread. `place` must live as long as the loop. */
void work_start(struct loop *loop, const struct vm_place *place, const struct proto_goal *goal,
	const struct work_wanted *wanted, work_fn *fn, void *arg);
/* Calls the backend's warm in a worker. */
void work_warm(struct loop *loop, struct vm_place *place);

#endif
