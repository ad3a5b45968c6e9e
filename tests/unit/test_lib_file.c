/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Files and hashes: bounds, replacement that keeps the old file on failure, removal that does not
 * follow links; SHA-256 against published vectors.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <sys/stat.h>
#include <cmocka.h>

#include "lib/file.h"
#include "lib/hash.h"

static char folder[] = "/tmp/test-file-XXXXXX";

static int make_folder(void **state)
{
	(void)state;
	return mkdtemp(folder) ? 0 : -1;
}

static int remove_folder(void **state)
{
	(void)state;
	return file_remove_tree(folder, NULL);
}

static void test_write_read(void **state)
{
	auto_free char *path = xasprintf("%s/a", folder), *bytes = NULL;
	auto_error struct error *err = NULL;
	struct stat st;
	size_t len = 0;

	(void)state;
	umask(077);
	assert_int_equal(file_write(path, "old", 3, 0644, &err), 0);
	assert_int_equal(file_write(path, "n\0w", 3, 0640, &err), 0);
	umask(022);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0640);
	assert_int_equal(file_read(path, 3, &bytes, &len, &err), 0);
	assert_int_equal(len, 3);
	assert_memory_equal(bytes, "n\0w", 4);
	free(TAKE_PTR(bytes));
	assert_int_equal(file_read(path, 2, &bytes, NULL, NULL), -E2BIG);
	assert_int_equal(file_read("/nowhere", 2, &bytes, NULL, &err), -ENOENT);
	assert_non_null(strstr(err->text, "/nowhere"));
	assert_int_equal(file_read(folder, 2, &bytes, NULL, NULL), -EISDIR);
}

static void test_write_fails_cleanly(void **state)
{
	auto_free char *dir = xasprintf("%s/full", folder), *path = xasprintf("%s/full/d", folder);
	auto_free char *inside = xasprintf("%s/full/d/x", folder);

	(void)state;
	/* the target is a folder: rename fails after the temporary file was made */
	assert_int_equal(file_mkdirs(inside, 0755, NULL), 0);
	assert_true(file_write(path, "x", 1, 0644, NULL) < 0);
	assert_int_equal(rmdir(inside), 0);
	assert_int_equal(rmdir(path), 0);
	assert_int_equal(rmdir(dir), 0); /* nothing was left in it */
	assert_int_equal(file_write("/nowhere/x", "x", 1, 0644, NULL), -ENOENT);
}

static void test_big(void **state)
{
	auto_free char *path = xasprintf("%s/big", folder), *big = xcalloc(1, 1 << 20),
		       *back = NULL;
	size_t len = 0;

	(void)state;
	memset(big, 'x', 1 << 20);
	assert_int_equal(file_write(path, big, 1 << 20, 0600, NULL), 0);
	assert_int_equal(file_read(path, 1 << 20, &back, &len, NULL), 0);
	assert_int_equal(len, 1 << 20);
	assert_memory_equal(big, back, len);
}

static void test_trees(void **state)
{
	auto_free char *deep = xasprintf("%s/t/a/b/c", folder), *top = xasprintf("%s/t", folder);
	auto_free char *link = xasprintf("%s/t/a/link", folder),
		       *keep = xasprintf("%s/keep", folder);
	auto_free char *kept = xasprintf("%s/keep/file", folder),
		       *file = xasprintf("%s/t/a/f", folder);

	(void)state;
	assert_int_equal(file_mkdirs(deep, 0755, NULL), 0);
	assert_int_equal(file_mkdirs(deep, 0755, NULL), 0);
	assert_int_equal(file_mkdirs(keep, 0755, NULL), 0);
	assert_int_equal(file_write(kept, "x", 1, 0644, NULL), 0);
	assert_int_equal(file_write(file, "x", 1, 0644, NULL), 0);
	assert_int_equal(symlink(keep, link), 0);
	assert_true(file_mkdirs(file, 0755, NULL) < 0);
	assert_int_equal(file_remove_tree(top, NULL), 0);
	assert_int_equal(access(top, F_OK), -1);
	assert_int_equal(access(kept, F_OK), 0);
	assert_int_equal(file_remove_tree(top, NULL), 0);
	assert_int_equal(symlink(keep, top), 0);
	assert_int_equal(file_remove_tree(top, NULL), 0);
	assert_int_equal(access(kept, F_OK), 0);
}

static void test_sha256(void **state)
{
	static const struct {
		const char *text, *digest;
	} rows[] = {
		{"", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"},
		{"abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"},
		{"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
			"248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1"},
	};
	auto_free char *path = xasprintf("%s/h", folder);

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct sha256_stream *stream = sha256_begin();
		struct sha256 whole = sha256_of(rows[i].text, strlen(rows[i].text)), piece, of_file,
			      parsed;
		char text[SHA256_TEXT];

		for (const char *p = rows[i].text; *p; p++)
			sha256_add(stream, p, 1);
		piece = sha256_end(stream);
		assert_string_equal(sha256_format(&whole, text), rows[i].digest);
		assert_memory_equal(&piece, &whole, sizeof(whole));
		assert_int_equal(sha256_parse(rows[i].digest, &parsed), 0);
		assert_memory_equal(&parsed, &whole, sizeof(whole));
		assert_int_equal(
			file_write(path, rows[i].text, strlen(rows[i].text), 0644, NULL), 0);
		assert_int_equal(sha256_file(path, &of_file, NULL), 0);
		assert_memory_equal(&of_file, &whole, sizeof(whole));
	}
	assert_int_equal(sha256_file("/nowhere", &(struct sha256){{0}}, NULL), -ENOENT);
	assert_int_equal(sha256_parse("abc", &(struct sha256){{0}}), -EINVAL);
}

static void test_secrets(void **state)
{
	auto_free char *a = random_hex(32), *b = random_hex(32);

	(void)state;
	assert_int_equal(strlen(a), 64);
	assert_string_not_equal(a, b);
	assert_true(secret_equal("token", "token"));
	assert_false(secret_equal("token", "tokem"));
	assert_false(secret_equal("token", "toke"));
	assert_false(secret_equal("", "t"));
	assert_true(secret_equal("", ""));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_write_read),
		cmocka_unit_test(test_write_fails_cleanly),
		cmocka_unit_test(test_big),
		cmocka_unit_test(test_trees),
		cmocka_unit_test(test_sha256),
		cmocka_unit_test(test_secrets),
	};

	return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
