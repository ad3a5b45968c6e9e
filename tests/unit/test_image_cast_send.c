/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the sender makes of receivers that are slow to answer, or get very little: one block on its
 * way, and time that the test turns. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "images/cast_send_inside.h"

enum { BLOCK = 3, MEMBERS = 3, BEGIN_MS = 100000 };

static const struct cast_send job = {.port = 7867, .group = {0xefff4e43}};

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
	sender->job = &job;
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

/* What is lacked is counted from what had gone out when the round was asked for, not a later one. */
static void an_older_report_that_comes_last_changes_nothing(void **state)
{
	const struct cast_report first = {.block = BLOCK, .n_groups = 1, .lacks = {3}},
				 second = {.block = BLOCK, .round = 1, .n_groups = 1, .lacks = {1}};
	struct alone *alone = xnew(struct alone);
	struct send_block *block = begin(alone);

	(void)state;
	run(alone, block, BEGIN_MS + 1);
	for (unsigned i = 1; i < MEMBERS; i++)
		send_block_report(&alone->sender, i, &first);
	run(alone, block, BEGIN_MS + 20);
	assert_int_equal(block->target[0], 3);
	block->sent[0] = 3;
	block->repaired = true;
	run(alone, block, BEGIN_MS + 40);
	assert_int_equal(block->rounds, 2);
	send_block_report(&alone->sender, 0, &second);
	assert_int_equal(block->target[0], 4);
	send_block_report(&alone->sender, 0, &first);
	assert_int_equal(block->target[0], 4);
	assert_int_equal(block->lacks[0][0], 1);
	assert_int_equal(block->answered[0], 2);
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

static void what_lacked_of_late_goes_out_unasked_with_a_little_more(void **state)
{
	struct alone *alone = xnew(struct alone);
	struct send_block *block = begin(alone);

	(void)state;
	alone->sender.usual_parities = 1.2;
	assert_int_equal(send_block_tick(&alone->sender, block), 0);
	assert_int_equal(block->rounds, 0);
	assert_int_equal(block->target[0], 3);
	block->sent[0] = 3;
	run(alone, block, BEGIN_MS + 2);
	assert_int_equal(block->rounds, 1);
	answer(alone, 0);
	run(alone, block, BEGIN_MS + 4);
	assert_false(block->open);
	assert_true(alone->sender.usual_parities > 1.19 && alone->sender.usual_parities < 1.21);

	block = begin(alone);
	alone->sender.usual_parities = 0.3;
	run(alone, block, BEGIN_MS + 1);
	assert_int_equal(block->rounds, 1);
	assert_int_equal(block->target[0], 0);
	free(alone);
}

/* The first lacks more than the others would wait for; these lack nothing, or all of it. */
static void one_lacks_much(struct alone *alone, struct send_block *block, bool others_far)
{
	const struct cast_report much = {.block = BLOCK, .n_groups = 1, .lacks = {40}},
				 rest = {.block = BLOCK, .far = others_far};

	run(alone, block, BEGIN_MS + 1);
	send_block_report(&alone->sender, 0, &much);
	for (unsigned i = 1; i < MEMBERS; i++)
		send_block_report(&alone->sender, i, &rest);
	run(alone, block, BEGIN_MS + 3);
}

static void who_lacks_much_has_its_turn_when_nothing_else_of_the_image_is_left(void **state)
{
	struct alone *alone = xnew(struct alone);
	struct send_block *block = begin(alone), chosen = {0};
	uint64_t need = 1, needed, bad = 0;
	struct cast_entry entry = {.len = 100};

	(void)state;
	alone->image.plan = (struct cast_plan){.at = &entry, .n = 1};
	alone->image.needed = &needed;
	alone->image.bad = &bad;
	one_lacks_much(alone, block, false);
	assert_true(block->open);
	alone->members[1].need = &need;
	alone->members[1].n_need = 1;
	assert_true(send_image_bulk(&alone->sender, &alone->image, &chosen));
	assert_false(send_block_lacks(block));
	alone->members[1].n_need = 0;
	assert_false(send_image_bulk(&alone->sender, &alone->image, &chosen));
	assert_int_equal(block->target[0], 40);
	free(alone);
}

static void where_somebody_came_the_chunks_go_out_again_in_their_turn(void **state)
{
	struct alone *alone = xnew(struct alone);
	struct send_block *block = begin(alone);

	(void)state;
	one_lacks_much(alone, block, true);
	assert_false(block->open);
	free(alone);
}

enum { UNSAID = 1001 };

/* Of 1000 packets each gets so many; who has UNSAID says nothing of them yet. */
static void window(struct alone *alone, const unsigned got[MEMBERS])
{
	alone->sender.now_ms += 250;
	for (unsigned i = 0; i < MEMBERS; i++) {
		struct send_member *member = &alone->members[i];

		member->has_base = true;
		member->heard_ms = alone->sender.now_ms;
		if (got[i] == UNSAID)
			continue;
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

/* What strikes all is told by one before the others, who were well when they last spoke. */
static void nobody_goes_for_what_strikes_all(void **state)
{
	struct alone *alone = xnew(struct alone);

	(void)state;
	begin(alone);
	cast_rate_init(&alone->sender.rate, 100e6);
	window(alone, (unsigned[]){1000, 1000, 1000});
	window(alone, (unsigned[]){UNSAID, UNSAID, 100});
	assert_int_equal(alone->members[2].lane, LANE_MULTICAST);
	window(alone, (unsigned[]){UNSAID, UNSAID, 100});
	assert_int_equal(alone->members[2].lane, LANE_MULTICAST);
	window(alone, (unsigned[]){150, 120, UNSAID});
	window(alone, (unsigned[]){150, 120, 100});
	for (unsigned i = 0; i < MEMBERS; i++)
		assert_int_equal(alone->members[i].lane, LANE_MULTICAST);
	assert_true(alone->sender.rate.rate < 100e6);
	free(alone);
}

static void the_slow_one_goes_when_the_others_have_spoken(void **state)
{
	struct alone *alone = xnew(struct alone);

	(void)state;
	begin(alone);
	cast_rate_init(&alone->sender.rate, 100e6);
	window(alone, (unsigned[]){1000, 1000, 1000});
	window(alone, (unsigned[]){UNSAID, UNSAID, 400});
	assert_int_equal(alone->members[2].lane, LANE_MULTICAST);
	window(alone, (unsigned[]){1000, 990, 400});
	assert_int_equal(alone->members[2].lane, LANE_PEERS);
	free(alone->members[2].reason);
	free(alone);
}

/* ---- the group and its move ---- */

static const struct ip4 given = {0xefff4e43}, other = {0xefff4f43};

/* All listen to the given group, and one was just sent away. */
static struct sender *begin_move(struct alone *alone)
{
	struct sender *sender = &alone->sender;

	begin(alone);
	alone->image.plan_len = 1;
	send_group_init(sender, given, job.port);
	for (unsigned i = 0; i < MEMBERS; i++)
		alone->members[i].group = given;
	send_group_leave(sender);
	return sender;
}

static struct ip4 group_of(const struct sender *sender)
{
	return (struct ip4){ntohl(sender->group.sin_addr.s_addr)};
}

static void wait_group(struct sender *sender, int64_t ms)
{
	for (int64_t end = sender->now_ms + ms; sender->now_ms < end; sender->now_ms++)
		send_group_tick(sender);
}

static void the_cast_moves_when_all_who_stay_are_there(void **state)
{
	struct alone *alone = xnew(struct alone);
	struct sender *sender = begin_move(alone);

	(void)state;
	wait_group(sender, 100);
	send_group_heard(sender, &alone->members[0], other);
	send_group_heard(sender, &alone->members[1], other);
	wait_group(sender, 200);
	assert_int_equal(group_of(sender).host, given.host);
	/* Who comes now hears the cast where it is. */
	assert_int_equal(send_group_of(sender, &alone->members[2]).host, given.host);
	assert_int_equal(send_group_of(sender, &alone->members[0]).host, other.host);
	send_group_heard(sender, &alone->members[2], other);
	send_group_tick(sender);
	assert_int_equal(group_of(sender).host, given.host); /* its switch has to hear it too */
	wait_group(sender, 200);
	assert_int_equal(group_of(sender).host, other.host);
	free(alone);
}

static void the_silent_do_not_hold_it_up(void **state)
{
	struct alone *alone = xnew(struct alone);
	struct sender *sender = begin_move(alone);

	(void)state;
	for (unsigned i = 0; i < 500; i += 50) { /* nor who changes its mind all the time */
		send_group_heard(sender, &alone->members[0], i % 100 ? other : given);
		wait_group(sender, 50);
	}
	assert_int_equal(group_of(sender).host, given.host);
	wait_group(sender, 200);
	assert_int_equal(group_of(sender).host, other.host);
	free(alone);
}

/* Where only the given group passes, those who followed hear nothing: back, once and for all. */
static void where_no_other_group_passes_it_stays(void **state)
{
	struct alone *alone = xnew(struct alone);
	struct sender *sender = begin_move(alone);

	(void)state;
	assert_true(send_group_silent(sender, &alone->members[0])); /* wait and see */
	wait_group(sender, 1000);
	assert_int_equal(group_of(sender).host, other.host);
	for (unsigned i = 0; i < MEMBERS; i++) {
		send_group_heard(sender, &alone->members[i], other);
		alone->members[i].latest.received = i;
	}
	assert_true(send_group_silent(sender, &alone->members[1])); /* its join may be lost */
	assert_false(sender->move.on);
	wait_group(sender, 3000);
	assert_false(send_group_silent(sender, &alone->members[0])); /* was deaf before */
	assert_true(send_group_silent(sender, &alone->members[1]));
	wait_group(sender, 1000);
	assert_int_equal(group_of(sender).host, given.host);
	assert_true(send_group_silent(sender, &alone->members[1])); /* it joins again */
	wait_group(sender, 2000);
	assert_false(send_group_silent(sender, &alone->members[1])); /* that one is deaf */
	wait_group(sender, 6000);
	send_group_leave(sender);
	wait_group(sender, 1000);
	assert_int_equal(group_of(sender).host, given.host);
	free(alone);
}

static void who_joins_late_is_not_judged_by_that(void **state)
{
	struct alone *alone = xnew(struct alone);
	struct sender *sender = begin_move(alone);
	struct send_member *late = &alone->members[2];

	(void)state;
	late->has_base = late->has_loss = true;
	wait_group(sender, 700);
	assert_false(late->has_base);
	assert_in_range(late->base_from_ms - sender->now_ms, 1000, 2000);
	late->has_base = true;
	send_group_heard(sender, late, other);
	assert_false(late->has_base);
	free(alone);
}

/* A chain has no group to move to, whatever a stranger says. */
static void without_multicast_nothing_moves(void **state)
{
	static const struct cast_send chain = {.port = 7867, .no_multicast = true};
	struct alone *alone = xnew(struct alone);
	struct sender *sender = &alone->sender;

	(void)state;
	begin(alone);
	sender->job = &chain;
	send_group_init(sender, chain.group, chain.port);
	send_group_leave(sender);
	assert_false(sender->move.on);
	send_group_heard(sender, &alone->members[0], other); /* would be told of no group */
	free(alone);
}

/* The group before still has, at the switch, who left with the last move. */
static void it_comes_back_but_not_at_once(void **state)
{
	struct alone *alone = xnew(struct alone);
	struct sender *sender = begin_move(alone);

	(void)state;
	wait_group(sender, 1000);
	send_group_leave(sender);
	wait_group(sender, 1000);
	assert_int_equal(group_of(sender).host, other.host);
	wait_group(sender, 5000);
	send_group_leave(sender);
	wait_group(sender, 1000);
	assert_int_equal(group_of(sender).host, given.host);
	free(alone);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(who_answers_late_is_waited_for),
		cmocka_unit_test(an_older_report_that_comes_last_changes_nothing),
		cmocka_unit_test(who_never_answers_is_not),
		cmocka_unit_test(what_lacked_of_late_goes_out_unasked_with_a_little_more),
		cmocka_unit_test(who_lacks_much_has_its_turn_when_nothing_else_of_the_image_is_left),
		cmocka_unit_test(where_somebody_came_the_chunks_go_out_again_in_their_turn),
		cmocka_unit_test(a_very_slow_one_goes_at_once_a_slow_one_at_the_second_look),
		cmocka_unit_test(nobody_goes_for_what_strikes_all),
		cmocka_unit_test(the_slow_one_goes_when_the_others_have_spoken),
		cmocka_unit_test(the_cast_moves_when_all_who_stay_are_there),
		cmocka_unit_test(the_silent_do_not_hold_it_up),
		cmocka_unit_test(it_comes_back_but_not_at_once),
		cmocka_unit_test(who_joins_late_is_not_judged_by_that),
		cmocka_unit_test(without_multicast_nothing_moves),
		cmocka_unit_test(where_no_other_group_passes_it_stays),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
