/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A VMDK file that was checked -> the disk in it. */
#ifndef IMAGES_VMDK_READ_H
#define IMAGES_VMDK_READ_H

#include "images/disk_io.h"
#include "images/header_vmdk.h"

/* Writes the whole disk to `out`, whose size must be that of the layout. */
int vmdk_read(int fd, uint64_t file_size, const struct vmdk_layout *layout, struct disk_out *out,
	struct error **err);

#endif
