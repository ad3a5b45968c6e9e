/* SPDX-License-Identifier: GPL-2.0-or-later */
/* One cap among those who send: never more than there is, equal parts for those who take all they get, and little for
 * those who take nothing, however many they are. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "controller/plan/shares.h"

enum { CAP = 112500000, CROWD = 4096, LOOK_MS = 200 };

static struct share all[CROWD];

/* The first n of `all`, newcomers. */
static struct shares newcomers(size_t n)
{
	struct shares shares = {0};

	for (size_t i = 0; i < n; i++) {
		all[i] = (struct share){.want = SHARE_ALL};
		vec_push(&shares, &all[i]);
	}
	return shares;
}

static uint64_t sum(const struct shares *shares)
{
	uint64_t bytes = 0;

	vec_each (struct share *, share, shares)
		bytes += (*share)->rate;
	return bytes;
}

/* One look later: what each takes at most, in bytes a second. */
static void look(const struct shares *shares, const uint64_t *takes)
{
	for (size_t i = 0; i < shares->n; i++) {
		uint64_t rate = takes[i] < all[i].rate ? takes[i] : all[i].rate;

		plan_share_seen(&all[i], rate * LOOK_MS / 1000, LOOK_MS);
	}
	plan_shares(shares, CAP);
	assert_in_range(sum(shares), CAP - shares->n, CAP);
}

static void one_after_another_is_no_more_than_all_at_once(void **state)
{
	struct shares shares = {0};

	(void)state;
	plan_shares(&shares, CAP);
	for (size_t n = 1; n <= 16; n++) {
		all[n - 1] = (struct share){.want = SHARE_ALL};
		vec_push(&shares, &all[n - 1]);
		plan_shares(&shares, CAP);
		for (size_t i = 0; i < n; i++)
			assert_int_equal(all[i].rate, CAP / n);
	}
	vec_done(&shares);
}

static void who_leaves_leaves_it_to_the_others(void **state)
{
	struct shares shares = newcomers(3);

	(void)state;
	plan_shares(&shares, CAP);
	vec_remove(&shares, 1);
	plan_shares(&shares, CAP);
	assert_int_equal(all[0].rate, CAP / 2);
	assert_int_equal(all[2].rate, CAP / 2);
	vec_done(&shares);
}

static void a_crowd_that_takes_nothing_costs_an_eighth(void **state)
{
	static uint64_t takes[CROWD];

	(void)state;
	takes[0] = takes[1] = SHARE_ALL;
	for (size_t n = 3; n <= CROWD; n = n * 4 / 3) {
		struct shares shares = newcomers(n);

		plan_shares(&shares, CAP);
		look(&shares, takes);
		assert_true(all[0].rate >= CAP / 8 * 7 / 2);
		assert_int_equal(all[0].rate, all[1].rate);
		assert_in_range(all[n - 1].rate, CAP / n / 8, CAP / n);
		vec_done(&shares);
	}
}

static void who_takes_little_has_room_to_take_more(void **state)
{
	uint64_t takes[] = {SHARE_ALL, SHARE_ALL, CAP / 50};
	struct shares shares = newcomers(3);

	(void)state;
	plan_shares(&shares, CAP);
	look(&shares, takes);
	assert_int_equal(all[2].rate, CAP / 24); /* an eighth of an equal part is more than twice what it took */
	takes[2] = CAP / 10;
	look(&shares, takes);
	look(&shares, takes);
	assert_true(all[2].rate >= CAP / 10 && all[0].rate > CAP / 3);
	takes[2] = SHARE_ALL;
	for (int looks = 0; looks < 3; looks++)
		look(&shares, takes);
	assert_int_equal(all[2].rate, CAP / 3);
	vec_done(&shares);
}

static void what_nobody_wants_is_still_given(void **state)
{
	uint64_t takes[] = {0, CAP / 100};
	struct shares shares = newcomers(2);

	(void)state;
	plan_shares(&shares, CAP);
	look(&shares, takes);
	look(&shares, takes);
	assert_true(all[0].rate >= CAP / 3 && all[1].rate >= CAP / 3);
	vec_done(&shares);
}

static void the_smallest_cap_among_the_largest_crowd(void **state)
{
	struct shares shares = newcomers(CROWD);

	(void)state;
	for (size_t i = 0; i < CROWD; i++)
		all[i].want = i % 5;
	for (uint64_t cap = 1; cap < 10 * CROWD; cap = cap * 3 + 1) {
		plan_shares(&shares, cap);
		assert_true(sum(&shares) <= cap);
	}
	vec_done(&shares);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(one_after_another_is_no_more_than_all_at_once),
		cmocka_unit_test(who_leaves_leaves_it_to_the_others),
		cmocka_unit_test(a_crowd_that_takes_nothing_costs_an_eighth),
		cmocka_unit_test(who_takes_little_has_room_to_take_more),
		cmocka_unit_test(what_nobody_wants_is_still_given),
		cmocka_unit_test(the_smallest_cap_among_the_largest_crowd),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
