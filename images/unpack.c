/* SPDX-License-Identifier: GPL-2.0-or-later */
/* gzip, xz and zstd, as disk images are published and as an OVA may pack its members.
 *
 * gzip is read by zlib, because it checks the sum at the end; libarchive does not. xz and zstd go
 * through libarchive's filters without any archive format. libarchive would gladly undo a second
 * packing inside the first, so the number of filters is looked at before a byte is taken.
 *
 * Two limits end a bomb: disk_io.c counts what is not zero, here the zeros are counted too, for
 * they cost time. gzip cannot pack more than 1032 times; xz and zstd can pack emptiness without
 * end, so a disk that is nearly nothing but zeros is refused when packed by them, and is welcome as
 * qcow2.
 */
#include "images/unpack.h"

#include <archive.h>
#include <archive_entry.h>
#include <zlib.h>
#include "lib/str.h"

enum { PIECE = 256 << 10 };

struct total {
	uint64_t len, max, read, size; /* unpacked and its limit; packed and all of it */
	struct disk_out *out;
};

static const struct {
	const char *bytes;
	size_t len;
} magics[] = {
	[PACKING_GZIP] = {"\x1f\x8b", 2},
	[PACKING_XZ] = {"\xfd\x37zXZ\0", 6},
	[PACKING_ZSTD] = {"\x28\xb5\x2f\xfd", 4},
};

enum packing packing_of(int fd)
{
	char seen[6] = {0};
	ssize_t n = pread(fd, seen, sizeof(seen), 0);

	for (int i = PACKING_GZIP; i <= PACKING_ZSTD; i++)
		if (n >= (ssize_t)magics[i].len &&
			memcmp(seen, magics[i].bytes, magics[i].len) == 0)
			return i;
	return PACKING_NONE;
}

static int take(struct total *t, const void *bytes, size_t len, struct error **err)
{
	int r;

	if (len > t->max - t->len)
		return error_make(err, -E2BIG,
			"it unpacks to more than %d times its own size; bring a disk that is "
			"nearly empty as qcow2",
			UNPACK_RATIO);
	r = disk_out_write(t->out, t->len, bytes, len, err);
	t->len += len;
	return r == 0 ? disk_out_tell(t->out, t->read, t->size, err) : r;
}

static int broken(const char *why, struct error **err)
{
	return error_make(err, -EINVAL, "the packed file is cut off or damaged%s%s; copy it again",
		why && text_ok(why, 200) ? ": " : "", why && text_ok(why, 200) ? why : "");
}

/* All that the input at hand unpacks to. *ret_ended: a gzip member is whole. */
static int inflate_piece(
	z_stream *z, unsigned char *bytes, struct total *t, bool *ret_ended, struct error **err)
{
	int code, r = 0;

	do {
		z->next_out = bytes;
		z->avail_out = PIECE;
		code = inflate(z, Z_NO_FLUSH);
		if (code != Z_OK && code != Z_STREAM_END && code != Z_BUF_ERROR)
			return broken(z->msg, err);
		if (z->avail_out < PIECE)
			r = take(t, bytes, PIECE - z->avail_out, err);
		*ret_ended = code == Z_STREAM_END;
		/* Members may follow one another. */
		if (*ret_ended && z->avail_in > 0 && inflateReset(z) != Z_OK)
			return broken(NULL, err);
	} while (r == 0 && (z->avail_in > 0 || z->avail_out == 0) && code != Z_BUF_ERROR);
	return r;
}

static int gunzip(int fd, struct total *t, struct error **err)
{
	auto_free unsigned char *packed = xcalloc(1, PIECE), *bytes = xcalloc(1, PIECE);
	z_stream z = {0};
	bool ended = false;
	int r = 0;

	if (inflateInit2(&z, MAX_WBITS + 16) != Z_OK)
		return error_make(err, -ENOMEM, "no memory to unpack with");
	while (r == 0 && t->read < t->size) {
		size_t n = t->size - t->read < PIECE ? (size_t)(t->size - t->read) : PIECE;

		r = disk_read(fd, t->read, packed, n, "packed file", err);
		if (r < 0)
			break;
		t->read += n;
		if (ended && inflateReset(&z) != Z_OK)
			r = broken(NULL, err);
		z.next_in = packed;
		z.avail_in = (uInt)n;
		if (r == 0)
			r = inflate_piece(&z, bytes, t, &ended, err);
	}
	inflateEnd(&z);
	return r == 0 && !ended ? broken(NULL, err) : r;
}

static void cleanup_archive(struct archive **archive)
{
	if (*archive)
		archive_read_free(*archive);
}

static int unfilter_data(struct archive *archive, struct total *t, struct error **err)
{
	auto_free unsigned char *bytes = xcalloc(1, PIECE);
	la_ssize_t n;
	int r = 0;

	while (r == 0 && (n = archive_read_data(archive, bytes, PIECE)) != 0) {
		if (n < 0)
			return broken(archive_error_string(archive), err);
		t->read = (uint64_t)archive_filter_bytes(archive, -1);
		r = take(t, bytes, (size_t)n, err);
	}
	return r;
}

static int unfilter(int fd, enum packing packing, struct total *t, struct error **err)
{
	__attribute__((cleanup(cleanup_archive))) struct archive *archive = archive_read_new();
	struct archive_entry *entry;

	if (!archive)
		return error_make(err, -ENOMEM, "no memory to unpack with");
	archive_read_support_format_raw(archive);
	if (packing == PACKING_XZ)
		archive_read_support_filter_xz(archive);
	else
		archive_read_support_filter_zstd(archive);
	if (lseek(fd, 0, SEEK_SET) < 0 || archive_read_open_fd(archive, fd, PIECE) != ARCHIVE_OK ||
		archive_read_next_header(archive, &entry) != ARCHIVE_OK)
		return broken(archive_error_string(archive), err);
	if (archive_filter_count(archive) != 2)
		return error_make(err, -EINVAL, "it is packed more than once; unpack it first");
	return unfilter_data(archive, t, err);
}

int unpack(int fd, uint64_t size, enum packing packing, struct disk_out *out, uint64_t *ret_len,
	struct error **err)
{
	struct total t = {.size = size, .out = out};
	int r;

	t.max = size > (out->size - DISK_RATIO_FREE) / UNPACK_RATIO
			? out->size
			: size * UNPACK_RATIO + DISK_RATIO_FREE;
	r = packing == PACKING_GZIP ? gunzip(fd, &t, err) : unfilter(fd, packing, &t, err);
	if (r == 0)
		r = disk_out_end(out, t.len, err);
	if (r == 0)
		*ret_len = t.len;
	return r;
}
