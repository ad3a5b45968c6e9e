/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Preload: each row is a PC's room, what it needs and what the lab wishes, and says what it gets.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "controller/plan/preload.h"
#include "lib/hostlist.h"

#define MIB (1024 * 1024ull)
#define IMAGE(digest_, size_, stored_)                                                             \
	{                                                                                          \
		.digest = (char *)(digest_), .size = (size_)*MIB, .stored = (stored_)*MIB          \
	}

static const struct {
	const char *name;
	struct image wishes[4], needed[2];
	size_t n_wishes, n_needed;
	uint64_t room_mib;
	const char *want;
} rows[] = {
	{"nothing is wished", {{0}}, {{0}}, 0, 0, 1000, ""},
	{"all fit, in order", {IMAGE("a", 100, 100), IMAGE("b", 100, 100)}, {{0}}, 2, 0, 200,
		"a b"},
	{"the lab's order decides", {IMAGE("a", 100, 100), IMAGE("b", 100, 100)}, {{0}}, 2, 0, 199,
		"a"},
	{"a smaller one behind may fit", {IMAGE("a", 300, 300), IMAGE("b", 100, 100)}, {{0}}, 2, 0,
		199, "b"},
	{"each once", {IMAGE("a", 10, 10), IMAGE("a", 10, 10)}, {{0}}, 2, 0, 100, "a"},
	{"what is needed comes anyway", {IMAGE("a", 10, 10), IMAGE("b", 10, 10)},
		{IMAGE("a", 10, 10)}, 2, 1, 100, "b"},
	{"and is counted first", {IMAGE("b", 60, 60)}, {IMAGE("a", 50, 50)}, 1, 1, 100, ""},
	{"a need larger than the room leaves none", {IMAGE("b", 1, 1)}, {IMAGE("a", 500, 500)}, 1,
		1, 100, ""},
	{"a sparse image takes what it holds", {IMAGE("a", 20000, 20)}, {{0}}, 1, 0, 80, "a"},
	{"four times its packed size", {IMAGE("a", 20000, 20)}, {{0}}, 1, 0, 79, ""},
};

static void test_rows(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		const struct images wishes = {
			(struct image *)rows[i].wishes, rows[i].n_wishes, rows[i].n_wishes};
		const struct images needed = {
			(struct image *)rows[i].needed, rows[i].n_needed, rows[i].n_needed};
		const struct image *picked[PRELOAD_MAX];
		struct buf got = {0};
		print_message("%s\n", rows[i].name);
		size_t n = plan_preload(&wishes, &needed, rows[i].room_mib * MIB, picked);
		for (size_t k = 0; k < n; k++)
			buf_addf(&got, "%s%s", k ? " " : "", picked[k]->digest);
		assert_string_equal(got.len ? got.text : "", rows[i].want);
		buf_done(&got);
	}
}

static void test_room(void **state)
{
	(void)state;
	assert_int_equal(preload_room(4096, 3584, 0), 1024 * MIB);
	assert_int_equal(preload_room(4096, 300, 0), 300 * MIB);
	assert_int_equal(preload_room(4096, 0, 0), 0);
	assert_int_equal(preload_room(4096, 300, 20000), 20000 * MIB);
}

static void test_words(void **state)
{
	static const struct {
		const char *text, *want;
	} table[] = {{"none", ""}, {"recent", "recent"}, {"mpi, recent", "mpi recent"},
		{"a,b , c", "a b c"}};
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(table); i++) {
		struct strings words;
		struct buf got = {0};
		preload_words(table[i].text, &words);
		vec_each (char *, word, &words)
			buf_addf(&got, "%s%s", got.len ? " " : "", *word);
		assert_string_equal(got.len ? got.text : "", table[i].want);
		buf_done(&got);
		strings_done(&words);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_rows),
		cmocka_unit_test(test_room),
		cmocka_unit_test(test_words),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
