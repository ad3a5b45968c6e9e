/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What this host tells the controller about itself. Pure. */
#ifndef HOSTD_REPORT_H
#define HOSTD_REPORT_H

#include "boot/hostd/reconcile.h"

struct report_view {
	const struct proto_facts *facts;
	const struct proto_goal *goal; /* NULL: none yet */
	const struct host_seen *seen;
	bool leaving;
	const char *problem; /* NULL: none */
	uint64_t load_permille;
	const char *scratch; /* why the scratch partition is not used, NULL: it is, or none was named */
};

/* The report as JSON text; caller frees. */
char *report_text(const struct report_view *view);
/* What of it must be told at once when it changes: everything but load and the bytes of a running
 * fetch. Caller frees. */
char *report_signature(const struct report_view *view);
/* The state of one VM of the goal, and why (borrowed or in `buffer`), NULL when nothing is to be
 * said. */
enum { REASON_MAX = 400 };
enum proto_vm_state report_vm_state(const struct proto_vm *vm, const struct host_seen *seen,
	char buffer[REASON_MAX], const char **ret_reason);
/* `text` as one line of at most REASON_MAX - 1 bytes; caller frees. */
char *report_clip(const char *text);

#endif
