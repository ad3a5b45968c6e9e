/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Looking at what a store has: damage is found by number, put aside and healed by storing again;
 * differences are those a host would have to fetch. With arguments it is a tool for other tests:
 * `test_image_check STORE DIGEST` says "ok CHUNKS BYTES", or a line per damaged chunk. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <fcntl.h>
#include <stdio.h>

#include "images/chunk.h"
#include "images/store_check.h"
#include "lib/file.h"
#include "tests/unit/folder.h"

/* Puts a chunk whose bytes follow from `seed`; '0' is all zeros and not put. */
static struct manifest_chunk put(struct chunkstore *store, char seed, size_t len)
{
	auto_chunk_coder struct chunk_coder *coder = chunk_coder_new();
	auto_free unsigned char *bytes = xcalloc(1, CHUNK_SIZE);
	struct manifest_chunk chunk = {.zero = seed == '0'};
	uint32_t x = (unsigned char)seed;
	const void *packed;
	size_t packed_len;

	if (chunk.zero)
		return chunk;
	for (size_t i = 0; i < len; i++) {
		x = x * 1664525 + 1013904223;
		bytes[i] = (unsigned char)(x >> 24);
	}
	chunk.digest = sha256_of(bytes, len);
	assert_int_equal(chunk_pack(coder, CHUNK_LEVEL, bytes, len, &packed, &packed_len, NULL), 0);
	assert_int_equal(chunkstore_put(store, &chunk.digest, packed, packed_len, NULL), 0);
	return chunk;
}

/* An image whose disk has one chunk for each letter, the last one of 512 bytes. */
static struct sha256 put_image(struct chunkstore *store, uint64_t revision, const char *letters)
{
	auto_manifest struct manifest m = {.name = xstrdup("mpi"), .revision = revision};
	struct manifest_part *disk = &m.parts[PART_DISK];
	size_t n = strlen(letters);
	struct sha256 digest;

	*disk = (struct manifest_part){.present = true, .size = (n - 1) * CHUNK_SIZE + 512};
	for (size_t i = 0; i < n; i++)
		vec_push(&disk->chunks, put(store, letters[i], i == n - 1 ? 512 : CHUNK_SIZE));
	assert_int_equal(chunkstore_put_manifest(store, &m, &digest, NULL), 0);
	return digest;
}

static struct chunkstore *open_store(const char *dir)
{
	struct chunkstore *store = NULL;

	assert_int_equal(chunkstore_open(dir, CHUNKSTORE_WRITE, &store, NULL), 0);
	return store;
}

static struct sha256 digest_at(struct chunkstore *store, const struct sha256 *image, size_t number)
{
	auto_manifest struct manifest m = {0};

	assert_int_equal(chunkstore_get_manifest(store, image, &m, NULL), 0);
	return m.parts[PART_DISK].chunks.at[number].digest;
}

static void flip(const char *dir, const struct sha256 *digest, off_t at)
{
	auto_free char *path = chunkstore_chunk_path(dir, digest);
	auto_close int fd = open(path, O_RDWR | O_CLOEXEC);
	unsigned char byte;

	assert_true(fd >= 0);
	assert_int_equal(pread(fd, &byte, 1, at), 1);
	byte ^= 4;
	assert_int_equal(pwrite(fd, &byte, 1, at), 1);
}

static void growing(uint64_t done, uint64_t total, void *arg)
{
	uint64_t *last = arg;

	assert_true(done > *last && done <= total);
	*last = done;
}

static void damage_is_found_by_number(void **state)
{
	auto_chunkstore struct chunkstore *store = open_store(*state);
	struct sha256 image = put_image(store, 1, "a0bcbd");
	uint64_t last = 0;
	auto_chunkstore_check struct chunkstore_check good = {.progress = growing, .arg = &last};
	auto_chunkstore_check struct chunkstore_check bad = {0};

	assert_int_equal(chunkstore_verify(store, &image, &good, NULL), 0);
	assert_int_equal(good.n_damaged, 0);
	assert_int_equal(good.chunks, 5);
	assert_int_equal(good.bytes, 4 * CHUNK_SIZE + 512);
	assert_int_equal(last, good.bytes);
	struct sha256 b = digest_at(store, &image, 2), d = digest_at(store, &image, 5);
	auto_free char *gone = chunkstore_chunk_path(*state, &d);
	flip(*state, &b, 1000);
	assert_int_equal(unlink(gone), 0);
	assert_int_equal(chunkstore_verify(store, &image, &bad, NULL), 0);
	assert_int_equal(bad.n_damaged, 3); /* b is there twice */
	assert_int_equal(bad.damaged.at[0].number, 2);
	assert_int_equal(bad.damaged.at[1].number, 4);
	assert_int_equal(bad.damaged.at[2].number, 5);
	assert_non_null(strstr(bad.damaged.at[0].reason, "damaged"));
	assert_string_equal(bad.damaged.at[2].reason, "it is missing");
}

static void a_damaged_chunk_is_healed_by_storing_again(void **state)
{
	auto_chunkstore struct chunkstore *store = open_store(*state);
	struct sha256 image = put_image(store, 1, "ab"), a = digest_at(store, &image, 0);
	auto_free char *out = xcalloc(1, CHUNK_SIZE);
	auto_chunkstore_check struct chunkstore_check check = {0};

	flip(*state, &a, 77);
	put(store, 'a', CHUNK_SIZE); /* it is there: left as it is */
	assert_int_equal(chunkstore_get(store, &a, out, CHUNK_SIZE, NULL), -EBADMSG);
	assert_int_equal(chunkstore_verify_chunk(*state, &a, NULL), -EBADMSG);
	assert_int_equal(chunkstore_quarantine(*state, &a, NULL), 0);
	assert_int_equal(chunkstore_quarantine(*state, &a, NULL), 0); /* the same again */
	assert_int_equal(chunkstore_get(store, &a, out, CHUNK_SIZE, NULL), -ENOENT);
	assert_int_equal(chunkstore_verify_chunk(*state, &a, NULL), -ENOENT);
	put(store, 'a', CHUNK_SIZE);
	assert_int_equal(chunkstore_verify_chunk(*state, &a, NULL), 0);
	assert_int_equal(chunkstore_verify(store, &image, &check, NULL), 0);
	assert_int_equal(check.n_damaged, 0);
}

/* ELOOP stands for all that is no word about the chunk: too few descriptors, no right to read it.
 */
static void what_cannot_be_told_is_no_damage(void **state)
{
	auto_chunkstore struct chunkstore *store = open_store(*state);
	struct sha256 image = put_image(store, 1, "ab"), a = digest_at(store, &image, 0);
	auto_free char *path = chunkstore_chunk_path(*state, &a);
	auto_chunkstore_check struct chunkstore_check check = {0}, disk = {0};
	auto_error struct error *err = NULL;

	assert_int_equal(unlink(path), 0);
	assert_int_equal(symlink(path, path), 0);
	assert_int_equal(chunkstore_verify_chunk(*state, &a, NULL), -ELOOP);
	assert_int_equal(chunkstore_verify(store, &image, &check, &err), -ELOOP);
	assert_non_null(strstr(err->text, "cannot go on"));
	assert_int_equal(check.n_damaged, 0);
	/* a disk that cannot give the bytes */
	assert_int_equal(unlink(path), 0);
	assert_int_equal(symlink("/proc/self/mem", path), 0);
	assert_int_equal(chunkstore_verify_chunk(*state, &a, NULL), -EIO);
	assert_int_equal(chunkstore_verify(store, &image, &disk, NULL), 0);
	assert_int_equal(disk.n_damaged, 1);
	assert_int_equal(disk.n_unread, 1);
	assert_true(disk.damaged.at[0].unread);
	assert_non_null(strstr(disk.damaged.at[0].reason, "the disk cannot read it"));
	assert_int_equal(chunkstore_put_aside(*state, &disk, NULL), 0);
	assert_int_equal(chunkstore_verify_chunk(*state, &a, NULL), -EIO); /* still there */
}

/* a is good and missing, b is good and there again, c is damaged. */
static void a_gc_takes_back_what_is_good(void **state)
{
	auto_chunkstore struct chunkstore *store = open_store(*state);
	struct sha256 image = put_image(store, 1, "abcd"), digests[3];
	struct chunkstore_swept counted = {0}, swept = {0};

	for (size_t i = 0; i < ARRAY_LEN(digests); i++)
		digests[i] = digest_at(store, &image, i);
	flip(*state, &digests[2], 77);
	for (size_t i = 0; i < ARRAY_LEN(digests); i++)
		assert_int_equal(chunkstore_quarantine(*state, &digests[i], NULL), 0);
	put(store, 'b', CHUNK_SIZE);
	assert_int_equal(chunkstore_gc(store, &image, 1, true, &counted, NULL), 0);
	assert_false(chunkstore_has(store, &digests[0]));
	assert_int_equal(counted.others, 2);
	assert_int_equal(chunkstore_gc(store, &image, 1, false, &swept, NULL), 0);
	assert_memory_equal(&swept, &counted, sizeof(swept));
	assert_int_equal(chunkstore_verify_chunk(*state, &digests[0], NULL), 0);
	assert_int_equal(chunkstore_verify_chunk(*state, &digests[1], NULL), 0);
	assert_false(chunkstore_has(store, &digests[2]));
	auto_free char *quarantine = xasprintf("%s/quarantine", (char *)*state);
	assert_int_equal(rmdir(quarantine), 0); /* nothing is left there */
}

static void every_flipped_bit_of_a_chunk_is_seen(void **state)
{
	auto_chunkstore struct chunkstore *store = open_store(*state);
	struct sha256 image = put_image(store, 1, "ab"), b = digest_at(store, &image, 1);

	for (off_t at = 0; at < 512; at += 3) {
		flip(*state, &b, at);
		assert_int_equal(chunkstore_verify_chunk(*state, &b, NULL), -EBADMSG);
		flip(*state, &b, at);
	}
	assert_int_equal(chunkstore_verify_chunk(*state, &b, NULL), 0);
}

static void what_is_listed_is_bounded(void **state)
{
	auto_chunkstore struct chunkstore *store = open_store(*state);
	auto_chunkstore_check struct chunkstore_check check = {0};
	char letters[CHUNK_DAMAGES_MAX + 52];

	memset(letters, 'a', sizeof(letters) - 1);
	letters[sizeof(letters) - 1] = '\0';
	struct sha256 image = put_image(store, 1, letters), a = digest_at(store, &image, 0);
	assert_int_equal(chunkstore_quarantine(*state, &a, NULL), 0);
	assert_int_equal(chunkstore_verify(store, &image, &check, NULL), 0);
	assert_int_equal(check.n_damaged, CHUNK_DAMAGES_MAX + 50);
	assert_int_equal(check.damaged.n, CHUNK_DAMAGES_MAX);
}

enum { MANY = CHUNK_DAMAGES_MAX + 50 };

/* The bytes of chunk `i` of an image of many, the last one of 512. */
static struct sha256 small_chunk(size_t i, unsigned char bytes[CHUNK_SIZE], size_t *ret_len)
{
	*ret_len = i == MANY - 1 ? 512 : CHUNK_SIZE;
	memset(bytes, 0, CHUNK_SIZE);
	memcpy(bytes, &(uint32_t){(uint32_t)i + 1}, sizeof(uint32_t));
	return sha256_of(bytes, *ret_len);
}

/* One that stayed in place would keep the import from storing it again. */
static void all_are_put_aside_and_healed(void **state)
{
	auto_chunkstore struct chunkstore *store = open_store(*state);
	auto_chunkstore_check struct chunkstore_check bad = {0}, good = {0};
	auto_chunk_coder struct chunk_coder *coder = chunk_coder_new();
	auto_free unsigned char *bytes = xcalloc(1, CHUNK_SIZE);
	auto_manifest struct manifest m = {.name = xstrdup("many"), .revision = 1};
	struct manifest_part *disk = &m.parts[PART_DISK];
	struct sha256 image;
	size_t len, packed_len;
	const void *packed;

	*disk = (struct manifest_part){.present = true, .size = (uint64_t)(MANY - 1) * CHUNK_SIZE + 512};
	for (size_t i = 0; i < MANY; i++) {
		vec_push(&disk->chunks, ((struct manifest_chunk){.digest = small_chunk(i, bytes, &len)}));
		assert_int_equal(chunkstore_put(store, &disk->chunks.at[i].digest, "rot", 3, NULL), 0);
	}
	assert_int_equal(chunkstore_put_manifest(store, &m, &image, NULL), 0);
	assert_int_equal(chunkstore_verify(store, &image, &bad, NULL), 0);
	assert_int_equal(bad.n_damaged, MANY);
	assert_int_equal(bad.damaged.n, CHUNK_DAMAGES_MAX);
	assert_int_equal(chunkstore_put_aside(*state, &bad, NULL), 0);
	for (size_t i = 0; i < MANY; i++) {
		struct sha256 digest = small_chunk(i, bytes, &len);

		assert_false(chunkstore_has(store, &digest));
		assert_int_equal(chunk_pack(coder, CHUNK_LEVEL, bytes, len, &packed, &packed_len, NULL), 0);
		assert_int_equal(chunkstore_put(store, &digest, packed, packed_len, NULL), 0);
	}
	assert_int_equal(chunkstore_verify(store, &image, &good, NULL), 0);
	assert_int_equal(good.n_damaged, 0);
}

static void it_can_be_called_off(void **state)
{
	auto_chunkstore struct chunkstore *store = open_store(*state);
	struct sha256 image = put_image(store, 1, "ab");
	atomic_bool cancel = true;
	auto_chunkstore_check struct chunkstore_check check = {.cancel = &cancel};

	assert_int_equal(chunkstore_verify(store, &image, &check, NULL), -ECANCELED);
}

static void differences(void **state)
{
	static const struct {
		const char *a, *b;
		uint64_t chunks, changed, travel;
	} rows[] = {
		{"abcd", "abcd", 4, 0, 0},
		{"abcd", "abed", 4, 1, 1},
		{"abcd", "ab0d", 3, 1, 0}, /* zeros do not travel */
		{"ab0d", "abcd", 4, 1, 1},
		{"abcd", "bacd", 4, 2, 0}, /* moved: a holder has them */
		{"abcd", "aeed", 4, 2, 1}, /* the same twice travels once */
		{"abc", "abcde", 5, 3, 3}, /* c was a short one */
		{"abcde", "abe", 3, 1, 0},
		{"abc", "abc0000e", 4, 2, 2},
	};
	auto_chunkstore struct chunkstore *store = open_store(*state);

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct sha256 a = put_image(store, 1, rows[i].a),
			      b = put_image(store, 2, rows[i].b);
		struct chunkstore_difference d = {0};

		assert_int_equal(chunkstore_diff(store, &a, &b, &d, NULL), 0);
		if (d.chunks != rows[i].chunks || d.changed != rows[i].changed ||
			d.travel != rows[i].travel)
			fail_msg("%s -> %s: %d chunks, %d changed, %d travel", rows[i].a, rows[i].b,
				(int)d.chunks, (int)d.changed, (int)d.travel);
		assert_int_equal(d.travel == 0, d.travel_bytes == 0);
	}
}

static int tool(const char *dir, const char *image)
{
	auto_chunkstore_check struct chunkstore_check check = {0};
	auto_chunkstore struct chunkstore *store = NULL;
	auto_error struct error *err = NULL;
	struct sha256 digest;
	int r = sha256_parse(image, &digest);

	if (r == 0)
		r = chunkstore_open(dir, CHUNKSTORE_READ, &store, &err);
	if (r == 0)
		r = chunkstore_verify(store, &digest, &check, &err);
	if (r < 0)
		printf("%s\n", error_text(err, r));
	else if (check.n_damaged == 0)
		printf("ok %d %llu\n", (int)check.chunks, (unsigned long long)check.bytes);
	vec_each (struct chunk_damage, damage, &check.damaged)
		printf("%s %zu: %s\n", manifest_part_names[damage->part], damage->number,
			damage->reason);
	return r < 0 || check.n_damaged;
}

#define CHECK_TEST(name) cmocka_unit_test_setup_teardown(name, folder_make, folder_remove)

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		CHECK_TEST(damage_is_found_by_number),
		CHECK_TEST(a_damaged_chunk_is_healed_by_storing_again),
		CHECK_TEST(what_cannot_be_told_is_no_damage),
		CHECK_TEST(a_gc_takes_back_what_is_good),
		CHECK_TEST(every_flipped_bit_of_a_chunk_is_seen),
		CHECK_TEST(what_is_listed_is_bounded),
		CHECK_TEST(all_are_put_aside_and_healed),
		CHECK_TEST(it_can_be_called_off),
		CHECK_TEST(differences),
	};

	if (argc == 3)
		return tool(argv[1], argv[2]);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
