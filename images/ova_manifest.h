/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The list of digests in an OVA (its .mf member). */
#ifndef IMAGES_OVA_MANIFEST_H
#define IMAGES_OVA_MANIFEST_H

#include <gnutls/gnutls.h>
#include <stdbool.h>
#include "lib/error.h"
#include "lib/vec.h"

enum { OVA_MANIFEST_MAX_BYTES = 64 << 10, OVA_DIGEST_MAX = 64 };

struct ova_digest {
	char *name;
	gnutls_digest_algorithm_t algorithm;
	unsigned char bytes[OVA_DIGEST_MAX];
	bool seen; /* for the caller */
};
VEC_OF(ova_digests, struct ova_digest);

/* Lines of "SHA256(name)= hex" (or SHA1, SHA512), each name once. Freed by ova_digests_done. */
int ova_manifest_read(
	const char *text, size_t len, struct ova_digests *ret_digests, struct error **err);
void ova_digests_done(struct ova_digests *digests);
/* NULL: not in the list. */
struct ova_digest *ova_digest_find(const struct ova_digests *digests, const char *name);

#endif
