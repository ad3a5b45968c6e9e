/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The clock: text forms, and the offset file that a rehearsal shifts the night with. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "lib/clock.h"
#include "lib/file.h"

static void test_text(void **state)
{
	static const struct {
		const char *text;
		int64_t wall; /* -1: refused */
	} rows[] = {
		{"1970-01-01T00:00:00Z", 0},
		{"2026-11-21T03:04:05Z", 1795230245},
		{"2028-02-29T23:59:59Z", 1835481599},
		{"9999-12-31T23:59:59Z", 253402300799},
		{"2027-02-29T00:00:00Z", -1},
		{"2026-11-31T00:00:00Z", -1},
		{"2026-00-10T00:00:00Z", -1},
		{"2026-11-21T24:00:00Z", -1},
		{"2026-11-21T23:59:60Z", -1},
		{"2026-11-21 03:04:05Z", -1},
		{"2026-11-21T03:04:05", -1},
		{"2026-11-21T03:04:05+00:00", -1},
		{"2026-11-21T03:04:05Z ", -1},
		{"1969-12-31T23:59:59Z", -1},
		{"+026-11-21T03:04:05Z", -1},
		{"", -1},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		int64_t wall = -1;
		char text[CLOCK_TEXT];

		assert_int_equal(clock_parse(rows[i].text, &wall), rows[i].wall < 0 ? -EINVAL : 0);
		assert_int_equal(wall, rows[i].wall);
		if (wall >= 0)
			assert_string_equal(clock_format(wall, text), rows[i].text);
	}
}

static void test_fixed(void **state)
{
	(void)state;
	clock_fix(1500);
	assert_int_equal(clock_wall_ms(), 1500);
	assert_int_equal(clock_wall(), 1);
	assert_int_equal(clock_mono_ms(), 1500);
	assert_true(clock_real_ms() > 1500);
	clock_fix(-1);
	assert_true(clock_wall() > 1700000000);
}

static void test_offset(void **state)
{
	static const struct {
		const char *text;
		int changed;
		int64_t offset;
	} rows[] = {{"3600\n", 1, 3600}, {"3600", 0, 3600}, {"-60", 1, -60}, {"", 0, -60},
		{"x", 0, -60}, {"1e9", 0, -60}, {" 5", 0, -60}, {"99999999999999999999", 0, -60},
		{"0\n", 1, 0}};
	char path[] = "/tmp/test-clock-XXXXXX";

	(void)state;
	close(mkstemp(path));
	assert_null(clock_file());
	assert_int_equal(clock_reread(), 0);
	setenv("NIGHTCLASS_CLOCK", path, 1);
	clock_init();
	assert_string_equal(clock_file(), path);
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		int64_t ahead = 0;

		assert_int_equal(
			file_write(path, rows[i].text, strlen(rows[i].text), 0644, NULL), 0);
		assert_int_equal(clock_reread(), rows[i].changed);
		ahead = clock_mono_ms() - clock_real_ms() - rows[i].offset * 1000;
		assert_in_range(ahead + 1000, 0, 2000);
	}
	unlink(path);
	assert_int_equal(clock_reread(), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_text),
		cmocka_unit_test(test_fixed),
		cmocka_unit_test(test_offset),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
