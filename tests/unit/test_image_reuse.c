/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What a host holds of other images is copied, not fetched: by content, wherever it lies, and only
 * what is undamaged. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <fcntl.h>

#include "images/chunk.h"
#include "images/fetch.h"
#include "images/reuse.h"
#include "lib/file.h"
#include "tests/unit/folder.h"

static void fill(unsigned char *bytes, char seed, size_t len)
{
	for (size_t i = 0; i < len; i++)
		bytes[i] = (unsigned char)(seed + i % 251);
}

struct image {
	struct held *held;
	char digest[SHA256_TEXT];
};

/* Holds an image whose disk has a chunk for each letter, zeros for '0'; those that are in `has` are
 * put. */
static struct image hold(const char *dir, uint64_t revision, const char *letters, const char *has)
{
	auto_manifest struct manifest m = {.name = xstrdup("mpi"), .revision = revision};
	struct manifest_part *disk = &m.parts[PART_DISK];
	auto_free unsigned char *bytes = xcalloc(1, CHUNK_SIZE);
	size_t n = strlen(letters);
	struct image image = {0};

	*disk = (struct manifest_part){.present = true, .size = n * CHUNK_SIZE};
	for (size_t i = 0; i < n; i++) {
		struct manifest_chunk *chunk = vec_add(&disk->chunks);

		fill(bytes, letters[i], CHUNK_SIZE);
		chunk->zero = letters[i] == '0';
		if (!chunk->zero)
			chunk->digest = sha256_of(bytes, CHUNK_SIZE);
	}
	auto_free char *text = manifest_write(&m);
	struct sha256 digest = sha256_of(text, strlen(text));
	sha256_format(&digest, image.digest);
	assert_int_equal(held_create(dir, image.digest, text, strlen(text), &image.held, NULL), 0);
	for (size_t i = 0; i < n; i++) {
		fill(bytes, letters[i], CHUNK_SIZE);
		if (letters[i] != '0' && strchr(has, letters[i]))
			assert_int_equal(held_put(image.held, i, bytes, NULL), 0);
	}
	return image;
}

static uint64_t reuse(const char *dir, const struct image *image)
{
	uint64_t bytes = 0;

	assert_int_equal(held_reuse(image->held, dir, image->digest, NULL, &bytes, NULL), 0);
	assert_int_equal(bytes % CHUNK_SIZE, 0);
	return bytes / CHUNK_SIZE;
}

static void expect_bytes(const struct image *image, size_t number, char seed)
{
	auto_free unsigned char *want = xcalloc(1, CHUNK_SIZE), *got = xcalloc(1, CHUNK_SIZE);

	fill(want, seed, CHUNK_SIZE);
	assert_int_equal(held_read(image->held, number, (uint64_t)number * CHUNK_SIZE, got,
				 CHUNK_SIZE, NULL),
		0);
	assert_memory_equal(got, want, CHUNK_SIZE);
}

static void only_what_changed_is_left(void **state)
{
	struct image old = hold(*state, 1, "abc0def", "abcdef");
	struct image new = hold(*state, 2, "abX0deg", "");

	assert_int_equal(reuse(*state, &new), 4); /* a b d e */
	for (size_t i = 0; i < 7; i++)
		assert_int_equal(held_has(new.held, i), i != 2 && i != 6);
	expect_bytes(&new, 0, 'a');
	expect_bytes(&new, 5, 'e');
	assert_int_equal(reuse(*state, &new), 0);
	held_close(old.held);
	held_close(new.held);
}

static void places_and_repetitions_do_not_matter(void **state)
{
	struct image part = hold(*state, 1, "ab", "b"), other = hold(*state, 2, "qcbq", "q");
	struct image new = hold(*state, 3, "qbqca", "");

	assert_int_equal(reuse(*state, &new), 3); /* q twice, b from the image that has it */
	expect_bytes(&new, 0, 'q');
	expect_bytes(&new, 1, 'b');
	expect_bytes(&new, 2, 'q');
	assert_false(held_has(new.held, 3));
	assert_false(held_has(new.held, 4));
	held_close(part.held);
	held_close(other.held);
	held_close(new.held);
}

static void damage_is_not_copied(void **state)
{
	struct image old = hold(*state, 1, "ab", "ab"), new = hold(*state, 2, "abc", "");
	auto_free char *path = xasprintf("%s/%s/disk.raw", (char *)*state, old.digest);
	auto_close int fd = open(path, O_RDWR | O_CLOEXEC);

	assert_int_equal(pwrite(fd, "\x01", 1, 77), 1);
	assert_int_equal(reuse(*state, &new), 1);
	assert_false(held_has(new.held, 0));
	expect_bytes(&new, 1, 'b');
	held_close(old.held);
	held_close(new.held);
}

/* Under the name of an image lies the manifest of another, with all the chunks it names. */
static void a_manifest_of_another_name_gives_nothing(void **state)
{
	struct image new = hold(*state, 2, "abc", ""), old = hold(*state, 1, "ab", "ab");
	auto_free char *from = xasprintf("%s/%s", (char *)*state, old.digest);
	auto_free char *to = xasprintf("%s/%064d", (char *)*state, 7);

	held_close(old.held);
	assert_int_equal(rename(from, to), 0);
	assert_int_equal(reuse(*state, &new), 0);
	assert_int_equal(rename(to, from), 0);
	assert_int_equal(reuse(*state, &new), 2);
	held_close(new.held);
}

static void strange_files_and_nothing_to_give(void **state)
{
	struct image new = hold(*state, 2, "abc", "");
	struct image other = hold(*state, 1, "xyz", "xyz");
	auto_free char *empty = xasprintf("%s/%064d", (char *)*state, 7);
	auto_free char *file = xasprintf("%s/sequences", (char *)*state);
	atomic_bool cancel = true;
	uint64_t bytes;

	assert_int_equal(file_mkdirs(empty, 0755, NULL), 0);
	assert_int_equal(file_write(file, "{}", 2, 0600, NULL), 0);
	assert_int_equal(reuse(*state, &new), 0);
	assert_int_equal(held_reuse(new.held, "/nowhere", new.digest, NULL, &bytes, NULL), 0);
	struct image more = hold(*state, 3, "abz", "");
	assert_int_equal(
		held_reuse(more.held, *state, more.digest, &cancel, &bytes, NULL), -ECANCELED);
	held_close(more.held);
	held_close(other.held);
	held_close(new.held);
}

/* What a host does before it asks anybody; nobody listens on that port. */
static void prepared_within_its_room(void **state)
{
	const char *base = "http://127.0.0.1:1";
	struct image old = hold(*state, 1, "abc", "abc"), new = hold(*state, 2, "abx", "");

	held_prepare(*state, new.digest, base, 2 * CHUNK_SIZE, NULL);
	assert_int_equal(held_have(new.held), 0); /* it is to be held in part: nothing is copied */
	held_prepare(*state, new.digest, base, 3 * CHUNK_SIZE, NULL);
	assert_int_equal(held_have(new.held), 2 * CHUNK_SIZE);
	held_prepare(*state, new.digest, NULL, 0, NULL);
	char unknown[SHA256_TEXT];
	snprintf(unknown, sizeof(unknown), "%064d", 5);
	held_prepare(*state, unknown, base, 0, NULL); /* no manifest to be had: nothing begun */
	auto_free char *folder = xasprintf("%s/%s", (char *)*state, unknown);
	assert_int_not_equal(access(folder, F_OK), 0);
	held_close(old.held);
	held_close(new.held);
}

static void most_seen(uint64_t have, uint64_t total, void *arg)
{
	uint64_t *most = arg;

	*most = total && have > *most ? have : *most;
}

/* Nobody listens on that port, so the fetch fails; what it did before is looked at. */
static void a_fetch_knows_its_room_before_it_copies(void **state)
{
	struct image old = hold(*state, 1, "abcd", "abcd"), new = hold(*state, 2, "abcx", "");
	uint64_t most = 0;
	struct fetch job = {.base = "http://127.0.0.1:1",
		.digest = new.digest,
		.dir = *state,
		.room = 2 * CHUNK_SIZE,
		.progress = most_seen,
		.arg = &most};

	assert_int_not_equal(fetch_image(&job, NULL, NULL), 0);
	assert_int_equal(held_limit(new.held), 2 * CHUNK_SIZE);
	assert_int_equal(most, 0);
	job.room = 4 * CHUNK_SIZE;
	assert_int_not_equal(fetch_image(&job, NULL, NULL), 0);
	assert_int_equal(held_limit(new.held), 0);
	assert_int_equal(most, 3 * CHUNK_SIZE);
	held_close(old.held);
	held_close(new.held);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, folder_make, folder_remove)
	const struct CMUnitTest tests[] = {
		TEST(only_what_changed_is_left),
		TEST(places_and_repetitions_do_not_matter),
		TEST(damage_is_not_copied),
		TEST(a_manifest_of_another_name_gives_nothing),
		TEST(strange_files_and_nothing_to_give),
		TEST(prepared_within_its_room),
		TEST(a_fetch_knows_its_room_before_it_copies),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
