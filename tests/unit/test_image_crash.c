/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A crash at any moment leaves a valid store. A child imports and kills itself before its first
 * call that changes a file, before the second, and so on until it comes through; after each death
 * every manifest in the store has all its chunks undamaged, the image that was there before is
 * whole, and the same import again gives the same image and leaves no rubbish.
 *
 * The calls are counted by standing in for libc's: this program defines them, so the archives call
 * these. A second round fails the nth call instead of dying, as a full disk would. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "images/chunk.h"
#include "images/cut.h"
#include "images/store_check.h"
#include "lib/file.h"
#include "tests/unit/folder.h"

enum { CALLS_MAX = 400, CHUNKS = 6 };

static atomic_int countdown = -1; /* calls until the fault; below 0: none */
static bool die;		  /* else the call fails with ENOSPC */

static bool fault(void)
{
	if (atomic_load(&countdown) < 0 || atomic_fetch_sub(&countdown, 1) > 0)
		return false;
	if (die)
		kill(getpid(), SIGKILL);
	errno = ENOSPC;
	return true;
}

int link(const char *from, const char *to)
{
	return fault() ? -1 : (int)syscall(SYS_linkat, AT_FDCWD, from, AT_FDCWD, to, 0);
}

int unlink(const char *path)
{
	/* Removing needs no room: it only dies. */
	if (die)
		fault();
	return (int)syscall(SYS_unlinkat, AT_FDCWD, path, 0);
}

ssize_t write(int fd, const void *bytes, size_t len)
{
	if (fd <= 2)
		return syscall(SYS_write, fd, bytes, len);
	return fault() ? -1 : syscall(SYS_write, fd, bytes, len);
}

int mkdir(const char *path, mode_t mode)
{
	return fault() ? -1 : (int)syscall(SYS_mkdirat, AT_FDCWD, path, mode);
}

int fsync(int fd)
{
	return fault() ? -1 : (int)syscall(SYS_fsync, fd);
}

int syncfs(int fd)
{
	return fault() ? -1 : (int)syscall(SYS_syncfs, fd);
}

/* A disk of six chunks, one of them zeros, one the same in both revisions. */
static int disk_of(const char *dir, char seed)
{
	auto_free char *path = xasprintf("%s/disk-%c", dir, seed);
	auto_free char *bytes = xcalloc(1, CHUNK_SIZE);
	int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, (off_t)CHUNKS * CHUNK_SIZE), 0);
	for (int i = 0; i < CHUNKS; i++) {
		if (i == 3)
			continue;
		memset(bytes, i == 0 ? 'x' : seed + i, CHUNK_SIZE);
		assert_int_equal(pwrite(fd, bytes, CHUNK_SIZE, (off_t)i * CHUNK_SIZE), CHUNK_SIZE);
	}
	return fd;
}

static int import(const char *dir, int disk, uint64_t revision, struct sha256 *ret_digest)
{
	auto_chunkstore struct chunkstore *store = NULL;
	auto_manifest struct manifest m = {.name = xstrdup("mpi"), .revision = revision};
	int r = chunkstore_open(dir, CHUNKSTORE_WRITE | CHUNKSTORE_SYNC, &store, NULL);

	if (r == 0)
		r = cut_file(store, disk, (uint64_t)CHUNKS * CHUNK_SIZE, CHUNK_LEVEL, NULL,
			NULL, &m.parts[PART_DISK], NULL);
	if (r == 0)
		r = chunkstore_put_manifest(store, &m, ret_digest, NULL);
	if (r < 0 && store)
		chunkstore_sweep(store, NULL, NULL);
	return r;
}

static void expect_whole(const struct chunkstore *store, const char *name)
{
	auto_chunkstore_check struct chunkstore_check check = {0};
	auto_error struct error *err = NULL;
	struct sha256 digest;

	assert_int_equal(sha256_parse(name, &digest), 0);
	if (chunkstore_verify(store, &digest, &check, &err) < 0)
		fail_msg("%s", err->text);
	if (check.n_damaged)
		fail_msg("image %.12s: chunk %zu: %s", name, check.damaged.at[0].number,
			check.damaged.at[0].reason);
}

/* How many manifests there are; every one must be whole. */
static int count_whole(const char *dir)
{
	auto_chunkstore struct chunkstore *store = NULL;
	auto_free char *folder = xasprintf("%s/manifests", dir);
	const struct dirent *entry;
	DIR *manifests;
	int n = 0;

	assert_int_equal(chunkstore_open(dir, CHUNKSTORE_READ, &store, NULL), 0);
	manifests = opendir(folder);
	assert_non_null(manifests);
	while ((entry = readdir(manifests))) {
		if (entry->d_name[0] == '.')
			continue;
		expect_whole(store, entry->d_name);
		n++;
	}
	closedir(manifests);
	return n;
}

/* Files below `path`. */
static int count_files(const char *path)
{
	const struct dirent *entry;
	DIR *dir = opendir(path);
	int n = 0;

	while (dir && (entry = readdir(dir))) {
		auto_free char *below = xasprintf("%s/%s", path, entry->d_name);

		if (entry->d_name[0] != '.')
			n += entry->d_type == DT_DIR ? count_files(below) : 1;
	}
	if (dir)
		closedir(dir);
	return n;
}

/* The import of revision 2 with a fault at the nth call: true when it came through without one. */
static bool import_with_fault(const char *dir, int disk, int n)
{
	struct sha256 digest;
	int status;
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (pid == 0) {
		atomic_store(&countdown, n);
		int r = import(dir, disk, 2, &digest);
		_exit(r == 0 ? 0 : 1);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	if (die)
		assert_true(
			WIFEXITED(status) ? WEXITSTATUS(status) == 0 : WTERMSIG(status) == SIGKILL);
	else
		assert_true(WIFEXITED(status));
	return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

static int import_faults(const char *dir, bool dies)
{
	int one = disk_of(dir, 'a'), two = disk_of(dir, 'A'), n = 0, before, whole;
	auto_free char *store = xasprintf("%s/store-%d", dir, dies);
	struct sha256 first, wanted, again;
	bool through = false;

	die = dies;
	assert_int_equal(import(store, one, 1, &first), 0);
	assert_int_equal(import(store, two, 2, &wanted), 0);
	auto_free char *manifest = chunkstore_manifest_path(store, &wanted);
	whole = count_files(store);
	while (!through && n < CALLS_MAX) {
		assert_int_equal(unlink(manifest), 0);
		/* An import of nothing new sweeps what the last one left. */
		assert_int_equal(import(store, one, 1, &again), 0);
		before = count_files(store);
		through = import_with_fault(store, two, n++);
		assert_true(count_whole(store) >= 1);
		if (!dies && !through && access(manifest, F_OK) != 0)
			assert_int_equal(count_files(store), before); /* nothing left behind */
		assert_int_equal(import(store, two, 2, &again), 0);
		assert_memory_equal(&again, &wanted, sizeof(again));
		assert_int_equal(count_whole(store), 2);
		assert_int_equal(count_files(store), whole);
	}
	close(one);
	close(two);
	assert_true(through);
	return n;
}

static void a_kill_at_every_call(void **state)
{
	int n = import_faults(*state, true);

	print_message("killed at %d points\n", n - 1);
	assert_true(n > 25);
}

static void a_full_disk_at_every_call(void **state)
{
	int n = import_faults(*state, false);

	print_message("failed at %d points\n", n - 1);
	assert_true(n > 15);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(a_kill_at_every_call, folder_make, folder_remove),
		cmocka_unit_test_setup_teardown(
			a_full_disk_at_every_call, folder_make, folder_remove),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
