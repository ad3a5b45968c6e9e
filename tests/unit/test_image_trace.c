/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Boot traces are read strictly and written as they are read. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "images/trace.h"

enum { COUNT = 70000 };

static void reads_what_it_writes(void **state)
{
	const uint32_t numbers[] = {69999, 0, 17, 4};
	auto_free char *text = trace_write(numbers, ARRAY_LEN(numbers));
	struct trace trace = {0};

	(void)state;
	assert_string_equal(text, "69999\n0\n17\n4\n");
	assert_int_equal(trace_read(text, strlen(text), COUNT, &trace, NULL), 0);
	assert_int_equal(trace.n, ARRAY_LEN(numbers));
	assert_memory_equal(trace.at, numbers, sizeof(numbers));
	vec_done(&trace);
}

static void refuses_the_rest(void **state)
{
	static const struct {
		const char *text;
		size_t len;
		const char *why;
	} cases[] = {
		{"", 0, "empty"},
		{"1\n2", 3, "line 2: it does not end"},
		{"\n", 1, "line 1"},
		{"1\n\n", 3, "line 2"},
		{"70000\n", 6, "not the number of a chunk"},
		{"-1\n", 3, "not the number"},
		{" 1\n", 3, "not the number"},
		{"01\n", 3, "not the number"},
		{"1\r\n", 3, "not the number"},
		{"0x1\n", 4, "not the number"},
		{"1\0\n", 3, "not the number"},
		{"99999999999999999999\n", 21, "not the number"},
		{"3\n4\n3\n", 6, "line 3: chunk 3 is there already"},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		auto_error struct error *err = NULL;
		struct trace trace = {0};
		int r = trace_read(cases[i].text, cases[i].len, COUNT, &trace, &err);

		assert_int_equal(r, -EINVAL);
		assert_null(trace.at);
		if (!strstr(err->text, cases[i].why))
			fail_msg("case %zu: %s", i, err->text);
	}
}

static void refuses_too_many(void **state)
{
	auto_free uint32_t *numbers = xcalloc(COUNT, sizeof(*numbers));
	auto_free char *text = NULL, *more = NULL;
	struct trace trace = {0};

	(void)state;
	for (uint32_t i = 0; i < COUNT; i++)
		numbers[i] = COUNT - 1 - i;
	text = trace_write(numbers, COUNT);
	assert_int_equal(trace_read(text, strlen(text), COUNT, &trace, NULL), 0);
	assert_int_equal(trace.n, TRACE_MAX);
	vec_done(&trace);
	more = xasprintf("%s5\n", text);
	assert_int_equal(trace_read(more, strlen(more), COUNT, &trace, NULL), -E2BIG);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(reads_what_it_writes),
		cmocka_unit_test(refuses_the_rest),
		cmocka_unit_test(refuses_too_many),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
