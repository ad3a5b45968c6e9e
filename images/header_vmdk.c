/* SPDX-License-Identifier: GPL-2.0-or-later */
/* VMDK, of which only the streamOptimized kind is taken: the one that is made to be carried, a
 * single file of compressed grains, and the kind of disk in an OVA.
 *
 * The header says where things are: the descriptor (vmdk_descriptor.c judges it), and the grain
 * directory, whose tables name the sector of each grain. A writer that cannot go back puts ~0 for
 * the directory and repeats the header with the true place in a footer, two sectors before the end.
 * At a grain's sector stands its number and packed length, then zlib data.
 *
 * So one walk over the tables tells whether the file is whole, and that no grain is used for two
 * places: the number at its sector would be another's. That also ends the cheapest bomb, one grain
 * that fills the whole disk.
 *
 * Numbers are little-endian and hostile; sums are kept from overflowing by bounding each term.
 * Tables are read through buffers of a fixed size.
 */
#include "images/header_vmdk.h"

#include "images/disk_io.h"
#include "images/manifest.h"
#include "images/vmdk_descriptor.h"
#include "lib/bytes.h"

enum {
	HEADER = 512,
	FOOTER_FROM_END = 1024,
	DESCRIPTOR_MAX = 64 << 10,
	GRAIN_MIN = 4096,
	MARKER = 12, /* u64 sector of the disk, u32 packed bytes */
	FLAG_NEWLINE = 1 << 0,
	FLAG_REDUNDANT = 1 << 1,
	FLAG_ZERO_GRAIN = 1 << 2,
	FLAG_COMPRESSED = 1 << 16,
	FLAG_MARKERS = 1 << 17,
	FLAGS_KNOWN =
		FLAG_NEWLINE | FLAG_REDUNDANT | FLAG_ZERO_GRAIN | FLAG_COMPRESSED | FLAG_MARKERS,
	COMPRESS_DEFLATE = 1,
};

#define AT_END UINT64_MAX

struct header {
	uint32_t version, flags, table_entries;
	uint64_t capacity, grain, descriptor, descriptor_len, directory; /* in sectors */
	uint16_t compression;
	bool unclean;
};

bool vmdk_has_magic(int fd)
{
	unsigned char magic[4];

	return pread(fd, magic, 4, 0) == 4 && memcmp(magic, "KDMV", 4) == 0;
}

static int cut_off(uint64_t file_size, uint64_t at, const char *what, struct error **err)
{
	return error_make(err, -EINVAL,
		"the VMDK file is cut off or damaged: its %s at byte %llu ends behind the end of "
		"the file (%llu bytes); copy it again",
		what, (unsigned long long)at, (unsigned long long)file_size);
}

static int read_inside(int fd, uint64_t file_size, uint64_t at, void *bytes, size_t len,
	const char *what, struct error **err)
{
	if (at > file_size || len > file_size - at)
		return cut_off(file_size, at, what, err);
	return disk_read(fd, at, bytes, len, what, err);
}

static int header_read(
	int fd, uint64_t file_size, uint64_t at, struct header *h, struct error **err)
{
	unsigned char b[HEADER];
	int r = read_inside(fd, file_size, at, b, sizeof(b), "header", err);

	if (r < 0)
		return r;
	if (memcmp(b, "KDMV", 4) != 0)
		return at == 0 ? error_field(err, -EINVAL, "format",
					 "this is not a VMDK file: it lacks the magic")
			       : error_make(err, -EINVAL,
					 "the VMDK file is cut off or damaged: it has no footer at "
					 "its end; copy it again");
	*h = (struct header){.version = le32_at(b + 4),
		.flags = le32_at(b + 8),
		.capacity = le64_at(b + 12),
		.grain = le64_at(b + 20),
		.descriptor = le64_at(b + 28),
		.descriptor_len = le64_at(b + 36),
		.table_entries = le32_at(b + 44),
		.directory = le64_at(b + 56),
		.unclean = b[72] != 0,
		.compression = (uint16_t)(b[77] | b[78] << 8)};
	if (h->flags & FLAG_NEWLINE && memcmp(b + 73, "\n \r\n", 4) != 0)
		return error_make(err, -EINVAL,
			"the VMDK file was changed by a transfer as text; copy it again as it is");
	return 0;
}

static int geometry_check(const struct header *h, struct error **err)
{
	if (h->version < 1 || h->version > 3)
		return error_make(err, -EINVAL, "VMDK version %u; 1 to 3 are known", h->version);
	if (h->capacity == 0 || h->capacity > IMAGE_SIZE_MAX / VMDK_SECTOR)
		return error_make(err, -EINVAL,
			"the VMDK file holds a disk of %llu sectors; images have up to %llu (1 "
			"TiB)",
			(unsigned long long)h->capacity,
			(unsigned long long)(IMAGE_SIZE_MAX / VMDK_SECTOR));
	if (h->grain < GRAIN_MIN / VMDK_SECTOR || h->grain > VMDK_GRAIN_MAX / VMDK_SECTOR ||
		h->grain & (h->grain - 1))
		return error_make(err, -EINVAL, "the VMDK file is damaged: grains of %llu sectors",
			(unsigned long long)h->grain);
	if (h->table_entries != VMDK_TABLE)
		return error_make(err, -EINVAL,
			"the VMDK file is damaged: grain tables of %u entries", h->table_entries);
	return 0;
}

/* What only streamOptimized files have; called after the descriptor, which says it in words. */
static int kind_check(const struct header *h, struct error **err)
{
	if (h->flags & ~(uint32_t)FLAGS_KNOWN)
		return error_make(err, -EINVAL,
			"the VMDK file has flags 0x%x, which this version does not know", h->flags);
	if (!(h->flags & FLAG_COMPRESSED) || !(h->flags & FLAG_MARKERS) ||
		h->compression != COMPRESS_DEFLATE)
		return error_make(err, -EINVAL,
			"the VMDK file says streamOptimized, but its grains are not compressed");
	if (h->unclean)
		return error_make(
			err, -EINVAL, "the VMDK file was not closed cleanly; export it again");
	return 0;
}

static int descriptor_check(int fd, uint64_t file_size, const struct header *h, struct error **err)
{
	uint64_t len = h->descriptor_len > DESCRIPTOR_MAX ? 0 : h->descriptor_len * VMDK_SECTOR,
		 sectors = 0;
	auto_free char *text = NULL;
	int r;

	if (h->descriptor == 0 || len == 0 || len > DESCRIPTOR_MAX ||
		h->descriptor > file_size / VMDK_SECTOR)
		return error_make(err, -EINVAL,
			"the VMDK file has no descriptor inside it, so its disk is described "
			"elsewhere; export it as streamOptimized");
	text = xcalloc(1, len + 1);
	r = read_inside(fd, file_size, h->descriptor * VMDK_SECTOR, text, len, "descriptor", err);
	if (r == 0)
		r = vmdk_descriptor_check(text, &sectors, err);
	if (r == 0 && sectors != h->capacity)
		r = error_make(err, -EINVAL,
			"the VMDK's descriptor has %llu sectors, its header %llu",
			(unsigned long long)sectors, (unsigned long long)h->capacity);
	return r;
}

static void layout_of(const struct header *h, struct vmdk_layout *layout)
{
	*layout = (struct vmdk_layout){.virtual_size = h->capacity * VMDK_SECTOR,
		.directory = h->directory,
		.grain = (uint32_t)h->grain * VMDK_SECTOR,
		.grains = (h->capacity + h->grain - 1) / h->grain,
		.zero_grains = h->flags & FLAG_ZERO_GRAIN};
	layout->tables = (layout->grains + VMDK_TABLE - 1) / VMDK_TABLE;
}

/* The footer is a second header that knows where the directory came to stand. */
static int footer_read(int fd, uint64_t file_size, struct header *h, struct error **err)
{
	struct header footer;
	int r;

	if (file_size < HEADER + FOOTER_FROM_END)
		return cut_off(file_size, 0, "footer", err);
	r = header_read(fd, file_size, file_size - FOOTER_FROM_END, &footer, err);
	if (r < 0)
		return r;
	if (footer.capacity != h->capacity || footer.grain != h->grain ||
		footer.table_entries != h->table_entries || footer.flags != h->flags)
		return error_make(err, -EINVAL,
			"the VMDK file is damaged: its footer contradicts its header");
	h->directory = footer.directory;
	return 0;
}

int vmdk_grain(int fd, uint64_t file_size, const struct vmdk_layout *layout, uint64_t index,
	uint32_t sector, uint64_t *ret_at, uint32_t *ret_len, struct error **err)
{
	unsigned char marker[MARKER];
	uint64_t at = (uint64_t)sector * VMDK_SECTOR;
	uint32_t len;
	int r = read_inside(fd, file_size, at, marker, sizeof(marker), "grain", err);

	if (r < 0)
		return r;
	len = le32_at(marker + 8);
	if (le64_at(marker) != index * (layout->grain / VMDK_SECTOR))
		return error_make(err, -EINVAL,
			"the VMDK file is damaged: at byte %llu stands another grain than number "
			"%llu",
			(unsigned long long)at, (unsigned long long)index);
	if (len == 0 || len > 2 * layout->grain)
		return error_make(
			err, -EINVAL, "the VMDK file is damaged: a grain of %u packed bytes", len);
	if (len > file_size - at - MARKER)
		return cut_off(file_size, at, "grain", err);
	*ret_at = at + MARKER;
	*ret_len = len;
	return 0;
}

/* Every grain of one table. */
static int table_check(int fd, uint64_t file_size, const struct vmdk_layout *layout, uint64_t table,
	uint64_t at, struct error **err)
{
	uint32_t entries[VMDK_TABLE], len;
	uint64_t place, first = table * VMDK_TABLE;
	int r = read_inside(fd, file_size, at, entries, sizeof(entries), "grain table", err);

	for (uint32_t i = 0; i < VMDK_TABLE && r == 0; i++) {
		uint32_t sector = le32toh(entries[i]);

		if (sector == 0 || (sector == 1 && layout->zero_grains))
			continue;
		if (first + i >= layout->grains)
			r = error_make(err, -EINVAL,
				"the VMDK file is damaged: a grain behind the end of its disk");
		else
			r = vmdk_grain(fd, file_size, layout, first + i, sector, &place, &len, err);
	}
	return r;
}

static int tables_check(
	int fd, uint64_t file_size, const struct vmdk_layout *layout, struct error **err)
{
	int r = 0;

	if (layout->tables * 4 > file_size - layout->directory)
		return cut_off(file_size, layout->directory, "grain directory", err);
	for (uint64_t i = 0; i < layout->tables && r == 0; i++) {
		unsigned char entry[4];

		r = read_inside(fd, file_size, layout->directory + i * sizeof(entry), entry,
			sizeof(entry), "grain directory", err);
		if (r == 0 && le32_at(entry) != 0)
			r = table_check(fd, file_size, layout, i,
				(uint64_t)le32_at(entry) * VMDK_SECTOR, err);
	}
	return r;
}

int vmdk_check(int fd, uint64_t file_size, struct vmdk_layout *ret_layout, struct error **err)
{
	struct vmdk_layout layout;
	struct header h;
	int r = header_read(fd, file_size, 0, &h, err);

	if (r == 0)
		r = geometry_check(&h, err);
	if (r == 0)
		r = descriptor_check(fd, file_size, &h, err);
	if (r == 0)
		r = kind_check(&h, err);
	if (r == 0 && h.directory == AT_END)
		r = footer_read(fd, file_size, &h, err);
	if (r < 0)
		return r;
	if (h.directory == 0 || h.directory > file_size / VMDK_SECTOR)
		return cut_off(file_size, 0, "grain directory", err);
	h.directory *= VMDK_SECTOR;
	layout_of(&h, &layout);
	r = tables_check(fd, file_size, &layout, err);
	if (r == 0)
		*ret_layout = layout;
	return r;
}
