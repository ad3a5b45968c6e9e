/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Reading a streamOptimized VMDK: directory, tables, grains, in the order of the disk.
 *
 * A grain unpacks to exactly its size; the last one of a disk may stop at the disk's end, as some
 * writers let it. The file may change while it is read, so each marker is judged again; see
 * qcow2_read.c for why this is our own reader.
 */
#include "images/vmdk_read.h"

#include <endian.h>
#include <zlib.h>

struct reader {
	int fd;
	uint64_t file_size;
	const struct vmdk_layout *layout;
	struct disk_out *out;
	unsigned char *packed, *bytes;
	z_stream inflate;
};

static int damaged(uint64_t at, struct error **err)
{
	return error_make(err, -EINVAL,
		"the VMDK file is damaged: the grain at byte %llu does not unpack",
		(unsigned long long)at);
}

static int grain_read(struct reader *r, uint64_t index, uint32_t sector, struct error **err)
{
	uint64_t guest = index * r->layout->grain, left = r->layout->virtual_size - guest, at;
	size_t want = left < r->layout->grain ? (size_t)left : r->layout->grain;
	uint32_t len;
	int code, e = vmdk_grain(r->fd, r->file_size, r->layout, index, sector, &at, &len, err);

	if (e == 0)
		e = disk_read(r->fd, at, r->packed, len, "VMDK file's grain", err);
	if (e < 0)
		return e;
	if (inflateReset(&r->inflate) != Z_OK)
		return damaged(at, err);
	r->inflate.next_in = r->packed;
	r->inflate.avail_in = len;
	r->inflate.next_out = r->bytes;
	r->inflate.avail_out = r->layout->grain;
	code = inflate(&r->inflate, Z_FINISH);
	if (code != Z_STREAM_END || r->layout->grain - r->inflate.avail_out < want)
		return damaged(at, err);
	return disk_out_write(r->out, guest, r->bytes, want, err);
}

static int table_read(struct reader *r, uint64_t table, uint64_t at, struct error **err)
{
	uint32_t entries[VMDK_TABLE];
	uint64_t index = table * VMDK_TABLE;
	int e = disk_read(r->fd, at, entries, sizeof(entries), "VMDK file's grain table", err);

	for (uint32_t i = 0; i < VMDK_TABLE && e == 0; i++, index++) {
		uint32_t sector = le32toh(entries[i]);

		if (index >= r->layout->grains)
			break;
		if (sector != 0 && !(sector == 1 && r->layout->zero_grains))
			e = grain_read(r, index, sector, err);
		if (e == 0)
			e = disk_out_tell(
				r->out, index * r->layout->grain, r->layout->virtual_size, err);
	}
	return e;
}

static int disk_walk(struct reader *r, struct error **err)
{
	int e = 0;

	for (uint64_t i = 0; i < r->layout->tables && e == 0; i++) {
		uint32_t entry;

		e = disk_read(r->fd, r->layout->directory + i * sizeof(entry), &entry,
			sizeof(entry), "VMDK file's grain directory", err);
		if (e == 0 && entry != 0)
			e = table_read(r, i, (uint64_t)le32toh(entry) * VMDK_SECTOR, err);
	}
	if (e == 0)
		e = disk_out_tell(r->out, r->layout->virtual_size, r->layout->virtual_size, err);
	return e == 0 ? disk_out_end(r->out, r->layout->virtual_size, err) : e;
}

int vmdk_read(int fd, uint64_t file_size, const struct vmdk_layout *layout, struct disk_out *out,
	struct error **err)
{
	struct reader r = {.fd = fd, .file_size = file_size, .layout = layout, .out = out};
	int e;

	if (inflateInit(&r.inflate) != Z_OK)
		return error_make(err, -ENOMEM, "no memory to unpack with");
	r.packed = xcalloc(1, 2 * (size_t)layout->grain);
	r.bytes = xcalloc(1, layout->grain);
	e = disk_walk(&r, err);
	inflateEnd(&r.inflate);
	free(r.packed);
	free(r.bytes);
	return e;
}
