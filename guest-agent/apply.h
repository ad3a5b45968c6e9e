/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Makes this system the VM the seed describes. */
#ifndef GUEST_APPLY_H
#define GUEST_APPLY_H

#include "guest-agent/seed_read.h"

/* Host name file, users, keys and files below `root` ("/" in a VM). The kernel's host name is set
 * only when root is "/". Doing it twice changes nothing. -EINVAL names what in the seed is refused.
 */
int apply_files(const struct seed *seed, const char *root, struct error **err);

/* Finds the network card by its address (waiting up to `timeout_ms` for its driver) and gives it
 * address, MTU and default route. */
int apply_network(const struct seed *seed, int timeout_ms, struct error **err);

#endif
