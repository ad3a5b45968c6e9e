/* SPDX-License-Identifier: GPL-2.0-or-later */
/* libFuzzer on the control frames of a cast: every count stays within its array, and what was read
 * and written again reads as the same. */
#include "images/cast_frame.h"
#include "tests/fuzz/fuzz.h"

static void counts_check(const struct cast_frame *f)
{
	if ((f->kind == CAST_REPORT &&
		    (f->report.n_groups > CAST_GROUPS || f->report.n_chunks > CAST_BLOCK_CHUNKS)) ||
		(f->kind == CAST_STATUS && f->status.n_bytes > CAST_PAGE_BYTES) ||
		(f->kind == CAST_WANT && f->want.n > CAST_WANTS) ||
		(f->kind == CAST_DROP && f->drop.n_peers > CAST_PEERS) ||
		(f->kind == CAST_BLOCK && f->block.n_ranges > CAST_RANGES) ||
		(f->kind == CAST_HELLO && !memchr(f->hello.name, 0, sizeof(f->hello.name))))
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
	uint8_t once[CAST_FRAME_MAX], twice[CAST_FRAME_MAX];
	struct cast_frame frame, again;
	size_t n;

	if (cast_frame_read(bytes, len, &frame) < 0)
		return 0;
	counts_check(&frame);
	n = cast_frame_write(&frame, once);
	if (n > CAST_FRAME_MAX || cast_frame_read(once, n, &again) < 0 ||
		cast_frame_write(&again, twice) != n || memcmp(once, twice, n) != 0)
		abort();
	return 0;
}
