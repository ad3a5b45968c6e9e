/* SPDX-License-Identifier: GPL-2.0-or-later */
/* May this host hold an image? The controller's signed word, and no older one than was seen. */
#ifndef HOSTD_PUBLICATION_H
#define HOSTD_PUBLICATION_H

#include <stdint.h>
#include "lib/error.h"

struct publication_wanted {
	const char *image_dir; /* remembers the sequence numbers in IMAGE_DIR/sequences */
	const char *url;       /* "http://10.71.0.1:8080": + "/publications/DIGEST" */
	const char *key;       /* public key, from the goal; NULL: nothing is asked for */
	const char *name, *digest;
	uint64_t revision;
};

/* Asks for the publication and checks it. 0: the image may be fetched, and its sequence number is
 * remembered. -EKEYREJECTED: what came is not of this lab's key, is for another image, or is older
 * than what was seen before; else the transport's error. Nothing is left behind by a refusal.
 * Blocks for up to ten seconds; worker threads only. */
int publication_check(const struct publication_wanted *wanted, struct error **err);

#endif
