/* SPDX-License-Identifier: GPL-2.0-or-later */
/* An image in part when the machine is in trouble: no memory for the map, programs that were killed
 * between two words. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>

#include "tests/unit/held_sample.h"

/* In a child with mounts of its own: the map is sparse or gone, and the memory for it is not there.
 */
static int full_memory(const struct image *image, const char *folder)
{
	auto_free char *map = file_of(image, "map"), *rest = xasprintf("%s/rest", folder);
	auto_held struct held *held = NULL;
	static const char bytes[4096] = "x";
	struct stat st;

	if (mount("tmpfs", folder, "tmpfs", 0, "size=1m") < 0)
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
	const struct image *image = *state;
	pid_t pid = fork();
	int r;

	if (pid == 0)
		_exit(unshare(CLONE_NEWNS) < 0 ||
					mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0
				? 77
				: full_memory(image, image->dir));
	r = ended(pid);
	if (r == 77)
		skip(); /* no right to mount */
	assert_int_equal(r, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_full_memory_is_an_error),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
