/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The rate of a cast, against ports that exist only as numbers: each lets through what fits and
 * loses a share by chance. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "images/cast_rate.h"

enum { MANY = 32 };

/* `n` ports of `speed`, the first `n_slow` of them of `slow`; all lose `chance`. */
struct ports {
	size_t n, n_slow;
	double speed, slow, chance;
};

static double run(const struct ports *ports, double cap, unsigned steps, unsigned *ret_cuts)
{
	struct cast_rate rate;
	double loss[MANY];

	*ret_cuts = 0;
	cast_rate_init(&rate, cap);
	for (unsigned step = 0; step < steps; step++) {
		for (size_t i = 0; i < ports->n; i++) {
			double speed = i < ports->n_slow ? ports->slow : ports->speed;
			double full = rate.rate > speed ? 1 - speed / rate.rate : 0;

			loss[i] = 1 - (1 - full) * (1 - ports->chance);
		}
		*ret_cuts += cast_rate_step(&rate, loss, ports->n);
	}
	return rate.rate;
}

static void rates_that_ports_leave(void **state)
{
	static const struct {
		const char *what;
		struct ports ports;
		double cap, low, high; /* rate after 100 s */
	} cases[] = {
		{"ports as fast as the cap", {32, 0, 100e6, 0, 0}, 100e6, 100e6, 100e6},
		{"1 % by chance", {32, 0, 100e6, 0, 0.01}, 100e6, 100e6, 100e6},
		{"8 % by chance", {32, 0, 100e6, 0, 0.08}, 100e6, 90e6, 100e6},
		{"a cap of ten times the ports", {32, 0, 100e6, 0, 0}, 1e9, 80e6, 107e6},
		{"three slow ones of 32 count for nothing", {32, 3, 100e6, 25e6, 0}, 100e6, 100e6,
			100e6},
		{"half of them slower", {32, 16, 100e6, 80e6, 0}, 100e6, 70e6, 86e6},
		{"a single one", {1, 0, 10e6, 0, 0}, 100e6, 8e6, 11e6},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		unsigned cuts;
		double rate = run(&cases[i].ports, cases[i].cap, 400, &cuts);

		if (rate < cases[i].low || rate > cases[i].high)
			fail_msg("%s: %.1f Mbit/s", cases[i].what, rate / 1e6);
	}
}

/* A port that recovers is used again. */
static void the_rate_comes_back(void **state)
{
	struct cast_rate rate;
	double half = 0.5, none = 0;

	(void)state;
	cast_rate_init(&rate, 100e6);
	assert_false(cast_rate_step(&rate, &half, 1)); /* once is a hiccup */
	assert_true(cast_rate_step(&rate, &half, 1));
	assert_true(rate.rate < 50e6);
	for (int i = 0; i < 2000; i++)
		cast_rate_step(&rate, &none, 1);
	assert_true(rate.rate == 100e6);
	assert_false(cast_rate_step(&rate, &none, 0));
}

static void who_is_hopeless(void **state)
{
	double all[MANY] = {0.75}, two[] = {0.75, 0}, alike[] = {0.6, 0.7, 0.65};

	(void)state;
	assert_true(cast_rate_hopeless(0.75, all, MANY));
	assert_false(cast_rate_hopeless(0.01, all, MANY));
	assert_true(cast_rate_hopeless(0.75, two, 2));
	assert_false(cast_rate_hopeless(0, two, 2));
	assert_false(cast_rate_hopeless(0.7, alike, 3));
	assert_false(cast_rate_hopeless(0.9, two, 1));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(rates_that_ports_leave),
		cmocka_unit_test(the_rate_comes_back),
		cmocka_unit_test(who_is_hopeless),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
