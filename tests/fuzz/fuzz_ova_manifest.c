/* SPDX-License-Identifier: GPL-2.0-or-later */
/* libFuzzer on the list of digests in an OVA: what is taken names plain members, each once. */
#include "images/ova_manifest.h"
#include "images/ovf.h"
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
	auto_error struct error *err = NULL;
	struct ova_digests digests = {0};
	int r = ova_manifest_read((const char *)bytes, len, &digests, &err);

	fuzz_result(r, err);
	if (r < 0 && digests.n)
		abort();
	vec_each (struct ova_digest, digest, &digests)
		if (!ovf_name_ok(digest->name) || ova_digest_find(&digests, digest->name) != digest)
			abort();
	ova_digests_done(&digests);
	return 0;
}
