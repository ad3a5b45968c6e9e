/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Taking a disk image file, with the kernel and initrd beside it, into a chunk store. */
#ifndef IMAGES_IMPORT_H
#define IMAGES_IMPORT_H

#include <stdbool.h>
#include "images/header.h"
#include "images/reader.h"
#include "lib/error.h"
#include "lib/hash.h"

struct import {
	const char *store;	  /* folder of the chunk store, made when missing */
	const char *path;	  /* the disk, in any format of images/header.h, packed or not */
	enum image_format format; /* FORMAT_UNKNOWN: by its magic */
	const char *name;
	uint64_t revision;
	const char *kernel, *initrd; /* files for direct boot, or NULL */
	const char *cmdline;	     /* or NULL */
	int level;		     /* zstd's, 1..CHUNK_LEVEL_MAX; 0: CHUNK_LEVEL */
	bool no_sync;		     /* do not wait for the disk: for scratch stores of tests */
	/* Takes up what an import of the same file left when it was killed: its chunks are not
	 * swept first, but found again. */
	bool resume;
	struct reader *reader; /* NULL: one is forked */
	/* Called in the calling thread. Phases are "check", "unpack", "convert" (bytes of what is
	 * read or written there) and "cut" (bytes of all parts, without holes). NULL: not wanted.
	 */
	void (*progress)(const char *phase, uint64_t done, uint64_t total, void *arg);
	void *arg;
};

struct import_result {
	struct sha256 digest; /* of the manifest: the image */
	uint64_t size;	      /* of the disk as a VM sees it */
	uint64_t stored;      /* bytes of its chunks as stored */
};

/* Blocks until all is stored (worker or child program only). On failure the store is as before:
 * what was written is removed, at once or, while another import runs, by the next one. */
int import_image(const struct import *import, struct import_result *ret_result, struct error **err);

#endif
