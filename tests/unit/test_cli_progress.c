/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What a long transfer says of itself: how much, how fast, how long yet, and when it says nothing. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include "controller/cli/progress.h"
#include "lib/clock.h"

#define KIB ((uint64_t)1 << 10)
#define MIB ((uint64_t)1 << 20)
#define GIB ((uint64_t)1 << 30)

/* One word after another of the same progress: at this time, so much of this; what stands there then. */
struct word {
	int64_t at_ms;
	const char *what;
	uint64_t done, total;
	const char *text;
};

static void say(bool terminal, const struct word *words, size_t n)
{
	const struct cli cli = {.err_is_terminal = terminal};
	struct progress progress;
	clock_fix(1000000);
	progress_begin(&progress, &cli);
	for (size_t i = 0; i < n; i++) {
		clock_fix(1000000 + words[i].at_ms);
		progress_bytes(&progress, words[i].what, words[i].done, words[i].total);
		assert_string_equal(progress.last, words[i].text);
	}
	progress_end(&progress);
	clock_fix(-1);
}

static void lines_every_ten_seconds(void **state)
{
	static const struct word words[] = {
		{0, "disk", 0, GIB, "disk: 0 B of 1.0 GiB, 0 %"},
		{9999, "disk", 60 * MIB, GIB, "disk: 0 B of 1.0 GiB, 0 %"},
		{10000, "disk", 100 * MIB, GIB, "disk: 100.0 MiB of 1.0 GiB, 9 %, 10.0 MiB/s, 93 s left"},
		{20000, "disk", 100 * MIB, GIB, "disk: 100.0 MiB of 1.0 GiB, 9 %, 5.0 MiB/s, 3 min left"},
		/* the end is said when it comes */
		{20001, "disk", GIB, GIB, "disk: 1.0 GiB of 1.0 GiB, 100 %"},
		/* another thing is counted from where it begins, and said at once */
		{20002, "kernel", 512 * MIB, GIB, "kernel: 512.0 MiB of 1.0 GiB, 50 %"},
		{30002, "kernel", 768 * MIB, GIB, "kernel: 768.0 MiB of 1.0 GiB, 75 %, 25.6 MiB/s, 11 s left"},
		/* and so is what begins again */
		{30003, "kernel", 0, GIB, "kernel: 0 B of 1.0 GiB, 0 %"},
		{40003, "kernel", 10 * KIB, GIB, "kernel: 10.0 KiB of 1.0 GiB, 0 %, 1.0 KiB/s, 5999 min left"},
		/* nobody knows how much there is */
		{40004, "cut", 0, 0, "cut: 0 B, 0 B/s"},
		{50004, "cut", 10 * MIB, 0, "cut: 10.0 MiB, 1.0 MiB/s"},
	};
	(void)state;
	say(false, words, ARRAY_LEN(words));
}

static void a_terminal_five_times_a_second(void **state)
{
	static const struct word words[] = {
		{0, "disk", 0, MIB, "disk: 0 B of 1.0 MiB, 0 %"},
		{199, "disk", 2 * KIB, MIB, "disk: 0 B of 1.0 MiB, 0 %"},
		{200, "disk", 2 * KIB, MIB, "disk: 2.0 KiB of 1.0 MiB, 0 %, 10.0 KiB/s, 103 s left"},
	};
	(void)state;
	say(true, words, ARRAY_LEN(words));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(lines_every_ten_seconds),
		cmocka_unit_test(a_terminal_five_times_a_second),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
