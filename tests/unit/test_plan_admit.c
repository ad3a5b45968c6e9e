/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The boot queue: each row is a story of PCs that ask, end, fall silent or crash, and says after
 * each step who loads and who waits where. And who is woken first. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "controller/plan/admit.h"
#include "lib/str.h"
#include "lib/util.h"

enum what { END_OF_STORY, ASK, END, LAPSE };

struct step {
	enum what what;
	int64_t now;
	const char *pc; /* LAPSE: those that are gone, "a b" */
	unsigned slot;	/* ASK: what it gets, END: 1 when it had something */
	unsigned ahead; /* ASK: PCs before it */
	bool news;
};

static const struct {
	const char *name;
	struct admit_rules rules;
	struct step steps[12];
} rows[] = {
	{"the lowest free slot, then the queue", {2, 120},
		{{ASK, 0, "a", 1, 0, true}, {ASK, 0, "b", 2, 0, true}, {ASK, 0, "c", 0, 0, true},
			{ASK, 0, "d", 0, 1, true}, {END, 5, "a", 1, 0, false},
			{ASK, 6, "d", 0, 1, false}, {ASK, 6, "c", 1, 0, true},
			{ASK, 7, "d", 0, 0, false}}},
	{"who has a slot keeps it, with its end", {1, 120},
		{{ASK, 0, "a", 1, 0, true}, {ASK, 100, "a", 1, 0, false},
			{LAPSE, 119, "", 0, 0, false}, {LAPSE, 120, "a", 0, 0, false},
			{ASK, 121, "a", 1, 0, true}}},
	{"a crashed PC holds its slot until it expires, and no longer", {1, 60},
		{{ASK, 0, "a", 1, 0, true}, {ASK, 0, "b", 0, 0, true}, {ASK, 25, "b", 0, 0, false},
			{ASK, 50, "b", 0, 0, false}, {LAPSE, 60, "a", 0, 0, false},
			{ASK, 61, "b", 1, 0, true}}},
	{"an expired PC that comes again stands at the end", {1, 60},
		{{ASK, 0, "a", 1, 0, true}, {ASK, 40, "b", 0, 0, true},
			{LAPSE, 60, "a", 0, 0, false}, {ASK, 60, "a", 0, 1, true},
			{ASK, 61, "b", 1, 0, true}}},
	{"a silent PC leaves the queue and holds nobody up", {1, 600},
		{{ASK, 0, "a", 1, 0, true}, {ASK, 0, "b", 0, 0, true}, {ASK, 0, "c", 0, 1, true},
			{ASK, 25, "c", 0, 1, false}, {LAPSE, 29, "", 0, 0, false},
			{LAPSE, 30, "b", 0, 0, false}, {END, 31, "a", 1, 0, false},
			{ASK, 32, "c", 1, 0, true}}},
	{"two free slots: the first two may come in any order", {2, 60},
		{{ASK, 0, "a", 1, 0, true}, {ASK, 0, "b", 2, 0, true}, {ASK, 0, "c", 0, 0, true},
			{ASK, 0, "d", 0, 1, true}, {ASK, 0, "e", 0, 2, true},
			{LAPSE, 60, "a b c d e", 0, 0, false}}},
	{"the second in the queue may come first", {2, 25},
		{{ASK, 0, "a", 1, 0, true}, {ASK, 0, "b", 2, 0, true}, {ASK, 0, "c", 0, 0, true},
			{ASK, 0, "d", 0, 1, true}, {ASK, 0, "e", 0, 2, true},
			{LAPSE, 25, "a b", 0, 0, false}, {ASK, 25, "e", 0, 2, false},
			{ASK, 25, "d", 1, 0, true}, {ASK, 25, "e", 0, 1, false},
			{ASK, 25, "c", 2, 0, true}, {ASK, 25, "e", 0, 0, false}}},
	{"ending what nobody has is nothing", {1, 60}, {{END, 0, "a", 0, 0, false}}},
};

static void take(struct admit_pcs *pcs, const struct admit_rules *rules, const struct step *step)
{
	struct admit_answer got = {0};
	struct admit_pcs gone = {0};
	struct buf names = {0};
	switch (step->what) {
	case END_OF_STORY:
		break;
	case ASK:
		plan_admit(pcs, rules, step->pc, step->now, &got);
		assert_int_equal(got.slot, step->slot);
		assert_int_equal(got.ahead, step->ahead);
		assert_int_equal(got.news, step->news);
		assert_int_equal(got.wait_s == 0, got.slot != 0);
		break;
	case END:
		assert_int_equal(plan_admit_end(pcs, step->pc), step->slot);
		break;
	case LAPSE:
		plan_admit_lapse(pcs, rules, step->now, &gone);
		vec_each (struct admit_pc, pc, &gone)
			buf_addf(&names, "%s%s", names.len ? " " : "", pc->name);
		assert_string_equal(names.len ? names.text : "", step->pc);
		admit_pcs_done(&gone);
		buf_done(&names);
		break;
	}
}

static void test_stories(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct admit_pcs pcs = {0};
		print_message("%s\n", rows[i].name);
		for (size_t k = 0; rows[i].steps[k].what != END_OF_STORY; k++)
			take(&pcs, &rows[i].rules, &rows[i].steps[k]);
		admit_pcs_done(&pcs);
	}
}

static void test_waited(void **state)
{
	(void)state;
	const struct admit_rules rules = {1, 60};
	struct admit_pcs pcs = {0};
	struct admit_answer answer;
	plan_admit(&pcs, &rules, "a", 100, &answer);
	assert_int_equal(answer.waited, 0);
	plan_admit(&pcs, &rules, "b", 101, &answer);
	plan_admit_end(&pcs, "a");
	plan_admit(&pcs, &rules, "b", 113, &answer);
	assert_int_equal(answer.waited, 12);
	assert_int_equal(admit_find(&pcs, "b")->since, 113);
	assert_null(admit_find(&pcs, "a"));
	admit_pcs_done(&pcs);
}

/* A school of 200 on a simulated clock: each loads for 9 s, every tenth dies with its slot. Never
 * more than the slots load, nobody is forgotten, and it takes no longer than the slots allow. */
static void test_school(void **state)
{
	enum { PCS = 200, SLOTS = 16, LOAD_S = 9, SLOT_S = 40 };
	const struct admit_rules rules = {SLOTS, SLOT_S};
	struct admit_pcs pcs = {0};
	int64_t asks_at[PCS] = {0}, ends_at[PCS] = {0}, now;
	size_t up = 0, questions = 0;
	(void)state;
	for (now = 0; up < PCS - PCS / 10 && now < 1000; now++) {
		struct admit_pcs gone;
		unsigned loading = 0;
		plan_admit_lapse(&pcs, &rules, now, &gone);
		admit_pcs_done(&gone);
		for (size_t i = 0; i < PCS; i++) {
			char name[16];
			struct admit_answer answer;
			snprintf(name, sizeof(name), "pc%zu", i);
			if (ends_at[i] && ends_at[i] == now) {
				plan_admit_end(&pcs, name);
				up++;
			}
			if (ends_at[i] || asks_at[i] > now)
				continue;
			questions++;
			plan_admit(&pcs, &rules, name, now, &answer);
			asks_at[i] = now + answer.wait_s;
			if (answer.slot)
				ends_at[i] = i % 10 == 9 ? -1 : now + LOAD_S;
		}
		vec_each (struct admit_pc, pc, &pcs)
			loading += pc->slot != 0;
		assert_in_range(loading, 0, SLOTS);
	}
	print_message("%zu hosts after %lld s, %zu questions\n", up, (long long)now, questions);
	assert_int_equal(up, PCS - PCS / 10);
	/* 180 loads of 9 s and 20 lost slots of 40 s, over 16 slots: 151 s; a third more for the
	 * pauses between questions. */
	assert_in_range(now, 140, 200);
	assert_in_range(questions, 0, 200 * 30);
	admit_pcs_done(&pcs);
}

static void test_wakes(void **state)
{
	static const struct {
		const char *name, *want;
		struct admit_wake due[4];
		size_t n, budget;
	} table[] = {
		{"none", "", {{0}}, 0, 3},
		{"all fit", "0 1", {{0, 0, 0, false}, {1, 0, 0, false}}, 2, 2},
		{"no budget", "", {{0, 0, 0, false}}, 1, 0},
		{"first packets before repeats", "2 0",
			{{0, 1, 90, false}, {1, 2, 95, false}, {2, 0, 0, false}}, 3, 2},
		{"longest ago first", "1 0", {{0, 3, 95, false}, {1, 1, 90, false}}, 2, 2},
		{"holders first among equals", "1 2 0",
			{{0, 0, 0, false}, {1, 0, 0, true}, {2, 0, 0, true}}, 3, 3},
		{"but not before those who wait longer", "0 1",
			{{0, 0, 0, false}, {1, 1, 50, true}}, 2, 2},
	};
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(table); i++) {
		struct admit_wakes due = {0};
		struct buf got = {0};
		print_message("%s\n", table[i].name);
		for (size_t k = 0; k < table[i].n; k++)
			vec_push(&due, table[i].due[k]);
		plan_wakes(&due, table[i].budget);
		vec_each (struct admit_wake, one, &due)
			buf_addf(&got, "%s%zu", got.len ? " " : "", one->pc);
		assert_string_equal(got.len ? got.text : "", table[i].want);
		buf_done(&got);
		vec_done(&due);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_stories),
		cmocka_unit_test(test_waited),
		cmocka_unit_test(test_school),
		cmocka_unit_test(test_wakes),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
