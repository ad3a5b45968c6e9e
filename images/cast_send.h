/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The sender of a cast: chunks of a store to any number of receivers at once, by multicast, until
 * each that asks has all. */
#ifndef IMAGES_CAST_SEND_H
#define IMAGES_CAST_SEND_H

#include <stdatomic.h>
#include <stdbool.h>
#include "lib/error.h"
#include "lib/str.h"

enum { CAST_IMAGES = 64, CAST_RECEIVERS = 1024 };

/* How a receiver is served. */
enum cast_lane {
	LANE_MULTICAST,
	LANE_DONE,  /* has all */
	LANE_PEERS, /* sent to its peers, too slow for the others or deaf to multicast */
	LANE_LOST,  /* not heard of any more */
	LANE_LEFT,  /* said goodbye without having all */
};
extern const char *const cast_lane_names[]; /* "multicast", "done", ... */

struct cast_member {
	const char *name, *digest;
	const char *reason; /* why it is served as it is, one line, or NULL */
	struct ip4 address;
	uint64_t have, total; /* bytes of data */
	unsigned loss;	      /* per mille of the packets sent lately */
	enum cast_lane lane;
	bool changed; /* its lane, since the last call */
};

struct cast_progress {
	uint64_t rate; /* bits per second, as decided last */
	uint64_t sent; /* bytes of frames so far */
	bool whole;    /* all members, not only those whose lane has changed */
	const struct cast_member *members;
	size_t n;
};

struct cast_send {
	const char *store;
	const char *const *digests; /* of the images, at most CAST_IMAGES */
	size_t n_digests;	    /* may be 0 with `more` */
	struct ip4 group;	    /* 224/4; with its third number's last bit turned over it is
				       used too, when the cast moves */
	bool no_multicast;	    /* nothing is sent to the group, which may be 0 then: whoever
				       comes is told who came before it, for a chain of peers */
	struct ip4 address;	    /* ours, on the lab's interface */
	uint16_t port;		    /* of the group, and ours */
	uint64_t rate;		    /* cap: bits per second of Ethernet frames */
	bool until_done;	    /* end when all that ever joined have all, or are gone */
	int more;		    /* lines from here, each a digest, add images; at its end the
				       cast ends; -1: none do */
	atomic_bool *stop;	    /* may be set at any time: end soon with 0; NULL: never */
	/* Once a second with all members, and whenever lanes change with those. Nothing of it may
	 * be kept; it must not block, or the wire falls silent. NULL: not wanted. */
	void (*progress)(const struct cast_progress *progress, void *arg);
	/* An image that came by `more` cannot be opened, and why: `code` (-errno) and `why`, which
	 * is freed after the call. It is not cast; a further line may name it again. Must not
	 * block. NULL: not wanted. */
	void (*refused)(const char *digest, int code, const struct error *why, void *arg);
	void *arg; /* of both */
};

/* Blocks until stopped or done. -ENOENT: the store lacks an image; else the network's error. A chunk
 * that cannot be read is left out; who lacks nothing else is told to ask its peers. */
int cast_send(const struct cast_send *job, struct error **err);

#endif
