/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The plan of a cast: in which order the chunks of an image go out, and how long each one is
 * packed. It is sent first, packed together with the manifest's text, so that a receiver needs no
 * other source; and what a block of the cast consists of, worked out from it at both ends. */
#ifndef IMAGES_CAST_PLAN_H
#define IMAGES_CAST_PLAN_H

#include "images/cast_frame.h"
#include "images/manifest.h"
#include "lib/error.h"

enum { CAST_NONE = UINT32_MAX };

struct cast_entry {
	uint32_t number; /* of the chunk, through all parts of the manifest */
	uint32_t len;	 /* packed */
};

/* Each content once; chunks of zeros not at all. */
struct cast_plan {
	struct cast_entry *at;
	uint32_t n;
	uint32_t n_chunks; /* of the manifest */
	uint32_t *same;	   /* by chunk number: the next one with the same content, or CAST_NONE */
	uint64_t bytes;	   /* packed, of all entries */
};

/* How many bytes a chunk has as stored; 0 or -errno. */
typedef int cast_packed_len_fn(const struct sha256 *digest, uint32_t *ret_len, void *arg);

/* First kernel and initrd, then the chunks that `trace` names (what a boot reads; numbers that make
 * no sense are passed over), then by number. Freed by cast_plan_done. */
int cast_plan_make(const struct manifest *manifest, const uint32_t *trace, size_t n_trace,
	cast_packed_len_fn *packed_len, void *arg, struct cast_plan *ret_plan, struct error **err);
void cast_plan_done(struct cast_plan *plan);

/* Chunk `number` of the manifest, counted through all its parts; NULL past the last. */
const struct manifest_chunk *cast_chunk(const struct manifest *manifest, uint32_t number);

/* To bytes for the wire; caller frees. ret_length is what they unpack to. */
int cast_plan_pack(const struct cast_plan *plan, const struct manifest *manifest, void **ret_bytes,
	uint32_t *ret_len, uint32_t *ret_length, struct error **err);
/* And back: believes nothing but that the manifest has this digest (64 hex digits), so the order
 * and lengths may be a liar's, but every number names a chunk and each chunk is there once.
 * *ret_text (caller frees) is the manifest's text. -EBADMSG says what is wrong. */
int cast_plan_unpack(const void *bytes, uint32_t len, uint32_t length, const char *digest,
	char **ret_text, size_t *ret_text_len, struct cast_plan *ret_plan, struct error **err);

/* A block, worked out. */
struct cast_layout {
	uint32_t bytes; /* without the filling of the last packet */
	uint16_t sources, groups;
	uint16_t n;			      /* chunks; 0 in a block of the plan itself */
	uint32_t at[CAST_BLOCK_CHUNKS];	      /* entries of the plan */
	uint32_t from[CAST_BLOCK_CHUNKS + 1]; /* where each begins in the block; then the end */
};

/* -EBADMSG: the ranges leave the plan, or the block is larger than a block may be. `plan` may be
 * NULL for a block of the plan, which has `plan_bytes`. */
int cast_layout_make(const struct cast_block *block, const struct cast_plan *plan,
	uint32_t plan_bytes, struct cast_layout *ret_layout);

static inline void cleanup_cast_plan(struct cast_plan *plan)
{
	cast_plan_done(plan);
}
#define auto_cast_plan __attribute__((cleanup(cleanup_cast_plan)))

#endif
