/* SPDX-License-Identifier: GPL-2.0-or-later */
/* How full may others make a disk of ours? */
#ifndef LIB_SPACE_H
#define LIB_SPACE_H

#include <stdint.h>
#include "lib/error.h"

/* 0 when `more` bytes fit on the file system of `fd` and its reserve stays free: 5 % of it, at most
 * 1 GiB. Else -ENOSPC, with what is free and what to do in the text. A system that cannot tell
 * says 0. Cheap enough for each write. */
int space_check(int fd, uint64_t more, struct error **err);

/* -ENOSPC with the same text: for a write that found the file system of `fd` full although
 * space_check() had let it pass, because others write too. */
int space_full(int fd, struct error **err);

#endif
