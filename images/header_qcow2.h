/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The qcow2 half of the header check. */
#ifndef IMAGES_HEADER_QCOW2_H
#define IMAGES_HEADER_QCOW2_H

#include <stdbool.h>
#include "lib/error.h"

/* Does the file begin with "QFI\xfb"? */
bool qcow2_has_magic(int fd);

/* The rules of image_header_check for a qcow2 file of `file_size` bytes. */
int qcow2_check(int fd, uint64_t file_size, uint64_t *ret_virtual_size, struct error **err);

#endif
