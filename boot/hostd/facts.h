/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What this PC is. */
#ifndef HOSTD_FACTS_H
#define HOSTD_FACTS_H

#include "boot/hostd/options.h"
#include "lib/proto.h"

/* The kernel's boot id, or the option's; caller frees. */
int facts_boot_id(const struct hostd_options *options, char **ret_id, struct error **err);

/* Gathers all facts; runs the virtualisation probe unless the options say which to use. boot_ms is
 * given by the caller, who knows when the first hostd of this boot started. Blocks as long as the probe;
 * for worker threads. Freed by facts_done. */
int facts_gather(const struct hostd_options *options, uint64_t boot_ms,
	struct proto_facts *ret_facts, struct error **err);
void facts_done(struct proto_facts *facts);

#endif
