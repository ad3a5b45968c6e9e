/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Chunks: an image part is cut into pieces of 256 KiB (the last one shorter), each named by the
 * SHA-256 of its uncompressed bytes and stored as one zstd frame. A piece of nothing but zeros is
 * never stored or sent. */
#ifndef IMAGES_CHUNK_H
#define IMAGES_CHUNK_H

#include <errno.h>
#include <stdbool.h>
#include "lib/error.h"
#include "lib/hash.h"

enum {
	CHUNK_SIZE = 256 << 10,
	CHUNK_PACKED_MAX =
		CHUNK_SIZE + (CHUNK_SIZE >> 8) + 512, /* a frame of a full chunk never exceeds it */
	CHUNK_LEVEL = 14,     /* zstd level: 13 % less on every wire than 3, 10 MB/s per core */
	CHUNK_LEVEL_MAX = 19, /* 1 % less than 14, at half its speed */
	CHUNK_LEVEL_FAST = 1, /* for bytes that are packed to be sent once */
};

/* How many chunks a part of `size` bytes has, and how long chunk `index` of it is. */
size_t chunk_count(uint64_t size);
size_t chunk_len(uint64_t size, size_t index);

bool chunk_is_zero(const void *bytes, size_t len);

/* Compression state, used by one thread at a time. Freed by chunk_coder_free (NULL is fine). */
struct chunk_coder;
struct chunk_coder *chunk_coder_new(void);
void chunk_coder_free(struct chunk_coder *coder);

/* Compresses 1..CHUNK_SIZE bytes at a zstd level, or at a lower one where that would save next to
 * nothing. *ret_packed lives in the coder until its next use. */
int chunk_pack(struct chunk_coder *coder, int level, const void *bytes, size_t len,
	const void **ret_packed, size_t *ret_packed_len, struct error **err);

/* Decompresses into `out` and checks that exactly `len` bytes with this digest came out. -EBADMSG
 * says what was wrong; `out` may then hold anything and must not be used. */
int chunk_unpack(struct chunk_coder *coder, const void *packed, size_t packed_len,
	const struct sha256 *digest, void *out, size_t len, struct error **err);

/* Does this error of reading a stored chunk say that its bytes are wrong, or too many? Any other
 * (but -ENOENT) says nothing of them: a disk that cannot give them today may tomorrow. */
static inline bool chunk_is_wrong(int code)
{
	return code == -EBADMSG || code == -E2BIG;
}

/* The same, or a disk that cannot give the bytes: who has them at hand stores the chunk anew. */
static inline bool chunk_is_damage(int code)
{
	return chunk_is_wrong(code) || code == -EIO;
}

static inline void cleanup_chunk_coder(struct chunk_coder **coder)
{
	chunk_coder_free(*coder);
}
#define auto_chunk_coder __attribute__((cleanup(cleanup_chunk_coder)))

#endif
