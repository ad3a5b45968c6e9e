/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Reading foreign files at a place, and writing the disk that is made of them: sparse, and never
 * more than the input can account for. */
#ifndef IMAGES_DISK_IO_H
#define IMAGES_DISK_IO_H

#include <stdbool.h>
#include "lib/error.h"

/* Exactly `len` bytes at `at`; -EINVAL when the file ends before, -EIO when the disk cannot read
 * them, naming `what`. */
int disk_read(int fd, uint64_t at, void *bytes, size_t len, const char *what, struct error **err);

/* Called with how many bytes of how many are done; -errno stops the work. */
typedef int disk_progress_fn(uint64_t done, uint64_t total, void *arg);

struct disk_out {
	int fd;
	uint64_t size;		     /* nothing is written behind it */
	uint64_t stored, stored_max; /* bytes that are not zero, written so far and allowed */
	disk_progress_fn *progress;  /* or NULL */
	void *arg;
	uint64_t said;
	unsigned untold; /* calls of disk_out_tell since then */
};

/* For a new, empty file `fd` made of `input` bytes: holds at most `size` bytes of disk, and of
 * those that are not zero at most DISK_RATIO times the input. */
enum { DISK_RATIO = 100, DISK_RATIO_FREE = 64 << 20 };
void disk_out_init(struct disk_out *out, int fd, uint64_t size, uint64_t input);

/* Writes `len` bytes at `at`; blocks of zeros become holes (the file must be empty there). -EINVAL
 * beyond the size, -E2BIG beyond the ratio. */
int disk_out_write(
	struct disk_out *out, uint64_t at, const void *bytes, size_t len, struct error **err);
/* Tells the progress: each few MiB, or after a thousand calls that brought none. */
int disk_out_tell(struct disk_out *out, uint64_t done, uint64_t total, struct error **err);
/* Gives the file its length. */
int disk_out_end(struct disk_out *out, uint64_t length, struct error **err);

#endif
