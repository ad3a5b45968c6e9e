/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The peer chain: an image to a whole lab where multicast does not get through. Every node takes
 * the chunks from the one before it and passes them on while they come in, so that the last of N
 * has them hardly later than the first, and the server's port carries the image once.
 *
 * A node serves (chain_server) and, while it lacks an image, receives (chain_receive). The root is
 * a server over a chunk store. */
#ifndef IMAGES_CHAIN_H
#define IMAGES_CHAIN_H

#include <stdatomic.h>
#include <stdbool.h>
#include "images/held.h"
#include "lib/error.h"
#include "lib/str.h"

enum {
	CHAIN_PORT = 8082,
	CHAIN_SUCCESSORS = 4, /* at once, of one server */
};

struct chain_server;

struct chain_serve {
	const char *address; /* to listen on; NULL: all */
	uint16_t port;	     /* 0: any that is free */
	uint64_t port_bits;  /* rate of this machine's port, bit/s; 0: as its interface says, if it
				does.  Sending is paced a little below */
	uint64_t rate;	     /* cap: bit/s of Ethernet frames to all successors together; 0: none,
				then each has the port (normally there is one) */
	const char *held;    /* folder of held images, or NULL */
	const char *store;   /* chunk store, with its boot traces, or NULL */
};

/* What a VM starts with goes first: kernel, initrd, and from a store what its boot reads.
 *
 * Listens, and serves in threads of its own until it is stopped. All texts are copied. -EINVAL: the
 * address is none; -EAGAIN: no thread can be started; else why it cannot listen (-EADDRINUSE, ...).
 */
int chain_server_start(
	const struct chain_serve *config, struct chain_server **ret_server, struct error **err);
/* Nobody is served any more. A chain_receive with this server may still be running (it passes
 * nothing on then); none may be begun without a reference. NULL is fine. */
void chain_server_stop(struct chain_server *server);
/* Keeps the memory of a server beyond its stop, for a receive that may just begin: it then finds
 * one that serves nobody. */
struct chain_server *chain_server_ref(struct chain_server *server);
void chain_server_unref(struct chain_server *server);
/* How many are being served now. */
unsigned chain_server_successors(struct chain_server *server);

struct chain_job {
	struct held *held;
	const char *dir; /* in which it is held */
	const char *digest;
	const char *const *sources; /* "10.71.0.12:8082", the nearest first, the root last */
	size_t n_sources;
	struct chain_server *server; /* passes on what comes; NULL: nobody does */
	unsigned patience_ms;	     /* with a source that does not answer yet; 0: 5 s */
	uint64_t port_bits; /* what a port of this lab takes; 0: as this machine's interface says */
	atomic_bool *cancel; /* may be set at any time: -ECANCELED soon after; NULL: never */
	/* In the calling thread, some times a second. `have` of `total` bytes of data. */
	void (*progress)(uint64_t have, uint64_t total, void *arg);
	/* What a person should know: a source was left, and why. In the calling thread. */
	void (*note)(const char *text, void *arg);
	void *arg;
};

struct chain_result {
	uint64_t received; /* bytes of frames */
	unsigned wrong;	   /* chunks that failed verification */
	unsigned changes;  /* how often a source was left for the next */
};

/* Blocks until the image is whole (0) or no source is left: worker threads only. What came stays. A
 * source that adds nothing to what is held for some 10 s is left, so this ends whatever they say.
 * It may still lack chunks that others brought away (a limit) or that every source had wrong or did
 * not send: then -EAGAIN, and the HTTP lane brings the rest. -EHOSTUNREACH: no source answered;
 * -EBADMSG: the last one does not speak as a peer. held_finish is the caller's. */
int chain_receive(const struct chain_job *job, struct chain_result *ret_result, struct error **err);

#endif
