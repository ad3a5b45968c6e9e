/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Blocks as they come in: packets in slots, groups that can be rebuilt, chunks that are complete.
 *
 * A packet names its block and its place, so it can be stored before it is known what the block
 * consists of; that comes in a frame of its own, several times. From then on each packet counts
 * down the chunks it is a part of, and a chunk goes to the verifiers the moment its last packet
 * is there, wherever in the block that happens. Lost packets of a group are rebuilt as soon as
 * there are as many parities.
 */
#include "images/cast_recv_inside.h"

enum { QUIET_MS = 20000 }; /* of a block that nothing comes for */

/* ---- chunks and groups ---- */

static unsigned chunk_with(const struct cast_layout *layout, uint32_t byte)
{
	unsigned low = 0, high = layout->n;

	while (high - low > 1) {
		unsigned middle = (low + high) / 2;

		if (layout->from[middle] <= byte)
			low = middle;
		else
			high = middle;
	}
	return low;
}

static void chunk_order(struct receiver *receiver, struct recv_block *block, unsigned index)
{
	struct recv_order order = {.task = TASK_CHUNK, .block = block, .index = (uint16_t)index};

	if (block->closing)
		return;
	if (!recv_verify_order(receiver, &order)) {
		receiver->starved = true;
		return;
	}
	block->state[index] = CHUNK_ORDERED;
	recv_got(receiver, block->layout.at[index], true);
}

/* Does source `index` belong to a chunk that is awaited? */
static bool source_needed(const struct recv_block *block, unsigned index)
{
	uint32_t byte = index * CAST_PAYLOAD, end = byte + CAST_PAYLOAD;

	if (!block->sparse || block->what.of_plan)
		return true;
	for (unsigned c = chunk_with(&block->layout, byte);
		c < block->layout.n && block->layout.from[c] < end; c++)
		if (block->state[c] == CHUNK_AWAITED)
			return true;
	return false;
}

unsigned recv_group_missing(const struct recv_block *block, unsigned group, uint8_t *ret_missing,
	unsigned max, bool *ret_needed)
{
	unsigned groups = block->layout.groups, n = 0, at = 0;

	*ret_needed = false;
	for (unsigned i = group; i < block->layout.sources; i += groups, at++) {
		if (block->slots[i] != SLOT_NONE)
			continue;
		if (n < max)
			ret_missing[n] = (uint8_t)at;
		n++;
		*ret_needed = *ret_needed || source_needed(block, i);
	}
	return n;
}

static unsigned parities_choose(
	const struct recv_block *block, unsigned group, unsigned n, uint16_t *ret_use)
{
	unsigned found = 0;

	for (unsigned p = group; p < PARITIES && found < n; p += block->layout.groups)
		if (block->parities[p] != SLOT_NONE)
			ret_use[found++] = (uint16_t)p;
	return found;
}

static void group_rebuild(struct receiver *receiver, struct recv_block *block, unsigned group)
{
	unsigned size = cast_group_size(block->layout.sources, block->layout.groups, group);
	unsigned lost = size - block->present[group];
	struct recv_order order = {.task = TASK_REBUILD, .block = block, .index = (uint16_t)group};
	bool needed;

	if (lost == 0 || lost > block->n_parities[group] || lost > FEC_PARITIES_MAX ||
		block->rebuilding[group] || block->closing)
		return;
	if (lost > receiver->n_free) {
		receiver->starved = true;
		return;
	}
	order.n_missing =
		(uint8_t)recv_group_missing(block, group, order.missing, FEC_PARITIES_MAX, &needed);
	if (!needed || parities_choose(block, group, lost, order.use) < lost)
		return;
	for (unsigned i = 0; i < lost; i++)
		order.fresh[i] = receiver->free_slots[--receiver->n_free];
	if (recv_verify_order(receiver, &order)) {
		block->rebuilding[group] = true;
		return;
	}
	for (unsigned i = 0; i < lost; i++)
		recv_slot_free(receiver, &order.fresh[i]);
	receiver->starved = true;
}

static void plan_piece_done(struct receiver *receiver, struct recv_block *block)
{
	if (block->n_present < block->layout.sources)
		return;
	/* Another sending of the same piece may have been faster. */
	if (recv_plan_lacks(receiver, &block->what.ranges[0]))
		recv_plan_piece(receiver, block);
	recv_block_close(receiver, block, true);
}

/* Source `index` is in its slot. */
static void source_counts(struct receiver *receiver, struct recv_block *block, unsigned index)
{
	uint32_t byte = index * CAST_PAYLOAD, end = byte + CAST_PAYLOAD;

	block->present[index % block->layout.groups]++;
	block->n_present++;
	if (block->what.of_plan)
		return;
	for (unsigned c = chunk_with(&block->layout, byte);
		c < block->layout.n && block->layout.from[c] < end; c++)
		if (--block->left[c] == 0 && block->state[c] == CHUNK_AWAITED)
			chunk_order(receiver, block, c);
}

/* ---- what a block consists of ---- */

static void chunks_begin(struct receiver *receiver, struct recv_block *block)
{
	const struct cast_layout *layout = &block->layout;

	for (unsigned c = 0; c < layout->n; c++) {
		bool got = cast_bit(receiver->got, layout->at[c]);

		block->left[c] = (uint16_t)recv_chunk_packets(layout, c);
		block->state[c] = got ? CHUNK_NEEDLESS : CHUNK_AWAITED;
		block->sparse |= got;
		block->awaited += !got;
	}
}

/* They were stored before it was known how many groups there are; no group can use more. */
static void parities_lay(struct receiver *receiver, struct recv_block *block)
{
	unsigned groups = block->layout.groups;

	for (unsigned i = 0; i < PARITIES; i++) {
		if (i / groups >= FEC_PARITIES_MAX)
			recv_slot_free(receiver, &block->parities[i]);
		else if (block->parities[i] != SLOT_NONE)
			block->n_parities[i % groups]++;
	}
}

bool recv_block_lay(struct receiver *receiver, struct recv_block *block)
{
	bool of_plan = block->what.of_plan;

	if (cast_layout_make(&block->what, &receiver->plan, receiver->welcome.plan_bytes,
		    &block->layout) < 0 ||
		(of_plan && !recv_plan_lacks(receiver, &block->what.ranges[0]))) {
		recv_block_close(receiver, block, of_plan);
		return false;
	}
	block->laid = true;
	if (!of_plan) {
		chunks_begin(receiver, block);
		recv_plan_passed(receiver, block->layout.at[0]);
	}
	parities_lay(receiver, block);
	for (unsigned i = block->layout.sources; i < CAST_BLOCK_SOURCES; i++)
		recv_slot_free(receiver, &block->slots[i]);
	if (block->next > block->layout.sources)
		block->next = block->layout.sources;
	for (unsigned i = 0; i < block->layout.sources; i++)
		if (block->slots[i] != SLOT_NONE)
			source_counts(receiver, block, i);
	for (unsigned g = 0; g < block->layout.groups; g++)
		group_rebuild(receiver, block, g);
	if (of_plan)
		plan_piece_done(receiver, block);
	else if (block->awaited == 0)
		recv_block_close(receiver, block, true);
	return true;
}

void recv_blocks_lay(struct receiver *receiver)
{
	for (unsigned b = 0; b < RECV_BLOCKS; b++) {
		struct recv_block *block = &receiver->blocks[b];

		if (block->open && !block->closing && !block->laid && block->what.n_ranges > 0)
			recv_block_lay(receiver, block);
	}
}

/* ---- packets ---- */

static void count_source(struct receiver *receiver, struct recv_block *block, unsigned index)
{
	receiver->count.received++;
	receiver->seen.packets++;
	if (block->late) {
		block->late = false;
		block->next = (uint16_t)index;
	}
	if (index < block->next)
		return;
	receiver->count.expected += index - block->next + 1;
	receiver->seen.missed += index - block->next;
	block->next = (uint16_t)(index + 1);
}

static void source_take(
	struct receiver *receiver, struct recv_block *block, unsigned index, const uint8_t *payload)
{
	if (index >= (block->laid ? block->layout.sources : CAST_BLOCK_SOURCES))
		return;
	count_source(receiver, block, index);
	if (block->slots[index] != SLOT_NONE ||
		(block->laid && block->rebuilding[index % block->layout.groups]))
		return;
	block->slots[index] = recv_slot_take(receiver, block);
	if (block->slots[index] == SLOT_NONE) {
		recv_count_lost(receiver, 1);
		return;
	}
	memcpy(recv_slot(receiver, block->slots[index]), payload, CAST_PAYLOAD);
	if (!block->laid)
		return;
	source_counts(receiver, block, index);
	group_rebuild(receiver, block, index % block->layout.groups);
	if (block->what.of_plan)
		plan_piece_done(receiver, block);
}

static void parity_take(struct receiver *receiver, struct recv_block *block, unsigned number,
	const uint8_t *payload)
{
	unsigned group = block->laid ? number % block->layout.groups : 0;

	if (number >= PARITIES || block->parities[number] != SLOT_NONE)
		return;
	if (block->laid &&
		(block->rebuilding[group] || number / block->layout.groups >= FEC_PARITIES_MAX ||
			block->present[group] == cast_group_size(block->layout.sources,
							 block->layout.groups, group)))
		return;
	block->parities[number] = recv_slot_take(receiver, block);
	if (block->parities[number] == SLOT_NONE)
		return;
	memcpy(recv_slot(receiver, block->parities[number]), payload, CAST_PAYLOAD);
	if (!block->laid)
		return;
	block->n_parities[group]++;
	group_rebuild(receiver, block, group);
}

void recv_packet(struct receiver *receiver, uint16_t number, uint16_t index, const uint8_t *payload)
{
	struct recv_block *block = recv_block_find(receiver, number);
	bool over = block && block->closing;
	const bool *whole = over || !block ? recv_closed_find(receiver, number) : NULL;

	if (whole && !*whole && !(index & CAST_PARITY))
		recv_count_lost(receiver, 1);
	if (over || whole)
		return;
	receiver->tick++;
	if (!block) {
		block = recv_block_open(receiver, number);
		if (!block)
			return;
	}
	block->touched = receiver->tick;
	block->touched_ms = receiver->now_ms;
	if (index & CAST_PARITY)
		parity_take(receiver, block, index - CAST_PARITY, payload);
	else
		source_take(receiver, block, index, payload);
}

/* ---- results ---- */

static void rebuilt(
	struct receiver *receiver, struct recv_block *block, const struct recv_order *order)
{
	unsigned groups = block->layout.groups;

	block->rebuilding[order->index] = false;
	for (unsigned i = 0; i < order->n_missing; i++) {
		unsigned index = order->index + order->missing[i] * groups;

		recv_slot_free(receiver, &block->parities[order->use[i]]);
		block->n_parities[order->index]--;
		block->slots[index] = order->fresh[i];
		source_counts(receiver, block, index);
	}
	if (block->what.of_plan && !block->closing)
		plan_piece_done(receiver, block);
}

void recv_chunk_needless(struct receiver *receiver, uint32_t at)
{
	for (unsigned b = 0; b < RECV_BLOCKS; b++) {
		struct recv_block *block = &receiver->blocks[b];

		if (!block->open || !block->laid || block->closing)
			continue;
		for (unsigned c = 0; c < block->layout.n; c++) {
			if (block->layout.at[c] != at || block->state[c] != CHUNK_AWAITED)
				continue;
			block->state[c] = CHUNK_NEEDLESS;
			block->sparse = true;
			if (--block->awaited == 0)
				recv_block_close(receiver, block, true);
			break;
		}
	}
}

static void chunk_done(
	struct receiver *receiver, struct recv_block *block, const struct recv_order *order)
{
	block->state[order->index] = CHUNK_DONE;
	block->awaited--;
	if (order->result == 0) {
		/* Another block with it may have been closed since, and have said it is needed. */
		recv_got(receiver, block->layout.at[order->index], true);
		recv_chunk_needless(receiver, block->layout.at[order->index]);
		return;
	}
	recv_got(receiver, block->layout.at[order->index], false);
	receiver->fresh_needs = true;
	if (order->result == -EBADMSG)
		receiver->seen.wrong++;
	else if (receiver->failed == 0)
		receiver->failed = order->result;
}

/* What found no room in the verifiers' queue when it was ready. */
static void order_again(struct receiver *receiver, struct recv_block *block)
{
	for (unsigned c = 0; c < block->layout.n; c++)
		if (block->left[c] == 0 && block->state[c] == CHUNK_AWAITED)
			chunk_order(receiver, block, c);
	for (unsigned g = 0; g < block->layout.groups; g++)
		group_rebuild(receiver, block, g);
}

void recv_result(struct receiver *receiver, const struct recv_order *order)
{
	struct recv_block *block = order->block;

	if (order->task == TASK_REBUILD)
		rebuilt(receiver, block, order);
	else
		chunk_done(receiver, block, order);
	if (!block->closing && !block->what.of_plan && block->awaited == 0)
		recv_block_close(receiver, block, true);
	if (block->open && block->closing && block->orders == 0)
		recv_block_free(receiver, block);
	if (!receiver->starved)
		return;
	receiver->starved = false;
	for (unsigned b = 0; b < RECV_BLOCKS; b++)
		if (receiver->blocks[b].open && receiver->blocks[b].laid &&
			!receiver->blocks[b].closing)
			order_again(receiver, &receiver->blocks[b]);
}

bool recv_blocks_busy(const struct receiver *receiver)
{
	for (unsigned b = 0; b < RECV_BLOCKS; b++) {
		const struct recv_block *block = &receiver->blocks[b];

		if (block->open && (block->orders > 0 || (!block->closing && block->awaited > 0)))
			return true;
	}
	return false;
}

void recv_blocks_tick(struct receiver *receiver)
{
	for (unsigned b = 0; b < RECV_BLOCKS; b++) {
		struct recv_block *block = &receiver->blocks[b];

		if (!block->open || block->closing)
			continue;
		if (block->laid)
			order_again(receiver, block);
		if (block->orders == 0 && receiver->now_ms - block->touched_ms > QUIET_MS)
			recv_block_close(receiver, block, false);
	}
}

bool recv_block_brings(const struct receiver *receiver, uint32_t at)
{
	for (unsigned b = 0; b < RECV_BLOCKS; b++) {
		const struct recv_block *block = &receiver->blocks[b];

		if (!block->open || !block->laid)
			continue;
		for (unsigned i = 0; i < block->layout.n; i++)
			if (block->layout.at[i] == at &&
				(block->state[i] == CHUNK_ORDERED ||
					(block->state[i] == CHUNK_AWAITED && !block->closing)))
				return true;
	}
	return false;
}
