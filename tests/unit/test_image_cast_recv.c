/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What a receiver does with packets that nobody should believe: those of a block it was not told of
 * yet, and more of them than any group can use. Frames come from the segment, where anybody may
 * write the sender's address. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "images/cast_recv_inside.h"

enum { SOURCES = 170, BLOCK = 7 };

struct alone {
	struct receiver receiver;
	struct cast_entry entry;
	uint32_t same;
	uint8_t got;
};

/* A receiver that has its plan: one chunk of SOURCES packets. */
static struct alone *alone_new(void)
{
	struct alone *alone = xnew(struct alone);
	struct receiver *receiver = &alone->receiver;

	alone->entry = (struct cast_entry){.len = SOURCES * CAST_PAYLOAD};
	alone->same = CAST_NONE;
	receiver->plan = (struct cast_plan){
		.at = &alone->entry, .n = 1, .n_chunks = 1, .same = &alone->same};
	receiver->got = &alone->got;
	receiver->planned = true;
	receiver->n_needed = 1;
	receiver->wake = -1;
	recv_blocks_init(receiver);
	assert_int_equal(recv_verify_start(receiver), 0);
	return alone;
}

static void alone_free(struct alone *alone)
{
	recv_verify_stop(&alone->receiver);
	recv_blocks_done(&alone->receiver);
	free(alone);
}

static void describe(struct receiver *receiver, uint8_t round, struct cast_report *ret_report)
{
	const struct cast_block what = {
		.block = BLOCK, .round = round, .n_ranges = 1, .ranges = {{0, 1}}};

	recv_block_what(receiver, &what, ret_report);
}

static void parities_before_the_block(void **state)
{
	static const uint8_t payload[CAST_PAYLOAD];
	struct alone *alone = alone_new();
	struct receiver *receiver = &alone->receiver;
	struct cast_report report;
	struct recv_block *block;

	(void)state;
	for (unsigned i = 0; i < SOURCES + 20; i++)
		recv_packet(receiver, BLOCK, (uint16_t)(CAST_PARITY + i), payload);
	describe(receiver, CAST_SILENT, &report);
	block = recv_block_find(receiver, BLOCK);
	assert_non_null(block);
	assert_true(block->laid);
	assert_int_equal(block->layout.groups, 1);
	assert_int_equal(block->n_parities[0], FEC_PARITIES_MAX);
	assert_int_equal(receiver->n_free, RECV_SLOTS - FEC_PARITIES_MAX);
	assert_int_equal(block->orders, 0);
	alone_free(alone);
}

/* Packets beyond the end of a block are no loss of those before it. */
static void sources_beyond_the_end(void **state)
{
	static const uint8_t payload[CAST_PAYLOAD];
	struct alone *alone = alone_new();
	struct receiver *receiver = &alone->receiver;
	struct cast_report report;

	(void)state;
	recv_packet(receiver, BLOCK - 1, 0, payload); /* we were there before the block began */
	recv_packet(receiver, BLOCK, 0, payload);
	recv_packet(receiver, BLOCK, 3000, payload);
	describe(receiver, CAST_SILENT, &report);
	describe(receiver, 0, &report);
	assert_int_equal(receiver->count.expected, 1 + 3001);
	alone_free(alone);
}

/* Who comes in the middle of a block lost nothing of it yet, whatever frame came first. */
static void the_beginning_that_was_not_heard(void **state)
{
	static const uint8_t payload[CAST_PAYLOAD];
	struct alone *alone = alone_new();
	struct receiver *receiver = &alone->receiver;
	struct cast_report report;

	(void)state;
	describe(receiver, CAST_SILENT, &report);
	recv_packet(receiver, BLOCK, 100, payload);
	recv_packet(receiver, BLOCK, 102, payload);
	assert_int_equal(receiver->count.received, 2);
	assert_int_equal(receiver->count.expected, 3);
	recv_packet(receiver, BLOCK + 1, 4, payload); /* began when we were there */
	assert_int_equal(receiver->count.expected, 3 + 5);
	alone_free(alone);
}

/* Nor what went by while nothing came at all. */
static void what_a_silence_swallowed(void **state)
{
	static const uint8_t payload[CAST_PAYLOAD];
	struct alone *alone = alone_new();
	struct receiver *receiver = &alone->receiver;
	struct cast_report report;

	(void)state;
	recv_packet(receiver, BLOCK - 1, 0, payload);
	describe(receiver, CAST_SILENT, &report);
	recv_packet(receiver, BLOCK, 0, payload);
	recv_blocks_silence(receiver);
	recv_packet(receiver, BLOCK, 100, payload);
	assert_int_equal(receiver->count.expected, 3);
	recv_packet(receiver, BLOCK, 102, payload);
	assert_int_equal(receiver->count.expected, 5);
	recv_blocks_silence(receiver);
	recv_packet(receiver, BLOCK + 1, 50, payload);
	assert_int_equal(receiver->count.expected, 6);
	recv_packet(receiver, BLOCK + 2, 1, payload);
	assert_int_equal(receiver->count.expected, 8);
	alone_free(alone);
}

/* Who has no memory left for what comes says so as who loses it on the way. */
static void what_is_thrown_away_is_lost(void **state)
{
	enum { FIT = RECV_SLOTS / CAST_BLOCK_SOURCES };
	static const uint8_t payload[CAST_PAYLOAD];
	struct alone *alone = alone_new();
	struct receiver *receiver = &alone->receiver;
	const uint32_t sent = (FIT + 1) * CAST_BLOCK_SOURCES;

	(void)state;
	for (unsigned b = 0; b <= FIT; b++)
		for (unsigned i = 0; i < CAST_BLOCK_SOURCES; i++)
			recv_packet(receiver, (uint16_t)(BLOCK + b), (uint16_t)i, payload);
	assert_null(recv_block_find(receiver, BLOCK)); /* was quiet for longest */
	assert_int_equal(receiver->count.received, sent);
	assert_int_equal(receiver->count.expected, sent + CAST_BLOCK_SOURCES);
	recv_packet(receiver, BLOCK, 7, payload);
	recv_packet(receiver, BLOCK, CAST_PARITY, payload);
	assert_int_equal(receiver->count.received, sent);
	assert_int_equal(receiver->count.expected, sent + CAST_BLOCK_SOURCES + 1);
	alone_free(alone);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(parities_before_the_block),
		cmocka_unit_test(sources_beyond_the_end),
		cmocka_unit_test(the_beginning_that_was_not_heard),
		cmocka_unit_test(what_a_silence_swallowed),
		cmocka_unit_test(what_is_thrown_away_is_lost),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
