/* SPDX-License-Identifier: GPL-2.0-or-later */
/* An image to hold for one test: setup and teardown for cmocka, *state is a struct image. Include
 * after cmocka.h. */
#ifndef TESTS_UNIT_HELD_SAMPLE_H
#define TESTS_UNIT_HELD_SAMPLE_H

#include <fcntl.h>
#include <sys/wait.h>

#include "images/chunk.h"
#include "images/held.h"
#include "lib/file.h"

enum { CHUNKS = 24, ZERO = 5, TAIL = 512, KERNEL = 100001, DATA_CHUNKS = CHUNKS - 1 };

struct image {
	char *dir, digest[SHA256_TEXT], *text;
	unsigned char *bytes[CHUNKS + 2]; /* of the disk, its tail, the kernel */
};

/* Bytes that differ in every chunk and every page. */
static inline unsigned char *noise(unsigned seed, size_t len)
{
	unsigned char *bytes = xcalloc(1, len);
	uint32_t x = seed * 2654435761U + 1;

	for (size_t i = 0; i < len; i++) {
		x = x * 1664525U + 1013904223U;
		bytes[i] = (unsigned char)(x >> 24);
	}
	return bytes;
}

static inline size_t image_len(size_t number)
{
	return number < CHUNKS ? (size_t)CHUNK_SIZE : number == CHUNKS ? (size_t)TAIL : KERNEL;
}

static inline int setup(void **state)
{
	struct image *image = xnew(struct image);
	struct manifest manifest = {.name = xstrdup("held"), .revision = 1};
	char dir[] = "/tmp/test_image_held.XXXXXX";
	struct sha256 digest;

	manifest.cmdline = xstrdup("quiet");
	manifest.parts[PART_DISK].present = manifest.parts[PART_KERNEL].present = true;
	manifest.parts[PART_DISK].size = (uint64_t)CHUNKS * CHUNK_SIZE + TAIL;
	manifest.parts[PART_KERNEL].size = KERNEL;
	for (size_t i = 0; i < CHUNKS + 2; i++) {
		struct manifest_chunk *chunk =
			vec_add(&manifest.parts[i <= CHUNKS ? PART_DISK : PART_KERNEL].chunks);

		image->bytes[i] = noise((unsigned)i + 1, image_len(i));
		chunk->zero = i == ZERO;
		if (!chunk->zero)
			chunk->digest = sha256_of(image->bytes[i], image_len(i));
	}
	assert_non_null(mkdtemp(dir));
	image->dir = xstrdup(dir);
	image->text = manifest_write(&manifest);
	digest = sha256_of(image->text, strlen(image->text));
	sha256_format(&digest, image->digest);
	manifest_done(&manifest);
	*state = image;
	return 0;
}

static inline int teardown(void **state)
{
	struct image *image = *state;
	int r = file_remove_tree(image->dir, NULL);

	for (size_t i = 0; i < CHUNKS + 2; i++)
		free(image->bytes[i]);
	free(image->dir);
	free(image->text);
	free(image);
	return r;
}

static inline struct held *create(const struct image *image)
{
	auto_error struct error *err = NULL;
	struct held *held = NULL;

	if (held_create(image->dir, image->digest, image->text, strlen(image->text), &held, &err) <
		0)
		fail_msg("%s", err->text);
	return held;
}

/* Not by cmocka's asserts: children use it too. */
static inline struct held *reopen(const struct image *image)
{
	struct held *held = NULL;

	held_open(image->dir, image->digest, &held, NULL);
	return held;
}

static inline void put(struct held *held, const struct image *image, size_t number)
{
	assert_int_equal(held_put(held, number, image->bytes[number], NULL), 0);
}

static inline void put_all(struct held *held, const struct image *image)
{
	for (size_t i = 0; i < held_count(held); i++)
		put(held, image, i);
}

/* 0: right, -ENOENT: not here, -EBADMSG: wrong bytes. */
static inline int look(
	struct held *held, const struct image *image, size_t number, size_t at, size_t len)
{
	unsigned char bytes[CHUNK_SIZE];
	struct held_chunk chunk;
	int r;

	held_chunk_at(held, number, &chunk);
	r = held_read(held, number, chunk.at + at, bytes, len, NULL);
	if (r == 0 && memcmp(bytes, image->bytes[number] + at, len) != 0)
		return -EBADMSG;
	return r;
}

static inline char *file_of(const struct image *image, const char *name)
{
	return xasprintf("%s/%s/%s", image->dir, image->digest, name);
}

static inline void write_at(const char *path, const void *bytes, size_t len, off_t at)
{
	auto_close int fd = open(path, O_WRONLY | O_CLOEXEC);

	assert_int_equal(pwrite(fd, bytes, len, at), len);
}

/* The map says that its states are of another boot. */
static inline void other_boot(const struct image *image)
{
	auto_free char *path = file_of(image, "map");

	write_at(path, "00000000-0000-4000-8000-000000000000", 36, 16);
}

static inline pid_t child(
	const struct image *image, int (*run)(struct held *, const struct image *))
{
	pid_t pid = fork();

	if (pid == 0) {
		struct held *held = reopen(image);

		_exit(held ? run(held, image) : 99);
	}
	return pid;
}

static inline int ended(pid_t pid)
{
	int status = 0;

	assert_int_equal(waitpid(pid, &status, 0), pid);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

#endif
