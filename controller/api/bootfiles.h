/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The files of the host image (vmlinuz, initrd.img, host.squashfs, disks.squashfs) and their digests. */
#ifndef CONTROLLER_API_BOOTFILES_H
#define CONTROLLER_API_BOOTFILES_H

#include "controller/controller.h"
#include "lib/error.h"
#include "lib/hash.h"

struct bootfiles;

struct bootfiles *bootfiles_new(struct controller *controller);
void bootfiles_free(struct bootfiles *files); /* NULL is fine */
/* The digest of the file as it is now: 1 with ret_text; 0: a worker computes it,
 * http_wake("boot/files") tells when it is worth asking again; -ENOENT: no such file. */
int bootfiles_digest(
	struct bootfiles *files, const char *name, char ret_text[SHA256_TEXT], struct error **err);
/* The host image may be wanted soon: begins with what takes long. */
void bootfiles_prepare(struct bootfiles *files);
/* The manifest under which the root image is in the chunk store, for the cast: 1; 0: a worker makes
 * it, http_wake("boot/files") tells; -ENOENT: it is not there and will not be. */
int bootfiles_root(const struct bootfiles *files, struct sha256 *ret_manifest);
/* Opens one of the known names for reading; -ENOENT for every other. */
int bootfiles_open(struct bootfiles *files, const char *name, int *ret_fd, uint64_t *ret_size,
	struct error **err);

#endif
