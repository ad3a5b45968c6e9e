/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Whom a PC asks for an image: at most four holders, never itself, and not everybody the same. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "controller/plan/peers.h"

enum { LAB = 0x0a470000, PCS = 32 };

static struct addresses first_holders(unsigned n)
{
	struct addresses holders = {0};

	for (unsigned i = 0; i < n; i++)
		vec_push(&holders, (struct ip4){LAB + 10 + i});
	return holders;
}

static void nobody_is_named_when_nobody_has_it(void **state)
{
	struct addresses holders = first_holders(0), alone = first_holders(1);
	struct ip4 peers[PEERS_NAMED];

	(void)state;
	assert_int_equal(plan_peers(&holders, (struct ip4){LAB + 10}, peers), 0);
	assert_int_equal(plan_peers(&alone, (struct ip4){LAB + 10}, peers), 0);
	assert_int_equal(plan_peers(&alone, (struct ip4){LAB + 11}, peers), 1);
	assert_int_equal(peers[0].host, LAB + 10);
	vec_done(&alone);
}

static void the_load_spreads(void **state)
{
	(void)state;
	for (unsigned n = 1; n <= PCS; n++) {
		struct addresses holders = first_holders(n);
		unsigned asked[PCS] = {0}, wanted = 0;

		for (unsigned pc = 0; pc < PCS; pc++) {
			struct ip4 peers[PEERS_NAMED], asker = {LAB + 10 + pc};
			size_t got = plan_peers(&holders, asker, peers);

			assert_true(got == PEERS_NAMED || got >= n - 1);
			for (size_t i = 0; i < got; i++) {
				assert_int_not_equal(peers[i].host, asker.host);
				for (size_t j = 0; j < i; j++)
					assert_int_not_equal(peers[i].host, peers[j].host);
				asked[peers[i].host - LAB - 10]++;
			}
			wanted += (unsigned)got;
		}
		for (unsigned i = 0; i < n; i++)
			assert_true(asked[i] <= 2 * (wanted / n) + PEERS_NAMED);
		vec_done(&holders);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(nobody_is_named_when_nobody_has_it),
		cmocka_unit_test(the_load_spreads),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
