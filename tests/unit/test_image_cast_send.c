/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the sender makes of receivers that are slow to answer, or get very little: one block on its
 * way, and time that the test turns. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "images/cast_send_inside.h"

enum { BLOCK = 3, MEMBERS = 3, BEGIN_MS = 100000 };

struct alone {
	struct sender sender;
	struct send_image image;
	struct send_member members[MEMBERS];
	uint64_t busy;
};

/* All sources of a block of one group are out, nobody answered yet, and nothing else is to do. */
static struct send_block *begin(struct alone *alone)
{
	struct sender *sender = &alone->sender;
	struct send_block *block = &sender->blocks[0];

	*alone = (struct alone){.image = {.busy = &alone->busy, .words = 1}};
	sender->socket = -1;
	sender->now_ms = BEGIN_MS;
	sender->idle = true;
	sender->members = alone->members;
	sender->n_members = sender->n_active = MEMBERS;
	for (unsigned i = 0; i < MEMBERS; i++)
		alone->members[i] = (struct send_member){.image = &alone->image,
			.lane = LANE_MULTICAST,
			.has_plan = true,
			.heard_ms = BEGIN_MS};
	*block = (struct send_block){.open = true,
		.image = &alone->image,
		.what = {.block = BLOCK, .n_ranges = 1, .ranges = {{0, 1}}},
		.layout = {.sources = 100, .groups = 1},
		.next = 100,
		.repaired = true,
		.opened_ms = BEGIN_MS};
	return block;
}

static void run(struct alone *alone, struct send_block *block, int64_t until_ms)
{
	for (; alone->sender.now_ms < until_ms; alone->sender.now_ms++)
		if (block->open)
			send_block_tick(&alone->sender, block);
}

static void answer(struct alone *alone, uint8_t lacks)
{
	const struct cast_report report = {.block = BLOCK, .n_groups = lacks > 0, .lacks = {lacks}};

	for (unsigned i = 0; i < MEMBERS; i++)
		send_block_report(&alone->sender, i, &report);
}

static void who_answers_late_is_waited_for(void **state)
{
	struct alone *alone = xnew(struct alone);
	struct send_block *block = begin(alone);

	(void)state;
	run(alone, block, BEGIN_MS + 1000);
	assert_true(block->open);
	assert_int_equal(block->rounds, 1);
	answer(alone, 2);
	assert_true(send_block_lacks(block));
	assert_int_equal(block->target[0], 2);
	block->sent[0] = 2;
	block->repaired = true;
	run(alone, block, BEGIN_MS + 1002);
	assert_int_equal(block->rounds, 2);
	answer(alone, 0);
	run(alone, block, BEGIN_MS + 1004);
	assert_false(block->open);
	free(alone);
}

static void who_never_answers_is_not(void **state)
{
	struct alone *alone = xnew(struct alone);
	struct send_block *block = begin(alone);

	(void)state;
	run(alone, block, BEGIN_MS + 2000);
	assert_false(block->open);
	free(alone);
}

/* Of 1000 packets each gets so many. */
static void window(struct alone *alone, const unsigned got[MEMBERS])
{
	for (unsigned i = 0; i < MEMBERS; i++) {
		struct send_member *member = &alone->members[i];

		member->has_base = true;
		member->latest.expected += 1000;
		member->latest.received += got[i];
	}
	send_members_tick(&alone->sender);
}

static void a_very_slow_one_goes_at_once_a_slow_one_at_the_second_look(void **state)
{
	struct alone *alone = xnew(struct alone);

	(void)state;
	begin(alone);
	cast_rate_init(&alone->sender.rate, 100e6);
	window(alone, (unsigned[]){1000, 990, 250});
	assert_int_equal(alone->members[2].lane, LANE_PEERS);
	free(alone->members[2].reason);
	begin(alone);
	cast_rate_init(&alone->sender.rate, 100e6);
	window(alone, (unsigned[]){1000, 990, 400});
	assert_int_equal(alone->members[2].lane, LANE_MULTICAST);
	window(alone, (unsigned[]){1000, 990, 400});
	assert_int_equal(alone->members[2].lane, LANE_PEERS);
	assert_int_equal(alone->members[1].lane, LANE_MULTICAST);
	free(alone->members[2].reason);
	free(alone);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(who_answers_late_is_waited_for),
		cmocka_unit_test(who_never_answers_is_not),
		cmocka_unit_test(a_very_slow_one_goes_at_once_a_slow_one_at_the_second_look),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
