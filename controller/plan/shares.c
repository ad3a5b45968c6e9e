/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Equal parts would let a stranger take most of the wire away from the PCs without using it: by connections that
 * ask for a file and do not read it. So each gets what it was seen to take, and what is over goes in equal parts to
 * those who take all they get. One that took little is given room to double, and an eighth of an equal part in any
 * case: a PC that slept for a moment is back at once, and those who sleep for good cost the others an eighth of the
 * cap, however many they are.
 *
 * Must not look at sockets or clocks (api/pacing.c does), and must not give more than there is. */
#include "controller/plan/shares.h"

enum { LEAST_PART = 8, ROUNDS = 8 };

void plan_share_seen(struct share *share, uint64_t bytes, uint64_t ms)
{
	uint64_t took = bytes * 1000 / ms;

	share->want = took < share->rate / 2 ? took * 2 : SHARE_ALL;
}

/* Serves those who want less than `part` and have nothing yet; what they leave is for the others. */
static void serve_modest(const struct shares *shares, uint64_t part, uint64_t least, uint64_t *left, size_t *open)
{
	vec_each (struct share *, at, shares) {
		struct share *share = *at;
		uint64_t want = share->want > least ? share->want : least;

		if (share->rate || want >= part)
			continue;
		share->rate = want;
		*left -= want;
		--*open;
	}
}

void plan_shares(const struct shares *shares, uint64_t cap)
{
	uint64_t left = cap, least = shares->n ? cap / shares->n / LEAST_PART : 0, rest = 0;
	size_t open = shares->n;

	if (!least)
		least = 1; /* a rate of 0 means: not served yet */

	vec_each (struct share *, at, shares)
		(*at)->rate = 0;
	/* the last rounds move next to nothing: so many bound the work for thousands of connections */
	for (size_t round = 0, before = 0; round < ROUNDS && open && open != before; round++) {
		before = open;
		serve_modest(shares, left / open, least, &left, &open);
	}
	rest = shares->n ? left / (open ? open : shares->n) : 0;
	vec_each (struct share *, at, shares)
		if (!open || !(*at)->rate)
			(*at)->rate += rest;
}
