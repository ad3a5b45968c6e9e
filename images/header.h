/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Our own look at a disk image file before any other program opens it: which format is it, and is
 * it one whose every byte lies in this one file? */
#ifndef IMAGES_HEADER_H
#define IMAGES_HEADER_H

#include <stdbool.h>
#include "images/header_qcow2.h"
#include "images/header_vmdk.h"
#include "lib/error.h"

/* UNKNOWN: nobody named it, the magic decides. OVA is an archive with a disk in it. */
enum image_format { FORMAT_UNKNOWN, FORMAT_RAW, FORMAT_QCOW2, FORMAT_VMDK, FORMAT_OVA };

/* "raw", "qcow2", "vmdk", "ova" -> format; -EINVAL otherwise. */
int image_format_parse(const char *text, enum image_format *ret_format);

struct image_header {
	enum image_format format; /* RAW, QCOW2 or VMDK */
	uint64_t virtual_size; /* bytes the guest sees; a multiple of 512, at most IMAGE_SIZE_MAX */
	union {
		struct qcow2_layout qcow2;
		struct vmdk_layout vmdk;
	};
};

/* Checks the regular file behind `fd` (position unchanged, only pread). `format` is what the caller
 * named. raw: any content when named; when not named, a file that carries the magic of another
 * format is refused. qcow2: version 2 or 3, only feature bits we know, no backing file, no data
 * file, no encryption, closed cleanly, every table and every cluster of data inside the file. VMDK:
 * streamOptimized, one file, every grain inside it. OVA and packed files are refused here: their
 * disk is taken out first (images/reader.h). -EINVAL says what is wrong and what to do. */
int image_header_check(
	int fd, enum image_format format, struct image_header *ret_header, struct error **err);

#endif
