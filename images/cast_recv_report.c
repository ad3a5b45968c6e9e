/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the sender is told of a block: how many packets each group lacks, or that it is whole, or
 * that so much is missing that the block was given up and its chunks have to come again.
 *
 * Only how many counts, not which: any parity helps. A group of which all that is missing belongs
 * to chunks we have anyway lacks nothing. What can be rebuilt counts as here, so the answer does
 * not wait for a verifier; its chunks are promised, and if one then fails its check the next
 * status asks for it again.
 *
 * Both ends know by the same rule when a receiver is far behind; it frees the memory at once.
 */
#include "images/cast_recv_inside.h"

enum { LACKS_SHARE = 4 }; /* of a group: who lacks more than one in so many is far behind */

/* Chunks of a block that is not open: those not got. */
static void report_far(const struct receiver *receiver, const struct cast_layout *layout,
	struct cast_report *report)
{
	memset(report->need, 0, sizeof(report->need));
	report->far = true;
	report->n_groups = 0;
	report->n_chunks = layout->n;
	for (unsigned i = 0; i < layout->n; i++)
		cast_bit_set(report->need, i, !cast_bit(receiver->got, layout->at[i]));
}

/* What the groups lack. True: so much that the block is given up. */
static bool report_lacks(const struct recv_block *block, struct cast_report *report)
{
	unsigned sum = 0, groups = block->layout.groups;
	bool far = false;

	for (unsigned g = 0; g < groups; g++) {
		unsigned size = cast_group_size(block->layout.sources, groups, g);
		unsigned lost = size - block->present[g], lacks = 0;
		bool needed = lost > 0;
		uint8_t none;

		if (needed && block->sparse)
			recv_group_missing(block, g, &none, 0, &needed);
		if (needed && !block->rebuilding[g] && lost > block->n_parities[g])
			lacks = lost - block->n_parities[g];
		report->lacks[g] = (uint8_t)lacks;
		far |= lacks > size / LACKS_SHARE + 2;
		sum += lacks;
	}
	report->n_groups = (uint8_t)(sum ? groups : 0);
	return far;
}

static void report_open(
	struct receiver *receiver, struct recv_block *block, struct cast_report *report)
{
	/* All sources were sent before anybody was asked. */
	if (!block->late)
		recv_count_lost(receiver, block->layout.sources - block->next);
	block->next = block->layout.sources;
	if (report_lacks(block, report)) {
		memset(report->lacks, 0, sizeof(report->lacks));
		report_far(receiver, &block->layout, report);
		recv_block_close(receiver, block, false);
		return;
	}
	/* What will be rebuilt is promised, and must not be asked for in between. */
	if (report->n_groups == 0)
		for (unsigned i = 0; i < block->layout.n; i++)
			if (block->state[i] == CHUNK_AWAITED)
				recv_got(receiver, block->layout.at[i], true);
}

/* A block we have nothing of. */
static bool report_unknown(const struct receiver *receiver, const struct cast_block *what,
	const bool *closed, struct cast_report *report)
{
	static _Thread_local struct cast_layout layout;

	if (closed && *closed)
		return true;
	if (!what->of_plan && !receiver->planned)
		return false;
	if (cast_layout_make(what, &receiver->plan, receiver->welcome.plan_bytes, &layout) < 0)
		return false;
	if (what->of_plan ? recv_plan_lacks(receiver, &what->ranges[0]) : true)
		report_far(receiver, &layout, report);
	for (unsigned i = 0; i < layout.n; i++)
		if (cast_bit(report->need, i))
			return true;
	report->far = what->of_plan && report->far;
	report->n_chunks = 0;
	return true;
}

bool recv_block_what(
	struct receiver *receiver, const struct cast_block *what, struct cast_report *ret_report)
{
	struct recv_block *block = recv_block_find(receiver, what->block);
	const bool *closed = block ? NULL : recv_closed_find(receiver, what->block);

	memset(ret_report, 0, sizeof(*ret_report));
	ret_report->block = what->block;
	ret_report->round = what->round;
	if (what->image != receiver->welcome.image) {
		if (block && !block->laid)
			recv_block_close(receiver, block, true);
		else if (!block && !closed)
			recv_closed_add(receiver, what->block, true);
		return false;
	}
	if (!block && !closed && what->round == CAST_SILENT)
		block = recv_block_open(receiver, what->block);
	if (block && !block->laid && !block->closing) {
		block->what = *what;
		if (what->of_plan || receiver->planned)
			recv_block_lay(receiver, block);
	}
	if (what->round == CAST_SILENT)
		return false;
	if (block && block->open && block->laid && !block->closing)
		report_open(receiver, block, ret_report);
	else if (!report_unknown(
			 receiver, what, recv_closed_find(receiver, what->block), ret_report))
		return false;
	ret_report->count = receiver->count;
	return true;
}
