/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The erasure code: whatever was lost comes back from any parities, and every way of computing it
 * on this processor gives the same bytes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "images/fec.h"
#include "images/gf256.h"
#include "lib/util.h"

enum { LEN = 97 }; /* neither a multiple of 16 nor of 32 */

static void fill(uint8_t *bytes, size_t len)
{
	for (size_t i = 0; i < len; i++)
		bytes[i] = (uint8_t)rand();
}

static void multiplication_is_a_field(void **state)
{
	(void)state;
	for (unsigned a = 0; a < 256; a++) {
		assert_int_equal(gf256_mul((uint8_t)a, 1), a);
		assert_int_equal(gf256_mul((uint8_t)a, 0), 0);
		if (a)
			assert_int_equal(gf256_mul((uint8_t)a, gf256_inv((uint8_t)a)), 1);
		for (unsigned b = 0; b < 256; b += 7)
			assert_int_equal(gf256_mul((uint8_t)a, (uint8_t)(b ^ 5)),
				gf256_mul((uint8_t)a, (uint8_t)b) ^ gf256_mul((uint8_t)a, 5));
	}
}

/* Every path against the product of single bytes, at all lengths around a vector and unaligned. */
static void all_paths_agree(void **state)
{
	uint8_t from[160], to[160], want[160];
	gf256_add_scaled_fn *path;
	const char *name;
	unsigned n = 0;

	(void)state;
	for (; (path = gf256_path(n, &name)); n++)
		for (unsigned factor = 0; factor < 256; factor++)
			for (size_t len = 0; len < 140; len += factor % 3 + 1) {
				fill(from, sizeof(from));
				fill(to, sizeof(to));
				memcpy(want, to, sizeof(to));
				for (size_t i = 0; i < len; i++)
					want[3 + i] ^= gf256_mul((uint8_t)factor, from[1 + i]);
				path(to + 3, from + 1, (uint8_t)factor, len);
				if (memcmp(to, want, sizeof(to)) != 0)
					fail_msg("%s: factor %u, %zu bytes", name, factor, len);
			}
	assert_in_range(n, 1, 3);
	assert_string_equal((gf256_path(n - 1, &name), name), "plain");
}

struct group {
	unsigned n;
	uint8_t truth[FEC_SOURCES_MAX][LEN], got[FEC_SOURCES_MAX][LEN];
	uint8_t parity[FEC_PARITIES_MAX][LEN];
};

static void group_make(struct group *group, unsigned n)
{
	group->n = n;
	fill(&group->truth[0][0], sizeof(group->truth));
	memcpy(group->got, group->truth, sizeof(group->got));
}

/* Loses the `n` sources listed, takes the parities listed, and compares. */
static void lose_and_decode(
	struct group *group, const unsigned *lost, unsigned n, const unsigned *parities)
{
	const uint8_t *truth[FEC_SOURCES_MAX];
	uint8_t *got[FEC_SOURCES_MAX];
	struct fec_parity given[FEC_PARITIES_MAX];

	for (unsigned i = 0; i < group->n; i++) {
		truth[i] = group->truth[i];
		got[i] = group->got[i];
	}
	for (unsigned i = 0; i < n; i++) {
		memset(group->got[lost[i]], 0xee, LEN);
		given[i] = (struct fec_parity){group->parity[i], parities[i]};
		fec_encode(truth, group->n, parities[i], LEN, group->parity[i]);
	}
	fec_decode(got, group->n, lost, n, given, LEN);
	assert_memory_equal(group->got, group->truth, (size_t)group->n * LEN);
}

/* Every set of lost packets of a small group, each with parities from the start, the end, and
 * spread. */
static void every_pattern_of_a_small_group(void **state)
{
	static struct group group;
	enum { N = 9 };

	(void)state;
	group_make(&group, N);
	for (unsigned set = 0; set < 1U << N; set++) {
		unsigned lost[N], n = 0, parities[N];

		for (unsigned i = 0; i < N; i++)
			if (set >> i & 1)
				lost[n++] = i;
		for (unsigned way = 0; way < 3; way++) {
			for (unsigned i = 0; i < n; i++)
				parities[i] = way == 0	 ? i
					      : way == 1 ? FEC_PARITIES_MAX - 1 - i
							 : (i * 17 + set) % FEC_PARITIES_MAX;
			lose_and_decode(&group, lost, n, parities);
		}
	}
}

/* The whole sizes: nothing, one, first, last, a run, as many as there are parities. */
static void edges_of_a_full_group(void **state)
{
	static struct group group;
	unsigned lost[FEC_PARITIES_MAX], parities[FEC_PARITIES_MAX];

	(void)state;
	for (unsigned i = 0; i < FEC_PARITIES_MAX; i++)
		parities[i] = i;
	for (unsigned from = 0; from <= FEC_SOURCES_MAX - FEC_PARITIES_MAX; from += 29) {
		group_make(&group, FEC_SOURCES_MAX);
		for (unsigned i = 0; i < FEC_PARITIES_MAX; i++)
			lost[i] = from + i;
		lose_and_decode(&group, lost, FEC_PARITIES_MAX, parities);
		lose_and_decode(&group, lost, 1, parities + from % FEC_PARITIES_MAX);
		lose_and_decode(&group, lost, 0, parities);
	}
	group_make(&group, 1);
	lost[0] = 0;
	lose_and_decode(&group, lost, 1, parities + 54);
}

/* `n` different numbers below `below`, ascending. */
static void choose(unsigned *ret, unsigned n, unsigned below)
{
	unsigned found = 0;

	for (unsigned i = 0; i < below; i++)
		if ((unsigned)rand() % (below - i) < n - found)
			ret[found++] = i;
}

static void random_patterns(void **state)
{
	static struct group group;

	(void)state;
	for (unsigned round = 0; round < 300; round++) {
		unsigned lost[FEC_PARITIES_MAX], parities[FEC_PARITIES_MAX];
		unsigned n, size = 1 + (unsigned)rand() % FEC_SOURCES_MAX;

		n = (unsigned)rand() % ((size < FEC_PARITIES_MAX ? size : FEC_PARITIES_MAX) + 1);
		group_make(&group, size);
		choose(lost, n, size);
		choose(parities, n, FEC_PARITIES_MAX);
		for (unsigned i = n; i > 1; i--) { /* in any order */
			unsigned other = (unsigned)rand() % i, kept = parities[i - 1];

			parities[i - 1] = parities[other];
			parities[other] = kept;
		}
		lose_and_decode(&group, lost, n, parities);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(multiplication_is_a_field),
		cmocka_unit_test(all_paths_agree),
		cmocka_unit_test(every_pattern_of_a_small_group),
		cmocka_unit_test(edges_of_a_full_group),
		cmocka_unit_test(random_patterns),
	};

	srand(3);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
