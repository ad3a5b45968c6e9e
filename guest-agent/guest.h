/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The VM's agent: from a seed disc to a ready VM. */
#ifndef GUEST_GUEST_H
#define GUEST_GUEST_H

#include <stdbool.h>
#include "lib/error.h"

struct guest_options {
	const char *seed_dir; /* NULL: the disc is looked for and mounted */
	const char *root;     /* "/" in a VM */
	const char *port;     /* device or file for the ready line; NULL: by name */
	const char *services; /* program run once all is applied; NULL: none */
	bool network;	      /* set the card up */
	bool once;	      /* end after the first ready line that went out */
};

/* Applies the seed, starts the services, then says "ready" every ten seconds for as long as the VM
 * lives. Returns only on failure, or after the first ready line with `once` (0). */
int guest_run(const struct guest_options *options, struct error **err);

#endif
