/* SPDX-License-Identifier: GPL-2.0-or-later */
/* How long to wait before the next try: doubling, capped, with jitter, so that a classroom of hosts
 * does not knock in step after the controller came back. Pure: the caller brings the random number.
 */
#ifndef HOSTD_BACKOFF_H
#define HOSTD_BACKOFF_H

#include <stdint.h>

enum { BACKOFF_FIRST_MS = 1000, BACKOFF_CAP_MS = 30000 };

/* Milliseconds until try number `failures` + 1; `failures` >= 1. Between half and all of
 * min(1 s * 2^(failures-1), 30 s). */
static inline int64_t backoff_ms(unsigned failures, uint32_t random)
{
	int64_t whole = BACKOFF_FIRST_MS;
	for (unsigned i = 1; i < failures && whole < BACKOFF_CAP_MS; i++)
		whole *= 2;
	if (whole > BACKOFF_CAP_MS)
		whole = BACKOFF_CAP_MS;
	return whole / 2 + (int64_t)(random % (uint32_t)(whole / 2 + 1));
}

#endif
