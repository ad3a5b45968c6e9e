/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Where the chunks of one image lie, for those who send them to others: a chunk store, or what a
 * host holds. Chunks are numbered through all parts, disk first, as in images/held.h. */
#ifndef IMAGES_SOURCE_H
#define IMAGES_SOURCE_H

#include <stdbool.h>
#include "images/chunk.h"
#include "images/held.h"
#include "images/manifest.h"
#include "lib/error.h"

enum { SOURCE_NONE = UINT32_MAX };

/* The numbers of an image's chunks by their digests. */
struct chunk_index;
struct chunk_index *chunk_index_new(const struct manifest *manifest);
void chunk_index_free(struct chunk_index *index);
size_t chunk_index_count(const struct chunk_index *index); /* chunks of all parts, zero ones too */
size_t chunk_index_disk(const struct chunk_index *index);  /* of these, the disk's: the first */
/* Its digest; NULL: it is all zeros, and never sent. *ret_len: its plain bytes. */
const struct sha256 *chunk_index_digest(
	const struct chunk_index *index, uint32_t number, size_t *ret_len);
/* The lowest number with this content, then the next one with the same content; or SOURCE_NONE. */
uint32_t chunk_index_find(const struct chunk_index *index, const struct sha256 *digest);
uint32_t chunk_index_same(const struct chunk_index *index, uint32_t number);
/* Is it the lowest number of its content (and not all zeros)? Each content is sent once. */
bool chunk_index_first(const struct chunk_index *index, uint32_t number);

struct source;

/* An image in the store `dir`, or one that is held below `dir`: -ENOENT when there is none. Freed
 * by source_close (NULL is fine). -EAGAIN: nothing that is held of it was verified in this boot;
 * a neighbour's question must not begin that. */
int source_open_store(
	const char *dir, const char *digest, struct source **ret_source, struct error **err);
int source_open_held(
	const char *dir, const char *digest, struct source **ret_source, struct error **err);
void source_close(struct source *source);

const struct chunk_index *source_index(const struct source *source);
uint64_t source_have(const struct source *source); /* plain bytes of data that are here */
uint64_t source_total(const struct source *source);
bool source_has(const struct source *source, uint32_t number);
bool source_is_removed(const struct source *source); /* held_is_removed */

/* One chunk as a zstd frame: as it is stored, or packed quickly. *ret_packed lives in the source or
 * the coder until the next use: one thread at a time. -ENOENT: it is not here (any more). */
int source_packed(struct source *source, struct chunk_coder *coder, uint32_t number,
	const void **ret_packed, size_t *ret_len, struct error **err);

#endif
