/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The descriptor of an OVA: which member of the archive is the disk? */
#ifndef IMAGES_OVF_H
#define IMAGES_OVF_H

#include <stdbool.h>
#include "lib/error.h"
#include "lib/vec.h"

enum { OVF_MAX_BYTES = 1 << 20, OVF_FILES_MAX = 64, OVF_NAME_MAX = 255 };

struct ovf_file {
	char *id, *href;
	bool has_size, gzip;
	uint64_t size; /* of the member as packed */
};
VEC_OF(ovf_files, struct ovf_file);

struct ovf {
	struct ovf_files files; /* every member that the descriptor names */
	size_t disk;		/* which of them is the disk */
	bool has_capacity;
	uint64_t capacity; /* bytes of the disk */
};

/* Reads the descriptor strictly: an OVF envelope in UTF-8 without document type and entities, whose
 * references are plain names of members, with exactly one disk and no parent of it. Freed by
 * ovf_done. -EINVAL names what is refused. */
int ovf_read(const char *bytes, size_t len, struct ovf *ret_ovf, struct error **err);
void ovf_done(struct ovf *ovf);

/* May a member of an OVA have this name? A plain one: letters, digits, " ._-+()", no folder. */
bool ovf_name_ok(const char *name);

#endif
