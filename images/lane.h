/* SPDX-License-Identifier: GPL-2.0-or-later */
/* One connection to a server of images: BASE/manifests/DIGEST, BASE/chunks/DIGEST,
 * BASE/traces/DIGEST. What comes out of here was verified, traces excepted. */
#ifndef IMAGES_LANE_H
#define IMAGES_LANE_H

#include <stdatomic.h>
#include <stdbool.h>
#include "images/held.h"
#include "lib/httpc.h"

enum { LANE_SILENCE_MS = 20000 };

struct lane; /* for one thread at a time */

struct lane_options {
	const char *base;		 /* "http://10.71.0.1:8080" */
	const struct httpc_trust *trust; /* NULL: plain HTTP */
	unsigned silence_ms;		 /* a server that sends nothing for that long has failed; 0:
					    LANE_SILENCE_MS */
	unsigned total_ms; /* so long may one answer take, however steadily it comes; 0: for ever */
	bool (*stopping)(void *arg);	 /* asked while bytes come; NULL: never */
	void *arg;
};

/* Copies base; trust must outlive it. */
struct lane *lane_new(const struct lane_options *options);
void lane_free(struct lane *lane);

/* The manifest's text with this digest; caller frees. -EBADMSG: the text is another; -ENOENT: the
 * server does not know it; -ECANCELED; else the transport's error. */
int lane_manifest(struct lane *lane, const char *digest, char **ret_text, size_t *ret_len,
	struct error **err);
/* The bytes of a chunk into `out` (chunk->len of them), with the same errors. `ret_received` (may
 * be NULL) is written in any case: the bytes that came. */
int lane_chunk(struct lane *lane, const struct held_chunk *chunk, void *out, uint64_t *ret_received,
	struct error **err);
/* The boot trace of the image, as it came; caller frees. */
int lane_trace(struct lane *lane, const char *digest, char **ret_text, size_t *ret_len,
	struct error **err);

static inline void cleanup_lane(struct lane **lane)
{
	lane_free(*lane);
}
#define auto_lane __attribute__((cleanup(cleanup_lane)))

#endif
