/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Bringing an image from a chunk server to a host, verified and ready to start VMs from: into the
 * folder of images/held.h, beside whatever else puts chunks there. */
#ifndef IMAGES_FETCH_H
#define IMAGES_FETCH_H

#include <stdatomic.h>
#include <stdbool.h>
#include "lib/error.h"
#include "lib/httpc.h"

struct fetch {
	const char *base; /* "http://10.71.0.1:8080": + "/manifests/DIGEST", "/chunks/DIGEST" and,
			     when it has one, "/traces/DIGEST" */
	const char *const *peers; /* bases that are asked before it, at most FETCH_PEERS; they may
				     lack chunks, or lie */
	size_t n_peers;
	const char *digest; /* of the manifest, 64 hex digits, from a trusted source (the goal) */
	const char *dir;    /* where images are held; made when missing */
	const struct httpc_trust *trust; /* NULL: plain HTTP */
	uint64_t room;	      /* bytes of data that may be held of it: the image's limit from the
				 moment at which its size is known (held_set_limit; none if it fits);
				 0: its limit stays as it is */
	bool start_only;      /* ends when a VM could start and read the rest as it comes: manifest,
				 kernel and initrd */
	bool manifest_only;   /* ends when the image is begun: its manifest is here, and held_open
				 finds it */
	unsigned connections; /* 0: 4. Each takes a thread and 1 MiB */
	unsigned silence_ms;  /* a server that sends nothing for that long has failed; 0: 20 s */
	atomic_bool *cancel;  /* may be set at any time by any thread: -ECANCELED soon after; NULL:
				 never */
	/* Called in the calling thread. `have` of `total` bytes of data (zeros not counted) are
	 * verified and in place; total is 0 until the manifest is there. NULL: not wanted. */
	void (*progress)(uint64_t have, uint64_t total, void *arg);
	/* What a person should know: a peer lied and is not asked again. In any thread; NULL. */
	void (*note)(const char *text, void *arg);
	void *arg;
};

struct fetch_result {
	uint64_t total;	   /* bytes of data the image has */
	uint64_t reused;   /* of these, found in place at the beginning */
	uint64_t received; /* compressed bytes of chunks that came over the wire */
	unsigned wrong;	   /* chunks that failed verification and were asked for again */
};

/* Blocks until the image is whole (0) or cannot be had now: worker threads only. Brings first what
 * readers wait for, then kernel and initrd, then the disk in the order of the boot trace, then the
 * rest. What was fetched stays and is used by the next try. Under a limit that is smaller than the
 * image (held_set_limit) it is full rather than whole at the end. -EBADMSG: every source sent
 * wrong data three times and must not be asked again; -ENOENT: the controller does not know the
 * image, or lacks some of its chunks, which held up no others; -EBUSY: another fetch of this
 * image is running; -ECANCELED; else the transport's error. */
int fetch_image(const struct fetch *job, struct fetch_result *ret_result, struct error **err);

/* Is the image whole in `dir` (held_is_complete)? Any digest text is safe to ask for. */
bool fetch_is_complete(const char *dir, const char *digest);

/* DIR/DIGEST/FILE, whether it exists or not; caller frees. */
char *fetch_path(const char *dir, const char *digest, const char *file);

#endif
