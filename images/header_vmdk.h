/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The VMDK half of the header check: streamOptimized, one file, whole. */
#ifndef IMAGES_HEADER_VMDK_H
#define IMAGES_HEADER_VMDK_H

#include <stdbool.h>
#include "lib/error.h"

enum { VMDK_SECTOR = 512, VMDK_GRAIN_MAX = 1 << 20, VMDK_TABLE = 512 };

/* Where the disk is in the file. */
struct vmdk_layout {
	uint64_t virtual_size;	 /* bytes */
	uint64_t directory;	 /* byte offset of the grain directory */
	uint32_t grain;		 /* bytes: 4096 to VMDK_GRAIN_MAX, a power of two */
	uint64_t tables, grains; /* how many the disk needs; VMDK_TABLE grains a table */
	bool zero_grains;	 /* entry 1 means zeros */
};

/* Does the file begin with "KDMV"? */
bool vmdk_has_magic(int fd);

/* Refuses what is not whole, not streamOptimized, or names other files; a "createType" that keeps
 * its data elsewhere is refused by name. -EINVAL. */
int vmdk_check(int fd, uint64_t file_size, struct vmdk_layout *ret_layout, struct error **err);

/* The compressed grain number `index` that stands at `sector`: where its bytes are. -EINVAL unless
 * its marker names that grain and its bytes lie inside the file. */
int vmdk_grain(int fd, uint64_t file_size, const struct vmdk_layout *layout, uint64_t index,
	uint32_t sector, uint64_t *ret_at, uint32_t *ret_len, struct error **err);

#endif
