/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The memory of a receiver: slots for packets, and the blocks that are open.
 *
 * It is a fixed number of slots. When they run out, the block that was quiet for longest is given
 * up: its chunks that were complete are in place, the others are still needed and will come again.
 * The numbers of closed blocks are remembered for a while, since packets for others go on.
 *
 * What came and was thrown away for want of a slot counts as lost: a receiver that cannot unpack as
 * fast as its port brings must slow the cast down like one whose port is too slow.
 */
#include "images/cast_recv_inside.h"

#include <sys/mman.h>

void recv_blocks_init(struct receiver *receiver)
{
	void *slots = mmap(NULL, (size_t)RECV_SLOTS * CAST_PAYLOAD, PROT_READ | PROT_WRITE,
		MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (slots == MAP_FAILED)
		abort();
	receiver->slots = slots;
	receiver->free_slots = xcalloc(RECV_SLOTS, sizeof(uint16_t));
	/* The lowest are used first: pages that are not needed are never touched. */
	for (unsigned i = 0; i < RECV_SLOTS; i++)
		receiver->free_slots[i] = (uint16_t)(RECV_SLOTS - 1 - i);
	receiver->n_free = RECV_SLOTS;
}

void recv_blocks_done(struct receiver *receiver)
{
	munmap(receiver->slots, (size_t)RECV_SLOTS * CAST_PAYLOAD);
	free(receiver->free_slots);
}

void recv_slot_free(struct receiver *receiver, uint16_t *slot)
{
	if (*slot != SLOT_NONE)
		receiver->free_slots[receiver->n_free++] = *slot;
	*slot = SLOT_NONE;
}

struct recv_block *recv_block_find(struct receiver *receiver, uint16_t number)
{
	for (unsigned b = 0; b < RECV_BLOCKS; b++)
		if (receiver->blocks[b].open && receiver->blocks[b].number == number)
			return &receiver->blocks[b];
	return NULL;
}

const bool *recv_closed_find(const struct receiver *receiver, uint16_t number)
{
	for (unsigned i = 0; i < RECV_CLOSED; i++)
		if (receiver->closed[i].used && receiver->closed[i].number == number)
			return &receiver->closed[i].whole;
	return NULL;
}

void recv_closed_add(struct receiver *receiver, uint16_t number, bool whole)
{
	receiver->closed[receiver->next_closed].number = number;
	receiver->closed[receiver->next_closed].whole = whole;
	receiver->closed[receiver->next_closed].used = true;
	receiver->next_closed = (receiver->next_closed + 1) % RECV_CLOSED;
}

/* Source packets of a block that came, and would come again if it were given up now. */
static unsigned sources_wasted(const struct recv_block *block)
{
	unsigned n = 0;

	for (unsigned i = 0; i < CAST_BLOCK_SOURCES && !block->laid; i++)
		n += block->slots[i] != SLOT_NONE;
	for (unsigned c = 0; c < block->layout.n && block->laid; c++)
		if (block->state[c] == CHUNK_AWAITED)
			n += recv_chunk_packets(&block->layout, c) - block->left[c];
	return n;
}

void recv_block_free(struct receiver *receiver, struct recv_block *block)
{
	for (unsigned i = 0; i < CAST_BLOCK_SOURCES; i++)
		recv_slot_free(receiver, &block->slots[i]);
	for (unsigned i = 0; i < PARITIES; i++)
		recv_slot_free(receiver, &block->parities[i]);
	block->open = false;
}

void recv_block_close(struct receiver *receiver, struct recv_block *block, bool whole)
{
	if (block->closing)
		return;
	recv_closed_add(receiver, block->number, whole);
	for (unsigned i = 0; i < block->layout.n && block->laid && !whole; i++)
		if (block->state[i] == CHUNK_AWAITED)
			recv_got(receiver, block->layout.at[i], false);
	block->closing = true;
	if (block->orders == 0)
		recv_block_free(receiver, block);
}

/* Gives up the block that was quiet for longest; not `keep`, and one at a time. */
static void give_up_one(struct receiver *receiver, const struct recv_block *keep)
{
	struct recv_block *oldest = NULL;

	for (unsigned b = 0; b < RECV_BLOCKS; b++) {
		struct recv_block *block = &receiver->blocks[b];

		if (block->open && block->closing)
			return; /* its slots come back in a moment */
		if (block->open && block != keep &&
			(!oldest ||
				receiver->tick - block->touched > receiver->tick - oldest->touched))
			oldest = block;
	}
	if (!oldest)
		return;
	recv_count_lost(receiver, sources_wasted(oldest));
	recv_block_close(receiver, oldest, false);
}

uint16_t recv_slot_take(struct receiver *receiver, const struct recv_block *keep)
{
	if (receiver->n_free == 0)
		give_up_one(receiver, keep);
	return receiver->n_free ? receiver->free_slots[--receiver->n_free] : SLOT_NONE;
}

static struct recv_block *block_unused(struct receiver *receiver)
{
	for (unsigned b = 0; b < RECV_BLOCKS; b++)
		if (!receiver->blocks[b].open)
			return &receiver->blocks[b];
	return NULL;
}

struct recv_block *recv_block_open(struct receiver *receiver, uint16_t number)
{
	struct recv_block *block = block_unused(receiver);

	if (!block) {
		give_up_one(receiver, NULL);
		block = block_unused(receiver);
	}
	if (!block)
		return NULL;
	memset(block, 0, sizeof(*block));
	memset(block->slots, 0xff, sizeof(block->slots));
	memset(block->parities, 0xff, sizeof(block->parities));
	block->open = true;
	block->number = number;
	/* Whoever comes in the middle of a block has not lost its beginning. */
	if (!receiver->any_block)
		receiver->first_block = number;
	receiver->any_block = true;
	block->late = (int16_t)(uint16_t)(number - receiver->first_block) <= 0;
	block->touched = receiver->tick;
	block->touched_ms = receiver->now_ms;
	return block;
}

void recv_blocks_reset(struct receiver *receiver)
{
	for (unsigned b = 0; b < RECV_BLOCKS; b++)
		if (receiver->blocks[b].open)
			recv_block_close(receiver, &receiver->blocks[b], false);
	memset(receiver->closed, 0, sizeof(receiver->closed));
	receiver->any_block = false;
}

void recv_blocks_silence(struct receiver *receiver)
{
	for (unsigned b = 0; b < RECV_BLOCKS; b++)
		receiver->blocks[b].late = true;
	receiver->any_block = false;
}
