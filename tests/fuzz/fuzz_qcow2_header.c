/* SPDX-License-Identifier: GPL-2.0-or-later */
/* libFuzzer on the disk image header check: whatever the bytes, it neither reads outside of its
 * buffers nor works for long, and what it takes has a size within the limits.
 *
 *   clang -g -O1 -fsanitize=fuzzer,address,undefined -D_GNU_SOURCE -I.
 * tests/fuzz/fuzz_qcow2_header.c \ lib/error.c lib/util.c -o fuzz_qcow2_header &&
 * ./fuzz_qcow2_header tests/fuzz/seeds/qcow2_header
 *
 * The first byte names the format. Each further 128 bytes are the start of the next 512 bytes of
 * the file, the rest of which is zero: small inputs make files with several clusters. */
#include <sys/mman.h>

#include "images/header.c"
#include "images/header_qcow2.c"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len);

enum { PIECE = 128, SPREAD = 512 };

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
	auto_close int fd = memfd_create("fuzz", MFD_CLOEXEC);
	auto_error struct error *err = NULL;
	struct image_header header = {0};
	enum image_format format;
	int r;

	if (len < 1)
		return 0;
	format = bytes[0] % 3;
	for (size_t at = 1, k = 0; at < len; at += PIECE, k++) {
		size_t n = len - at < PIECE ? len - at : PIECE;

		if (pwrite(fd, bytes + at, n, (off_t)(k * SPREAD)) < 0)
			abort();
	}
	if (len > 1 && ftruncate(fd, (off_t)(((len - 1 + PIECE - 1) / PIECE) * SPREAD)) < 0)
		abort();
	r = image_header_check(fd, format, &header, &err);
	if (r == 0 &&
		(header.virtual_size == 0 || header.virtual_size % 512 != 0 ||
			header.virtual_size > IMAGE_SIZE_MAX || header.format == FORMAT_UNKNOWN))
		abort();
	if (r < 0 && (!err || !err->text || header.virtual_size != 0))
		abort();
	return 0;
}
