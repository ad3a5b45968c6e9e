/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A VM's own disk: a qcow2 overlay over the shared read-only base. */
#ifndef IMAGES_OVERLAY_H
#define IMAGES_OVERLAY_H

#include "lib/error.h"

/* Creates the qcow2 file `path` with `base` (absolute, raw, complete) behind it and the base's
 * size. A file already at `path` is -EEXIST: it may hold a VM's state. On failure nothing is left
 * at `path`. Blocks for some 10 ms; for worker threads. */
int overlay_create(const char *base, const char *path, struct error **err);

#endif
