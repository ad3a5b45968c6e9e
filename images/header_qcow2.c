/* SPDX-License-Identifier: GPL-2.0-or-later */
/* qcow2, as far as a gatekeeper needs it (the format is QEMU's docs/interop/qcow2.txt).
 *
 * Two questions. Does the file point outside of itself (backing file, external data file,
 * encryption that wants a key)? And is it whole: where a cut-off file ends its disk would read as
 * zeros, so a truncated download would convert without an error; therefore the header, both levels
 * of the mapping and every cluster of data must lie inside the file.
 *
 * Features are known or refused, the compatible ones too: an import is rare and a converter at
 * hand, so there is no reason to let something pass that was not thought about.
 *
 * All numbers are big-endian and hostile. Sums are arranged so that they cannot overflow (offsets
 * are compared with what is left of the file), tables are read through one buffer of a fixed size,
 * and the work is bounded: the first table by 32 MiB (QEMU's own limit), each second table by one
 * cluster.
 */
#include "images/header_qcow2.h"

#include "images/manifest.h"
#include "lib/bytes.h"

enum {
	HEADER_V2 = 72,
	HEADER_V3 = 104,
	L1_MAX_BYTES = 32 << 20,
	REFCOUNT_MAX_BYTES = 8 << 20,
	SNAPSHOTS_MAX = 65536,
	CLUSTER_BITS_MIN = 9,
	CLUSTER_BITS_MAX = 21,
	TABLE_PIECE = 4096, /* entries read at once */
};

#define OFFSET_MASK 0x00fffffffffffe00ULL
#define ENTRY_COMPRESSED (1ULL << 62)
#define ENTRY_ZERO 1ULL

enum { /* incompatible features */
	FEATURE_DIRTY = 1 << 0,
	FEATURE_CORRUPT = 1 << 1,
	FEATURE_DATA_FILE = 1 << 2,
	FEATURE_COMPRESSION = 1 << 3,
	FEATURE_EXTENDED_L2 = 1 << 4,
	FEATURES_KNOWN = FEATURE_DIRTY | FEATURE_CORRUPT | FEATURE_DATA_FILE | FEATURE_COMPRESSION |
			 FEATURE_EXTENDED_L2,
	COMPATIBLE_KNOWN = 1 << 0, /* lazy refcounts */
	AUTOCLEAR_KNOWN = 1 << 0,  /* bitmaps; bit 1 is a raw external data file */
};

enum {
	EXTENSION_END = 0,
	EXTENSION_DATA_FILE = 0x44415441,
	EXTENSION_CRYPTO = 0x0537be77,
};

struct qcow2 {
	int fd;
	uint64_t file_size, virtual_size;
	uint32_t version, cluster_bits, crypt_method, l1_entries, refcount_clusters, snapshots;
	uint64_t backing_offset, l1_offset, refcount_offset, snapshots_offset;
	uint64_t incompatible, compatible, autoclear;
	uint32_t refcount_order, header_length;
	uint8_t compression;
	uint64_t entries[TABLE_PIECE]; /* of an L1 table */
	uint64_t second[TABLE_PIECE];  /* of an L2 table */
};

bool qcow2_has_magic(int fd)
{
	unsigned char magic[4];

	return pread(fd, magic, 4, 0) == 4 && memcmp(magic, "QFI\xfb", 4) == 0;
}

/* -EINVAL unless [offset, offset + len) lies inside the file. */
static int inside(
	const struct qcow2 *q, uint64_t offset, uint64_t len, const char *what, struct error **err)
{
	if (offset <= q->file_size && len <= q->file_size - offset)
		return 0;
	return error_make(err, -EINVAL,
		"the qcow2 file is cut off or damaged: its %s at byte %llu ends behind the end of "
		"the file "
		"(%llu bytes); copy it again",
		what, (unsigned long long)offset, (unsigned long long)q->file_size);
}

static int read_at(const struct qcow2 *q, uint64_t offset, void *bytes, size_t len,
	const char *what, struct error **err)
{
	int r = inside(q, offset, len, what, err);

	if (r == 0 && pread(q->fd, bytes, len, (off_t)offset) != (ssize_t)len)
		r = error_make(err, -EIO, "the qcow2 file's %s cannot be read", what);
	return r;
}

static int header_read(struct qcow2 *q, struct error **err)
{
	unsigned char h[HEADER_V3 + 1] = {0};
	int r = read_at(q, 0, h, HEADER_V2, "header", err);

	if (r < 0)
		return r;
	if (memcmp(h, "QFI\xfb", 4) != 0)
		return error_field(
			err, -EINVAL, "format", "this is not a qcow2 file: it lacks the magic");
	q->version = be32_at(h + 4);
	q->backing_offset = be64_at(h + 8);
	q->cluster_bits = be32_at(h + 20);
	q->virtual_size = be64_at(h + 24);
	q->crypt_method = be32_at(h + 32);
	q->l1_entries = be32_at(h + 36);
	q->l1_offset = be64_at(h + 40);
	q->refcount_offset = be64_at(h + 48);
	q->refcount_clusters = be32_at(h + 56);
	q->snapshots = be32_at(h + 60);
	q->snapshots_offset = be64_at(h + 64);
	q->refcount_order = 4;
	q->header_length = HEADER_V2;
	if (q->version != 3)
		return 0;
	r = read_at(q, HEADER_V2, h + HEADER_V2, HEADER_V3 - HEADER_V2, "header", err);
	if (r < 0)
		return r;
	q->incompatible = be64_at(h + 72);
	q->compatible = be64_at(h + 80);
	q->autoclear = be64_at(h + 88);
	q->refcount_order = be32_at(h + 96);
	q->header_length = be32_at(h + 100);
	if (q->header_length > HEADER_V3)
		r = read_at(q, HEADER_V3, &q->compression, 1, "header", err);
	return r;
}

/* Everything by which the file would reach outside of itself, or be more than we understand. */
static int features_check(const struct qcow2 *q, struct error **err)
{
	if (q->version != 2 && q->version != 3)
		return error_make(err, -EINVAL,
			"qcow version %u; only qcow2 versions 2 and 3 are taken: convert it with "
			"'qemu-img convert -O qcow2'",
			q->version);
	if (q->backing_offset != 0)
		return error_make(err, -EINVAL,
			"the qcow2 file has a backing file, so it is not a whole disk; flatten it "
			"with "
			"'qemu-img convert -O qcow2' where its backing file is");
	if (q->incompatible & FEATURE_DATA_FILE || q->autoclear & 2)
		return error_make(err, -EINVAL,
			"the qcow2 file keeps its data in another file; flatten it with 'qemu-img "
			"convert "
			"-O qcow2' where that file is");
	if (q->crypt_method != 0)
		return error_make(err, -EINVAL,
			"the qcow2 file is encrypted; decrypt it with 'qemu-img convert' first");
	if (q->incompatible & (FEATURE_DIRTY | FEATURE_CORRUPT))
		return error_make(err, -EINVAL,
			"the qcow2 file was not closed cleanly or is marked corrupt; run 'qemu-img "
			"check "
			"-r all' on it while no VM uses it");
	if (q->incompatible & ~(uint64_t)FEATURES_KNOWN ||
		q->compatible & ~(uint64_t)COMPATIBLE_KNOWN ||
		q->autoclear & ~(uint64_t)AUTOCLEAR_KNOWN)
		return error_make(err, -EINVAL,
			"the qcow2 file uses features this version does not know; write it anew "
			"with "
			"'qemu-img convert -O qcow2'");
	if (q->compression > 1 ||
		(q->compression == 1) != !!(q->incompatible & FEATURE_COMPRESSION))
		return error_make(err, -EINVAL,
			"the qcow2 file uses compression type %u, which is unknown",
			q->compression);
	return 0;
}

static int extensions_check(const struct qcow2 *q, struct error **err)
{
	uint64_t at = q->header_length, end = 1ULL << q->cluster_bits;

	while (at + 8 <= end) {
		unsigned char h[8];
		uint32_t type, len;
		int r = read_at(q, at, h, sizeof(h), "header extension", err);

		if (r < 0)
			return r;
		type = be32_at(h);
		len = be32_at(h + 4);
		if (type == EXTENSION_END)
			return 0;
		if (type == EXTENSION_DATA_FILE)
			return error_make(err, -EINVAL,
				"the qcow2 file names an external data file; flatten it with "
				"'qemu-img "
				"convert -O qcow2'");
		if (type == EXTENSION_CRYPTO)
			return error_make(
				err, -EINVAL, "the qcow2 file is encrypted; decrypt it first");
		at += 8;
		if (len > end - at)
			return error_make(err, -EINVAL,
				"the qcow2 file is damaged: a header extension is longer than the "
				"header");
		at += (len + 7ULL) & ~7ULL;
	}
	return 0;
}

static int aligned(const struct qcow2 *q, uint64_t offset, const char *what, struct error **err)
{
	if (offset & ((1ULL << q->cluster_bits) - 1))
		return error_make(err, -EINVAL,
			"the qcow2 file is damaged: its %s at byte %llu does not start on a "
			"cluster",
			what, (unsigned long long)offset);
	return 0;
}

/* Bytes of an L2 entry, and how many bytes of the disk one L2 table maps. */
static uint32_t entry_bytes(const struct qcow2 *q)
{
	return q->incompatible & FEATURE_EXTENDED_L2 ? 16 : 8;
}

static uint64_t l2_span(const struct qcow2 *q)
{
	return (1ULL << q->cluster_bits) / entry_bytes(q) << q->cluster_bits;
}

static int geometry_check(const struct qcow2 *q, struct error **err)
{
	if (q->cluster_bits < CLUSTER_BITS_MIN || q->cluster_bits > CLUSTER_BITS_MAX)
		return error_make(err, -EINVAL, "the qcow2 file is damaged: clusters of 2^%u bytes",
			q->cluster_bits);
	if (q->virtual_size == 0 || q->virtual_size % 512 != 0 || q->virtual_size > IMAGE_SIZE_MAX)
		return error_make(err, -EINVAL,
			"the qcow2 file holds a disk of %llu bytes; images are multiples of 512 up "
			"to "
			"%llu (1 TiB)",
			(unsigned long long)q->virtual_size, (unsigned long long)IMAGE_SIZE_MAX);
	if (q->refcount_order > 6)
		return error_make(err, -EINVAL,
			"the qcow2 file is damaged: reference counts of 2^%u bits",
			q->refcount_order);
	if (q->header_length > 1U << q->cluster_bits || q->header_length % 8 != 0 ||
		q->header_length < (q->version == 3 ? HEADER_V3 : HEADER_V2))
		return error_make(err, -EINVAL, "the qcow2 file is damaged: a header of %u bytes",
			q->header_length);
	if (q->l1_entries > L1_MAX_BYTES / 8 ||
		q->l1_entries < (q->virtual_size + l2_span(q) - 1) / l2_span(q))
		return error_make(err, -EINVAL,
			"the qcow2 file is damaged: a first table of %u entries does not fit its "
			"disk",
			q->l1_entries);
	return 0;
}

static int tables_check(const struct qcow2 *q, struct error **err)
{
	uint64_t refcount_bytes = (uint64_t)q->refcount_clusters << q->cluster_bits;
	int r = aligned(q, q->l1_offset, "first table", err);

	if (r == 0)
		r = inside(q, q->l1_offset, q->l1_entries * 8ULL, "first table", err);
	if (r == 0)
		r = aligned(q, q->refcount_offset, "reference count table", err);
	if (r == 0 && (refcount_bytes == 0 || refcount_bytes > REFCOUNT_MAX_BYTES))
		r = error_make(err, -EINVAL,
			"the qcow2 file is damaged: a reference count table of %llu bytes",
			(unsigned long long)refcount_bytes);
	if (r == 0)
		r = inside(q, q->refcount_offset, refcount_bytes, "reference count table", err);
	if (r == 0 && q->snapshots > SNAPSHOTS_MAX)
		r = error_make(
			err, -EINVAL, "the qcow2 file is damaged: %u snapshots", q->snapshots);
	if (r == 0 && q->snapshots > 0)
		r = inside(q, q->snapshots_offset, q->snapshots * 40ULL, "snapshot table", err);
	return r;
}

/* One entry of a second table; `left` bytes of the disk begin where it maps. */
static int entry_check(const struct qcow2 *q, uint64_t entry, uint64_t left, struct error **err)
{
	uint64_t offset = entry & OFFSET_MASK, len = 1ULL << q->cluster_bits;
	int r;

	if (entry & ENTRY_COMPRESSED) {
		/* Low bits: byte offset. Above them how many 512-byte sectors follow its own; of
		 * the last one at least a byte is there. */
		uint32_t bits = 62 - (q->cluster_bits - 8);
		uint64_t more = (entry & (ENTRY_COMPRESSED - 1)) >> bits;

		offset = entry & ((1ULL << bits) - 1);
		len = more ? more * 512 - offset % 512 + 1 : 1;
		return inside(q, offset, len, "compressed cluster", err);
	}
	if (offset == 0 || (entry_bytes(q) == 8 && entry & ENTRY_ZERO))
		return 0;
	r = aligned(q, offset, "cluster of data", err);
	if (entry_bytes(q) == 16)
		len = 512; /* parts of it may never have been written */
	return r == 0 ? inside(q, offset, len < left ? len : left, "cluster of data", err) : r;
}

static int l2_check(struct qcow2 *q, uint64_t table, uint64_t guest, struct error **err)
{
	uint32_t step = entry_bytes(q) / 8;
	uint64_t words = (1ULL << q->cluster_bits) / 8;
	int r = aligned(q, table, "second table", err);

	for (uint64_t w = 0; w < words && r == 0 && guest < q->virtual_size; w += TABLE_PIECE) {
		size_t n = words - w < TABLE_PIECE ? (size_t)(words - w) : TABLE_PIECE;

		r = read_at(q, table + w * 8, q->second, n * 8, "second table", err);
		for (size_t i = 0; i < n && r == 0 && guest < q->virtual_size; i += step) {
			r = entry_check(q, be64toh(q->second[i]), q->virtual_size - guest, err);
			guest += 1ULL << q->cluster_bits;
		}
	}
	return r;
}

static int mapping_check(struct qcow2 *q, struct error **err)
{
	uint64_t guest = 0;
	int r = 0;

	for (uint64_t e = 0; e < q->l1_entries && r == 0 && guest < q->virtual_size;
		e += TABLE_PIECE) {
		size_t n =
			q->l1_entries - e < TABLE_PIECE ? (size_t)(q->l1_entries - e) : TABLE_PIECE;

		r = read_at(q, q->l1_offset + e * 8, q->entries, n * 8, "first table", err);
		for (size_t i = 0; i < n && r == 0 && guest < q->virtual_size; i++) {
			uint64_t table = be64toh(q->entries[i]) & OFFSET_MASK;

			if (table)
				r = l2_check(q, table, guest, err);
			guest += l2_span(q);
		}
	}
	return r;
}

int qcow2_check(int fd, uint64_t file_size, struct qcow2_layout *ret_layout, struct error **err)
{
	auto_free struct qcow2 *q = xnew(struct qcow2);
	int r;

	q->fd = fd;
	q->file_size = file_size;
	r = header_read(q, err);
	if (r == 0)
		r = features_check(q, err);
	if (r == 0)
		r = geometry_check(q, err);
	if (r == 0)
		r = extensions_check(q, err);
	if (r == 0)
		r = tables_check(q, err);
	if (r == 0)
		r = mapping_check(q, err);
	if (r == 0)
		*ret_layout = (struct qcow2_layout){.virtual_size = q->virtual_size,
			.l1_offset = q->l1_offset,
			.l1_entries = q->l1_entries,
			.cluster_bits = q->cluster_bits,
			.extended_l2 = q->incompatible & FEATURE_EXTENDED_L2,
			.zstd = q->compression == 1};
	return r;
}
