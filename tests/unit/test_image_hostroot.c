/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The host's root image in the chunk store: its bytes come back, the same bytes have the same
 * digest, what was damaged is mended by storing it again, and a broken-off import beside it is not
 * swept. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "images/chunk.h"
#include "images/hostroot.h"
#include "images/store.h"
#include "tests/unit/folder.h"

enum { SIZE = 2 * CHUNK_SIZE + 4096 };

struct place {
	char *store, *file;
	unsigned char bytes[SIZE];
};

static void place_init(struct place *place, const char *folder)
{
	place->store = xasprintf("%s/store", folder);
	place->file = xasprintf("%s/host.squashfs", folder);
	for (size_t i = 0; i < SIZE; i++)
		place->bytes[i] = (unsigned char)(i * i >> 7);
	assert_int_equal(file_write(place->file, place->bytes, SIZE, 0600, NULL), 0);
}

static void place_done(struct place *place)
{
	free(place->store);
	free(place->file);
	free(place);
}

static struct sha256 put(const struct place *place)
{
	struct sha256 digest = {0};

	assert_int_equal(hostroot_store(place->store, place->file, &digest, NULL), 0);
	return digest;
}

/* Is what the manifest names the file, byte by byte? */
static bool is_there(const struct place *place, const struct sha256 *digest)
{
	auto_chunkstore struct chunkstore *store = NULL;
	auto_manifest struct manifest m = {0};
	static unsigned char bytes[CHUNK_SIZE];
	bool same = true;

	assert_int_equal(chunkstore_open(place->store, CHUNKSTORE_READ, &store, NULL), 0);
	assert_int_equal(chunkstore_get_manifest(store, digest, &m, NULL), 0);
	assert_int_equal(m.parts[PART_DISK].size, SIZE);
	assert_false(m.parts[PART_KERNEL].present);
	for (size_t i = 0; i < m.parts[PART_DISK].chunks.n && same; i++) {
		size_t len = chunk_len(SIZE, i);

		same = chunkstore_get(store, &m.parts[PART_DISK].chunks.at[i].digest, bytes, len,
			       NULL) == 0 &&
		       memcmp(bytes, place->bytes + i * CHUNK_SIZE, len) == 0;
	}
	return same;
}

static void test_same_bytes_same_digest(void **state)
{
	struct place *place = xnew(struct place);
	struct sha256 first, again, other;

	place_init(place, *state);
	first = put(place);
	assert_true(is_there(place, &first));
	again = put(place);
	assert_memory_equal(&first, &again, sizeof(first));
	place->bytes[SIZE - 1] ^= 1;
	assert_int_equal(file_write(place->file, place->bytes, SIZE, 0600, NULL), 0);
	other = put(place);
	assert_memory_not_equal(&first, &other, sizeof(first));
	assert_true(is_there(place, &other));
	place_done(place);
}

static void test_damage_is_mended(void **state)
{
	struct place *place = xnew(struct place);
	struct sha256 digest, chunk;
	auto_free char *path = NULL;

	place_init(place, *state);
	digest = put(place);
	chunk = sha256_of(place->bytes, CHUNK_SIZE);
	path = chunkstore_chunk_path(place->store, &chunk);
	assert_int_equal(file_write(path, "", 0, 0600, NULL), 0); /* as a power cut leaves it */
	assert_false(is_there(place, &digest));
	digest = put(place);
	assert_true(is_there(place, &digest));
	place_done(place);
}

/* Chunks that no manifest names yet: an import that will be taken up finds them. */
static void test_other_imports_are_left_alone(void **state)
{
	struct place *place = xnew(struct place);
	auto_chunkstore struct chunkstore *store = NULL;
	auto_chunk_coder struct chunk_coder *coder = chunk_coder_new();
	struct sha256 loose = sha256_of("loose", 5);
	const void *packed;
	size_t len;

	place_init(place, *state);
	assert_int_equal(chunkstore_open(place->store, CHUNKSTORE_WRITE, &store, NULL), 0);
	assert_int_equal(chunk_pack(coder, CHUNK_LEVEL, "loose", 5, &packed, &len, NULL), 0);
	assert_int_equal(chunkstore_put(store, &loose, packed, len, NULL), 0);
	chunkstore_close(TAKE_PTR(store));
	put(place);
	assert_int_equal(chunkstore_open(place->store, CHUNKSTORE_READ, &store, NULL), 0);
	assert_true(chunkstore_has(store, &loose));
	place_done(place);
}

static void test_what_is_no_image(void **state)
{
	struct place *place = xnew(struct place);
	struct sha256 digest;

	place_init(place, *state);
	assert_int_equal(file_write(place->file, place->bytes, 1000, 0600, NULL), 0);
	assert_int_equal(hostroot_store(place->store, place->file, &digest, NULL), -EINVAL);
	assert_int_equal(file_write(place->file, "", 0, 0600, NULL), 0);
	assert_int_equal(hostroot_store(place->store, place->file, &digest, NULL), -EINVAL);
	unlink(place->file);
	assert_int_equal(hostroot_store(place->store, place->file, &digest, NULL), -ENOENT);
	place_done(place);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(
			test_same_bytes_same_digest, folder_make, folder_remove),
		cmocka_unit_test_setup_teardown(test_damage_is_mended, folder_make, folder_remove),
		cmocka_unit_test_setup_teardown(
			test_other_imports_are_left_alone, folder_make, folder_remove),
		cmocka_unit_test_setup_teardown(test_what_is_no_image, folder_make, folder_remove),
	};

	return cmocka_run_group_tests_name("host root", tests, NULL, NULL);
}
