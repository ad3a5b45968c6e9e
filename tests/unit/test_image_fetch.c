/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What a fetch refuses by itself, and the folder it leaves. With arguments this is the program by
 * which tests/rig/test_images.py fetches from its servers:
 *
 *   test_image_fetch BASE DIGEST DIR [CANCEL_AFTER_BYTES [PEER...]]
 *
 * prints what it notes to standard error and one line, "ok TOTAL REUSED RECEIVED WRONG" or
 * "CODE text". */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>

#include "images/fetch.h"
#include "images/overlay.h"
#include "lib/file.h"
#include "tests/unit/folder.h"

#define DIGEST "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

static void refuses_what_is_no_digest(void **state)
{
	static const char *const wrong[] = {"", "..", "../../etc", "0123", DIGEST "0",
		"0123456789ABCDEF0123456789abcdef0123456789abcdef0123456789abcdef"};

	for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
		struct fetch job = {
			.base = "http://127.0.0.1:9", .digest = wrong[i], .dir = *state};
		auto_error struct error *err = NULL;

		assert_int_equal(fetch_image(&job, NULL, &err), -EINVAL);
		assert_string_equal(err->field, "digest");
		assert_false(fetch_is_complete(*state, wrong[i]));
	}
	assert_int_equal(rmdir(*state), 0); /* nothing was made */
	assert_int_equal(mkdir(*state, 0700), 0);
}

static void names_a_server_that_is_not_there(void **state)
{
	struct fetch job = {.base = "http://127.0.0.1:9", .digest = DIGEST, .dir = *state};
	auto_error struct error *err = NULL;

	assert_int_equal(fetch_image(&job, NULL, &err), -ECONNREFUSED);
	assert_non_null(strstr(err->text, "image 0123456789ab"));
	assert_non_null(strstr(err->text, "127.0.0.1"));
	assert_false(fetch_is_complete(*state, DIGEST));
}

static void one_fetch_of_an_image_at_a_time(void **state)
{
	struct fetch job = {.base = "http://127.0.0.1:9", .digest = DIGEST, .dir = *state};
	auto_free char *folder = xasprintf("%s/%s", (char *)*state, DIGEST);
	auto_close int fd = -1;

	assert_int_equal(mkdir(folder, 0755), 0);
	fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_int_equal(flock(fd, LOCK_EX | LOCK_NB), 0);
	assert_int_equal(fetch_image(&job, NULL, NULL), -EBUSY);
}

static void overlays_name_their_base_and_its_format(void **state)
{
	auto_free char *base = xasprintf("%s/base", (char *)*state);
	auto_free char *path = xasprintf("%s/vm.qcow2", (char *)*state), *bytes = NULL;
	auto_error struct error *err = NULL;
	size_t len;

	assert_int_equal(overlay_create(base, path, NULL), -ENOENT);
	assert_int_equal(overlay_create("base", path, NULL), -EINVAL);
	/* A guest's disk that begins like a qcow2 file must be taken as the bytes it is. */
	assert_int_equal(file_write(base, "QFI\xfb\0\0\0\3", 8, 0600, NULL), 0);
	assert_int_equal(truncate(base, 1 << 20), 0);
	if (overlay_create(base, path, &err) < 0)
		fail_msg("%s", err->text);
	assert_int_equal(file_read(path, 1 << 20, &bytes, &len, NULL), 0);
	assert_memory_equal(bytes, "QFI\xfb", 4);
	assert_non_null(memmem(bytes, len, base, strlen(base)));
	/* The extension that names the backing format: type, length 3, "raw". */
	assert_non_null(memmem(bytes, len, "\xe2\x79\x2a\xca\0\0\0\3raw", 11));
	assert_int_equal(overlay_create(base, path, NULL), -EEXIST);
}

struct limit {
	uint64_t bytes;
	atomic_bool cancel;
};

static void cancel_after(uint64_t have, uint64_t total, void *arg)
{
	struct limit *limit = arg;

	if (total && have >= limit->bytes)
		atomic_store(&limit->cancel, true);
}

static void print_note(const char *text, void *arg)
{
	(void)arg;
	fprintf(stderr, "%s\n", text);
}

static int fetch_program(int argc, char **argv)
{
	struct limit limit = {.bytes = argv[4] ? strtoull(argv[4], NULL, 10) : UINT64_MAX};
	struct fetch job = {.base = argv[1],
		.digest = argv[2],
		.dir = argv[3],
		.silence_ms = 3000,
		.cancel = &limit.cancel,
		.peers = (const char *const *)argv + 5,
		.n_peers = argc > 5 ? (size_t)argc - 5 : 0,
		.progress = cancel_after,
		.note = print_note,
		.arg = &limit};
	auto_error struct error *err = NULL;
	struct fetch_result result;
	int r = fetch_image(&job, &result, &err);

	if (r < 0)
		return printf("%s %s\n", strerrorname_np(-r), error_text(err, r)), 1;
	printf("ok %llu %llu %llu %u\n", (unsigned long long)result.total,
		(unsigned long long)result.reused, (unsigned long long)result.received,
		result.wrong);
	return 0;
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(
			refuses_what_is_no_digest, folder_make, folder_remove),
		cmocka_unit_test_setup_teardown(
			names_a_server_that_is_not_there, folder_make, folder_remove),
		cmocka_unit_test_setup_teardown(
			one_fetch_of_an_image_at_a_time, folder_make, folder_remove),
		cmocka_unit_test_setup_teardown(
			overlays_name_their_base_and_its_format, folder_make, folder_remove),
	};

	if (argc >= 4)
		return fetch_program(argc, argv);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
