/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The qcow2 half of the header check. */
#ifndef IMAGES_HEADER_QCOW2_H
#define IMAGES_HEADER_QCOW2_H

#include <stdbool.h>
#include "lib/error.h"

/* Does the file begin with "QFI\xfb"? */
bool qcow2_has_magic(int fd);

/* Where the disk is in the file. */
struct qcow2_layout {
	uint64_t virtual_size, l1_offset, l1_entries;
	uint32_t cluster_bits; /* 9 to 21 */
	bool extended_l2, zstd;
};

/* The rules of image_header_check for a qcow2 file of `file_size` bytes. */
int qcow2_check(int fd, uint64_t file_size, struct qcow2_layout *ret_layout, struct error **err);

#endif
