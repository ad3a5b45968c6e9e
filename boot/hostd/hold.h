/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The images this host holds. */
#ifndef HOSTD_HOLD_H
#define HOSTD_HOLD_H

#include <stdatomic.h>
#include "boot/hostd/reconcile.h"
#include "lib/error.h"

/* A whole, verified image as files. */
struct held_image {
	char *disk, *kernel, *initrd; /* paths; kernel and initrd NULL when the image has none */
	char *cmdline;
};

/* The parts of image `digest` below image_dir. -ENOENT while it is not whole. */
int hold_open(const char *image_dir, const char *digest, struct held_image *ret_image,
	struct error **err);
void held_image_done(struct held_image *image);

/* How far a fetch is; written by the worker, read by the loop thread, which may also call it off.
 */
struct hold_progress {
	_Atomic uint64_t have, total;
	atomic_bool cancel;
	/* Set before the fetch, not changed in it. */
	const struct strings *peers; /* "http://10.71.0.12:8081": asked first; NULL: none */
};

/* Fetches the image from `url` ("http://10.71.0.1:8080"), going on where a former try ended. 0: it
 * is whole. Blocks; for worker threads. */
int hold_fetch(const char *image_dir, const char *url, const char *digest,
	struct hold_progress *progress, struct error **err);
/* Removes it. Blocks. */
int hold_drop(const char *image_dir, const char *digest, struct error **err);
/* The images below image_dir, as tracks; whole ones have `whole` set. */
int hold_scan(const char *image_dir, struct image_tracks *ret_tracks, struct error **err);

#endif
