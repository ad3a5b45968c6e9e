/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Looking at what a store has: is an image whole and undamaged, and what does a revision change? */
#ifndef IMAGES_STORE_CHECK_H
#define IMAGES_STORE_CHECK_H

#include <stdatomic.h>
#include "images/store.h"

struct chunk_damage {
	enum manifest_part_kind part;
	size_t number; /* of the chunk in its part, from 0 */
	struct sha256 digest;
	bool unread; /* the disk could not give it: whether it is damaged cannot be told */
	char *reason;
};
VEC_OF(chunk_damages, struct chunk_damage);

enum { CHUNK_DAMAGES_MAX = 1000 }; /* listed; the rest is only counted */

struct chunkstore_check {
	/* Called in the calling thread, bytes of data. NULL: not wanted. */
	void (*progress)(uint64_t done, uint64_t total, void *arg);
	void *arg;
	const atomic_bool *cancel; /* set by any thread: -ECANCELED soon after; NULL: never */
	/* the outcome; freed by chunkstore_check_done */
	uint64_t chunks, bytes; /* looked at, zeros not counted */
	uint64_t n_damaged;	/* missing, wrong, or unread */
	uint64_t n_unread;	/* of these */
	struct chunk_damages damaged;
	struct digests wrong; /* every chunk that is here and wrong, listed or not; one may be named twice */
};
void chunkstore_check_done(struct chunkstore_check *check);

/* Reads every chunk of an image as chunkstore_get does. 0 whether there is damage or not: that is
 * in `check`; -ENOENT, -EBADMSG: its manifest is not there or damaged. A chunk that cannot be read
 * for a reason of our own (-EMFILE, -EACCES, ...) is not damaged: that ends the check. Changes
 * nothing. */
int chunkstore_verify(const struct chunkstore *store, const struct sha256 *image,
	struct chunkstore_check *check, struct error **err);

/* Looks at one chunk file whose length the caller does not know: 0, -ENOENT, -EBADMSG when it is
 * damaged, and any other when that cannot be told. */
int chunkstore_verify_chunk(const char *dir, const struct sha256 *digest, struct error **err);

/* Puts a damaged chunk aside into STORE/quarantine/, so that nobody is given it and the next import
 * that has these bytes stores them again. One that is not there is success. */
int chunkstore_quarantine(const char *dir, const struct sha256 *digest, struct error **err);
/* The same for every chunk that a check of this store found wrong. What the disk could not give stays: the next reading
 * may succeed, and a gc empties quarantine. -errno: one could not be put aside, and the rest was not tried. */
int chunkstore_put_aside(const char *dir, const struct chunkstore_check *check, struct error **err);
/* Is the chunk that was put aside as file `aside` good after all, and missing at its place? */
bool chunkstore_can_return(const char *dir, const struct sha256 *digest, const char *aside);

struct chunkstore_difference {
	uint64_t chunks, bytes; /* of `b`, zeros not counted */
	uint64_t changed,
		changed_bytes; /* places at which `b` has another chunk than `a`, zeros too */
	uint64_t travel, travel_bytes; /* chunks that a holder of `a` lacks, as they are sent */
};

/* What has to reach a host that holds image `a` and shall hold `b`. */
int chunkstore_diff(const struct chunkstore *store, const struct sha256 *a, const struct sha256 *b,
	struct chunkstore_difference *ret_difference, struct error **err);

static inline void cleanup_chunkstore_check(struct chunkstore_check *check)
{
	chunkstore_check_done(check);
}
#define auto_chunkstore_check __attribute__((cleanup(cleanup_chunkstore_check)))

#endif
