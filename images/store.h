/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The chunk store of a lab server:
 *
 *   STORE/chunks/ab/DIGEST    one zstd frame; DIGEST (of the uncompressed bytes) begins with "ab"
 *   STORE/manifests/DIGEST    the text of an image manifest
 *   STORE/tmp/                files being written
 *   STORE/traces/DIGEST       the order in which a boot of that image reads it; a hint
 *   STORE/quarantine/         damaged chunks (store_check.h), until the next gc
 *   STORE/lock                shared by writers, alone for a sweep
 *
 * Files are written aside and linked to their name, never changed afterwards. A manifest is put
 * last, so every manifest in the store has all its chunks. */
#ifndef IMAGES_STORE_H
#define IMAGES_STORE_H

#include <stdbool.h>
#include "images/manifest.h"
#include "lib/error.h"
#include "lib/hash.h"
#include "lib/hostlist.h"

struct chunkstore;
VEC_OF(digests, struct sha256);

enum {
	CHUNKSTORE_READ = 0,
	CHUNKSTORE_WRITE =
		1, /* may put; takes part in the lock. A writer that is alone sweeps at open */
	CHUNKSTORE_SYNC = 2, /* chunkstore_put_manifest survives a power cut (with WRITE) */
	CHUNKSTORE_KEEP =
		4, /* no chunk is swept at open: those of a killed import are looked for (WRITE) */
	CHUNKSTORE_ALONE = 8, /* with WRITE: keeps every other writer out, sweeps nothing; -EBUSY
				 while there is one */
};

/* Opens, making the folders where they are missing. Freed by chunkstore_close (NULL is fine). */
int chunkstore_open(
	const char *dir, unsigned flags, struct chunkstore **ret_store, struct error **err);
void chunkstore_close(struct chunkstore *store);
const char *chunkstore_dir(const struct chunkstore *store);

bool chunkstore_has(const struct chunkstore *store, const struct sha256 *digest);

/* Stores a packed chunk under the digest of its uncompressed bytes, which the caller vouches for.
 * One that is there already is left as it is. Safe from several threads at once. */
int chunkstore_put(struct chunkstore *store, const struct sha256 *digest, const void *packed,
	size_t packed_len, struct error **err);

/* Reads a chunk into `out` and checks that it is exactly `len` bytes with that digest: -ENOENT,
 * -EBADMSG. */
int chunkstore_get(const struct chunkstore *store, const struct sha256 *digest, void *out,
	size_t len, struct error **err);

/* May chunks that no manifest names be of an import that a power cut ended, so that each has to be
 * read before it is relied on? Not for a writer that was alone when it opened and swept. */
bool chunkstore_doubtful(const struct chunkstore *store);

/* Is that chunk there and sound? 1, 0, or -errno when that cannot be told. One that is damaged is
 * removed, so that it can be put again. `scratch` has room for `len` bytes. */
int chunkstore_sound(struct chunkstore *store, const struct sha256 *digest, void *scratch,
	size_t len, struct error **err);

/* Stores a manifest, after checking that every chunk it names is there; *ret_digest is the image
 * digest. */
int chunkstore_put_manifest(struct chunkstore *store, const struct manifest *manifest,
	struct sha256 *ret_digest, struct error **err);

/* Reads a manifest and checks its digest. Freed by manifest_done. */
int chunkstore_get_manifest(const struct chunkstore *store, const struct sha256 *digest,
	struct manifest *ret_manifest, struct error **err);

/* The names in all manifests of the store, in no order, one for each revision. An error when one
 * cannot be read. Freed by strings_done. */
int chunkstore_names(const struct chunkstore *store, struct strings *ret_names, struct error **err);

/* Bytes on disk of the different chunks that one manifest names. -ENOENT when one is not there. */
int chunkstore_stored(const struct chunkstore *store, const struct manifest *manifest,
	uint64_t *ret_bytes, struct error **err);

struct chunkstore_swept {
	uint64_t manifests, chunks, bytes; /* what was removed */
	uint64_t others; /* traces and damaged chunks; their bytes are in `bytes` */
};

/* Removes every manifest that is not among the `n` live ones, then every chunk that no manifest
 * names, then traces of other images and what is in quarantine. -EBUSY while another writer has the
 * store open. For a store opened with WRITE. `dry`: only counts. */
int chunkstore_gc(struct chunkstore *store, const struct sha256 *live, size_t n, bool dry,
	struct chunkstore_swept *ret_swept, struct error **err);

/* Only the second half: what a broken-off import left behind. Errors as above. */
int chunkstore_sweep(
	struct chunkstore *store, struct chunkstore_swept *ret_swept, struct error **err);

/* Where the file of a chunk or manifest is, for whoever serves it; caller frees. */
char *chunkstore_chunk_path(const char *dir, const struct sha256 *digest);
char *chunkstore_manifest_path(const char *dir, const struct sha256 *digest);

/* A new name in STORE/tmp/ for scratch that the next lone writer sweeps away; caller frees. */
char *chunkstore_temp_path(struct chunkstore *store);

static inline void cleanup_chunkstore(struct chunkstore **store)
{
	chunkstore_close(*store);
}
#define auto_chunkstore __attribute__((cleanup(cleanup_chunkstore)))

#endif
