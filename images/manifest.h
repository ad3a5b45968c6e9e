/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The manifest of an image revision: name, revision, and for each part (disk, and optionally kernel
 * and initrd for direct boot) its size and the digests of its chunks. Its text is canonical JSON;
 * the SHA-256 of that text is the digest by which everybody names the image. */
#ifndef IMAGES_MANIFEST_H
#define IMAGES_MANIFEST_H

#include <stdbool.h>
#include "lib/error.h"
#include "lib/hash.h"
#include "lib/vec.h"

#define IMAGE_SIZE_MAX (1ULL << 40)   /* virtual size of a disk */
#define IMAGE_BOOT_MAX (512ULL << 20) /* kernel, initrd */
enum {
	MANIFEST_FORMAT = 1,
	MANIFEST_MAX_BYTES = 64 << 20, /* enough for 180 GiB of data in a disk of 1 TiB */
	MANIFEST_CMDLINE_MAX = 2047,   /* the kernel's own limit */
};

enum manifest_part_kind { PART_DISK, PART_KERNEL, PART_INITRD, PART_COUNT };
extern const char *const manifest_part_names[PART_COUNT]; /* "disk", "kernel", "initrd" */

struct manifest_chunk {
	struct sha256 digest; /* of the uncompressed bytes; all zero when `zero` */
	bool zero;	      /* nothing but zero bytes: neither stored nor sent */
};
VEC_OF(manifest_chunks, struct manifest_chunk);

struct manifest_part {
	bool present;
	uint64_t size;
	struct manifest_chunks chunks; /* chunk_count(size) of them */
};

struct manifest {
	char *name;
	uint64_t revision;
	char *cmdline; /* for direct kernel boot, or NULL */
	struct manifest_part parts[PART_COUNT];
};

/* Strict: unknown or missing members, sizes beyond the caps, chunk counts that do not fit the size,
 * an initrd or command line without a kernel, and any text that manifest_write would not have
 * written are refused with the field named. Freed by manifest_done. */
int manifest_read(const char *text, size_t len, struct manifest *ret_manifest, struct error **err);

/* The canonical text; caller frees. */
char *manifest_write(const struct manifest *manifest);

void manifest_done(struct manifest *manifest);

/* Bytes of the chunks of all parts that are not zero: what a full fetch verifies. */
uint64_t manifest_data_bytes(const struct manifest *manifest);

/* Checks the limits on name, revision, sizes and command line that manifest_read applies, so that
 * an import can refuse before the long work. */
int manifest_check(const struct manifest *manifest, struct error **err);

static inline void cleanup_manifest(struct manifest *manifest)
{
	manifest_done(manifest);
}
#define auto_manifest __attribute__((cleanup(cleanup_manifest)))

#endif
