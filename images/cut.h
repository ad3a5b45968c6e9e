/* SPDX-License-Identifier: GPL-2.0-or-later */
/* One file -> chunks in a store and the list of their digests. */
#ifndef IMAGES_CUT_H
#define IMAGES_CUT_H

#include "images/manifest.h"
#include "images/store.h"

/* How many of the `size` bytes behind `fd` are to be read: all chunks but those in a hole. */
uint64_t cut_bytes(int fd, uint64_t size);

/* Called in the calling thread with the bytes of this file that are done, of those that cut_bytes
 * counts; at the end with all of them. */
typedef void cut_progress_fn(uint64_t done, void *arg);

/* Cuts the `size` bytes behind `fd`, storing what the store lacks at this zstd level, in a thread
 * per processor. ret_part is written on success only; its chunks are freed by manifest_done of the
 * manifest it goes into. */
int cut_file(struct chunkstore *store, int fd, uint64_t size, int level, cut_progress_fn *progress,
	void *arg, struct manifest_part *ret_part, struct error **err);

#endif
