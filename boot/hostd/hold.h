/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The images this host holds. */
#ifndef HOSTD_HOLD_H
#define HOSTD_HOLD_H

#include <stdatomic.h>
#include "boot/hostd/notes.h"
#include "boot/hostd/reconcile.h"
#include "images/chain.h"
#include "lib/error.h"
#include "lib/loop.h"

/* A verified image as files: what its manifest names, whatever lies beside them. Kernel and initrd are whole; the disk
 * only if `whole`, else it has to be read through the image's disk server (base.h). */
struct held_image {
	bool whole;
	char *disk, *kernel, *initrd; /* paths; kernel and initrd NULL when the image has none */
	char *cmdline; /* the manifest's; NULL when the image has none */
};

/* The parts of image `digest` below image_dir. -ENOENT while too little of it is here to start a
 * VM, and when its manifest is not here or another. Freed by held_image_done. */
int hold_open(const char *image_dir, const char *digest, struct held_image *ret_image,
	struct error **err);
void held_image_done(struct held_image *image);

/* How far a fetch is; written by the worker, read by the loop thread, which may also call it off.
 */
struct hold_progress {
	struct notes notes; /* what a person should know of the way it takes */
	_Atomic uint64_t have, total;
	atomic_bool cancel;
	atomic_bool startable; /* a VM could start, if its disk is served while it comes */
	atomic_bool limited;   /* there is room for a part of the image only */
	/* Set before the fetch, not changed in it. */
	const struct strings *peers; /* "http://10.71.0.12:8081": asked first; NULL: none */
	const char *pc, *cast; /* as the goal has them; cast may be NULL */
	uint16_t serve_port;   /* where this host serves peers; 0: nowhere */
	struct chain_server *chain;  /* and passes on; NULL: it does not */
	uint64_t room;	   /* bytes of data that may be held of it; 0: as many as it has */
	struct loop *loop; /* `poke` is posted there when the size is known, when `startable` is set
			      and when there is a note; NULL: never */
	loop_fn *poke;
	void *arg;
};
struct hold_progress *hold_progress_new(
	uint64_t room, struct loop *loop, loop_fn *poke, void *arg); /* freed by free() */
/* The room for images, in bytes, beside the VMs of the goal (NULL: none) on a host with
 * `memory_mib`; 0 when that is 0. Pure. */
uint64_t hold_room(uint64_t memory_mib, const struct proto_goal *goal);
/* Images that are held in part and were given more than their share (reconcile.h) is now, since VMs or other
 * images came, make room, in a worker; of one that is on its way the fetch is called off, and begun anew with
 * less. One that would fit since is to be fetched again. Sets `room` and `limited` of the tracks. */
void hold_resize(
	struct loop *loop, const char *image_dir, const struct proto_goal *goal, struct host_seen *seen);

/* Fetches the image from `url` ("http://10.71.0.1:8080"), going on where a former try ended. 0: it
 * is whole, or (`limited`) all is here that may be. Blocks; for worker threads. */
int hold_fetch(const char *image_dir, const char *url, const char *digest,
	struct hold_progress *progress, struct error **err);
/* Removes it. Blocks. */
int hold_drop(const char *image_dir, const char *digest, struct error **err);
/* The images below image_dir, as tracks; whole ones have `whole`, `have` and `total` set. */
int hold_scan(const char *image_dir, struct image_tracks *ret_tracks, struct error **err);

#endif
