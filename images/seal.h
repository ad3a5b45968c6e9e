/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The inner jail: a process that keeps its open descriptors and can do nothing but read, write and
 * compute with them. */
#ifndef IMAGES_SEAL_H
#define IMAGES_SEAL_H

#include <stdint.h>
#include <sys/types.h>
#include "lib/error.h"

struct seal {
	uid_t uid;	    /* taken when we are root; 0: 65534 */
	uint64_t memory;    /* bytes of data */
	uint64_t file_size; /* of any file written */
	uint64_t cpu_s;	    /* seconds of processor time */
};

/* For this process, for good; while it has one thread. Memory, time and file size are limited, the
 * uid is another one when we are root, and from then on there is no network, no file to be opened,
 * no other process to be seen or started. What the kernel does not offer is left out; *ret_missing
 * (may be NULL) then names it, else it is NULL. The filter of system calls is not optional. */
int seal_enter(const struct seal *seal, const char **ret_missing, struct error **err);

#endif
