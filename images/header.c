/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What kind of disk image is this file? The first gate of an import.
 *
 * Tools that guess a format, or that follow a header, can be led: qemu-img copied /etc/passwd out
 * of the machine through a qcow2 backing file and through a flat VMDK. So the file is looked at
 * here, by code that opens nothing else, and read by our own readers, which have no way to.
 *
 * raw has no header to check, which makes it dangerous the other way round: a file of another
 * format taken for raw would import "successfully" and boot into nothing. Unless the caller said
 * raw, a file with the magic of any format in the table is refused by that format's name, with the
 * command that helps. A disk may begin with whatever its owner likes, so one that is named raw is
 * taken for that; but none begins as what we unpack ourselves, and that is refused all the same.
 *
 * The rules of qcow2 and VMDK are in header_qcow2.c and header_vmdk.c. Nothing here allocates by a
 * number from the file.
 */
#include "images/header.h"

#include <sys/stat.h>

#include "images/manifest.h"
#include "images/unpack.h"
#include "images/vmdk_descriptor.h"
#include "lib/str.h"

static const char *const format_names[] = {"unknown", "raw", "qcow2", "vmdk", "ova"};

enum { DESCRIPTOR_MAX = 64 << 10 };
#define DESCRIPTOR_MAGIC "# Disk DescriptorFile"

/* Signatures of what people bring. `offset` from the start, or from the end when negative. */
static const struct magic {
	int offset;
	const char *bytes;
	size_t len;
	const char *name;
	bool packed; /* an archive or compressed file: unpack it; else: convert it */
} magics[] = {
	{0, "COWD", 4, "VMDK", false},
	{64, "\x7f\x10\xda\xbe", 4, "VDI", false},
	{0, "vhdxfile", 8, "VHDX", false},
	{0, "conectix", 8, "VHD", false},
	{-512, "conectix", 8, "VHD", false},
	{0, "QED\0", 4, "QED", false},
	{0, "LUKS\xba\xbe", 6, "LUKS", false},
	{0, "WithoutFreeSpace", 16, "Parallels", false},
	{0, "WithouFreSpacExt", 16, "Parallels", false},
	{0, "Bochs Virtual HD Image", 22, "Bochs", false},
	{-512, "koly", 4, "DMG", false},
	{257, "ustar", 5, "tar or OVA", true},
	{0, "\x1f\x8b", 2, "gzip", true},
	{0, "\xfd\x37zXZ\0", 6, "xz", true},
	{0, "BZh", 3, "bzip2", true},
	{0, "\x28\xb5\x2f\xfd", 4, "zstd", true},
	{0, "PK\x03\x04", 4, "zip", true},
};

int image_format_parse(const char *text, enum image_format *ret_format)
{
	for (int i = FORMAT_RAW; i <= FORMAT_OVA; i++)
		if (strcmp(text, format_names[i]) == 0) {
			*ret_format = i;
			return 0;
		}
	return -EINVAL;
}

static bool has_magic(int fd, uint64_t file_size, const struct magic *magic)
{
	unsigned char seen[32];
	int64_t at = magic->offset < 0 ? (int64_t)file_size + magic->offset : magic->offset;

	return at >= 0 && pread(fd, seen, magic->len, at) == (ssize_t)magic->len &&
	       memcmp(seen, magic->bytes, magic->len) == 0;
}

/* A VMDK that is only its description: its data is in other files, whatever they are. */
static int descriptor_refuse(int fd, struct error **err)
{
	auto_free char *text = xcalloc(1, DESCRIPTOR_MAX + 1);
	uint64_t sectors;

	if (pread(fd, text, DESCRIPTOR_MAX, 0) < 0)
		return error_make(err, -errno, "the image file: %s", strerror(errno));
	if (vmdk_descriptor_check(text, &sectors, err) < 0)
		return -EINVAL;
	return error_field(err, -EINVAL, "format",
		"this is the descriptor of a VMDK without its disk; import the VMDK file itself");
}

/* XML is never the bytes of a disk. People bring it as the description of an exported VM, whose
 * disks lie beside it. */
static bool is_xml(int fd)
{
	static const char *const begins[] = {"<?xml", "<Envelope", "<ovf:Envelope"};
	char seen[256] = "", *at = seen;

	if (pread(fd, seen, sizeof(seen) - 1, 0) < 0)
		return false;
	if (str_starts(at, "\xef\xbb\xbf"))
		at += 3;
	at += strspn(at, " \t\r\n");
	for (size_t i = 0; i < ARRAY_LEN(begins); i++)
		if (str_starts(at, begins[i]))
			return true;
	return false;
}

static int raw_check(
	int fd, uint64_t file_size, bool named, struct image_header *header, struct error **err)
{
	bool unpacks = packing_of(fd) != PACKING_NONE;

	if (is_xml(fd))
		return error_field(err, -EINVAL, "format",
			"this is XML, as the .ovf of an exported VM is, and no disk; have the .ovf "
			"sent together with "
			"the disks that lie beside it: nightclass image import NAME FOLDER/VM.ovf");
	if (!named && has_magic(fd, file_size,
			      &(struct magic){0, DESCRIPTOR_MAGIC, sizeof(DESCRIPTOR_MAGIC) - 1, "",
				      false}))
		return descriptor_refuse(fd, err);
	for (size_t i = 0; i < ARRAY_LEN(magics) && (!named || unpacks); i++) {
		if (!has_magic(fd, file_size, &magics[i]))
			continue;
		if (named)
			return error_field(err, -EINVAL, "format",
				"this is a %s file, not a raw disk; name no format, and what is "
				"in it is imported",
				magics[i].name);
		if (magics[i].packed)
			return error_field(err, -EINVAL, "format",
				"this is a %s file, not a disk image; unpack it and import what is "
				"in it",
				magics[i].name);
		return error_field(err, -EINVAL, "format",
			"this is a %s file; convert it to qcow2 on a machine where you trust it, "
			"or name "
			"the format raw if its bytes are the disk itself",
			magics[i].name);
	}
	if (file_size % 512 != 0)
		return error_make(err, -EINVAL,
			"a raw disk is a multiple of 512 bytes, this file has %llu: it is cut off "
			"or no "
			"disk image",
			(unsigned long long)file_size);
	*header = (struct image_header){.format = FORMAT_RAW, .virtual_size = file_size};
	return 0;
}

int image_header_check(
	int fd, enum image_format format, struct image_header *ret_header, struct error **err)
{
	struct image_header header = {0};
	struct stat st;
	bool named = format != FORMAT_UNKNOWN;
	int r;

	if (fstat(fd, &st) < 0)
		return error_make(err, -errno, "the image file: %s", strerror(errno));
	if (!S_ISREG(st.st_mode))
		return error_make(err, -EINVAL, "the image must be a plain file");
	if (st.st_size == 0)
		return error_make(err, -EINVAL, "the image file is empty");
	if (!named)
		format = qcow2_has_magic(fd)  ? FORMAT_QCOW2
			 : vmdk_has_magic(fd) ? FORMAT_VMDK
					      : FORMAT_RAW;
	header.format = format;
	if (format == FORMAT_QCOW2) {
		r = qcow2_check(fd, (uint64_t)st.st_size, &header.qcow2, err);
		header.virtual_size = header.qcow2.virtual_size;
	} else if (format == FORMAT_VMDK) {
		r = vmdk_check(fd, (uint64_t)st.st_size, &header.vmdk, err);
		header.virtual_size = header.vmdk.virtual_size;
	} else if (format == FORMAT_RAW) {
		r = raw_check(fd, (uint64_t)st.st_size, named, &header, err);
	} else {
		r = error_field(err, -EINVAL, "format", "this is not an OVA");
	}
	if (r < 0)
		return r;
	if (header.virtual_size > IMAGE_SIZE_MAX)
		return error_make(err, -EINVAL,
			"the disk has %llu bytes; images may have %llu (1 TiB)",
			(unsigned long long)header.virtual_size,
			(unsigned long long)IMAGE_SIZE_MAX);
	*ret_header = header;
	return 0;
}
