/* SPDX-License-Identifier: GPL-2.0-or-later */
/* One compressed file -> what is in it. */
#ifndef IMAGES_UNPACK_H
#define IMAGES_UNPACK_H

#include "images/disk_io.h"

enum packing { PACKING_NONE, PACKING_GZIP, PACKING_XZ, PACKING_ZSTD };

/* By its first bytes. */
enum packing packing_of(int fd);

/* Unpacks the whole of `fd` (from its start; `size` bytes) to `out`. What is packed twice is
 * refused, as is a total of more than UNPACK_RATIO times the input: -E2BIG. */
enum { UNPACK_RATIO = 1100 };
int unpack(int fd, uint64_t size, enum packing packing, struct disk_out *out, uint64_t *ret_len,
	struct error **err);

#endif
