/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The receiver's plan: pieces come as blocks like any others, together they are unpacked, checked
 * against the digest that the goal named, and make the image that this host begins to hold.
 *
 * From then on one bit per entry says whether it is got: in place, on its way through the second
 * thread, or promised by a block whose lost packets will be rebuilt. What is not got is needed, and
 * that is all the sender ever hears.
 *
 * Others put chunks into the same image meanwhile (a fetch over HTTP, the disk of a VM that runs
 * already), so it is looked through now and then.
 *
 * Kernel and initrd are first in every plan. Who comes when they have gone by would have them last,
 * and no VM could start before: they are wanted then, as a VM wants what it reads.
 */
#include "images/cast_recv_inside.h"

enum { PLAN_BYTES_MAX = 80 << 20, WRONG_PLANS = 3 };

static uint32_t pieces(const struct receiver *receiver)
{
	return (receiver->welcome.plan_bytes + CAST_BLOCK_BYTES - 1) / CAST_BLOCK_BYTES;
}

int recv_plan_begin(struct receiver *receiver)
{
	if (receiver->welcome.plan_bytes > PLAN_BYTES_MAX)
		return -EBADMSG;
	free(receiver->plan_bytes);
	free(receiver->plan_have);
	receiver->plan_bytes = xcalloc(1, receiver->welcome.plan_bytes);
	receiver->plan_have = xcalloc(pieces(receiver), 1);
	receiver->plan_left = pieces(receiver);
	return 0;
}

void recv_plan_done(struct receiver *receiver)
{
	free(receiver->plan_bytes);
	free(receiver->plan_have);
	free(receiver->entry_of);
	free(receiver->got);
	cast_plan_done(&receiver->plan);
	held_close(receiver->held);
}

bool recv_plan_lacks(const struct receiver *receiver, const struct cast_range *range)
{
	uint32_t piece = range->first / CAST_BLOCK_BYTES;
	uint32_t left = receiver->welcome.plan_bytes - range->first;

	/* Any other way to cut it is not how a sender cuts. */
	return !receiver->planned && range->first % CAST_BLOCK_BYTES == 0 &&
	       range->count == (left < CAST_BLOCK_BYTES ? left : CAST_BLOCK_BYTES) &&
	       !receiver->plan_have[piece];
}

void recv_got(struct receiver *receiver, uint32_t at, bool got)
{
	bool was = cast_bit(receiver->got, at);

	cast_bit_set(receiver->got, at, got);
	receiver->n_needed += (uint32_t)was - (uint32_t)got;
}

static bool entry_held(const struct receiver *receiver, uint32_t at)
{
	for (uint32_t n = receiver->plan.at[at].number; n != CAST_NONE; n = receiver->plan.same[n])
		if (!held_has(receiver->held, n))
			return false;
	return true;
}

void recv_plan_look(struct receiver *receiver)
{
	for (uint32_t i = 0; i < receiver->plan.n && receiver->n_needed > 0; i++)
		if (!cast_bit(receiver->got, i) && entry_held(receiver, i)) {
			recv_got(receiver, i, true);
			recv_chunk_needless(receiver, i);
		}
}

void recv_plan_passed(struct receiver *receiver, uint32_t first)
{
	if (first == 0)
		return;
	for (size_t n = held_number(receiver->held, PART_KERNEL, 0); n < receiver->plan.n_chunks;
		n++) {
		uint32_t at = receiver->entry_of[n];

		if (at < first && !cast_bit(receiver->got, at) && !recv_block_brings(receiver, at))
			held_want(receiver->held, n);
	}
}

static void entries_index(struct receiver *receiver)
{
	const struct cast_plan *plan = &receiver->plan;

	receiver->entry_of = xcalloc(plan->n_chunks + 1, sizeof(uint32_t));
	memset(receiver->entry_of, 0xff, plan->n_chunks * sizeof(uint32_t));
	for (uint32_t i = 0; i < plan->n; i++)
		for (uint32_t n = plan->at[i].number; n != CAST_NONE; n = plan->same[n])
			receiver->entry_of[n] = i;
	receiver->got = xcalloc(plan->n / 8 + 1, 1);
	receiver->n_needed = plan->n;
	recv_plan_look(receiver);
}

static int plan_use(struct receiver *receiver, struct error **err)
{
	const struct cast_receive *job = receiver->job;
	auto_free char *text = NULL;
	size_t len = 0;
	int r = cast_plan_unpack(receiver->plan_bytes, receiver->welcome.plan_bytes,
		receiver->welcome.plan_length, job->digest, &text, &len, &receiver->plan, err);

	if (r == 0)
		r = held_create(job->dir, job->digest, text, len, &receiver->held, err);
	if (r < 0)
		return r;
	entries_index(receiver);
	receiver->planned = receiver->fresh_needs = true;
	free(TAKE_PTR(receiver->plan_bytes));
	return 0;
}

static void plan_whole(struct receiver *receiver)
{
	auto_error struct error *err = NULL;
	int r = plan_use(receiver, &err);

	if (r == 0) {
		recv_blocks_lay(receiver);
		return;
	}
	cast_plan_done(&receiver->plan);
	if (r == -EBADMSG && ++receiver->plan_wrong < WRONG_PLANS) {
		recv_plan_begin(receiver);
		return;
	}
	receiver->failed = r;
	receiver->failure = TAKE_PTR(err);
}

void recv_plan_piece(struct receiver *receiver, const struct recv_block *block)
{
	const struct cast_range *range = &block->what.ranges[0];
	uint8_t *to = receiver->plan_bytes + range->first;

	for (uint32_t at = 0; at < range->count; at += CAST_PAYLOAD) {
		uint32_t n = range->count - at < CAST_PAYLOAD ? range->count - at : CAST_PAYLOAD;

		memcpy(to + at, recv_slot(receiver, block->slots[at / CAST_PAYLOAD]), n);
	}
	receiver->plan_have[range->first / CAST_BLOCK_BYTES] = 1;
	if (--receiver->plan_left == 0)
		plan_whole(receiver);
}
