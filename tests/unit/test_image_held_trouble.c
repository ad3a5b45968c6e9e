/* SPDX-License-Identifier: GPL-2.0-or-later */
/* An image in part when the machine is in trouble: no memory for the map, a disk that cannot be
 * written, programs that were killed between two words. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>

#include "tests/unit/held_sample.h"

/* In a child that may mount what it likes. */
static void with_mounts(const struct image *image, int (*run)(const struct image *))
{
	pid_t pid = fork();
	int r;

	if (pid == 0)
		_exit(unshare(CLONE_NEWNS) < 0 ||
					mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0
				? 77
				: run(image));
	r = ended(pid);
	if (r == 77)
		skip(); /* no right to mount */
	assert_int_equal(r, 0);
}

/* The map is sparse or gone, and the memory for it is not there. */
static int full_memory(const struct image *image)
{
	auto_free char *map = file_of(image, "map"), *rest = xasprintf("%s/rest", image->dir);
	auto_held struct held *held = NULL;
	static const char bytes[4096] = "x";
	struct stat st;

	if (mount("tmpfs", image->dir, "tmpfs", 0, "size=1m") < 0)
		return 77;
	if (held_create(image->dir, image->digest, image->text, strlen(image->text), &held, NULL) <
			0 ||
		stat(map, &st) < 0)
		return 1;
	held_close(TAKE_PTR(held));
	for (int round = 0; round < 2; round++) {
		auto_close int fd = open(rest, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);

		if (round == 0 && (truncate(map, 0) < 0 || truncate(map, st.st_size) < 0))
			return 2;
		if (round == 1 && unlink(map) < 0)
			return 3;
		while (write(fd, bytes, sizeof(bytes)) > 0)
			;
		if (held_open(image->dir, image->digest, &held, NULL) != -ENOSPC)
			return 4;
		if (unlink(rest) < 0 || ftruncate(fd, 0) < 0 || !(held = reopen(image)))
			return 5;
		held_close(TAKE_PTR(held));
	}
	return 0;
}

static void a_full_memory_is_an_error(void **state)
{
	with_mounts(*state, full_memory);
}

/* Places in the map; as held_inside.h has them. */
enum { AT_HAVE = 56, AT_USED = 4096 + 4 * (CHUNKS + 2) };

static void set_number(const struct image *image, off_t at, uint64_t number, size_t len)
{
	auto_free char *map = file_of(image, "map");

	write_at(map, &number, len, at); /* least bytes first, as on every PC */
}

/* A program was killed when its chunk was in place and not counted yet. */
static void a_count_that_is_too_low_does_no_harm(void **state)
{
	const struct image *image = *state;
	auto_held struct held *held = create(image);

	put(held, image, 0);
	put(held, image, 1);
	set_number(image, AT_HAVE, CHUNK_SIZE / 2, sizeof(uint64_t));
	held_set_limit(held, 1);
	assert_int_equal(held_have(held), 0);
	put(held, image, 2);
	assert_int_equal(held_have(held), CHUNK_SIZE);
	held_set_limit(held, 0);
	put_all(held, image);
	set_number(image, AT_HAVE, held_total(held) - CHUNK_SIZE, sizeof(uint64_t));
	assert_int_equal(held_finish(held, NULL), 0);
	assert_int_equal(held_have(held), held_total(held));
}

/* Others put and read while the oldest is looked for. */
static void what_came_just_now_is_not_the_oldest(void **state)
{
	const struct image *image = *state;
	auto_held struct held *held = create(image);

	held_set_limit(held, 3 * CHUNK_SIZE);
	for (size_t i = 0; i < 3; i++)
		put(held, image, i);
	set_number(image, AT_USED + 4 * 2, held_puts(held) + 7, sizeof(uint32_t));
	put(held, image, 3);
	assert_true(held_has(held, 2));
	assert_false(held_has(held, 0));
}

/* The disk cannot be written: foreign bytes stay where zeros belong. */
static int read_only_disk(const struct image *image)
{
	auto_free char *disk = file_of(image, "disk.raw");
	auto_held struct held *held = NULL;
	int r;

	if (mount(disk, disk, NULL, MS_BIND, NULL) < 0 ||
		mount(NULL, disk, NULL, MS_BIND | MS_REMOUNT | MS_RDONLY, NULL) < 0)
		return 77;
	r = held_open(image->dir, image->digest, &held, NULL);
	return r == -EROFS || r == -EBADF ? 0 : 1;
}

static void bytes_where_zeros_belong_must_go(void **state)
{
	const struct image *image = *state;
	auto_held struct held *held = create(image);
	auto_free char *disk = file_of(image, "disk.raw");

	put_all(held, image);
	assert_int_equal(held_finish(held, NULL), 0);
	held_close(TAKE_PTR(held));
	write_at(disk, "injected", 8, ZERO * CHUNK_SIZE + 100);
	other_boot(image);
	with_mounts(image, read_only_disk);
	held = reopen(image);
	assert_non_null(held);
	assert_int_equal(held_have(held), held_total(held));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_full_memory_is_an_error),
		TEST(a_count_that_is_too_low_does_no_harm),
		TEST(what_came_just_now_is_not_the_oldest),
		TEST(bytes_where_zeros_belong_must_go),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
