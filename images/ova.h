/* SPDX-License-Identifier: GPL-2.0-or-later */
/* An OVA (a tar with an OVF descriptor, a disk and perhaps a list of digests) -> its disk. */
#ifndef IMAGES_OVA_H
#define IMAGES_OVA_H

#include "images/disk_io.h"

struct ova_disk {
	uint64_t len; /* bytes of the member, now in `out` */
	bool gzip;    /* and they are gzip */
	bool has_capacity;
	uint64_t capacity; /* of the disk in it, as the descriptor says */
};

/* Is it a tar? By its magic. */
bool ova_has_magic(int fd);

/* Copies the disk member of the archive to `out`, after every member was looked at and found to be
 * a plain file with a plain name that the descriptor names; digests of the manifest, when there is
 * one, are checked. -EINVAL names the member at fault. */
int ova_read(int fd, struct disk_out *out, struct ova_disk *ret_disk, struct error **err);

#endif
