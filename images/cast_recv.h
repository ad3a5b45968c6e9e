/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The receiver of a cast: one image, from whoever casts it, into what this host holds. */
#ifndef IMAGES_CAST_RECV_H
#define IMAGES_CAST_RECV_H

#include <stdatomic.h>
#include <stdbool.h>
#include "images/cast_frame.h"
#include "lib/error.h"

struct cast_receive {
	struct ip4 server; /* the sender's address and port; it names the group */
	uint16_t port;
	const char *name;     /* ours, for people: a PC's name */
	const char *digest;   /* of the manifest, 64 hex digits, from a trusted source (the goal) */
	const char *dir;      /* where images are held */
	uint16_t serve_port;  /* where this host serves what it holds; 0: nowhere */
	unsigned patience_ms; /* a sender that says nothing for so long is not there; 0: 5 s */
	atomic_bool *cancel;  /* may be set at any time by any thread; NULL: never */
	/* Called in the calling thread, some times a second. `have` of `total` bytes of data (zeros
	 * not counted) are verified and in place; total is 0 until the plan is there. False: enough
	 * of it, -ECANCELED soon after. NULL: not wanted. */
	bool (*progress)(uint64_t have, uint64_t total, void *arg);
	void *arg;
};

struct cast_received {
	uint64_t packets, missed; /* source packets of blocks: came, and did not */
	uint64_t bytes;		  /* of frames that came */
	unsigned wrong;		  /* chunks that failed verification */
	bool met;		  /* the sender was there, and let us in */
	/* Who has the image, when we were sent away: ask these in this order. */
	struct cast_peer peers[CAST_PEERS];
	unsigned n_peers;
};

/* Blocks until the image is whole (0) or the cast is of no more use; what came by then stays in
 * place. *ret_received (may be NULL) is always written. Errors:
 *   -EHOSTUNREACH  no sender there, or it is gone
 *   -ENOENT        it does not cast this image
 *   -EAGAIN        it sent us away: too slow for the others, or no room
 *   -EIO           it cannot read what still lacks
 *   -ENOTCONN      it is there, but no multicast reaches us
 *   -EBADMSG       what it sends (or somebody in its name) is wrong too often
 *   -ECANCELED     and what the disk said */
int cast_receive(
	const struct cast_receive *job, struct cast_received *ret_received, struct error **err);

#endif
