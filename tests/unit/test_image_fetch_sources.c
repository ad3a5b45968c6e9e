/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Whom a fetch asks next: table and story tests of images/fetch_sources.h. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "images/fetch_sources.h"

static const char *const peers[] = {"a", "b", "c"};
enum { A, B, C, CONTROLLER };

static int setup(void **state)
{
	struct fetch_sources *sources = xnew(struct fetch_sources);

	fetch_sources_init(sources, peers, ARRAY_LEN(peers), "controller");
	*state = sources;
	return 0;
}

static int teardown(void **state)
{
	fetch_sources_done(*state);
	free(*state);
	return 0;
}

static void got(struct fetch_sources *sources, int at, uint64_t bytes, int64_t ms, int64_t now)
{
	assert_false(fetch_sources_end(sources, at, FETCH_GOT, bytes, ms, now));
}

static void each_peer_is_tried_before_the_controller(void **state)
{
	struct fetch_sources *sources = *state;

	assert_int_equal(fetch_sources_pick(sources, 0, 0), A);
	assert_int_equal(fetch_sources_pick(sources, 0, 0), B);
	assert_int_equal(fetch_sources_pick(sources, 0, 0), C);
	/* all are busy and nobody is known: a peer's second request costs what the controller does
	 */
	assert_int_not_equal(fetch_sources_pick(sources, 7, 0), -1);
	assert_int_equal(fetch_sources_pick(sources, 1 << CONTROLLER | 7, 0), -1);
}

static void the_fast_one_gets_more(void **state)
{
	struct fetch_sources *sources = *state;
	unsigned asked[4] = {0};
	int64_t free_at[3] = {0};
	static const int64_t takes[3] = {10, 20, 40};

	/* Each takes one chunk at a time, so many ms; two requests are always under way. */
	for (int64_t now = 0; now < 4000; now++) {
		for (int i = 0; i < 3; i++)
			while (sources->at[i].busy && free_at[i] <= now) {
				got(sources, i, 100000, takes[i], now);
				free_at[i] = now + takes[i];
			}
		while (sources->at[A].busy + sources->at[B].busy + sources->at[C].busy < 2) {
			int at = fetch_sources_pick(sources, 0, now);

			assert_in_range(at, A, C);
			if (sources->at[at].busy == 1)
				free_at[at] = now + takes[at];
			asked[at]++;
		}
	}
	assert_true(asked[A] > asked[B] && asked[B] >= asked[C] && asked[C] > 0);
}

static void the_controller_helps_when_peers_crawl(void **state)
{
	struct fetch_sources *sources = *state;

	for (int i = A; i <= CONTROLLER; i++) {
		int at = fetch_sources_pick(sources, ~(1u << i), 0);

		assert_int_equal(at, i);
		got(sources, at, 100000, i == CONTROLLER ? 10 : 30, 0);
	}
	assert_in_range(fetch_sources_pick(sources, 0, 0), A, C); /* three times as slow is fine */
	for (int i = 0; i < 20; i++)
		for (int at = A; at <= C; at++)
			got(sources, fetch_sources_pick(sources, ~(1u << at), 0), 100000, 100, 0);
	assert_int_equal(fetch_sources_pick(sources, 0, 0), CONTROLLER);
}

static void a_fault_makes_it_rest(void **state)
{
	struct fetch_sources *sources = *state;

	assert_int_equal(fetch_sources_pick(sources, 0, 0), A);
	assert_false(fetch_sources_end(sources, A, FETCH_FAULT, 0, 0, 0));
	assert_int_equal(fetch_sources_pick(sources, 0, 1), B);
	assert_int_equal(fetch_sources_pick(sources, 0, 1), C);
	assert_int_equal(fetch_sources_pick(sources, 0, FETCH_REST_MS), A);
	assert_false(fetch_sources_end(sources, A, FETCH_FAULT, 0, 0, FETCH_REST_MS));
	/* better a resting one than nobody */
	assert_int_equal(fetch_sources_pick(sources, ~1u, FETCH_REST_MS + 1), A);
}

static void a_liar_is_dropped_and_the_others_stay(void **state)
{
	struct fetch_sources *sources = *state;

	for (int i = 0; i < FETCH_WRONG_MAX; i++) {
		assert_int_equal(fetch_sources_pick(sources, ~1u, 0), A);
		assert_int_equal(fetch_sources_end(sources, A, FETCH_WRONG, 9, 9, 0),
			i + 1 == FETCH_WRONG_MAX);
	}
	assert_int_equal(fetch_sources_pick(sources, ~1u, 0), -1);
	assert_int_equal(fetch_sources_pick(sources, 0, 0), B);
	assert_true(fetch_sources_left(sources));
	for (int at = B; at <= CONTROLLER; at++)
		for (int i = 0; i < FETCH_WRONG_MAX; i++) {
			fetch_sources_pick(sources, ~(1u << at), 0);
			fetch_sources_end(sources, at, FETCH_WRONG, 9, 9, 0);
		}
	assert_false(fetch_sources_left(sources));
}

static void lacking_a_chunk_is_no_fault(void **state)
{
	struct fetch_sources *sources = *state;

	assert_int_equal(fetch_sources_pick(sources, 0, 0), A);
	assert_false(fetch_sources_end(sources, A, FETCH_LACKS, 0, 1, 0));
	assert_int_equal(fetch_sources_pick(sources, 1, 0), B); /* for this chunk */
	assert_int_equal(fetch_sources_pick(sources, 0, 0), A); /* for the next */
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(
			each_peer_is_tried_before_the_controller, setup, teardown),
		cmocka_unit_test_setup_teardown(the_fast_one_gets_more, setup, teardown),
		cmocka_unit_test_setup_teardown(
			the_controller_helps_when_peers_crawl, setup, teardown),
		cmocka_unit_test_setup_teardown(a_fault_makes_it_rest, setup, teardown),
		cmocka_unit_test_setup_teardown(
			a_liar_is_dropped_and_the_others_stay, setup, teardown),
		cmocka_unit_test_setup_teardown(lacking_a_chunk_is_no_fault, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
