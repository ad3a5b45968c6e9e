/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Checking a store against itself.
 *
 * Chunks are named by what they hold, so a bit that flipped on the disk is found by reading,
 * without a second copy to compare with. What is found is only told here. Putting a damaged chunk
 * aside is a step of its own: afterwards it is missing, which every reader and every import
 * understands, and importing the same files again heals all images that named it. All of them are put aside, though a
 * person is shown the first only: one that stayed would be in the way of the import that should heal it.
 *
 * That is the one exception to "a chunk is never overwritten": it is renamed away first. Its bytes
 * stay in quarantine/ until a gc, for whoever wants to know what the disk did to them; the gc takes
 * back what turns out to be good and is missing.
 *
 * "Damaged" is what was read and is wrong, or what the disk could not give. Of the latter nobody
 * knows what it holds, and the next reading may succeed: it is told, and stays where it is. A check
 * that lacks descriptors or rights has seen nothing of the chunk, and ends with that.
 *
 * A difference is worked out from two manifests alone and costs no reading of data.
 */
#include "images/store_check.h"

#include <sys/stat.h>
#include <zstd.h>

#include "images/chunk.h"
#include "images/store_sweep.h"
#include "lib/file.h"
#include "lib/str.h"

void chunkstore_check_done(struct chunkstore_check *check)
{
	vec_each (struct chunk_damage, damage, &check->damaged)
		free(damage->reason);
	vec_done(&check->damaged);
	vec_done(&check->wrong);
}

struct reader {
	const char *dir;
	struct chunk_coder *coder;
	unsigned char *bytes; /* CHUNK_SIZE */
};

static void reader_init(struct reader *reader, const char *dir)
{
	*reader = (struct reader){.dir = dir, .coder = chunk_coder_new()};
	reader->bytes = xcalloc(1, CHUNK_SIZE);
}

static void reader_done(struct reader *reader)
{
	chunk_coder_free(reader->coder);
	free(reader->bytes);
}

static int read_chunk(
	struct reader *reader, const struct sha256 *digest, size_t len, struct error **err)
{
	auto_free char *path = chunkstore_chunk_path(reader->dir, digest);
	auto_free char *packed = NULL;
	size_t packed_len;
	int r = file_read(path, CHUNK_PACKED_MAX, &packed, &packed_len, err);

	if (r < 0)
		return r;
	return chunk_unpack(reader->coder, packed, packed_len, digest, reader->bytes, len, err);
}

/* `code`: as the chunk was read. */
static void note(struct chunkstore_check *check, enum manifest_part_kind part, size_t number,
	const struct sha256 *digest, int code, const struct error *why)
{
	bool unread = code == -EIO;
	char *reason = code == -ENOENT ? xstrdup("it is missing")
				       : xasprintf("%s%s", unread ? "the disk cannot read it: " : "",
						 error_text(why, code));

	check->n_damaged++;
	check->n_unread += unread;
	if (!unread && code != -ENOENT)
		vec_push(&check->wrong, *digest);
	if (check->damaged.n < CHUNK_DAMAGES_MAX)
		vec_push(&check->damaged,
			((struct chunk_damage){part, number, *digest, unread, TAKE_PTR(reason)}));
	free(reason);
}

static int verify_part(struct reader *reader, const struct manifest_part *part,
	enum manifest_part_kind kind, uint64_t total, struct chunkstore_check *check,
	struct error **err)
{
	for (size_t i = 0; i < part->chunks.n; i++) {
		const struct manifest_chunk *chunk = &part->chunks.at[i];
		size_t len = chunk_len(part->size, i);
		auto_error struct error *why = NULL;
		int r;

		if (chunk->zero)
			continue;
		if (check->cancel && atomic_load(check->cancel))
			return error_make(err, -ECANCELED, "the check was called off");
		r = read_chunk(reader, &chunk->digest, len, &why);
		if (r < 0 && r != -ENOENT && !chunk_is_damage(r))
			return error_make(err, r, "the check cannot go on: %s", error_text(why, r));
		if (r < 0)
			note(check, kind, i, &chunk->digest, r, why);
		check->chunks++;
		check->bytes += len;
		if (check->progress)
			check->progress(check->bytes, total, check->arg);
	}
	return 0;
}

int chunkstore_verify(const struct chunkstore *store, const struct sha256 *image,
	struct chunkstore_check *check, struct error **err)
{
	auto_manifest struct manifest manifest = {0};
	struct reader reader;
	uint64_t total;
	int r = chunkstore_get_manifest(store, image, &manifest, err);

	if (r < 0)
		return r;
	total = manifest_data_bytes(&manifest);
	reader_init(&reader, chunkstore_dir(store));
	for (int i = 0; i < PART_COUNT && r == 0; i++)
		r = verify_part(&reader, &manifest.parts[i], i, total, check, err);
	reader_done(&reader);
	return r;
}

/* What the frame itself promises; 0: nothing that a chunk could be. */
static size_t promised_len(const void *packed, size_t packed_len)
{
	unsigned long long len = ZSTD_getFrameContentSize(packed, packed_len);

	return len <= CHUNK_SIZE ? (size_t)len : 0;
}

static int verify_file(const char *path, const struct sha256 *digest, struct error **err)
{
	auto_free char *packed = NULL;
	struct reader reader;
	size_t packed_len, len;
	int r = file_read(path, CHUNK_PACKED_MAX, &packed, &packed_len, err);

	if (r < 0)
		return chunk_is_wrong(r) ? -EBADMSG : r;
	len = promised_len(packed, packed_len);
	if (len == 0)
		return error_make(err, -EBADMSG, "%s is damaged: its length cannot be told", path);
	reader_init(&reader, NULL);
	r = chunk_unpack(reader.coder, packed, packed_len, digest, reader.bytes, len, err);
	reader_done(&reader);
	return r;
}

int chunkstore_verify_chunk(const char *dir, const struct sha256 *digest, struct error **err)
{
	auto_free char *path = chunkstore_chunk_path(dir, digest);

	return verify_file(path, digest, err);
}

bool chunkstore_can_return(const char *dir, const struct sha256 *digest, const char *aside)
{
	auto_free char *path = chunkstore_chunk_path(dir, digest);

	return access(path, F_OK) < 0 && errno == ENOENT && verify_file(aside, digest, NULL) == 0;
}

int chunkstore_quarantine(const char *dir, const struct sha256 *digest, struct error **err)
{
	auto_free char *path = chunkstore_chunk_path(dir, digest);
	auto_free char *folder = xasprintf("%s/quarantine", dir);
	char hex[SHA256_TEXT];
	auto_free char *aside = xasprintf("%s/%s", folder, sha256_format(digest, hex));
	int r = file_mkdirs(folder, 0755, err);

	if (r < 0)
		return r;
	if (rename(path, aside) < 0 && errno != ENOENT)
		return error_make(err, -errno, "%s: %s", path, strerror(errno));
	return 0;
}

int chunkstore_put_aside(const char *dir, const struct chunkstore_check *check, struct error **err)
{
	int r = 0;

	vec_each (const struct sha256, digest, &check->wrong)
		if (r == 0)
			r = chunkstore_quarantine(dir, digest, err);
	return r;
}

static bool same_chunk(const struct manifest_chunk *a, const struct manifest_chunk *b)
{
	return a->zero == b->zero &&
	       (a->zero || memcmp(&a->digest, &b->digest, sizeof(a->digest)) == 0);
}

static void compare_part(const struct manifest_part *a, const struct manifest_part *b,
	struct chunkstore_difference *d)
{
	for (size_t i = 0; i < b->chunks.n; i++) {
		const struct manifest_chunk *chunk = &b->chunks.at[i];
		size_t len = chunk_len(b->size, i);

		if (!chunk->zero) {
			d->chunks++;
			d->bytes += len;
		}
		if (i < a->chunks.n && same_chunk(&a->chunks.at[i], chunk))
			continue;
		if (i >= a->chunks.n && chunk->zero)
			continue;
		d->changed++;
		d->changed_bytes += len;
	}
}

/* The different chunks of `b` that `a` does not name, as they lie in the store. */
static int count_travel(const char *dir, const struct manifest *a, const struct manifest *b,
	struct chunkstore_difference *d, struct error **err)
{
	struct digests has = {0}, wants = {0};
	int r = 0;

	digests_add_named(&has, a);
	digests_add_named(&wants, b);
	digests_sort(&has);
	digests_sort(&wants);
	for (size_t i = 0; i < wants.n && r == 0; i++) {
		auto_free char *path = NULL;
		struct stat st;

		if (digests_has(&has, &wants.at[i]))
			continue;
		path = chunkstore_chunk_path(dir, &wants.at[i]);
		if (stat(path, &st) < 0)
			r = error_make(err, -errno, "%s: %s", path, strerror(errno));
		d->travel++;
		d->travel_bytes += r == 0 ? (uint64_t)st.st_size : 0;
	}
	vec_done(&has);
	vec_done(&wants);
	return r;
}

int chunkstore_diff(const struct chunkstore *store, const struct sha256 *a, const struct sha256 *b,
	struct chunkstore_difference *ret_difference, struct error **err)
{
	auto_manifest struct manifest before = {0}, after = {0};
	struct chunkstore_difference d = {0};
	int r = chunkstore_get_manifest(store, a, &before, err);

	if (r == 0)
		r = chunkstore_get_manifest(store, b, &after, err);
	if (r < 0)
		return r;
	for (int i = 0; i < PART_COUNT; i++)
		compare_part(&before.parts[i], &after.parts[i], &d);
	r = count_travel(chunkstore_dir(store), &before, &after, &d, err);
	if (r == 0)
		*ret_difference = d;
	return r;
}
