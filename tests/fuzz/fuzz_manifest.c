/* SPDX-License-Identifier: GPL-2.0-or-later */
/* libFuzzer on the image manifest: a text that is taken is canonical, so writing it again gives the
 * same bytes, and its chunk counts fit its sizes.
 *
 *   clang -g -O1 -fsanitize=fuzzer,address,undefined -D_GNU_SOURCE -I. tests/fuzz/fuzz_manifest.c
 * images/chunk.c \ lib/{error,util,json,str,hash,vec}.c -ljansson -lzstd -lgnutls -o fuzz_manifest
 *   ./fuzz_manifest tests/fuzz/seeds/manifest */
#include "images/manifest.c"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
	auto_manifest struct manifest m = {0};
	auto_error struct error *err = NULL;
	auto_free char *again = NULL;

	if (manifest_read((const char *)bytes, len, &m, &err) < 0) {
		if (!err || !err->text || m.name)
			abort();
		return 0;
	}
	again = manifest_write(&m);
	if (strlen(again) != len || memcmp(again, bytes, len) != 0)
		abort();
	for (int i = 0; i < PART_COUNT; i++)
		if (m.parts[i].chunks.n != chunk_count(m.parts[i].size))
			abort();
	return 0;
}
