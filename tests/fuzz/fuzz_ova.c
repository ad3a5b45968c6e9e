/* SPDX-License-Identifier: GPL-2.0-or-later */
/* libFuzzer on a whole OVA: the tar, its list of members, the descriptor and the digests. The
 * disk that is taken out is no longer than the archive. */
#include "images/ova.h"
#include "tests/fuzz/fuzz.h"

enum { LEN_MAX = 64 << 10 };

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
	auto_error struct error *err = NULL;
	struct ova_disk disk = {0};
	struct disk_out out;
	auto_close int fd = -1, to = -1;
	int r;

	if (len > LEN_MAX)
		return 0;
	fd = fuzz_file(bytes, len);
	to = memfd_create("disk", MFD_CLOEXEC);
	disk_out_init(&out, to, 1ULL << 40, len);
	r = ova_read(fd, &out, &disk, &err);
	fuzz_result(r, err);
	if (r == 0 && disk.len > len)
		abort();
	return 0;
}
