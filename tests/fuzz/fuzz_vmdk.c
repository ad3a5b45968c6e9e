/* SPDX-License-Identifier: GPL-2.0-or-later */
/* libFuzzer on the VMDK check, its descriptor, and the reader. The input is the file. */
#include <sys/stat.h>

#include "images/manifest.h"
#include "images/vmdk_read.h"
#include "tests/fuzz/fuzz.h"

enum { DISK_MAX = 4 << 20, LEN_MAX = 64 << 10 };

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
	auto_error struct error *err = NULL;
	struct vmdk_layout layout = {0};
	struct disk_out out;
	struct stat st;
	auto_close int fd = -1, to = -1;
	int r;

	if (len > LEN_MAX)
		return 0;
	fd = fuzz_file(bytes, len);
	r = vmdk_check(fd, len, &layout, &err);
	fuzz_result(r, err);
	if (r < 0)
		return 0;
	if (layout.virtual_size == 0 || layout.virtual_size % 512 != 0 ||
		layout.virtual_size > IMAGE_SIZE_MAX || layout.grain > VMDK_GRAIN_MAX)
		abort();
	if (layout.virtual_size > DISK_MAX)
		return 0;
	to = memfd_create("disk", MFD_CLOEXEC);
	disk_out_init(&out, to, layout.virtual_size, len);
	r = vmdk_read(fd, len, &layout, &out, &err);
	fuzz_result(r, err);
	if (r == 0 && (fstat(to, &st) < 0 || (uint64_t)st.st_size != layout.virtual_size))
		abort();
	return 0;
}
