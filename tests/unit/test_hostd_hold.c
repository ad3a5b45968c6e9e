/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What a VM is started with: the parts and the command line that the manifest of its image names. Whatever else lies in
 * the image's folder, which may have been in other hands all day, is none of it, in the boot that finds it as in the
 * next. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "boot/hostd/hold.h"
#include "tests/unit/held_sample.h"

static void plant(const struct image *image, const char *name, const char *text)
{
	auto_free char *path = file_of(image, name);
	assert_int_equal(file_write(path, text, strlen(text), 0644, NULL), 0);
}

static bool there(const struct image *image, const char *name)
{
	auto_free char *path = file_of(image, name);
	return access(path, F_OK) == 0;
}

/* As a boot finds it that has not opened the image yet. */
static void next_boot(const struct image *image)
{
	auto_free char *map = file_of(image, "map"), *complete = file_of(image, "complete");
	assert_int_equal(unlink(map), 0);
	assert_int_equal(unlink(complete), 0);
}

static void check_open(const struct image *image, const char *kernel, const char *cmdline)
{
	auto_free char *path = kernel ? file_of(image, kernel) : NULL;
	auto_error struct error *err = NULL;
	struct held_image held = {0};
	if (hold_open(image->dir, image->digest, &held, &err) < 0)
		fail_msg("%s", err->text);
	assert_null(held.initrd);
	if (path)
		assert_string_equal(held.kernel, path);
	else
		assert_null(held.kernel);
	if (cmdline)
		assert_string_equal(held.cmdline, cmdline);
	else
		assert_null(held.cmdline);
	held_image_done(&held);
}

/* An image with a kernel and a command line, and no initrd. */
static void test_a_planted_command_line_and_initrd(void **state)
{
	static const char *const lines[] = {"quiet init=/bin/sh", "quiet\ninit=/bin/sh", "quie", ""};
	const struct image *image = *state;
	auto_held struct held *held = create(image);
	auto_free char *much = xcalloc(1, 100000);
	memset(much, 'x', 99999);
	put_all(held, image);
	assert_int_equal(held_finish(held, NULL), 0);
	held_close(TAKE_PTR(held));
	check_open(image, "kernel", "quiet");
	for (size_t i = 0; i <= ARRAY_LEN(lines); i++) {
		plant(image, "cmdline", i < ARRAY_LEN(lines) ? lines[i] : much);
		plant(image, "initrd", "#!/bin/sh");
		check_open(image, "kernel", "quiet");
		next_boot(image);
		check_open(image, "kernel", "quiet");
		assert_false(there(image, "initrd"));
		held = reopen(image);
		assert_int_equal(held_finish(held, NULL), 0);
		held_close(TAKE_PTR(held));
	}
}

/* An image whose disk boots itself: one chunk of zeros. */
static void test_a_planted_kernel(void **state)
{
	struct image image = *(const struct image *)*state;
	auto_manifest struct manifest manifest = {.name = xstrdup("disk"), .revision = 1};
	struct manifest_part *disk = &manifest.parts[PART_DISK];
	auto_held struct held *held = NULL;
	*disk = (struct manifest_part){.present = true, .size = CHUNK_SIZE};
	vec_push(&disk->chunks, ((struct manifest_chunk){.zero = true}));
	auto_free char *text = image.text = manifest_write(&manifest);
	struct sha256 digest = sha256_of(text, strlen(text));
	sha256_format(&digest, image.digest);
	held = create(&image);
	assert_int_equal(held_finish(held, NULL), 0);
	held_close(TAKE_PTR(held));
	check_open(&image, NULL, NULL);
	for (int round = 0; round < 2; round++) {
		plant(&image, "kernel", "MZ");
		plant(&image, "initrd", "#!/bin/sh");
		plant(&image, "cmdline", "init=/bin/sh");
		if (round == 1)
			next_boot(&image);
		check_open(&image, NULL, NULL);
	}
	assert_false(there(&image, "kernel") || there(&image, "initrd") || there(&image, "cmdline"));
}

/* Another manifest under the digest is no manifest, whether the image is whole or not. */
static void test_another_manifest(void **state)
{
	const struct image *image = *state;
	auto_held struct held *held = create(image);
	auto_error struct error *err = NULL;
	struct held_image none = {0};
	put_all(held, image);
	assert_int_equal(held_finish(held, NULL), 0);
	plant(image, "manifest", "{}");
	assert_int_equal(hold_open(image->dir, image->digest, &none, &err), -ENOENT);
	assert_null(none.disk);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_a_planted_command_line_and_initrd),
		TEST(test_a_planted_kernel),
		TEST(test_another_manifest),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
