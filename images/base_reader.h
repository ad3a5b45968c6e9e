/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The disk of an image as VMs read it while the image is still on its way. */
#ifndef IMAGES_BASE_READER_H
#define IMAGES_BASE_READER_H

#include <stdbool.h>
#include "lib/error.h"

struct base_options {
	const char *dir, *digest; /* the image, begun to be held there already */
	const char *const *urls;  /* servers of chunks, NULL-terminated, the preferred first; all but
				     the last are peers, which are given little time */
	unsigned patience_ms;	  /* how long a missing chunk may be left to the bulk transport */
	unsigned deadline_ms;	  /* after that a read fails at last */
};
enum { BASE_URLS_MAX = 8, BASE_PATIENCE_MS = 60, BASE_DEADLINE_MS = 20 * 60 * 1000 };

struct base_reader; /* for any number of threads at once */

/* Opens what is held. Copies what it needs. -ENOENT: nothing of the image is held. */
int base_new(const struct base_options *options, struct base_reader **ret_base, struct error **err);
void base_free(struct base_reader *base);

uint64_t base_size(const struct base_reader *base);
/* Reads `len` bytes at `at`, inside the disk. Blocks while chunks are missing: -ETIMEDOUT when one
 * could not be had until the deadline, with the last reason. Never gives a byte that was not
 * verified. */
int base_read(struct base_reader *base, void *out, size_t len, uint64_t at, struct error **err);
/* How far the disk is all zeros (*ret_hole) or all data from `at` on, at most `len` bytes. */
uint64_t base_extent(const struct base_reader *base, uint64_t at, uint64_t len, bool *ret_hole);

#endif
