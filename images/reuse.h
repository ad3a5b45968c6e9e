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

/* Before any way of bringing the image is tried: when others are held below `dir`, begins to hold
 * it with the manifest from `base` and copies what they have, so that even the first status of a
 * cast's receiver asks for the rest only. `room`: bytes that may be held of it; an image that needs
 * more is left alone (0: no limit). Whatever goes wrong here is left to who brings the image. */
void held_prepare(const char *dir, const char *digest, const char *base, uint64_t room,
	const atomic_bool *cancel);

#endif
