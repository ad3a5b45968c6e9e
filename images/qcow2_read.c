/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Reading a qcow2 disk: the active mapping only, without backing file, data file, encryption or
 * snapshots, all of which header_qcow2.c refused before.
 *
 * Why not qemu-img: to read this much takes two tables and two decompressors. qemu-img would have
 * to be started as a program, by name, with the libraries and files it wants, in a jail wide enough
 * for that; this needs two descriptors and nothing else, so its jail can be shut (images/seal.c).
 *
 * The check is not relied on for safety: the file may be changed while it is read, so every place
 * and length is bounded here again. What the check promised, a whole file, only makes the messages
 * good. A cluster that ends behind the file reads as zeros there, as QEMU has it.
 */
#include "images/qcow2_read.h"

#include <endian.h>
#include <zlib.h>
#include <zstd.h>

enum { SUBCLUSTERS = 32, SECTOR = 512 };

#define OFFSET_MASK 0x00fffffffffffe00ULL
#define ENTRY_COMPRESSED (1ULL << 62)
#define ENTRY_ZERO 1ULL

struct reader {
	int fd;
	const struct qcow2_layout *layout;
	struct disk_out *out;
	size_t cluster;	 /* bytes */
	uint64_t *table; /* one L2 table */
	unsigned char *packed, *bytes;
	z_stream inflate;
	ZSTD_DCtx *zstd;
};

/* What stands at `at`; zeros behind the end of the file. */
static int read_cluster(struct reader *r, uint64_t at, unsigned char *to, size_t len, size_t *ret_n,
	struct error **err)
{
	size_t got = 0;

	while (got < len) {
		ssize_t n = pread(r->fd, to + got, len - got, (off_t)(at + got));

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return error_make(
				err, -errno, "a cluster of the qcow2 file: %s", strerror(errno));
		if (n == 0)
			break;
		got += (size_t)n;
	}
	memset(to + got, 0, len - got);
	*ret_n = got;
	return 0;
}

/* Both give true when exactly one cluster came out. */
static bool unpack_deflate(struct reader *r, size_t packed)
{
	int code;

	if (inflateReset(&r->inflate) != Z_OK)
		return false;
	r->inflate.next_in = r->packed;
	r->inflate.avail_in = (uInt)packed;
	r->inflate.next_out = r->bytes;
	r->inflate.avail_out = (uInt)r->cluster;
	code = inflate(&r->inflate, Z_FINISH);
	return (code == Z_STREAM_END || code == Z_BUF_ERROR) && r->inflate.avail_out == 0;
}

static bool unpack_zstd(struct reader *r, size_t packed)
{
	ZSTD_inBuffer in = {r->packed, packed, 0};
	ZSTD_outBuffer out = {r->bytes, r->cluster, 0};

	ZSTD_DCtx_reset(r->zstd, ZSTD_reset_session_only);
	while (out.pos < out.size) {
		size_t before_in = in.pos, before_out = out.pos;

		if (ZSTD_isError(ZSTD_decompressStream(r->zstd, &out, &in)))
			return false;
		if (in.pos == before_in && out.pos == before_out)
			return false;
	}
	return true;
}

static int compressed(struct reader *r, uint64_t entry, struct error **err)
{
	uint32_t bits = 62 - (r->layout->cluster_bits - 8);
	uint64_t at = entry & ((1ULL << bits) - 1),
		 sectors = ((entry & (ENTRY_COMPRESSED - 1)) >> bits) + 1;
	size_t len = (size_t)(sectors * SECTOR - at % SECTOR), n;
	int e = read_cluster(r, at, r->packed, len, &n, err);

	if (e < 0)
		return e;
	if (r->layout->zstd ? !unpack_zstd(r, n) : !unpack_deflate(r, n))
		return error_make(err, -EINVAL,
			"the qcow2 file is damaged: the compressed cluster at byte %llu does not "
			"unpack",
			(unsigned long long)at);
	return 0;
}

/* Subclusters that are not allocated, or are zero by their bit, read as zeros. */
static int blank_subclusters(struct reader *r, uint64_t bitmap, struct error **err)
{
	size_t part = r->cluster / SUBCLUSTERS;

	if ((uint32_t)bitmap & (uint32_t)(bitmap >> 32))
		return error_make(
			err, -EINVAL, "the qcow2 file is damaged: a subcluster is zero and data");
	for (unsigned i = 0; i < SUBCLUSTERS; i++)
		if (!(bitmap & 1ULL << i))
			memset(r->bytes + i * part, 0, part);
	return 0;
}

/* One cluster of the disk at `guest`. */
static int cluster_read(
	struct reader *r, uint64_t entry, uint64_t bitmap, uint64_t guest, struct error **err)
{
	uint64_t at = entry & OFFSET_MASK, left = r->layout->virtual_size - guest;
	size_t len = left < r->cluster ? (size_t)left : r->cluster, n;
	int e;

	if (entry & ENTRY_COMPRESSED) {
		e = compressed(r, entry, err);
	} else {
		if (at == 0 || (!r->layout->extended_l2 && entry & ENTRY_ZERO))
			return 0;
		e = read_cluster(r, at, r->bytes, r->cluster, &n, err);
		if (e == 0 && r->layout->extended_l2)
			e = blank_subclusters(r, bitmap, err);
	}
	return e < 0 ? e : disk_out_write(r->out, guest, r->bytes, len, err);
}

static int table_read(struct reader *r, uint64_t at, uint64_t guest, struct error **err)
{
	size_t step = r->layout->extended_l2 ? 2 : 1, words = r->cluster / 8;
	uint64_t size = r->layout->virtual_size;
	int e = disk_read(r->fd, at, r->table, r->cluster, "qcow2 file's second table", err);

	for (size_t i = 0; i + step <= words && e == 0 && guest < size; i += step) {
		uint64_t bitmap = step == 2 ? be64toh(r->table[i + 1]) : 0;

		e = cluster_read(r, be64toh(r->table[i]), bitmap, guest, err);
		guest += r->cluster;
		if (e == 0)
			e = disk_out_tell(r->out, guest < size ? guest : size, size, err);
	}
	return e;
}

static int mapping_read(struct reader *r, struct error **err)
{
	const struct qcow2_layout *layout = r->layout;
	uint64_t span = (uint64_t)(r->cluster / (layout->extended_l2 ? 16 : 8)) * r->cluster,
		 guest = 0, entry;
	int e = 0;

	for (uint64_t i = 0; i < layout->l1_entries && e == 0 && guest < layout->virtual_size;
		i++) {
		e = disk_read(r->fd, layout->l1_offset + i * 8, &entry, sizeof(entry),
			"qcow2 file's first table", err);
		if (e == 0 && (be64toh(entry) & OFFSET_MASK) != 0)
			e = table_read(r, be64toh(entry) & OFFSET_MASK, guest, err);
		guest += span;
		if (e == 0)
			e = disk_out_tell(r->out,
				guest < layout->virtual_size ? guest : layout->virtual_size,
				layout->virtual_size, err);
	}
	return e;
}

int qcow2_read(int fd, const struct qcow2_layout *layout, struct disk_out *out, struct error **err)
{
	struct reader r = {.fd = fd, .layout = layout, .out = out};
	int e = 0;

	r.cluster = (size_t)1 << layout->cluster_bits;
	r.table = xcalloc(1, r.cluster);
	r.bytes = xcalloc(1, r.cluster);
	r.packed = xcalloc(1, 2 * r.cluster);
	r.zstd = ZSTD_createDCtx();
	if (inflateInit2(&r.inflate, -MAX_WBITS) != Z_OK || !r.zstd)
		e = error_make(err, -ENOMEM, "no memory to unpack with");
	if (e == 0)
		e = mapping_read(&r, err);
	if (e == 0)
		e = disk_out_end(out, layout->virtual_size, err);
	inflateEnd(&r.inflate);
	ZSTD_freeDCtx(r.zstd);
	free(r.table);
	free(r.bytes);
	free(r.packed);
	return e;
}
