/* SPDX-License-Identifier: GPL-2.0-or-later */
/* libFuzzer on the image manifest: a text that is taken is canonical, so writing it again gives the
 * same bytes, and its chunk counts fit its sizes. */
#include "images/chunk.h"
#include "images/manifest.h"
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
	auto_manifest struct manifest m = {0};
	auto_error struct error *err = NULL;
	auto_free char *again = NULL;
	int r = manifest_read((const char *)bytes, len, &m, &err);

	fuzz_result(r, err);
	if (r < 0 && m.name)
		abort();
	if (r < 0)
		return 0;
	again = manifest_write(&m);
	if (strlen(again) != len || memcmp(again, bytes, len) != 0)
		abort();
	for (int i = 0; i < PART_COUNT; i++)
		if (m.parts[i].chunks.n != chunk_count(m.parts[i].size))
			abort();
	return 0;
}
