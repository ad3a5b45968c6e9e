/* SPDX-License-Identifier: GPL-2.0-or-later */
/* qcow2 -> raw by qemu-img, kept on a short lead. */
#ifndef IMAGES_CONVERT_H
#define IMAGES_CONVERT_H

#include "lib/error.h"

/* Converts the qcow2 file `path`, whose header was checked and promises `virtual_size` bytes, into
 * the new sparse raw file `raw`. On failure `raw` may exist and is the caller's to remove. Blocks
 * for as long as it takes. */
int convert_qcow2(const char *path, uint64_t virtual_size, const char *raw, struct error **err);

#endif
