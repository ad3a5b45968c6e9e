/* SPDX-License-Identifier: GPL-2.0-or-later */
/* One face for the two places from which chunks are sent.
 *
 * A store has frames on disk, which go out as they lie; a host has plain bytes in the disk its VMs
 * start from, and keeps no second copy: a frame is made when somebody asks, at zstd's fastest
 * level, which packs several times as fast as any classroom's wire takes it. So the same chunk may
 * travel in different frames; its name is the digest of the plain bytes, and nobody cares.
 *
 * Held chunks may go away while they are read (a bounded cache evicts): that is -ENOENT, an
 * ordinary answer. Nothing is verified here. What is held was verified when it was put; a store's
 * frame is read by nobody but its receiver, who trusts no sender anyway.
 */
#include "images/source.h"

#include <fcntl.h>

#include "images/store.h"
#include "lib/str.h"

/* ---- numbers by digest ---- */

struct indexed {
	const struct manifest_chunk *chunk;
	uint32_t len;
	uint32_t same; /* the next number with this content */
	bool first;
};

struct chunk_index {
	struct manifest_chunk *copy;
	struct indexed *at;
	uint32_t *sorted; /* numbers of the chunks that are not zero, by digest, then by number */
	size_t count, n_disk, n_sorted;
};

static int by_content(const void *a, const void *b, void *arg)
{
	const struct chunk_index *index = arg;
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
	int order = memcmp(index->at[x].chunk->digest.b, index->at[y].chunk->digest.b, SHA256_LEN);

	return order ? order : (x > y) - (x < y);
}

static void index_fill(struct chunk_index *index, const struct manifest *manifest)
{
	size_t n = 0;

	for (int i = 0; i < PART_COUNT; i++) {
		const struct manifest_part *part = &manifest->parts[i];

		for (size_t c = 0; c < part->chunks.n; c++, n++) {
			index->copy[n] = part->chunks.at[c];
			index->at[n] = (struct indexed){.chunk = &index->copy[n],
				.len = (uint32_t)chunk_len(part->size, c),
				.same = SOURCE_NONE};
			if (!index->copy[n].zero)
				index->sorted[index->n_sorted++] = (uint32_t)n;
		}
	}
}

struct chunk_index *chunk_index_new(const struct manifest *manifest)
{
	struct chunk_index *index = xnew(struct chunk_index);

	for (int i = 0; i < PART_COUNT; i++)
		index->count += manifest->parts[i].chunks.n;
	index->n_disk = manifest->parts[PART_DISK].chunks.n;
	index->copy = xcalloc(index->count + 1, sizeof(*index->copy));
	index->at = xcalloc(index->count + 1, sizeof(*index->at));
	index->sorted = xcalloc(index->count + 1, sizeof(*index->sorted));
	index_fill(index, manifest);
	qsort_r(index->sorted, index->n_sorted, sizeof(*index->sorted), by_content, index);
	for (size_t i = 0; i < index->n_sorted; i++) {
		struct indexed *here = &index->at[index->sorted[i]];
		const struct indexed *before = i ? &index->at[index->sorted[i - 1]] : NULL;

		here->first = !before || memcmp(before->chunk->digest.b, here->chunk->digest.b,
						 SHA256_LEN) != 0;
		if (!here->first)
			index->at[index->sorted[i - 1]].same = index->sorted[i];
	}
	return index;
}

void chunk_index_free(struct chunk_index *index)
{
	if (!index)
		return;
	free(index->copy);
	free(index->at);
	free(index->sorted);
	free(index);
}

size_t chunk_index_count(const struct chunk_index *index)
{
	return index->count;
}

size_t chunk_index_disk(const struct chunk_index *index)
{
	return index->n_disk;
}

const struct sha256 *chunk_index_digest(
	const struct chunk_index *index, uint32_t number, size_t *ret_len)
{
	if (ret_len)
		*ret_len = index->at[number].len;
	return index->at[number].chunk->zero ? NULL : &index->at[number].chunk->digest;
}

uint32_t chunk_index_find(const struct chunk_index *index, const struct sha256 *digest)
{
	size_t low = 0, high = index->n_sorted;

	while (low < high) {
		size_t middle = low + (high - low) / 2;
		const struct indexed *seen = &index->at[index->sorted[middle]];

		if (memcmp(seen->chunk->digest.b, digest->b, SHA256_LEN) < 0)
			low = middle + 1;
		else
			high = middle;
	}
	if (low == index->n_sorted ||
		memcmp(index->at[index->sorted[low]].chunk->digest.b, digest->b, SHA256_LEN) != 0)
		return SOURCE_NONE;
	return index->sorted[low];
}

uint32_t chunk_index_same(const struct chunk_index *index, uint32_t number)
{
	return index->at[number].same;
}

bool chunk_index_first(const struct chunk_index *index, uint32_t number)
{
	return index->at[number].first;
}

/* ---- a place ---- */

struct source {
	char *dir;
	struct chunk_index *index;
	struct held *held; /* NULL: a store */
	uint64_t total;
	unsigned char *bytes; /* of one chunk, plain or packed */
};

static struct source *source_new(const char *dir)
{
	struct source *source = xnew(struct source);

	source->dir = xstrdup(dir);
	source->bytes = xcalloc(1, CHUNK_PACKED_MAX);
	return source;
}

int source_open_store(
	const char *dir, const char *digest, struct source **ret_source, struct error **err)
{
	auto_chunkstore struct chunkstore *store = NULL;
	auto_manifest struct manifest manifest = {0};
	struct sha256 parsed;
	int r;

	if (sha256_parse(digest, &parsed) < 0)
		return error_make(err, -ENOENT, "not an image digest");
	r = chunkstore_open(dir, CHUNKSTORE_READ, &store, err);
	if (r == 0)
		r = chunkstore_get_manifest(store, &parsed, &manifest, err);
	if (r < 0)
		return r;
	*ret_source = source_new(dir);
	(*ret_source)->index = chunk_index_new(&manifest);
	(*ret_source)->total = manifest_data_bytes(&manifest);
	return 0;
}

int source_open_held(
	const char *dir, const char *digest, struct source **ret_source, struct error **err)
{
	struct held *held = NULL;
	int r;

	if (!sha256_hex_ok(digest))
		return error_make(err, -ENOENT, "not an image digest");
	if (!held_is_checked(dir, digest))
		return error_make(
			err, -EAGAIN, "image %.12s was not verified in this boot yet", digest);
	r = held_open(dir, digest, &held, err);
	if (r < 0)
		return r;
	*ret_source = source_new(dir);
	(*ret_source)->held = held;
	(*ret_source)->index = chunk_index_new(held_manifest(held));
	(*ret_source)->total = held_total(held);
	return 0;
}

void source_close(struct source *source)
{
	if (!source)
		return;
	held_close(source->held);
	chunk_index_free(source->index);
	free(source->dir);
	free(source->bytes);
	free(source);
}

const struct chunk_index *source_index(const struct source *source)
{
	return source->index;
}

uint64_t source_have(const struct source *source)
{
	return source->held ? held_have(source->held) : source->total;
}

uint64_t source_total(const struct source *source)
{
	return source->total;
}

bool source_has(const struct source *source, uint32_t number)
{
	return !source->held || held_has(source->held, number);
}

bool source_is_removed(const struct source *source)
{
	return source->held && held_is_removed(source->held);
}

static int packed_of_store(const struct source *source, const struct sha256 *digest,
	const void **ret_packed, size_t *ret_len, struct error **err)
{
	auto_free char *path = chunkstore_chunk_path(source->dir, digest);
	auto_close int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	size_t have = 0;
	ssize_t n = 1;

	while (fd >= 0 && n > 0 && have < CHUNK_PACKED_MAX) {
		n = read(fd, source->bytes + have, CHUNK_PACKED_MAX - have);
		if (n < 0 && errno == EINTR)
			n = 1;
		else if (n > 0)
			have += (size_t)n;
	}
	if (fd < 0 || n < 0)
		return error_make(err, -errno, "%s: %s", path, strerror(errno));
	*ret_packed = source->bytes;
	*ret_len = have;
	return 0;
}

int source_packed(struct source *source, struct chunk_coder *coder, uint32_t number,
	const void **ret_packed, size_t *ret_len, struct error **err)
{
	const struct sha256 *digest;
	struct held_chunk chunk;
	size_t len;
	int r;

	if (number >= source->index->count ||
		!(digest = chunk_index_digest(source->index, number, &len)))
		return error_make(err, -ENOENT, "no such chunk");
	if (!source->held)
		return packed_of_store(source, digest, ret_packed, ret_len, err);
	held_chunk_at(source->held, number, &chunk);
	r = held_peek(source->held, number, chunk.at, source->bytes, len, err);
	return r < 0 ? r
		     : chunk_pack(coder, CHUNK_LEVEL_FAST, source->bytes, len, ret_packed, ret_len,
			       err);
}
