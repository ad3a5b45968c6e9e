/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A new revision of an image changes a part of its chunks; a host that holds an older one copies
 * the rest from there before it asks anybody. So what travels is what changed, by whichever way the
 * rest comes: multicast, neighbours and HTTP all look at what is still missing.
 *
 * Chunks are found by their digests, so the older image may be of any name and any age, and hold
 * its chunks at other places. Its bytes are hashed again on the way: they may have lain on a
 * scratch partition, and hashing is faster than any wire. An image whose manifest has nothing to
 * give is not opened, because opening one that an earlier boot left means reading it.
 *
 * Only for images that are to be held whole: a bounded cache would throw away at one end what is
 * copied in at the other.
 */
#include "images/reuse.h"

#include <dirent.h>

#include "images/chunk.h"
#include "images/lane.h"
#include "images/source.h"
#include "lib/str.h"

struct reuse {
	struct held *held;
	const char *dir;
	const atomic_bool *cancel;
	struct chunk_index *wanted;
	unsigned char *bytes; /* CHUNK_SIZE */
	uint64_t put;
};

static bool called_off(const struct reuse *reuse)
{
	return reuse->cancel && atomic_load(reuse->cancel);
}

static const struct sha256 *lacks(const struct reuse *reuse, size_t number, size_t *ret_len)
{
	const struct sha256 *digest = chunk_index_digest(reuse->wanted, (uint32_t)number, ret_len);

	return digest && !held_has(reuse->held, number) ? digest : NULL;
}

/* Does the other image name a chunk that is lacking? */
static bool has_some(const struct reuse *reuse, const struct chunk_index *other)
{
	size_t len;

	for (size_t i = 0; i < held_count(reuse->held); i++) {
		const struct sha256 *digest = lacks(reuse, i, &len);

		if (digest && chunk_index_find(other, digest) != SOURCE_NONE)
			return true;
	}
	return false;
}

/* Reads the chunk at one of its places in the other image; false: it is at none, undamaged. */
static bool read_from(struct reuse *reuse, struct held *other, const struct chunk_index *index,
	const struct sha256 *digest, size_t len)
{
	for (uint32_t n = chunk_index_find(index, digest); n != SOURCE_NONE;
		n = chunk_index_same(index, n)) {
		struct held_chunk chunk;
		struct sha256 seen;

		if (!held_has(other, n))
			continue;
		held_chunk_at(other, n, &chunk);
		if (chunk.len != len || held_peek(other, n, chunk.at, reuse->bytes, len, NULL) < 0)
			continue;
		seen = sha256_of(reuse->bytes, len);
		if (memcmp(&seen, digest, sizeof(seen)) == 0)
			return true;
	}
	return false;
}

static int copy_from(struct reuse *reuse, struct held *other, const struct chunk_index *index,
	struct error **err)
{
	for (size_t i = 0; i < held_count(reuse->held); i++) {
		size_t len;
		const struct sha256 *digest = lacks(reuse, i, &len);
		int r;

		if (called_off(reuse))
			return -ECANCELED;
		if (!digest || !read_from(reuse, other, index, digest, len))
			continue;
		r = held_put(reuse->held, i, reuse->bytes, err);
		if (r < 0)
			return r;
		reuse->put += len;
	}
	return 0;
}

static int look_at(struct reuse *reuse, const char *name, struct error **err)
{
	auto_manifest struct manifest manifest = {0};
	auto_held struct held *other = NULL;
	struct chunk_index *index;
	int r = 0;

	if (held_read_manifest(reuse->dir, name, &manifest, NULL) < 0)
		return 0;
	index = chunk_index_new(&manifest);
	if (has_some(reuse, index) && held_open(reuse->dir, name, &other, NULL) == 0)
		r = copy_from(reuse, other, index, err);
	chunk_index_free(index);
	return r;
}

int held_reuse(struct held *held, const char *dir, const char *digest, const atomic_bool *cancel,
	uint64_t *ret_bytes, struct error **err)
{
	struct reuse reuse = {.held = held, .dir = dir, .cancel = cancel};
	DIR *images = opendir(dir);
	const struct dirent *entry;
	int r = 0;

	*ret_bytes = 0;
	if (!images)
		return 0;
	reuse.wanted = chunk_index_new(held_manifest(held));
	reuse.bytes = xcalloc(1, CHUNK_SIZE);
	while (r == 0 && held_have(held) < held_total(held) && (entry = readdir(images)))
		if (sha256_hex_ok(entry->d_name) && strcmp(entry->d_name, digest) != 0)
			r = look_at(&reuse, entry->d_name, err);
	closedir(images);
	chunk_index_free(reuse.wanted);
	free(reuse.bytes);
	*ret_bytes = reuse.put;
	return r < 0 ? error_make(err, r, "copying from what is held: %s", strerror(-r)) : 0;
}

static bool holds_others(const char *dir, const char *digest)
{
	DIR *images = opendir(dir);
	const struct dirent *entry;
	bool found = false;

	while (images && !found && (entry = readdir(images)))
		found = sha256_hex_ok(entry->d_name) && strcmp(entry->d_name, digest) != 0;
	if (images)
		closedir(images);
	return found;
}

static bool stopping(void *arg)
{
	const atomic_bool *cancel = arg;

	return cancel && atomic_load(cancel);
}

static int begin(const char *dir, const char *digest, const char *base, const atomic_bool *cancel,
	struct held **ret_held)
{
	const struct lane_options options = {
		.base = base, .stopping = stopping, .arg = (void *)cancel};
	auto_lane struct lane *lane = NULL;
	auto_free char *text = NULL;
	size_t len;
	int r;

	if (held_open(dir, digest, ret_held, NULL) == 0)
		return 0;
	lane = lane_new(&options);
	r = lane_manifest(lane, digest, &text, &len, NULL);
	return r < 0 ? r : held_create(dir, digest, text, len, ret_held, NULL);
}

void held_prepare(const char *dir, const char *digest, const char *base, uint64_t room,
	const atomic_bool *cancel)
{
	auto_held struct held *held = NULL;
	uint64_t bytes;

	if (!base || !holds_others(dir, digest) || begin(dir, digest, base, cancel, &held) < 0)
		return;
	if (!room || room >= held_total(held))
		held_reuse(held, dir, digest, cancel, &bytes, NULL);
}
