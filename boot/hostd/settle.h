/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What has to be settled before a host does anything: who it is, and what its disk keeps. In
 * workers. */
#ifndef HOSTD_SETTLE_H
#define HOSTD_SETTLE_H

#include "boot/hostd/enrol.h"
#include "boot/hostd/options.h"
#include "boot/hostd/scratch.h"
#include "lib/loop.h"
#include "lib/proto.h"

struct enrol_end {
	struct proto_facts facts; /* now the receiver's; empty when they could not be gathered */
	struct identity identity; /* with rc 0, now the receiver's */
	int rc;
	const struct error *err;
};
typedef void enrol_end_fn(const struct enrol_end *end, void *arg);

/* Gathers the facts (unless `known` has them: then they are moved on), takes the identity of this
 * boot from run_dir or enrols for one. fn is called on the loop thread. */
void enrol_start(struct loop *loop, const struct hostd_options *options, uint64_t boot_ms,
	const struct proto_facts *known, enrol_end_fn *fn, void *arg);

struct scratch_end {
	struct scratch scratch;	    /* with rc 0, now the receiver's */
	struct image_tracks images; /* what lies there, measured, not verified; likewise */
	int rc;
	const struct error *err;
};
typedef void scratch_end_fn(const struct scratch_end *end, void *arg);

/* Opens the partition that the options name. fn is called on the loop thread. */
void scratch_start(
	struct loop *loop, const struct hostd_options *options, scratch_end_fn *fn, void *arg);

#endif
