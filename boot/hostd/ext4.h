/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Is a partition the ext4 file system that the lab lent? Pure: bytes in, verdict out. */
#ifndef HOSTD_EXT4_H
#define HOSTD_EXT4_H

#include "lib/error.h"

enum { EXT4_SUPER_AT = 1024, EXT4_SUPER_LEN = 1024, EXT4_LABEL_MAX = 16 };

/* Looks at the superblock (EXT4_SUPER_LEN bytes from EXT4_SUPER_AT of the partition). 1: it is
 * labelled `label` and can be mounted; 0: it is not ext4, or labelled otherwise; -EINVAL: it has
 * the label, but must not be mounted here, and why. */
int ext4_look(const unsigned char *super, const char *label, struct error **err);

#endif
