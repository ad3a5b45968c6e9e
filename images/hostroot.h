/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The root image of hosts in the chunk store, so that the cast that sends images sends it too. */
#ifndef IMAGES_HOSTROOT_H
#define IMAGES_HOSTROOT_H

#include "lib/error.h"
#include "lib/hash.h"

#define HOSTROOT_NAME "host-root" /* in its manifest */

/* Puts the file into the store as the one part ("disk") of an image that is no VM's; *ret_digest is
 * its manifest's, the same for the same bytes. What is there already is checked, not written again.
 * Waits while the store is swept; blocks for a second per 100 MB: for workers. */
int hostroot_store(
	const char *store, const char *path, struct sha256 *ret_digest, struct error **err);

#endif
