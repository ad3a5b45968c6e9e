/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Cutting and packing.
 *
 * Chunks have a fixed size because a disk image does not shift: a revision that changes a file
 * changes the blocks of that file and no other. The smaller the pieces, the less comes along with
 * those blocks and the less is lost when a transfer breaks off (256 KiB take 2 ms on a 1 Gbit/s
 * port); the larger, the shorter the manifest (1.1 MB for 4 GiB of data). Below 256 KiB a revision
 * gains only a few percent more.
 *
 * The name is the digest of the uncompressed bytes: what a host verifies is what its VMs will read,
 * and the compressor may change without a single name changing.
 *
 * A frame comes from the network or from a disk that may rot. It is unpacked in one call into a
 * buffer of the length the manifest promises, so neither a bomb nor a huge window can take memory;
 * a frame that wants more fails. This file knows nothing of files and stores.
 */
#include "images/chunk.h"

#include <zstd.h>

_Static_assert(CHUNK_PACKED_MAX >= ZSTD_COMPRESSBOUND(CHUNK_SIZE), "a packed chunk must fit");

enum {
	LEVEL_ENOUGH = 9, /* for data that barely packs */
	BARELY = 10,	  /* less than this part of its length is saved */
};

struct chunk_coder {
	ZSTD_CCtx *pack;
	ZSTD_DCtx *unpack;
	unsigned char *packed; /* CHUNK_PACKED_MAX bytes, made with the first chunk_pack */
};

size_t chunk_count(uint64_t size)
{
	return (size_t)(size / CHUNK_SIZE + (size % CHUNK_SIZE != 0));
}

size_t chunk_len(uint64_t size, size_t index)
{
	uint64_t left = size - (uint64_t)index * CHUNK_SIZE;

	return left < CHUNK_SIZE ? (size_t)left : CHUNK_SIZE;
}

bool chunk_is_zero(const void *bytes, size_t len)
{
	const unsigned char *b = bytes;

	/* Equal to itself moved by one byte and zero at the start: zero throughout. */
	return len == 0 || (b[0] == 0 && memcmp(b, b + 1, len - 1) == 0);
}

struct chunk_coder *chunk_coder_new(void)
{
	struct chunk_coder *coder = xnew(struct chunk_coder);

	coder->pack = ZSTD_createCCtx();
	coder->unpack = ZSTD_createDCtx();
	if (!coder->pack || !coder->unpack)
		abort();
	return coder;
}

void chunk_coder_free(struct chunk_coder *coder)
{
	if (!coder)
		return;
	ZSTD_freeCCtx(coder->pack);
	ZSTD_freeDCtx(coder->unpack);
	free(coder->packed);
	free(coder);
}

/* Data that the fastest level barely packs (media, archives) gains nothing by a level beyond
 * LEVEL_ENOUGH and would take six times as long with it. */
static int level_worth(struct chunk_coder *coder, int level, const void *bytes, size_t len)
{
	size_t n;

	if (level <= LEVEL_ENOUGH)
		return level;
	n = ZSTD_compressCCtx(coder->pack, coder->packed, CHUNK_PACKED_MAX, bytes, len,
		CHUNK_LEVEL_FAST);
	return !ZSTD_isError(n) && n > len - len / BARELY ? LEVEL_ENOUGH : level;
}

int chunk_pack(struct chunk_coder *coder, int level, const void *bytes, size_t len,
	const void **ret_packed, size_t *ret_packed_len, struct error **err)
{
	size_t n;

	if (len == 0 || len > CHUNK_SIZE)
		return error_make(
			err, -EINVAL, "a chunk has 1 to %d bytes, not %zu", CHUNK_SIZE, len);
	if (!coder->packed)
		coder->packed = xcalloc(1, CHUNK_PACKED_MAX);
	level = level_worth(coder, level, bytes, len);
	n = ZSTD_compressCCtx(coder->pack, coder->packed, CHUNK_PACKED_MAX, bytes, len, level);
	if (ZSTD_isError(n))
		return error_make(
			err, -EIO, "a chunk could not be compressed: %s", ZSTD_getErrorName(n));
	*ret_packed = coder->packed;
	*ret_packed_len = n;
	return 0;
}

int chunk_unpack(struct chunk_coder *coder, const void *packed, size_t packed_len,
	const struct sha256 *digest, void *out, size_t len, struct error **err)
{
	char want[SHA256_TEXT];
	struct sha256 got;
	size_t n;

	sha256_format(digest, want);
	n = ZSTD_decompressDCtx(coder->unpack, out, len, packed, packed_len);
	if (ZSTD_isError(n))
		return error_make(
			err, -EBADMSG, "chunk %.12s is damaged: %s", want, ZSTD_getErrorName(n));
	if (n != len)
		return error_make(err, -EBADMSG, "chunk %.12s is damaged: %zu bytes instead of %zu",
			want, n, len);
	got = sha256_of(out, len);
	if (memcmp(got.b, digest->b, SHA256_LEN) != 0)
		return error_make(
			err, -EBADMSG, "chunk %.12s is damaged: its digest does not match", want);
	return 0;
}
