/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What a host holds of other images, other revisions above all, need not travel again. */
#ifndef IMAGES_REUSE_H
#define IMAGES_REUSE_H

#include <stdatomic.h>
#include <stdint.h>
#include "images/held.h"
#include "lib/error.h"

/* Puts into `held`, the image `digest` below `dir`, each chunk it lacks that another image held
 * there has; every one is verified. *ret_bytes: how many bytes of data were put. Other images that
 * cannot be read are passed over. 0, -ECANCELED soon after *cancel (may be NULL) was set, or what
 * held_put says. Reads as fast as the disk does: worker threads only. */
int held_reuse(struct held *held, const char *dir, const char *digest, const atomic_bool *cancel,
	uint64_t *ret_bytes, struct error **err);

#endif
