/* SPDX-License-Identifier: GPL-2.0-or-later */
/* An import whose files are written meanwhile: what comes of it is refused, with the field of the
 * file, and the store is as before. The writing happens in the progress callback, so at a known
 * moment. And what progress counts. What else imports do is tested from outside
 * (tests/rig/test_images.py). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <fcntl.h>
#include <sys/stat.h>

#include "images/chunk.h"
#include "images/import.h"
#include "images/store.h"
#include "tests/unit/folder.h"

enum how { LEFT_ALONE, SAME_BYTES, SHORTER, LONGER };

struct meddler {
	const char *path, *phase;
	enum how how;
	bool done;
};

static void meddle(const char *phase, uint64_t done, uint64_t total, void *arg)
{
	struct meddler *meddler = arg;

	(void)done;
	(void)total;
	if (meddler->done || strcmp(phase, meddler->phase) != 0)
		return;
	meddler->done = true;
	auto_close int fd = open(meddler->path, O_WRONLY | O_CLOEXEC);

	assert_true(fd >= 0);
	if (meddler->how == SAME_BYTES)
		assert_int_equal(pwrite(fd, "d", 1, 0), 1);
	if (meddler->how == SHORTER)
		assert_int_equal(ftruncate(fd, 512), 0);
	if (meddler->how == LONGER)
		assert_int_equal(ftruncate(fd, 8LL * CHUNK_SIZE), 0);
}

/* Written some time ago, so that a write of now is told from it whatever the clock's grain. */
static char *make_file(const char *dir, const char *name, off_t size)
{
	const struct timespec old[2] = {{.tv_sec = 1000000000}, {.tv_sec = 1000000000}};
	char *path = xasprintf("%s/%s", dir, name);
	auto_close int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	assert_int_equal(ftruncate(fd, size), 0);
	for (off_t at = 0; at < size; at += CHUNK_SIZE)
		assert_int_equal(pwrite(fd, "d", 1, at), 1);
	assert_int_equal(futimens(fd, old), 0);
	return path;
}

static void a_file_that_changes_is_not_taken(void **state)
{
	static const struct {
		const char *file, *phase;
		enum how how;
		const char *field; /* NULL: taken */
	} rows[] = {
		{"disk", "cut", LEFT_ALONE, NULL},
		{"disk", "cut", SAME_BYTES, "path"},
		{"disk", "cut", SHORTER, "path"},
		{"disk", "cut", LONGER, "path"},
		{"kernel", "cut", SAME_BYTES, "kernel"},
		{"kernel", "cut", SHORTER, "kernel"},
	};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		auto_free char *store = xasprintf("%s/store%zu", (char *)*state, i);
		auto_free char *disk = make_file(*state, "disk", 6LL * CHUNK_SIZE);
		auto_free char *kernel = make_file(*state, "kernel", CHUNK_SIZE + 77);
		auto_free char *file = xasprintf("%s/%s", (char *)*state, rows[i].file);
		struct meddler meddler = {.path = file, .phase = rows[i].phase, .how = rows[i].how};
		const struct import import = {.store = store,
			.path = disk,
			.kernel = kernel,
			.name = "mpi",
			.revision = 1,
			.no_sync = true,
			.progress = meddle,
			.arg = &meddler};
		auto_error struct error *err = NULL;
		struct import_result result;
		int r = import_image(&import, &result, &err);
		auto_free char *manifest = NULL;

		assert_true(meddler.done);
		if (!rows[i].field) {
			assert_int_equal(r, 0);
			manifest = chunkstore_manifest_path(store, &result.digest);
			assert_int_equal(access(manifest, F_OK), 0);
			continue;
		}
		if (r != -EBUSY)
			fail_msg("row %zu: %d, %s", i, r, error_text(err, r));
		assert_string_equal(err->field, rows[i].field);
		manifest = xasprintf("%s/manifests", store);
		assert_int_equal(rmdir(manifest), 0); /* it is empty */
	}
}

struct counted {
	uint64_t first, last, total;
	unsigned calls;
};

static void count(const char *phase, uint64_t done, uint64_t total, void *arg)
{
	struct counted *counted = arg;

	if (strcmp(phase, "cut") != 0)
		return;
	assert_true(done >= counted->last && done <= total);
	if (done > 0 && counted->first == 0)
		counted->first = done;
	counted->last = done;
	counted->total = total;
	counted->calls++;
}

/* 1 GiB with two chunks of data at its end, and a kernel: the rate that is seen is that of the
 * work, not of holes. */
static void holes_are_no_progress(void **state)
{
	const off_t size = 1LL << 30;
	auto_free char *store = xasprintf("%s/store", (char *)*state);
	auto_free char *disk = xasprintf("%s/sparse", (char *)*state);
	auto_free char *kernel = make_file(*state, "kernel", CHUNK_SIZE + 77);
	auto_close int fd = open(disk, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	struct counted counted = {0};
	const struct import import = {.store = store,
		.path = disk,
		.kernel = kernel,
		.name = "mpi",
		.revision = 1,
		.no_sync = true,
		.progress = count,
		.arg = &counted};
	struct import_result result;

	assert_int_equal(ftruncate(fd, size), 0);
	assert_int_equal(pwrite(fd, "a", 1, size - 2 * CHUNK_SIZE), 1);
	assert_int_equal(pwrite(fd, "b", 1, size - 1), 1);
	assert_int_equal(import_image(&import, &result, NULL), 0);
	assert_int_equal(result.size, size);
	assert_int_equal(counted.total, 3 * CHUNK_SIZE + 77);
	assert_int_equal(counted.last, counted.total);
	assert_true(counted.first <= 2 * CHUNK_SIZE);
	assert_true(counted.calls < 20);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(
			a_file_that_changes_is_not_taken, folder_make, folder_remove),
		cmocka_unit_test_setup_teardown(holes_are_no_progress, folder_make, folder_remove),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
