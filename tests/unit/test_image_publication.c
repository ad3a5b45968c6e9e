/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Publications: what was signed is read back, and nothing else is believed: another key, a changed
 * byte anywhere, a second spelling, a key file that cannot be read. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <sys/stat.h>

#include "images/publication.h"
#include "lib/file.h"
#include "lib/hash.h"
#include "lib/str.h"

#define DIGEST "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"

static char folder[] = "/tmp/test-publication.XXXXXX";
static struct publisher *publisher;
static const struct publication mpi3 = {.name = (char *)"mpi",
	.revision = 3,
	.digest = (char *)DIGEST,
	.sequence = 1800000001,
	.published = 1800000000};

static char *key_file(void)
{
	return xasprintf("%s/publication.key", folder);
}

static int setup(void **state)
{
	auto_free char *path = NULL;

	(void)state;
	assert_non_null(mkdtemp(folder));
	path = key_file();
	return publisher_open(path, &publisher, NULL);
}

static int teardown(void **state)
{
	(void)state;
	publisher_free(publisher);
	return file_remove_tree(folder, NULL);
}

static void what_was_signed_is_read(void **state)
{
	auto_free char *text = publication_sign(publisher, &mpi3);
	auto_publication struct publication got = {0};
	auto_error struct error *err = NULL;

	(void)state;
	assert_true(strlen(text) < PUBLICATION_MAX_BYTES);
	if (publication_verify(text, strlen(text), publisher_key(publisher), &got, &err) < 0)
		fail_msg("%s", err->text);
	assert_string_equal(got.name, "mpi");
	assert_int_equal(got.revision, 3);
	assert_string_equal(got.digest, DIGEST);
	assert_int_equal(got.sequence, 1800000001);
	assert_int_equal(got.published, 1800000000);
	assert_string_equal(got.key, publisher_key_id(publisher));
}

static void every_changed_byte_is_noticed(void **state)
{
	auto_free char *text = publication_sign(publisher, &mpi3);
	size_t len = strlen(text);

	(void)state;
	for (size_t i = 0; i < len; i++) {
		for (int bit = 0; bit < 7; bit++) {
			struct publication got = {0};

			text[i] = (char)(text[i] ^ (1 << bit));
			int r = publication_verify(text, len, publisher_key(publisher), &got, NULL);
			if (r != -EINVAL && r != -EKEYREJECTED)
				fail_msg("byte %zu: %d for %s", i, r, text);
			text[i] = (char)(text[i] ^ (1 << bit));
		}
	}
}

static void another_key_is_not_believed(void **state)
{
	auto_free char *text = publication_sign(publisher, &mpi3);
	auto_free char *path = xasprintf("%s/other.key", folder);
	auto_error struct error *err = NULL;
	struct publisher *other = NULL;
	struct publication got = {0};

	(void)state;
	assert_int_equal(publisher_open(path, &other, NULL), 0);
	assert_int_equal(publication_verify(text, strlen(text), publisher_key(other), &got, &err),
		-EKEYREJECTED);
	assert_non_null(strstr(err->text, "signed by key"));
	publisher_free(other);
	assert_int_equal(publication_verify(text, strlen(text), "", &got, NULL), -EINVAL);
}

static void one_spelling_only(void **state)
{
	static const char *const texts[] = {"", "{}", "[]", "null",
		"{\"format\":2,\"name\":\"mpi\",\"revision\":3,\"digest\":\"" DIGEST
		"\",\"sequence\":1,\"published\":1,\"key\":\"" DIGEST "\",\"signature\":\"00\"}",
		"{\"format\":1,\"name\":\"MPI\",\"revision\":3,\"digest\":\"" DIGEST
		"\",\"sequence\":1,\"published\":1,\"key\":\"" DIGEST "\",\"signature\":\"00\"}",
		"{\"format\":1,\"name\":\"mpi\",\"revision\":0,\"digest\":\"" DIGEST
		"\",\"sequence\":1,\"published\":1,\"key\":\"" DIGEST "\",\"signature\":\"00\"}"};
	auto_free char *text = publication_sign(publisher, &mpi3);
	auto_free char *spaced = xasprintf("%s ", text);
	auto_free char *longer = xcalloc(1, PUBLICATION_MAX_BYTES + 2);
	struct publication got = {0};

	(void)state;
	memset(longer, ' ', PUBLICATION_MAX_BYTES + 1);
	for (size_t i = 0; i < ARRAY_LEN(texts); i++)
		assert_int_equal(publication_verify(texts[i], strlen(texts[i]),
					 publisher_key(publisher), &got, NULL),
			-EINVAL);
	assert_int_equal(
		publication_verify(spaced, strlen(spaced), publisher_key(publisher), &got, NULL),
		-EINVAL);
	assert_int_equal(
		publication_verify(longer, strlen(longer), publisher_key(publisher), &got, NULL),
		-EINVAL);
}

static void the_key_stays(void **state)
{
	auto_free char *path = key_file();
	auto_error struct error *err = NULL;
	struct publisher *again = NULL;
	struct stat st;

	(void)state;
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
	assert_int_equal(publisher_open(path, &again, NULL), 0);
	assert_string_equal(publisher_key(again), publisher_key(publisher));
	publisher_free(again);
	assert_int_equal(file_write(path, "damaged\n", 8, 0600, NULL), 0);
	assert_int_equal(publisher_open(path, &again, &err), -EINVAL);
	assert_non_null(strstr(err->text, "backup"));
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_size, 8); /* never replaced */
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_was_signed_is_read),
		cmocka_unit_test(every_changed_byte_is_noticed),
		cmocka_unit_test(another_key_is_not_believed),
		cmocka_unit_test(one_spelling_only),
		cmocka_unit_test(the_key_stays),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
