/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Inner part of the store: walking its folders and removing what nothing names. Only store.c, which
 * holds the lock, and store_check.c, for its lists of digests, include this. */
#ifndef IMAGES_STORE_SWEEP_H
#define IMAGES_STORE_SWEEP_H

#include "images/store.h"

/* Ascending, each once: what digests_has wants. */
void digests_sort(struct digests *set);
bool digests_has(const struct digests *set, const struct sha256 *digest);
/* The chunks of a manifest that are not zero. */
void digests_add_named(struct digests *set, const struct manifest *manifest);

/* chunkstore_get_manifest: -ENOENT, -EBADMSG when it is damaged, or what the disk says. */
int sweep_read_manifest(const char *dir, const struct sha256 *digest, struct manifest *ret_manifest,
	struct error **err);

/* chunkstore_names. */
int sweep_names(const char *dir, struct strings *ret_names, struct error **err);

/* Everything in tmp/. */
void sweep_temps(const char *dir);

/* Manifests that are not in `live` (sorted); chunks that no manifest in the store names (or, with
 * `live`, none of these); traces not in `live` and all of quarantine/, but for good chunks that are
 * missing at their place, which go back there. `swept` (may be NULL) is added to. When a manifest
 * cannot be read no chunk is removed. `dry`: only counts. */
int sweep_manifests(const char *dir, const struct digests *live, bool dry,
	struct chunkstore_swept *swept, struct error **err);
int sweep_chunks(const char *dir, const struct digests *live, bool dry,
	struct chunkstore_swept *swept, struct error **err);
int sweep_others(const char *dir, const struct digests *live, bool dry,
	struct chunkstore_swept *swept, struct error **err);

#endif
