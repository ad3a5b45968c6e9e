/* SPDX-License-Identifier: GPL-2.0-or-later */
/* How one cap is divided among the connections that files go out by. Pure. */
#ifndef CONTROLLER_PLAN_SHARES_H
#define CONTROLLER_PLAN_SHARES_H

#include "lib/vec.h"

#define SHARE_ALL UINT64_MAX

struct share {
	void *of;      /* the caller's; not looked at */
	uint64_t rate; /* bytes a second that it may take */
	uint64_t want; /* bytes a second that it would take, or SHARE_ALL */
};
VEC_OF(shares, struct share *);

/* Judges what a connection wants by the `bytes` that its peer took in the last `ms` milliseconds (not 0): who takes
 * half of its rate or more wants all it can get, who takes less wants no more than twice that. */
void plan_share_seen(struct share *share, uint64_t bytes, uint64_t ms);
/* Gives each its rate, by `want` alone. They come to no more than `cap` bytes a second; those who want more than the
 * others get equal parts, and none gets less than an eighth of an equal part. */
void plan_shares(const struct shares *shares, uint64_t cap);

#endif
