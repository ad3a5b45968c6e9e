/* SPDX-License-Identifier: GPL-2.0-or-later */
/* All ways by which an image comes to a host, in their order: the lab's cast; the chain of peers
 * where no multicast gets through; peers and the controller by HTTP for whatever is missing. */
#ifndef IMAGES_BRING_H
#define IMAGES_BRING_H

#include <stdatomic.h>
#include <stdbool.h>
#include "images/chain.h"
#include "lib/error.h"
#include "lib/str.h"

struct bring {
	const char *digest; /* of the manifest, from a trusted source (the goal) */
	const char *dir;    /* where images are held */
	const char *base;   /* "http://10.71.0.1:8080": the last resort, and the whole truth */
	const char *const *peers; /* bases to ask before it */
	size_t n_peers;
	uint64_t
		room;	 /* bytes of data that may be held of it; 0: no limit. An image that needs
			    more comes by HTTP alone, which can tell what is full from what is whole */
	struct ip4 cast; /* the cast's sender; host 0: there is no cast */
	uint16_t cast_port;
	const char *name;	    /* this PC's */
	uint16_t serve_port;	    /* where this host serves peers by HTTP; 0: nowhere */
	struct chain_server *chain; /* this host's; NULL: it takes no part in chains */
	atomic_bool *cancel;
	/* In the calling thread: `have` of `total` bytes of data. False: the cast is not the way
	 * for this image. */
	bool (*progress)(uint64_t have, uint64_t total, void *arg);
	/* What a person should know: a way was left for another, and why. In any thread. NULL. */
	void (*note)(const char *text, void *arg);
	void *arg;
};

/* Blocks until the image is whole (0) or no way brings it now; the errors of fetch_image. */
int bring_image(const struct bring *job, struct error **err);

#endif
