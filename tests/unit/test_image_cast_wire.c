/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What a cast says on the wire: every frame comes back as it was written, and no cut, longer,
 * flipped or random one is taken for more than it is; the plan comes back whole or not at all. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "images/cast_plan.h"
#include "images/chunk.h"
#include "images/manifest.h"

/* ---- frames ---- */

static struct cast_frame sample(enum cast_kind kind)
{
	struct cast_frame f;

	memset(&f, 0, sizeof(f));
	f.session = 0xdeadbeef;
	f.kind = (uint8_t)kind;
	switch (kind) {
	case CAST_HELLO:
		f.hello = (struct cast_hello){.nonce = 1ULL << 63 | 5, .serve_port = 8081, .partial = true};
		memset(f.hello.digest.b, 0xa5, SHA256_LEN);
		strcpy(f.hello.name, "pc-07");
		break;
	case CAST_REPORT:
		f.report = (struct cast_report){
			.block = 77, .round = 3, .count = {9, 10}, .n_groups = CAST_GROUPS};
		memset(f.report.lacks, 6, CAST_GROUPS);
		break;
	case CAST_STATUS:
		f.status = (struct cast_status){.count = {1, 2},
			.have = 5ULL << 32,
			.total = 6ULL << 32,
			.silent = true,
			.group = {0xef010203},
			.first = 11200,
			.n_bytes = CAST_PAGE_BYTES};
		memset(f.status.need, 0x81, CAST_PAGE_BYTES);
		break;
	case CAST_WANT:
		f.want = (struct cast_want){.n = 3, .at = {1, 0xffffffff, 7}};
		break;
	case CAST_LEAVE:
		f.leave = (struct cast_leave){.nonce = 1ULL << 62 | 9, .whole = true};
		break;
	case CAST_WELCOME:
		f.welcome = (struct cast_welcome){.nonce = 3,
			.group = {0xef010203},
			.port = 9000,
			.image = 1,
			.plan_bytes = 70000,
			.plan_length = 150000};
		break;
	case CAST_DROP:
		f.drop = (struct cast_drop){.nonce = 4,
			.reason = CAST_SLOW,
			.n_peers = 2,
			.peers = {{{0x0a000001}, 8081}, {{0x0a000002}, 8082}}};
		break;
	case CAST_BLOCK:
		f.block = (struct cast_block){.block = 0xfffe,
			.image = 2,
			.round = CAST_SILENT,
			.spread_ms = 20,
			.n_ranges = 2,
			.ranges = {{5, 1}, {100, 32}}};
		break;
	}
	return f;
}

static void every_frame_comes_back(void **state)
{
	uint8_t bytes[CAST_FRAME_MAX];

	(void)state;
	for (int kind = CAST_HELLO; kind <= CAST_BLOCK; kind++) {
		struct cast_frame f = sample(kind), back;
		size_t len = cast_frame_write(&f, bytes);

		assert_int_equal(cast_frame_read(bytes, len, &back), 0);
		assert_memory_equal(&back, &f, sizeof(f));
	}
}

/* The widest frame of each kind is still a frame. */
static void the_largest_fit(void **state)
{
	struct cast_frame f = sample(CAST_REPORT), back;
	uint8_t bytes[CAST_FRAME_MAX];
	size_t len;

	(void)state;
	f.report.far = true;
	f.report.n_groups = 0;
	memset(f.report.lacks, 0, sizeof(f.report.lacks));
	f.report.n_chunks = CAST_BLOCK_CHUNKS;
	len = cast_frame_write(&f, bytes);
	assert_int_equal(cast_frame_read(bytes, len, &back), 0);
	f = sample(CAST_BLOCK);
	f.block.n_ranges = CAST_RANGES;
	for (int i = 0; i < CAST_RANGES; i++)
		f.block.ranges[i].count = 1;
	len = cast_frame_write(&f, bytes);
	assert_int_equal(cast_frame_read(bytes, len, &back), 0);
	f = sample(CAST_WANT);
	f.want.n = CAST_WANTS;
	f = sample(CAST_DROP);
	f.drop.n_peers = CAST_PEERS;
	for (int i = 0; i < CAST_PEERS; i++)
		f.drop.peers[i].address.host = 1;
	len = cast_frame_write(&f, bytes);
	assert_int_equal(cast_frame_read(bytes, len, &back), 0);
}

static void cut_or_longer_is_refused(void **state)
{
	uint8_t bytes[CAST_FRAME_MAX + 1] = {0};
	struct cast_frame back;

	(void)state;
	for (int kind = CAST_HELLO; kind <= CAST_BLOCK; kind++) {
		struct cast_frame f = sample(kind);
		size_t len = cast_frame_write(&f, bytes);

		for (size_t cut = 0; cut < len; cut++) {
			auto_free uint8_t *exact = xmemdup(bytes, cut ? cut : 1);

			assert_int_equal(cast_frame_read(exact, cut, &back), -EBADMSG);
		}
		bytes[len] = 0;
		assert_int_equal(cast_frame_read(bytes, len + 1, &back), -EBADMSG);
	}
}

static void claims_beyond_the_arrays_are_refused(void **state)
{
	static const struct {
		enum cast_kind kind;
		size_t at; /* offset in the frame */
		uint8_t value;
	} cases[] = {
		{CAST_HELLO, 8, CAST_FORM - 1},
		{CAST_HELLO, 8 + 9 + 32 + 3, NAME_MAX_LEN + 1},
		{CAST_HELLO, 8 + 9 + 32 + 3 + 1, '/'}, /* a name that is none */
		{CAST_REPORT, 8 + 3, 2},	       /* a flag that is neither */
		{CAST_REPORT, 8 + 3, 1},	       /* far, yet with groups */
		{CAST_REPORT, 8 + 2, CAST_SILENT}, {CAST_REPORT, 8 + 12, CAST_GROUPS + 1},
		{CAST_STATUS, 8 + 8 + 16 + 3, 10},	  /* no multicast address */
		{CAST_STATUS, 8 + 8 + 16 + 3 + 4 + 3, 1}, /* a page that begins within a byte */
		{CAST_STATUS, 8 + 8 + 16 + 3 + 4 + 4, 255},
		{CAST_STATUS, 8 + 8, 255},			/* has more than there is */
		{CAST_WANT, 8, 255}, {CAST_WELCOME, 8 + 8, 10}, /* no multicast address */
		{CAST_DROP, 8 + 8, 0}, {CAST_DROP, 8 + 8, 9}, {CAST_DROP, 8 + 9, CAST_PEERS + 1},
		{CAST_BLOCK, 8 + 3, 1}, /* of the plan, with two ranges */
		{CAST_BLOCK, 8 + 6, 255}, {CAST_BLOCK, 8 + 8 + 7, 0}, /* a range of nothing */
		{CAST_BLOCK, 6, 1},					/* kinds that are none */
		{CAST_BLOCK, 7, 0}, {CAST_BLOCK, 7, CAST_BLOCK + 1},
		{CAST_BLOCK, 5, 0}, /* a packet of a block is no control frame */
	};
	uint8_t bytes[CAST_FRAME_MAX];
	struct cast_frame back;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct cast_frame f = sample(cases[i].kind);
		size_t len = cast_frame_write(&f, bytes);

		bytes[cases[i].at] = cases[i].value;
		if (cast_frame_read(bytes, len, &back) != -EBADMSG)
			fail_msg("case %zu was taken", i);
	}
}

/* Whatever is taken can be written again, to the same bytes: one spelling, all counts in bounds. */
static void noise_is_harmless(void **state)
{
	uint8_t bytes[CAST_FRAME_MAX], again[CAST_FRAME_MAX];
	struct cast_frame back;
	unsigned taken = 0;

	(void)state;
	for (unsigned round = 0; round < 200000; round++) {
		struct cast_frame f = sample(1 + rand() % CAST_BLOCK);
		size_t len = cast_frame_write(&f, bytes);

		for (int flips = rand() % 4; flips >= 0; flips--)
			bytes[(size_t)rand() % (len < 80 ? len : 80)] = (uint8_t)rand();
		if (cast_frame_read(bytes, len, &back) < 0)
			continue;
		taken++;
		assert_int_equal(cast_frame_write(&back, again), len);
		assert_memory_equal(again, bytes, len);
	}
	assert_true(taken > 1000);
}

/* ---- the plan ---- */

enum { CHUNKS = 700 };

/* A disk of CHUNKS chunks: every seventh zero, every eleventh like the one three before. */
static struct manifest image(void)
{
	struct manifest m = {.name = xstrdup("mpi"), .revision = 1};
	struct manifest_part *disk = &m.parts[PART_DISK];

	disk->present = true;
	disk->size = (uint64_t)CHUNKS * CHUNK_SIZE - 512;
	for (uint32_t i = 0; i < CHUNKS; i++) {
		struct manifest_chunk *chunk = vec_add(&disk->chunks);
		uint32_t content = i % 11 == 10 && (i - 3) % 7 ? i - 3 : i;

		chunk->zero = i % 7 == 0;
		if (!chunk->zero)
			chunk->digest = sha256_of(&content, sizeof(content));
	}
	return m;
}

static int packed_len(const struct sha256 *digest, uint32_t *ret_len, void *arg)
{
	(void)arg;
	*ret_len = 1000 + digest->b[0] * 900U;
	return 0;
}

static int missing(const struct sha256 *digest, uint32_t *ret_len, void *arg)
{
	(void)digest, (void)ret_len, (void)arg;
	return -ENOENT;
}

static struct cast_plan plan_of(const struct manifest *m)
{
	static const uint32_t trace[] = {500, 604 /* as 601 */, 3, 7 /* zero */, 3, 99999};
	struct cast_plan plan = {0};

	assert_int_equal(
		cast_plan_make(m, trace, ARRAY_LEN(trace), packed_len, NULL, &plan, NULL), 0);
	return plan;
}

static void the_plan_has_all_once(void **state)
{
	auto_manifest struct manifest m = image();
	auto_cast_plan struct cast_plan plan = plan_of(&m), none = {0};
	auto_error struct error *err = NULL;
	uint8_t reached[CHUNKS] = {0};
	uint64_t bytes = 0;

	(void)state;
	assert_int_equal(plan.at[0].number, 500);
	assert_int_equal(plan.at[1].number, 601);
	assert_int_equal(plan.at[2].number, 3);
	assert_int_equal(plan.at[3].number, 1);
	for (uint32_t i = 0; i < plan.n; i++) {
		bytes += plan.at[i].len;
		for (uint32_t n = plan.at[i].number; n != CAST_NONE; n = plan.same[n])
			reached[n]++;
	}
	assert_int_equal(bytes, plan.bytes);
	for (uint32_t i = 0; i < CHUNKS; i++)
		assert_int_equal(reached[i], i % 7 != 0);
	assert_int_equal(cast_plan_make(&m, NULL, 0, missing, NULL, &none, &err), -ENOENT);
	assert_non_null(strstr(err->text, "not in the store"));
}

/* A kernel that lies on the disk too is no reason to wait for the disk. */
static void what_a_vm_starts_with_goes_first(void **state)
{
	auto_manifest struct manifest m = image();
	auto_cast_plan struct cast_plan plan = {0};
	struct manifest_chunk *kernel = vec_add(&m.parts[PART_KERNEL].chunks);

	(void)state;
	m.parts[PART_KERNEL].present = true;
	kernel->digest = m.parts[PART_DISK].chunks.at[600].digest;
	plan = plan_of(&m);
	assert_int_equal(plan.at[0].number, 600);
	assert_int_equal(plan.same[600], CHUNKS);
	assert_int_equal(plan.at[1].number, 500);
}

static void the_plan_comes_back(void **state)
{
	auto_manifest struct manifest m = image();
	auto_cast_plan struct cast_plan plan = plan_of(&m), back = {0}, none = {0};
	auto_free char *text = manifest_write(&m), *got = NULL;
	struct sha256 digest = sha256_of(text, strlen(text));
	auto_free void *bytes = NULL;
	uint32_t len, length;
	char hex[SHA256_TEXT];
	size_t got_len;

	(void)state;
	sha256_format(&digest, hex);
	assert_int_equal(cast_plan_pack(&plan, &m, &bytes, &len, &length, NULL), 0);
	assert_int_equal(cast_plan_unpack(bytes, len, length, hex, &got, &got_len, &back, NULL), 0);
	assert_string_equal(got, text);
	assert_int_equal(got_len, strlen(text));
	assert_int_equal(back.n, plan.n);
	assert_memory_equal(back.at, plan.at, plan.n * sizeof(*plan.at));
	assert_memory_equal(back.same, plan.same, plan.n_chunks * sizeof(*plan.same));
	assert_int_equal(back.bytes, plan.bytes);
	free(TAKE_PTR(got));
	/* another image than the one that was asked for; a length that lies; cut anywhere */
	hex[5] = hex[5] == '0' ? '1' : '0';
	assert_int_equal(
		cast_plan_unpack(bytes, len, length, hex, &got, &got_len, &none, NULL), -EBADMSG);
	sha256_format(&digest, hex);
	assert_int_equal(cast_plan_unpack(bytes, len, length - 1, hex, &got, &got_len, &none, NULL),
		-EBADMSG);
	assert_int_equal(cast_plan_unpack(bytes, len, UINT32_MAX, hex, &got, &got_len, &none, NULL),
		-EBADMSG);
	for (uint32_t cut = 0; cut < len; cut += 97)
		assert_int_equal(
			cast_plan_unpack(bytes, cut, length, hex, &got, &got_len, &none, NULL),
			-EBADMSG);
	assert_null(got);
}

/* Lists that do not fit the manifest, however well they are packed. */
static void a_lying_plan_is_refused(void **state)
{
	auto_manifest struct manifest m = image();
	auto_free char *text = manifest_write(&m), *got = NULL;
	struct sha256 digest = sha256_of(text, strlen(text));
	char hex[SHA256_TEXT];
	size_t got_len;

	(void)state;
	sha256_format(&digest, hex);
	for (int way = 0; way < 6; way++) {
		auto_cast_plan struct cast_plan plan = plan_of(&m), back = {0};
		auto_free void *bytes = NULL;
		uint32_t len, length;
		int want = way == 0 ? 0 : -EBADMSG;

		if (way == 1)
			plan.n--; /* one is missing */
		if (way == 2)
			plan.at[9].number = plan.at[8].number; /* twice */
		if (way == 3)
			plan.at[9].number = 14; /* zero */
		if (way == 4)
			plan.at[9].number = CHUNKS; /* none */
		if (way == 5)
			plan.same[1] = 2; /* not the same */
		assert_int_equal(cast_plan_pack(&plan, &m, &bytes, &len, &length, NULL), 0);
		assert_int_equal(
			cast_plan_unpack(bytes, len, length, hex, &got, &got_len, &back, NULL),
			want);
		free(TAKE_PTR(got));
	}
}

static void a_block_is_laid_out(void **state)
{
	auto_manifest struct manifest m = image();
	auto_cast_plan struct cast_plan plan = plan_of(&m);
	static struct cast_layout layout;
	struct cast_block block = {.n_ranges = 2, .ranges = {{10, 3}, {2, 1}}};
	struct cast_block bad[] = {
		{.n_ranges = 1, .ranges = {{plan.n, 1}}},
		{.n_ranges = 1, .ranges = {{UINT32_MAX, 2}}},
		{.n_ranges = 1, .ranges = {{0, plan.n}}}, /* more than a block may have */
		{.n_ranges = 1, .of_plan = true, .ranges = {{4000, 1001}}},
	};

	(void)state;
	assert_int_equal(cast_layout_make(&block, &plan, 0, &layout), 0);
	assert_int_equal(layout.n, 4);
	assert_int_equal(layout.at[3], 2);
	assert_int_equal(layout.from[1], plan.at[10].len);
	assert_int_equal(layout.from[4], layout.bytes);
	assert_int_equal(layout.sources, (layout.bytes + CAST_PAYLOAD - 1) / CAST_PAYLOAD);
	assert_int_equal(layout.groups, (layout.sources + 199) / 200);
	block = (struct cast_block){.n_ranges = 1, .of_plan = true, .ranges = {{4000, 1000}}};
	assert_int_equal(cast_layout_make(&block, NULL, 5000, &layout), 0);
	assert_int_equal(layout.bytes, 1000);
	assert_int_equal(layout.n, 0);
	for (size_t i = 0; i < ARRAY_LEN(bad); i++)
		assert_int_equal(cast_layout_make(&bad[i], &plan, 5000, &layout), -EBADMSG);
}

/* Groups share the sources of a block without rest, and none is larger than the code allows. */
static void groups_share_the_sources(void **state)
{
	(void)state;
	for (unsigned sources = 1; sources <= CAST_BLOCK_SOURCES; sources++) {
		unsigned groups = cast_groups(sources), sum = 0;

		for (unsigned g = 0; g < groups; g++) {
			sum += cast_group_size(sources, groups, g);
			assert_in_range(cast_group_size(sources, groups, g), 1, CAST_GROUP_SOURCES);
		}
		assert_int_equal(sum, sources);
		assert_in_range(groups, 1, CAST_GROUPS);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_frame_comes_back),
		cmocka_unit_test(the_largest_fit),
		cmocka_unit_test(cut_or_longer_is_refused),
		cmocka_unit_test(claims_beyond_the_arrays_are_refused),
		cmocka_unit_test(noise_is_harmless),
		cmocka_unit_test(the_plan_has_all_once),
		cmocka_unit_test(what_a_vm_starts_with_goes_first),
		cmocka_unit_test(the_plan_comes_back),
		cmocka_unit_test(a_lying_plan_is_refused),
		cmocka_unit_test(a_block_is_laid_out),
		cmocka_unit_test(groups_share_the_sources),
	};

	srand(4);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
