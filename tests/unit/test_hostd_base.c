/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Whom a disk server is told to ask, by an nbdkit that writes down its words and waits for its end. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "boot/hostd/base.h"
#include "lib/clock.h"
#include "tests/unit/folder.h"
#include "tests/unit/hostd_sample.h"

/* The words that begin so, as nbdkit was given them; waits for it. */
static char *words_like(const char *folder, const char *begin)
{
	auto_free char *path = xasprintf("%s/words", folder), *text = NULL;
	int64_t end_ms = clock_real_ms() + 20000;
	struct buf b = {0};

	while (file_read(path, 4096, &text, NULL, NULL) < 0 && clock_real_ms() < end_ms)
		usleep(10000);
	assert_non_null(text);
	for (char *rest = text, *word; (word = strsep(&rest, "\n"));)
		if (strncmp(word, begin, strlen(begin)) == 0)
			buf_addf(&b, "%s\n", word);
	return buf_take(&b);
}

static void it_asks_the_holders_and_then_the_controller(void **state)
{
	auto_free char *nbdkit = xasprintf("%s/nbdkit", (char *)*state);
	auto_free char *path = xasprintf("%s:/usr/bin:/bin", (char *)*state);
	auto_free char *script = xasprintf("#!/bin/sh\ncd %s\nprintf '%%s\\n' \"$@\" >new\n"
					   "mv new words\nexec sleep 60\n",
		(char *)*state);
	struct proto_goal goal = goal_of(1, "x");
	struct bases *bases;
	struct loop *loop;

	goal.chunk_url = xstrdup("http://10.71.0.1:8080");
	for (char letter = 'b'; letter >= 'a'; letter--) {
		struct proto_image *image = vec_add(&goal.images);

		image->name = xstrdup("mpi");
		image->digest = digest_of(letter);
		for (int i = 0; i < 9; i++)
			vec_push(&image->peers, xasprintf("http://10.71.%d.%d:8081", letter - 'a', 11 + i));
	}
	assert_int_equal(file_write(nbdkit, script, strlen(script), 0755, NULL), 0);
	setenv("PATH", path, 1);
	assert_int_equal(loop_new(&loop, NULL), 0);
	bases = bases_new(loop, nbdkit, *state);
	bases_serve(bases, "/images", IMAGE, &goal);
	auto_free char *urls = words_like(*state, "url="), *digest = words_like(*state, "digest=");
	assert_string_equal(digest, "digest=" IMAGE "\n");
	assert_string_equal(urls, "url=http://10.71.0.11:8081\nurl=http://10.71.0.12:8081\n"
				  "url=http://10.71.0.13:8081\nurl=http://10.71.0.14:8081\n"
				  "url=http://10.71.0.15:8081\nurl=http://10.71.0.16:8081\n"
				  "url=http://10.71.0.17:8081\nurl=http://10.71.0.1:8080\n");
	bases_free(bases);
	loop_free(loop);
	proto_goal_done(&goal);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(
			it_asks_the_holders_and_then_the_controller, folder_make, folder_remove),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
