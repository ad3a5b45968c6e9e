/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the targets share: files in memory, and the contract that every failure has a reason. */
#ifndef TESTS_FUZZ_H
#define TESTS_FUZZ_H

#include <stdint.h>
#include <sys/mman.h>
#include "lib/error.h"
#include "lib/file.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len);

/* A file of these bytes; the caller closes. */
static inline int fuzz_file(const uint8_t *bytes, size_t len)
{
	int fd = memfd_create("fuzz", MFD_CLOEXEC);

	if (fd < 0 || fd_write_all(fd, bytes, len) < 0)
		abort();
	return fd;
}

/* 0 without an error, or a negative code with a text. */
static inline void fuzz_result(int r, const struct error *err)
{
	if (r > 0 || (r == 0 && err) || (r < 0 && (!err || !err->text || !*err->text)))
		abort();
}

#endif
