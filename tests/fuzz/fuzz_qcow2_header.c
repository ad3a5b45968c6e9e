/* SPDX-License-Identifier: GPL-2.0-or-later */
/* libFuzzer on the check of disk image headers and the reader of qcow2: whatever the bytes, neither
 * reads outside of its buffers nor works for long, what is taken has a size within the limits, and
 * the disk that is read from it has that size.
 *
 * The first byte names the format. Each further 128 bytes are the start of the next 512 bytes of
 * the file, the rest of which is zero: small inputs make files with several clusters. */
#include <sys/stat.h>

#include "images/header.h"
#include "images/manifest.h"
#include "images/qcow2_read.h"
#include "tests/fuzz/fuzz.h"

enum { PIECE = 128, SPREAD = 512, DISK_MAX = 4 << 20, LEN_MAX = 64 << 10 };

static int spread_file(const uint8_t *bytes, size_t len)
{
	int fd = memfd_create("fuzz", MFD_CLOEXEC);

	if (fd < 0 || ftruncate(fd, (off_t)((len + PIECE - 1) / PIECE * SPREAD)) < 0)
		abort();
	for (size_t at = 0, k = 0; at < len; at += PIECE, k++) {
		size_t n = len - at < PIECE ? len - at : PIECE;

		if (pwrite(fd, bytes + at, n, (off_t)(k * SPREAD)) != (ssize_t)n)
			abort();
	}
	return fd;
}

static void read_disk(int fd, const struct image_header *header)
{
	auto_close int to = memfd_create("disk", MFD_CLOEXEC);
	auto_error struct error *err = NULL;
	struct disk_out out;
	struct stat st;
	int r;

	disk_out_init(&out, to, header->virtual_size, SPREAD);
	r = qcow2_read(fd, &header->qcow2, &out, &err);
	fuzz_result(r, err);
	if (r == 0 && (fstat(to, &st) < 0 || (uint64_t)st.st_size != header->virtual_size))
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
	auto_error struct error *err = NULL;
	struct image_header header = {0};
	auto_close int fd = -1;
	int r;

	if (len < 1 || len > LEN_MAX)
		return 0;
	fd = spread_file(bytes + 1, len - 1);
	r = image_header_check(fd, (enum image_format)(bytes[0] % 3), &header, &err);
	fuzz_result(r, err);
	if (r < 0)
		return 0;
	if (header.virtual_size == 0 || header.virtual_size % 512 != 0 ||
		header.virtual_size > IMAGE_SIZE_MAX || header.format == FORMAT_UNKNOWN)
		abort();
	if (header.format == FORMAT_QCOW2 && header.virtual_size <= DISK_MAX)
		read_disk(fd, &header);
	return 0;
}
