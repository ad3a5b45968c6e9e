/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The text inside a VMDK that says which files the disk is made of. */
#ifndef IMAGES_VMDK_DESCRIPTOR_H
#define IMAGES_VMDK_DESCRIPTOR_H

#include "lib/error.h"

/* Checks the NUL-terminated text strictly: a streamOptimized disk without a parent, of exactly one
 * extent, which is the file that the text stands in. *ret_sectors is that extent's size. -EINVAL
 * names the line or key at fault. */
int vmdk_descriptor_check(const char *text, uint64_t *ret_sectors, struct error **err);

#endif
