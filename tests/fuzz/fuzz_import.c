/* SPDX-License-Identifier: GPL-2.0-or-later */
/* libFuzzer on all that the reader of an import does, in one process and without its seal: packed
 * files, archives, formats, one inside the other. The first byte names the format, the rest is the
 * file. What comes out is a disk of the size that is said. */
#include <sys/stat.h>

#include "images/manifest.h"
#include "images/reader.h"
#include "tests/fuzz/fuzz.h"

enum { LEN_MAX = 64 << 10 };

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
	auto_error struct error *err = NULL;
	struct reader_result result = {0};
	int files[READER_FILES], r;
	struct stat st;

	if (len < 1 || len > LEN_MAX)
		return 0;
	files[READER_SOURCE] = fuzz_file(bytes + 1, len - 1);
	files[READER_SCRATCH_A] = memfd_create("a", MFD_CLOEXEC);
	files[READER_SCRATCH_B] = memfd_create("b", MFD_CLOEXEC);
	r = reader_work((enum image_format)(bytes[0] % 5), files, NULL, NULL, &result, &err);
	fuzz_result(r, err);
	if (r == 0 &&
		(result.size == 0 || result.size % 512 != 0 || result.size > IMAGE_SIZE_MAX ||
			fstat(files[result.disk], &st) < 0 || (uint64_t)st.st_size != result.size))
		abort();
	for (int i = 0; i < READER_FILES; i++)
		close(files[i]);
	return 0;
}
