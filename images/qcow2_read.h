/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A qcow2 file that was checked -> the disk in it. */
#ifndef IMAGES_QCOW2_READ_H
#define IMAGES_QCOW2_READ_H

#include "images/disk_io.h"
#include "images/header_qcow2.h"

/* Writes the whole disk to `out`, whose size must be that of the layout. */
int qcow2_read(int fd, const struct qcow2_layout *layout, struct disk_out *out, struct error **err);

#endif
