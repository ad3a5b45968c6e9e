/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Host lists: what expands to what, what is refused, and that compression is the inverse, also for
 * random sets of names with mixed padding.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "lib/hostlist.h"
#include "lib/str.h"

static char *joined(const struct strings *names)
{
	struct buf b = {0};

	for (size_t i = 0; i < names->n; i++)
		buf_addf(&b, "%s%s", i ? " " : "", names->at[i]);
	return buf_take(&b);
}

static void test_expand(void **state)
{
	static const struct {
		const char *text, *names; /* names NULL: refused */
	} rows[] = {
		{"pc1", "pc1"},
		{"pc[1-4,7]", "pc1 pc2 pc3 pc4 pc7"},
		{"pc[08-10],srv", "pc08 pc09 pc10 srv"},
		{"pc[8-10]", "pc8 pc9 pc10"},
		{"pc[1,01,001]", "pc1 pc01 pc001"},
		{"pc[000-002]", "pc000 pc001 pc002"},
		{"pc[0-1]", "pc0 pc1"},
		{"a[2]b", "a2b"},
		{"lab1-pc[1-2]-x,b", "lab1-pc1-x lab1-pc2-x b"},
		{"z,a", "z a"},
		{"pc1,pc1", NULL},
		{"pc[1-3],pc2", NULL},
		{"pc[3-1]", NULL},
		{"pc[08-010]", NULL},
		{"pc[8-010]", NULL},
		{"pc[08-100]", NULL},
		{"pc[1-]", NULL},
		{"pc[-1]", NULL},
		{"pc[]", NULL},
		{"pc[1", NULL},
		{"pc1]", NULL},
		{"pc[1][2]", NULL},
		{"pc[1,,2]", NULL},
		{"pc[1,]", NULL},
		{"pc[a]", NULL},
		{"pc[1;2]", NULL},
		{"pc[1 -2]", NULL},
		{"pc[1-9999999999]", NULL},
		{"pc[1-999999999]", NULL}, /* beyond max */
		{"pc[1-21]", NULL},	   /* one beyond max */
		{"", NULL},
		{"a,", NULL},
		{",a", NULL},
		{"PC1", NULL},
		{"a b", NULL},
		{"1[1-2]", NULL},
		{"a\nb", NULL},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		auto_error struct error *err = NULL;
		struct strings names = {0};
		int r = hostlist_expand(rows[i].text, 20, &names, &err);
		auto_free char *text = joined(&names);

		if ((r == 0) != (rows[i].names != NULL))
			fail_msg("%s: %d", rows[i].text, r);
		assert_string_equal(text, rows[i].names ? rows[i].names : "");
		assert_int_equal(r < 0, err != NULL);
		strings_done(&names);
	}
}

static void test_compress(void **state)
{
	static const struct {
		const char *text, *shortest;
	} rows[] = {
		{"pc1,pc2,pc3", "pc[1-3]"},
		{"pc10,pc9,pc8", "pc[8-10]"},
		{"pc08,pc09,pc10", "pc[08-10]"},
		{"pc098,pc099,pc100,pc101", "pc[098-101]"},
		{"pc98,pc99,pc100", "pc[98-100]"},
		{"pc[08-99],pc100", "pc[08-99,100]"},
		{"pc0,pc1,pc10", "pc[0-1,10]"},
		{"pc[0-12]", "pc[0-12]"},
		{"pc1,pc01,pc2,pc02", "pc[1-2,01-02]"},
		{"srv,pc1", "pc1,srv"},
		{"srv,srv1,srv2", "srv,srv[1-2]"},
		{"a1x,a2x,a3y", "a[1-2]x,a3y"},
		{"lab1-pc1,lab1-pc2,lab2-pc1", "lab1-pc[1-2],lab2-pc1"},
		{"pc1234567890,pc1234567891", "pc1234567890,pc1234567891"},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct strings names = {0};
		auto_free char *text = NULL;

		assert_int_equal(hostlist_expand(rows[i].text, 100, &names, NULL), 0);
		text = hostlist_compress(&names);
		assert_string_equal(text, rows[i].shortest);
		strings_done(&names);
	}
}

static int cmp(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

/* Whatever the set is, compressing and expanding gives the set. */
static void test_round_trip(void **state)
{
	static const char *const forms[] = {
		"pc%u", "pc%02u", "pc%03u", "pc%ux", "a%u-1", "b%u-%u", "c"};

	(void)state;
	srand(7);
	for (int run = 0; run < 2000; run++) {
		struct strings names = {0}, again = {0};
		auto_free char *text = NULL;
		size_t n = 0;

		for (int i = rand() % 40; i >= 0; i--) {
			/* the forms are constants of this test; unused arguments are allowed */
			const char *form = forms[(size_t)rand() % ARRAY_LEN(forms)];
			char name[64];

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
			snprintf(name, sizeof(name), form, (unsigned)rand() % 120,
				(unsigned)rand() % 3);
#pragma GCC diagnostic pop
			vec_push(&names, xstrdup(name));
		}
		text = hostlist_compress(&names);
		assert_int_equal(hostlist_expand(text, 1000, &again, NULL), 0);
		qsort(names.at, names.n, sizeof(char *), cmp);
		qsort(again.at, again.n, sizeof(char *), cmp);
		for (size_t i = 0; i < names.n; i++) {
			if (i && strcmp(names.at[i], names.at[i - 1]) == 0)
				continue;
			assert_true(n < again.n);
			assert_string_equal(again.at[n++], names.at[i]);
		}
		assert_int_equal(n, again.n);
		strings_done(&names);
		strings_done(&again);
	}
}

static void test_empty(void **state)
{
	struct strings none = {0};
	auto_free char *text = hostlist_compress(&none);

	(void)state;
	assert_string_equal(text, "");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_expand),
		cmocka_unit_test(test_compress),
		cmocka_unit_test(test_round_trip),
		cmocka_unit_test(test_empty),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
