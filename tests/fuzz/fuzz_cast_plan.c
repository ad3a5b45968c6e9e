/* SPDX-License-Identifier: GPL-2.0-or-later */
/* libFuzzer on the plan of a cast, as it is once unpacked and its manifest found to be the right
 * one: whatever its lists say, each chunk with data has one way, no way is a circle, and blocks of
 * it stay within their arrays. */
#include <zstd.h>

#include "images/cast_plan.h"
#include "images/chunk.h"
#include "images/manifest.h"
#include "tests/fuzz/fuzz.h"

enum { CHUNKS = 12, INPUT_MAX = 4096 };

/* Chunks 0 and 5 are zero, 3, 7 and 11 alike. */
static char *manifest_text(void)
{
	auto_manifest struct manifest m = {.name = xstrdup("mpi"), .revision = 1};
	struct manifest_part *disk = &m.parts[PART_DISK];

	disk->present = true;
	disk->size = (uint64_t)CHUNKS * CHUNK_SIZE;
	for (uint32_t i = 0; i < CHUNKS; i++) {
		struct manifest_chunk *chunk = vec_add(&disk->chunks);
		uint32_t content = i % 4 == 3 ? 3 : i;

		chunk->zero = i == 0 || i == 5;
		if (!chunk->zero)
			chunk->digest = sha256_of(&content, sizeof(content));
	}
	return manifest_write(&m);
}

static void ways_check(const struct cast_plan *plan)
{
	uint8_t reached[CHUNKS] = {0};

	for (uint32_t i = 0; i < plan->n; i++)
		for (uint32_t n = plan->at[i].number; n != CAST_NONE; n = plan->same[n])
			if (n >= CHUNKS || reached[n]++)
				abort();
	for (uint32_t n = 0; n < CHUNKS; n++)
		if (reached[n] != (n != 0 && n != 5))
			abort();
}

static void block_check(const struct cast_plan *plan, const uint8_t *bytes, size_t len)
{
	struct cast_block what = {.n_ranges = 2};
	static struct cast_layout layout;

	if (len < 4)
		return;
	what.ranges[0] = (struct cast_range){bytes[0], bytes[1]};
	what.ranges[1] = (struct cast_range){bytes[2], bytes[3]};
	if (cast_layout_make(&what, plan, 0, &layout) < 0)
		return;
	if (layout.n > CAST_BLOCK_CHUNKS || layout.sources > CAST_BLOCK_SOURCES ||
		layout.groups > CAST_GROUPS || layout.bytes > CAST_BLOCK_BYTES)
		abort();
	for (unsigned i = 0; i < layout.n; i++)
		if (layout.at[i] >= plan->n || layout.from[i] >= layout.from[i + 1])
			abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
	static char *text, hex[SHA256_TEXT];
	static uint8_t plain[4 + 4096 + INPUT_MAX], packed[2 * sizeof(plain)];
	auto_cast_plan struct cast_plan plan = {0};
	auto_error struct error *err = NULL;
	auto_free char *got = NULL;
	size_t text_len, got_len, n = 0;
	int r;

	if (!text) {
		struct sha256 digest;

		text = manifest_text();
		digest = sha256_of(text, strlen(text));
		sha256_format(&digest, hex);
	}
	text_len = strlen(text);
	if (len > INPUT_MAX || text_len > 4096)
		return 0;
	plain[n++] = (uint8_t)(text_len % 128 + 128); /* as a plan has it: seven bits a byte */
	plain[n++] = (uint8_t)(text_len / 128);
	memcpy(plain + n, text, text_len);
	memcpy(plain + n + text_len, bytes, len);
	n += text_len + len;
	len = ZSTD_compress(packed, sizeof(packed), plain, n, 1);
	r = cast_plan_unpack(packed, (uint32_t)len, (uint32_t)n, hex, &got, &got_len, &plan, &err);
	fuzz_result(r, err);
	if (r < 0)
		return 0;
	ways_check(&plan);
	block_check(&plan, bytes, n - text_len - 2);
	return 0;
}
