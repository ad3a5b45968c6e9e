/* SPDX-License-Identifier: GPL-2.0-or-later */
/* An image in part, as several programs at once see it: what is put is read by others, waiters are
 * woken, readers never get a mixture while chunks are taken away, and what another boot left is
 * believed chunk by chunk or not at all. With arguments this is the program by which
 * tests/rig/test_base.py limits what is held: test_image_held DIR DIGEST BYTES, which prints what
 * is in place and the order of first reads. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "images/chunk.h"
#include "images/held.h"
#include "lib/clock.h"
#include "lib/file.h"
#include "tests/unit/held_sample.h"

/* ---- tests ---- */

static void refuses_what_is_not_its_manifest(void **state)
{
	const struct image *image = *state;
	auto_held struct held *held = NULL;
	auto_free char *path = file_of(image, "manifest");

	assert_int_equal(held_open(image->dir, image->digest, &held, NULL), -ENOENT);
	assert_int_equal(held_open(image->dir, "../../etc", &held, NULL), -ENOENT);
	assert_int_equal(held_create(image->dir, image->digest, image->text,
				 strlen(image->text) - 1, &held, NULL),
		-EBADMSG);
	assert_int_equal(access(path, F_OK), -1);
	held = create(image);
	held_close(TAKE_PTR(held));
	write_at(path, "X", 1, 20);
	assert_int_equal(held_open(image->dir, image->digest, &held, NULL), -EBADMSG);
	held = create(image); /* writes it anew */
}

static void numbers_run_through_all_parts(void **state)
{
	const struct image *image = *state;
	auto_held struct held *held = create(image);
	struct held_chunk chunk;

	assert_int_equal(held_count(held), CHUNKS + 2);
	assert_int_equal(held_number(held, PART_DISK, 3 * CHUNK_SIZE + 7), 3);
	assert_int_equal(held_number(held, PART_KERNEL, 0), CHUNKS + 1);
	held_chunk_at(held, CHUNKS, &chunk);
	assert_int_equal(chunk.part, PART_DISK);
	assert_int_equal(chunk.len, TAIL);
	held_chunk_at(held, CHUNKS + 1, &chunk);
	assert_int_equal(chunk.part, PART_KERNEL);
	assert_int_equal(chunk.at, 0);
	assert_int_equal(chunk.len, KERNEL);
	assert_int_equal(held_total(held), (DATA_CHUNKS * CHUNK_SIZE) + TAIL + KERNEL);
	assert_int_equal(held_have(held), 0);
	assert_true(held_has(held, ZERO));
	assert_false(held_has(held, 0));
}

static void finished_when_all_is_there(void **state)
{
	const struct image *image = *state;
	auto_held struct held *held = create(image);
	auto_free char *disk = file_of(image, "disk.raw"), *cmdline = file_of(image, "cmdline");
	struct stat st;

	assert_int_equal(look(held, image, 0, 0, 1), -ENOENT);
	put(held, image, CHUNKS + 1);
	assert_true(held_has_part(held, PART_KERNEL));
	assert_false(held_has_part(held, PART_DISK));
	for (size_t i = 1; i < held_count(held); i++)
		put(held, image, i);
	assert_int_equal(held_finish(held, NULL), -EAGAIN);
	assert_false(held_is_complete(image->dir, image->digest));
	put(held, image, 0);
	put(held, image, 0);
	assert_int_equal(held_have(held), held_total(held));
	assert_int_equal(look(held, image, 0, 17, 4000), 0);
	assert_int_equal(look(held, image, CHUNKS, 0, TAIL), 0);
	assert_int_equal(held_read(held, 0, 1, disk, CHUNK_SIZE, NULL), -EINVAL);
	assert_int_equal(held_finish(held, NULL), 0);
	assert_true(held_is_complete(image->dir, image->digest));
	assert_int_equal(stat(disk, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0444);
	assert_true((uint64_t)st.st_blocks * 512 <= DATA_CHUNKS * CHUNK_SIZE + 4096);
	assert_int_equal(access(cmdline, F_OK), 0);
}

enum { WAITED = 9 };

static int wait_for_it(struct held *held, const struct image *image)
{
	held_want(held, WAITED);
	if (held_wait(held, WAITED, 120000) < 0)
		return 1;
	return look(held, image, WAITED, 0, CHUNK_SIZE) == 0 ? 0 : 2;
}

static void waiters_in_other_processes_are_woken(void **state)
{
	const struct image *image = *state;
	auto_held struct held *held = create(image);
	int64_t begin_ms;
	pid_t pids[3];

	assert_int_equal(held_wait(held, WAITED, 0), -ETIMEDOUT);
	assert_int_equal(held_wait(held, ZERO, 0), 0);
	assert_int_equal(held_next_wanted(held, 0), held_count(held));
	for (size_t i = 0; i < ARRAY_LEN(pids); i++)
		pids[i] = child(image, wait_for_it);
	while (held_next_wanted(held, 0) != WAITED)
		sched_yield();
	assert_int_equal(held_next_wanted(held, WAITED + 1), held_count(held));
	begin_ms = clock_mono_ms();
	put(held, image, WAITED);
	for (size_t i = 0; i < ARRAY_LEN(pids); i++)
		assert_int_equal(ended(pids[i]), 0);
	assert_true(clock_mono_ms() - begin_ms < 60000); /* by the put, not by their deadline */
	assert_int_equal(held_next_wanted(held, 0), held_count(held));
}

/* Puts and reads everything in an order of its own. */
static int put_and_read(struct held *held, const struct image *image)
{
	size_t count = held_count(held), begin = (size_t)getpid() % count;

	for (size_t i = 0; i < count; i++) {
		size_t number = (begin + i * 7) % count;

		if (held_put(held, number, image->bytes[number], NULL) < 0)
			return 1;
		if (number != ZERO && look(held, image, number, 0, image_len(number)) != 0)
			return 2;
	}
	return 0;
}

static void processes_put_at_once(void **state)
{
	const struct image *image = *state;
	auto_held struct held *held = create(image);
	pid_t pids[4];

	for (size_t i = 0; i < ARRAY_LEN(pids); i++)
		pids[i] = child(image, put_and_read);
	for (size_t i = 0; i < ARRAY_LEN(pids); i++)
		assert_int_equal(ended(pids[i]), 0);
	assert_int_equal(held_have(held), held_total(held));
	for (size_t i = 0; i < held_count(held); i++)
		assert_int_equal(i == ZERO ? 0 : look(held, image, i, 0, image_len(i)), 0);
}

enum { LIMIT = 6 * CHUNK_SIZE, ROUNDS = 4000 };

/* Reads at random, puts what is missing: 2 when it ever sees wrong bytes. */
static int churn(struct held *held, const struct image *image)
{
	uint32_t x = (uint32_t)getpid();

	for (int i = 0; i < ROUNDS; i++) {
		size_t number = (x = x * 1664525U + 1013904223U) >> 8;
		int r;

		number %= CHUNKS;
		if (number == ZERO)
			continue;
		r = look(held, image, number, 4096 * (x >> 28), 8192);
		if (r == -ENOENT)
			r = held_put(held, number, image->bytes[number], NULL);
		if (r < 0)
			return 2;
	}
	return 0;
}

static void *churn_thread(void *arg)
{
	struct image *image = arg;
	auto_held struct held *held = reopen(image);

	return held && churn(held, image) == 0 ? NULL : arg;
}

static void readers_never_see_a_chunk_being_taken_away(void **state)
{
	struct image *image = *state;
	auto_held struct held *held = create(image);
	auto_free char *disk = file_of(image, "disk.raw");
	pthread_t thread;
	void *wrong = NULL;
	pid_t pids[3];
	struct stat st;

	held_set_limit(held, LIMIT);
	for (size_t i = 0; i < ARRAY_LEN(pids); i++)
		pids[i] = child(image, churn);
	assert_int_equal(pthread_create(&thread, NULL, churn_thread, image), 0);
	assert_int_equal(churn(held, image), 0);
	pthread_join(thread, &wrong);
	assert_null(wrong);
	for (size_t i = 0; i < ARRAY_LEN(pids); i++)
		assert_int_equal(ended(pids[i]), 0);
	assert_in_range(held_have(held), CHUNK_SIZE, LIMIT);
	assert_int_equal(stat(disk, &st), 0);
	assert_in_range(st.st_blocks, 1, (LIMIT + 65536) / 512);
}

static void the_longest_unread_makes_room(void **state)
{
	const struct image *image = *state;
	auto_held struct held *held = create(image);

	held_set_limit(held, 3 * CHUNK_SIZE + KERNEL);
	put(held, image, CHUNKS + 1);
	put(held, image, 0);
	put(held, image, 1);
	put(held, image, 2);
	assert_int_equal(look(held, image, 0, 0, 1), 0);
	put(held, image, 3);
	assert_true(held_has(held, 0));
	assert_false(held_has(held, 1));
	put(held, image, 4);
	assert_false(held_has(held, 2));
	for (size_t i = 6; i < CHUNKS; i++)
		put(held, image, i);
	assert_true(held_has(held, CHUNKS + 1)); /* the kernel stays */
	assert_true(held_have(held) <= 3 * CHUNK_SIZE + KERNEL);
	assert_int_equal(held_finish(held, NULL), -EAGAIN);
	held_set_limit(held, 0);
	put_all(held, image);
	assert_int_equal(held_finish(held, NULL), 0);
}

/* Killed somewhere in the middle of putting and taking away, for as long as it takes. */
static int churn_for_ever(struct held *held, const struct image *image)
{
	while (churn(held, image) == 0)
		;
	return 2;
}

static void the_killed_leave_nothing_locked(void **state)
{
	const struct image *image = *state;
	auto_held struct held *held = create(image);

	held_set_limit(held, LIMIT);
	for (int i = 0; i < 20; i++) {
		pid_t pid = child(image, churn_for_ever);

		while (held_have(held) < LIMIT - CHUNK_SIZE)
			sched_yield();
		assert_int_equal(churn(held, image), 0);
		kill(pid, SIGKILL);
		assert_int_equal(ended(pid), 128 + SIGKILL);
	}
	held_set_limit(held, 0);
	put_all(held, image);
	for (size_t i = 0; i < held_count(held); i++)
		assert_int_equal(i == ZERO ? 0 : look(held, image, i, 0, image_len(i)), 0);
}

static void opened_again_in_the_same_boot(void **state)
{
	const struct image *image = *state;
	auto_held struct held *held = create(image);

	put(held, image, 2);
	put(held, image, 7);
	held_close(TAKE_PTR(held));
	held = reopen(image);
	assert_non_null(held);
	assert_int_equal(held_have(held), 2 * CHUNK_SIZE);
	assert_true(held_has(held, 7));
	assert_false(held_has(held, 3));
}

/* Rot where data belongs, bytes where zeros belong, half a chunk that was being written. */
static void spoil(const struct image *image)
{
	auto_free char *disk = file_of(image, "disk.raw");

	write_at(disk, "rot", 3, 7 * CHUNK_SIZE + 5);
	write_at(disk, "injected", 8, ZERO * CHUNK_SIZE + 100);
	write_at(disk, image->bytes[9], CHUNK_SIZE / 2, 9 * CHUNK_SIZE);
}

static void what_another_boot_left_is_checked(void **state)
{
	const struct image *image = *state;
	auto_held struct held *held = create(image);
	auto_free char *disk = file_of(image, "disk.raw"), *map = file_of(image, "map");
	auto_close int fd = -1;
	char byte = 1;

	for (int round = 0; round < 2; round++) {
		for (size_t i = 0; i < 9; i++)
			put(held, image, i);
		held_close(TAKE_PTR(held));
		spoil(image);
		if (round == 0)
			other_boot(image);
		else
			assert_int_equal(unlink(map), 0);
		held = reopen(image);
		assert_non_null(held);
		assert_int_equal(held_have(held), 7 * CHUNK_SIZE); /* 0 to 8, less 5 and 7 */
		assert_false(held_has(held, 7));
		assert_false(held_has(held, 9));
		assert_int_equal(look(held, image, 6, 0, CHUNK_SIZE), 0);
		fd = open(disk, O_RDONLY | O_CLOEXEC);
		assert_int_equal(pread(fd, &byte, 1, ZERO * CHUNK_SIZE + 100), 1);
		assert_int_equal(byte, 0);
		close(TAKE_FD(fd));
	}
}

static void says(const char *path, const char *text)
{
	auto_free char *seen = NULL;
	struct stat st;

	assert_int_equal(lstat(path, &st), 0);
	assert_true(S_ISREG(st.st_mode));
	assert_int_equal(file_read(path, 4096, &seen, NULL, NULL), 0);
	assert_string_equal(seen, text);
}

/* Somebody had the folder by day: of an image without an initrd, with the command line "quiet". */
static void what_the_manifest_does_not_name_goes(void **state)
{
	enum { EDITED, LINK, FOLDER, PIPE, MISSING, WAYS };
	const struct image *image = *state;
	auto_held struct held *held = create(image);
	auto_free char *cmdline = file_of(image, "cmdline"), *initrd = file_of(image, "initrd"),
		       *victim = xasprintf("%s/victim", image->dir), *below = file_of(image, "cmdline/below");

	held_close(TAKE_PTR(held));
	says(cmdline, "quiet");
	assert_int_equal(file_write(victim, "quiet", 5, 0644, NULL), 0);
	for (int way = 0; way < WAYS; way++) {
		assert_int_equal(unlink(cmdline), 0);
		if (way == EDITED)
			assert_int_equal(file_write(cmdline, "quiet init=/x", 13, 0644, NULL), 0);
		if (way == LINK)
			assert_int_equal(symlink(victim, cmdline) | symlink(victim, initrd), 0);
		if (way == FOLDER)
			assert_int_equal(file_mkdirs(below, 0755, NULL) | file_mkdirs(initrd, 0755, NULL), 0);
		if (way == PIPE)
			assert_int_equal(mkfifo(cmdline, 0644) | mkfifo(initrd, 0644), 0);
		if (way == EDITED || way == MISSING)
			assert_int_equal(file_write(initrd, "#!", 2, 0644, NULL), 0);
		other_boot(image);
		held = reopen(image);
		assert_non_null(held);
		held_close(TAKE_PTR(held));
		says(cmdline, "quiet");
		assert_int_equal(access(initrd, F_OK), -1);
	}
	says(victim, "quiet");
}

/* A part has the bytes of the manifest and none behind them. */
static void parts_of_another_length(void **state)
{
	const struct image *image = *state;
	auto_held struct held *held = create(image);
	auto_free char *kernel = file_of(image, "kernel");
	struct stat st;

	for (int longer = 1; longer >= 0; longer--) {
		put(held, image, CHUNKS + 1);
		held_close(TAKE_PTR(held));
		assert_int_equal(truncate(kernel, longer ? KERNEL + 5000 : KERNEL - 5000), 0);
		other_boot(image);
		held = reopen(image);
		assert_int_equal(stat(kernel, &st), 0);
		assert_int_equal(st.st_size, KERNEL);
		assert_int_equal(held_has(held, CHUNKS + 1), longer);
	}
}

static void a_whole_image_of_another_boot_is_checked(void **state)
{
	const struct image *image = *state;
	auto_held struct held *held = create(image);
	auto_free char *complete = file_of(image, "complete");

	put_all(held, image);
	assert_int_equal(held_finish(held, NULL), 0);
	held_close(TAKE_PTR(held));
	other_boot(image);
	assert_int_equal(file_write(complete, "another", 7, 0644, NULL), 0);
	assert_false(held_is_complete(image->dir, image->digest));
	held = reopen(image);
	assert_int_equal(held_have(held), held_total(held));
	assert_int_equal(held_finish(held, NULL), 0);
	assert_true(held_is_complete(image->dir, image->digest));
	held_close(TAKE_PTR(held));
	other_boot(image);
	spoil(image);
	held = reopen(image);
	assert_int_equal(access(complete, F_OK), -1);
	assert_int_equal(held_finish(held, NULL), -EAGAIN);
	put(held, image, 7);
	put(held, image, 9);
	assert_int_equal(held_finish(held, NULL), 0);
}

static void first_reads_are_remembered_in_order(void **state)
{
	const struct image *image = *state;
	auto_held struct held *held = create(image);
	static const size_t reads[] = {11, 3, 11, ZERO, 4, 3};
	uint32_t order[CHUNKS];

	put_all(held, image);
	assert_int_equal(held_order(held, order, CHUNKS), 0);
	for (size_t i = 0; i < ARRAY_LEN(reads); i++)
		if (reads[i] != ZERO)
			assert_int_equal(look(held, image, reads[i], 0, 1), 0);
	assert_int_equal(held_order(held, order, 2), 2);
	assert_int_equal(held_order(held, order, CHUNKS), 3);
	assert_int_equal(order[0], 11);
	assert_int_equal(order[1], 3);
	assert_int_equal(order[2], 4);
}

static int limit_program(char **argv)
{
	auto_held struct held *held = NULL;
	auto_error struct error *err = NULL;
	uint32_t order[4096];
	size_t n;

	if (held_open(argv[1], argv[2], &held, &err) < 0)
		return fprintf(stderr, "%s\n", err->text), 1;
	if (strcmp(argv[3], "-") != 0)
		held_set_limit(held, strtoull(argv[3], NULL, 10));
	printf("%llu", (unsigned long long)held_have(held));
	n = held_order(held, order, ARRAY_LEN(order));
	for (size_t i = 0; i < n; i++)
		printf(" %u", order[i]);
	return 0;
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		TEST(refuses_what_is_not_its_manifest),
		TEST(numbers_run_through_all_parts),
		TEST(finished_when_all_is_there),
		TEST(waiters_in_other_processes_are_woken),
		TEST(processes_put_at_once),
		TEST(readers_never_see_a_chunk_being_taken_away),
		TEST(the_longest_unread_makes_room),
		TEST(the_killed_leave_nothing_locked),
		TEST(opened_again_in_the_same_boot),
		TEST(what_another_boot_left_is_checked),
		TEST(what_the_manifest_does_not_name_goes),
		TEST(parts_of_another_length),
		TEST(a_whole_image_of_another_boot_is_checked),
		TEST(first_reads_are_remembered_in_order),
	};

	if (argc == 4)
		return limit_program(argv);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
