/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Placement: each row is a set of hosts and a request, and says which VM goes where, or that it
 * does not fit. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "controller/plan/place.h"
#include "lib/str.h"

struct row {
	const char *name;
	struct place_pc pcs[6];
	size_t n_pcs;
	struct place_request request;
	const char *want; /* "lab/pc lab/pc ...", NULL: does not fit */
	const char *text; /* part of the refusal */
};

static const struct row rows[] = {
	{"one VM on one host", {{"n", "a", 2, 1024, false}}, 1, {1, 1, 512, PLACE_SPREAD}, "n/a",
		NULL},
	{"spread: one each before two", {{"n", "a", 4, 4096, false}, {"n", "b", 4, 4096, false}}, 2,
		{3, 1, 512, PLACE_SPREAD}, "n/a n/a n/b", NULL},
	{"pack: fills the first", {{"n", "a", 4, 4096, false}, {"n", "b", 4, 4096, false}}, 2,
		{3, 1, 512, PLACE_PACK}, "n/a n/a n/a", NULL},
	{"spread over labs first",
		{{"n", "a", 4, 4096, false}, {"n", "b", 4, 4096, false},
			{"s", "a", 4, 4096, false}},
		3, {4, 1, 512, PLACE_SPREAD}, "n/a n/b s/a s/a", NULL},
	{"pack stays in one lab",
		{{"n", "a", 1, 4096, false}, {"s", "a", 4, 4096, false},
			{"n", "b", 4, 4096, false}},
		3, {3, 1, 512, PLACE_PACK}, "n/a n/b n/b", NULL},
	{"holders win a tie", {{"n", "a", 2, 2048, false}, {"n", "b", 2, 2048, true}}, 2,
		{1, 1, 512, PLACE_SPREAD}, "n/b", NULL},
	{"pack prefers the holder", {{"n", "a", 2, 2048, false}, {"n", "b", 2, 2048, true}}, 2,
		{2, 1, 512, PLACE_PACK}, "n/b n/b", NULL},
	{"spread: a holder gets no second VM before the others have one",
		{{"n", "a", 4, 4096, false}, {"n", "b", 4, 4096, true}, {"n", "c", 4, 4096, false}}, 3,
		{3, 1, 512, PLACE_SPREAD}, "n/a n/b n/c", NULL},
	{"spread: holders first, whatever their room",
		{{"n", "a", 8, 8192, false}, {"n", "b", 2, 2048, true}, {"n", "c", 2, 2048, true}}, 3,
		{2, 1, 512, PLACE_SPREAD}, "n/b n/c", NULL},
	{"spread: the labs come before the holders",
		{{"n", "a", 4, 4096, true}, {"n", "b", 4, 4096, true}, {"s", "a", 4, 4096, false}}, 3,
		{2, 1, 512, PLACE_SPREAD}, "n/a s/a", NULL},
	{"pack: a PC in use before a holder",
		{{"n", "a", 1, 4096, true}, {"n", "b", 4, 4096, false}, {"n", "c", 1, 4096, true}}, 3,
		{5, 1, 512, PLACE_PACK}, "n/a n/b n/b n/b n/c", NULL},
	{"pack: the lab in use before a holder elsewhere",
		{{"n", "a", 1, 4096, true}, {"n", "b", 4, 4096, false}, {"s", "a", 4, 4096, true}}, 3,
		{2, 1, 512, PLACE_PACK}, "n/a n/b", NULL},
	{"memory is the limit", {{"n", "a", 8, 1100, false}, {"n", "b", 8, 544, false}}, 2,
		{3, 1, 512, PLACE_SPREAD}, "n/a n/a n/b", NULL},
	{"too many: says how many fit", {{"n", "a", 8, 1100, false}}, 1, {3, 1, 512, PLACE_SPREAD},
		NULL, "room for 2"},
	{"CPUs are never promised twice", {{"n", "a", 2, 65536, false}}, 1,
		{3, 1, 512, PLACE_SPREAD}, NULL, "room for 2"},
	{"no host at all", {{0}}, 0, {1, 1, 512, PLACE_SPREAD}, NULL, "no PC is a host"},
};

static char *where(const struct row *row, const size_t *on)
{
	struct buf out = {0};
	for (uint64_t i = 0; i < row->request.n; i++)
		buf_addf(&out, "%s%s/%s", i ? " " : "", row->pcs[on[i]].lab, row->pcs[on[i]].pc);
	return buf_take(&out);
}

static void test_rows(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct place_pcs pcs = {
			(struct place_pc *)rows[i].pcs, rows[i].n_pcs, rows[i].n_pcs};
		auto_free size_t *on = NULL;
		auto_error struct error *err = NULL;
		print_message("%s\n", rows[i].name);
		int r = plan_place(&rows[i].request, &pcs, &on, &err);
		assert_int_equal(r, rows[i].want ? 0 : -EBUSY);
		if (rows[i].text)
			assert_non_null(strstr(err->text, rows[i].text));
		if (!rows[i].want)
			continue;
		auto_free char *got = where(&rows[i], on);
		assert_string_equal(got, rows[i].want);
	}
}

static void test_room_left(void **state)
{
	(void)state;
	assert_int_equal(place_free_memory(2048, 0, 0), 2048 - PLACE_HOST_RESERVE_MIB);
	assert_int_equal(place_free_memory(2048, 512, 1),
		2048 - PLACE_HOST_RESERVE_MIB - 512 - PLACE_VM_OVERHEAD_MIB);
	assert_int_equal(place_free_memory(256, 0, 0), 0);
	assert_int_equal(place_free_cpus(2, 3), 0);
	assert_int_equal(place_free_cpus(4, 3), 1);
}

/* Whatever the hosts are: every VM is placed on a host that has the room, and no host gets more
 * than it has. */
static void test_any(void **state)
{
	(void)state;
	srandom(1);
	for (int round = 0; round < 500; round++) {
		struct place_pc hosts[20];
		static const char *const labs[] = {"a", "b", "c"};
		size_t n = 1 + (size_t)random() % 20, used[20] = {0};
		uint64_t room = 0;
		struct place_request request = {1 + (uint64_t)random() % 30,
			1 + (uint64_t)random() % 2, 64 + (uint64_t)random() % 512,
			random() % 2 ? PLACE_PACK : PLACE_SPREAD};
		for (size_t i = 0; i < n; i++) {
			hosts[i] = (struct place_pc){labs[random() % 3], "pc",
				(uint64_t)random() % 9, (uint64_t)random() % 4096, random() % 2};
			room += place_fits(&hosts[i], &request);
		}
		struct place_pcs pcs = {hosts, n, n};
		auto_free size_t *on = NULL;
		int r = plan_place(&request, &pcs, &on, NULL);
		assert_int_equal(r == 0, room >= request.n);
		for (uint64_t i = 0; r == 0 && i < request.n; i++)
			assert_true(++used[on[i]] <= place_fits(&hosts[on[i]], &request));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_rows),
		cmocka_unit_test(test_room_left),
		cmocka_unit_test(test_any),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
