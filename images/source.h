/* SPDX-License-Identifier: GPL-2.0-or-later */
/* One connection to a server of images: BASE/manifests/DIGEST, BASE/chunks/DIGEST,
 * BASE/traces/DIGEST. What comes out of here was verified, traces excepted. */
#ifndef IMAGES_SOURCE_H
#define IMAGES_SOURCE_H

#include <stdatomic.h>
#include <stdbool.h>
#include "images/held.h"
#include "lib/httpc.h"

enum { SOURCE_SILENCE_MS = 20000 };

struct source; /* for one thread at a time */

struct source_options {
	const char *base;		 /* "http://10.71.0.1:8080" */
	const struct httpc_trust *trust; /* NULL: plain HTTP */
	unsigned silence_ms;		 /* a server that sends nothing for that long has failed; 0:
					    SOURCE_SILENCE_MS */
	bool (*stopping)(void *arg);	 /* asked while bytes come; NULL: never */
	void *arg;
};

/* Copies base; trust must outlive it. */
struct source *source_new(const struct source_options *options);
void source_free(struct source *source);
const char *source_base(const struct source *source);

/* The manifest's text with this digest; caller frees. -EBADMSG: the text is another; -ENOENT: the
 * server does not know it; -ECANCELED; else the transport's error. */
int source_manifest(struct source *source, const char *digest, char **ret_text, size_t *ret_len,
	struct error **err);
/* The bytes of a chunk into `out` (chunk->len of them), with the same errors. `ret_received` (may
 * be NULL) is written in any case: the bytes that came. */
int source_chunk(struct source *source, const struct held_chunk *chunk, void *out,
	uint64_t *ret_received, struct error **err);
/* The boot trace of the image, as it came; caller frees. */
int source_trace(struct source *source, const char *digest, char **ret_text, size_t *ret_len,
	struct error **err);

static inline void cleanup_source(struct source **source)
{
	source_free(*source);
}
#define auto_source __attribute__((cleanup(cleanup_source)))

#endif
