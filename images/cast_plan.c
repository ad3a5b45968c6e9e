/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The plan of a cast.
 *
 * Order: kernel and initrd, what the first boot of this image read, then everything by number,
 * because files that are read together tend to lie together. A content that occurs at several
 * places is sent once; the plan says where else it belongs.
 *
 * On the wire the plan is one zstd frame over the manifest's text and two lists in the manner of
 * LEB128: for each entry the step from the number expected next (mostly 0) and the packed length;
 * then for each further place of a content its number and the number it equals. The receiver checks
 * the text against the digest from its goal, and the lists against the manifest: a forged plan can
 * cost time, since chunks then do not unpack, but not memory and not correctness.
 *
 * This file knows neither sockets nor files.
 */
#include "images/cast_plan.h"

#include <zstd.h>

#include "images/chunk.h"

enum {
	PLAN_LEVEL = 3,
	PLAN_MAX = MANIFEST_MAX_BYTES + (32 << 20), /* unpacked */
	NUMBER_MAX = 5,				    /* bytes of a number */
};

const struct manifest_chunk *cast_chunk(const struct manifest *manifest, uint32_t number)
{
	size_t left = number;

	for (int i = 0; i < PART_COUNT; i++) {
		const struct manifest_chunks *chunks = &manifest->parts[i].chunks;

		if (left < chunks->n)
			return &chunks->at[left];
		left -= chunks->n;
	}
	return NULL;
}

static uint32_t count_chunks(const struct manifest *manifest)
{
	size_t n = 0;

	for (int i = 0; i < PART_COUNT; i++)
		n += manifest->parts[i].chunks.n;
	return (uint32_t)n;
}

void cast_plan_done(struct cast_plan *plan)
{
	free(plan->at);
	free(plan->same);
	*plan = (struct cast_plan){0};
}

static void plan_init(struct cast_plan *plan, const struct manifest *manifest)
{
	*plan = (struct cast_plan){.n_chunks = count_chunks(manifest)};
	plan->at = xcalloc(plan->n_chunks, sizeof(*plan->at));
	plan->same = xcalloc(plan->n_chunks, sizeof(*plan->same));
	memset(plan->same, 0xff, plan->n_chunks * sizeof(*plan->same));
}

/* ---- making ---- */

struct named {
	const struct sha256 *digest;
	uint32_t number;
};

static int named_cmp(const void *a, const void *b)
{
	const struct named *x = a, *y = b;
	int order = memcmp(x->digest->b, y->digest->b, SHA256_LEN);

	return order ? order : (x->number > y->number) - (x->number < y->number);
}

/* Chains chunks of the same content, lowest number first; ret_first[n] is where the chain of chunk n
 * begins. */
static void find_same(const struct manifest *manifest, struct cast_plan *plan, uint32_t *ret_first)
{
	struct named *all = xcalloc(plan->n_chunks + 1, sizeof(*all));
	size_t n = 0;

	for (uint32_t i = 0; i < plan->n_chunks; i++) {
		const struct manifest_chunk *chunk = cast_chunk(manifest, i);

		ret_first[i] = i;
		if (!chunk->zero)
			all[n++] = (struct named){&chunk->digest, i};
	}
	qsort(all, n, sizeof(*all), named_cmp);
	for (size_t i = 1; i < n; i++)
		if (memcmp(all[i].digest->b, all[i - 1].digest->b, SHA256_LEN) == 0) {
			plan->same[all[i - 1].number] = all[i].number;
			ret_first[all[i].number] = ret_first[all[i - 1].number];
		}
	free(all);
}

struct making {
	const struct manifest *manifest;
	cast_packed_len_fn *packed_len;
	void *arg;
	uint32_t *first; /* by number: the first chunk with the same content */
	uint8_t *done;	 /* by number of such a first one: it is in the plan */
};

/* Adds the content of chunk `number`, by the first number it has. Nothing is there: adds nothing. */
static int entry_add(
	struct cast_plan *plan, struct making *making, uint32_t number, struct error **err)
{
	const struct manifest_chunk *chunk = cast_chunk(making->manifest, number);
	struct cast_entry *entry = &plan->at[plan->n];
	char hex[SHA256_TEXT];
	int r;

	if (!chunk || chunk->zero || making->done[making->first[number]])
		return 0;
	number = making->first[number];
	r = making->packed_len(&chunk->digest, &entry->len, making->arg);
	if (r == 0 && (entry->len == 0 || entry->len > CHUNK_PACKED_MAX))
		r = -EBADMSG;
	if (r < 0)
		return error_make(err, r,
			"chunk %.12s of the image is not in the store as it should be",
			sha256_format(&chunk->digest, hex));
	entry->number = number;
	making->done[number] = 1;
	plan->bytes += entry->len;
	plan->n++;
	return 0;
}

int cast_plan_make(const struct manifest *manifest, const uint32_t *trace, size_t n_trace,
	cast_packed_len_fn *packed_len, void *arg, struct cast_plan *ret_plan, struct error **err)
{
	auto_cast_plan struct cast_plan plan = {0};
	auto_free uint32_t *first = NULL;
	auto_free uint8_t *done = NULL;
	struct making making;
	int r = 0;

	plan_init(&plan, manifest);
	first = xcalloc(plan.n_chunks + 1, sizeof(*first));
	done = xcalloc(plan.n_chunks + 1, 1);
	making = (struct making){manifest, packed_len, arg, first, done};
	find_same(manifest, &plan, first);
	/* A VM cannot start without kernel and initrd, whose numbers follow the disk's. */
	for (uint32_t i = (uint32_t)manifest->parts[PART_DISK].chunks.n;
		i < plan.n_chunks && r == 0; i++)
		r = entry_add(&plan, &making, i, err);
	for (size_t i = 0; i < n_trace && r == 0; i++)
		r = entry_add(&plan, &making, trace[i], err);
	for (uint32_t i = 0; i < plan.n_chunks && r == 0; i++)
		r = entry_add(&plan, &making, i, err);
	if (r < 0)
		return r;
	*ret_plan = plan;
	plan = (struct cast_plan){0};
	return 0;
}

/* ---- to bytes ---- */

static void number_add(struct buf *b, uint32_t value)
{
	uint8_t bytes[NUMBER_MAX];
	size_t n = 0;

	for (; value >= 128; value >>= 7)
		bytes[n++] = (uint8_t)(value | 128);
	bytes[n++] = (uint8_t)value;
	buf_add(b, bytes, n);
}

/* Small steps either way become small numbers. */
static uint32_t zigzag(uint32_t step)
{
	return step << 1 ^ (step >> 31 ? UINT32_MAX : 0);
}

static uint32_t zagzig(uint32_t value)
{
	return value >> 1 ^ (value & 1 ? UINT32_MAX : 0);
}

static void plan_write(const struct cast_plan *plan, const char *text, struct buf *b)
{
	uint32_t next = 0, n_same = 0;

	number_add(b, (uint32_t)strlen(text));
	buf_adds(b, text);
	number_add(b, plan->n);
	for (uint32_t i = 0; i < plan->n; i++) {
		number_add(b, zigzag(plan->at[i].number - next));
		number_add(b, plan->at[i].len);
		next = plan->at[i].number + 1;
	}
	for (uint32_t i = 0; i < plan->n_chunks; i++)
		n_same += plan->same[i] != CAST_NONE;
	number_add(b, n_same);
	for (uint32_t i = 0; i < plan->n_chunks; i++)
		if (plan->same[i] != CAST_NONE) {
			number_add(b, i);
			number_add(b, plan->same[i]);
		}
}

int cast_plan_pack(const struct cast_plan *plan, const struct manifest *manifest, void **ret_bytes,
	uint32_t *ret_len, uint32_t *ret_length, struct error **err)
{
	auto_free char *text = manifest_write(manifest);
	auto_buf struct buf b = {0};
	void *bytes;
	size_t n;

	plan_write(plan, text, &b);
	if (b.len > PLAN_MAX)
		return error_make(err, -E2BIG, "the image has too many chunks for a cast");
	n = ZSTD_compressBound(b.len);
	bytes = xcalloc(1, n);
	n = ZSTD_compress(bytes, n, b.text, b.len, PLAN_LEVEL);
	if (ZSTD_isError(n)) {
		free(bytes);
		return error_make(err, -EIO, "the plan of the cast could not be compressed: %s",
			ZSTD_getErrorName(n));
	}
	*ret_bytes = bytes;
	*ret_len = (uint32_t)n;
	*ret_length = (uint32_t)b.len;
	return 0;
}

/* ---- and back ---- */

struct reader {
	const uint8_t *at, *end;
	bool bad;
};

static uint32_t number_take(struct reader *r, uint32_t max)
{
	uint64_t value = 0;

	for (unsigned i = 0; i < NUMBER_MAX && r->at < r->end; i++) {
		uint8_t byte = *r->at++;

		value |= (uint64_t)(byte & 127) << 7 * i;
		if (byte < 128) {
			r->bad |= value > max;
			return r->bad ? 0 : (uint32_t)value;
		}
	}
	r->bad = true;
	return 0;
}

/* Entries: each names another chunk that is not zero. */
static void entries_take(
	struct reader *r, const struct manifest *manifest, struct cast_plan *plan, uint8_t *seen)
{
	uint32_t n = number_take(r, plan->n_chunks), next = 0;

	while (plan->n < n && !r->bad) {
		uint32_t number = next + zagzig(number_take(r, UINT32_MAX));
		uint32_t len = number_take(r, CHUNK_PACKED_MAX);
		const struct manifest_chunk *chunk = cast_chunk(manifest, number);

		if (r->bad || !chunk || chunk->zero || seen[number] || len == 0) {
			r->bad = true;
			return;
		}
		seen[number] = 1;
		plan->at[plan->n++] = (struct cast_entry){number, len};
		plan->bytes += len;
		next = number + 1;
	}
}

/* Further places: each of the same content as a lower number, each once. */
static void same_take(
	struct reader *r, const struct manifest *manifest, struct cast_plan *plan, uint8_t *seen)
{
	uint32_t n = number_take(r, plan->n_chunks);

	for (uint32_t i = 0; i < n && !r->bad; i++) {
		uint32_t number = number_take(r, UINT32_MAX);
		uint32_t other = number_take(r, UINT32_MAX);
		const struct manifest_chunk *a = cast_chunk(manifest, number);
		const struct manifest_chunk *b = cast_chunk(manifest, other);

		if (r->bad || !a || !b || a->zero || b->zero || number >= other || seen[other] ||
			!seen[number] || plan->same[number] != CAST_NONE ||
			memcmp(a->digest.b, b->digest.b, SHA256_LEN) != 0) {
			r->bad = true;
			return;
		}
		plan->same[number] = other;
		seen[other] = 1;
	}
}

/* Every chunk with data has its way. */
static bool all_seen(const struct manifest *manifest, const uint8_t *seen, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++)
		if (!seen[i] && !cast_chunk(manifest, i)->zero)
			return false;
	return true;
}

static int lists_read(struct reader *reader, const struct manifest *manifest,
	struct cast_plan *ret_plan, struct error **err)
{
	auto_cast_plan struct cast_plan plan = {0};
	auto_free uint8_t *seen = NULL;

	plan_init(&plan, manifest);
	seen = xcalloc(plan.n_chunks + 1, 1);
	entries_take(reader, manifest, &plan, seen);
	same_take(reader, manifest, &plan, seen);
	if (reader->bad || reader->at != reader->end || !all_seen(manifest, seen, plan.n_chunks))
		return error_make(err, -EBADMSG, "the plan of the cast does not fit its manifest");
	*ret_plan = plan;
	plan = (struct cast_plan){0};
	return 0;
}

static int text_check(const char *text, size_t len, const char *digest, struct manifest *manifest,
	struct error **err)
{
	struct sha256 seen = sha256_of(text, len);
	char hex[SHA256_TEXT];

	if (strcmp(sha256_format(&seen, hex), digest) != 0)
		return error_make(
			err, -EBADMSG, "the cast sent a manifest whose digest does not match");
	return manifest_read(text, len, manifest, err);
}

int cast_plan_unpack(const void *bytes, uint32_t len, uint32_t length, const char *digest,
	char **ret_text, size_t *ret_text_len, struct cast_plan *ret_plan, struct error **err)
{
	auto_manifest struct manifest manifest = {0};
	auto_free uint8_t *plain = NULL;
	struct reader reader;
	uint32_t text_len;
	size_t n;
	int r;

	if (length > PLAN_MAX || length == 0)
		return error_make(err, -EBADMSG, "the cast announces a plan of %u bytes", length);
	plain = xcalloc(1, length);
	n = ZSTD_decompress(plain, length, bytes, len);
	if (ZSTD_isError(n) || n != length)
		return error_make(err, -EBADMSG, "the plan of the cast is damaged");
	reader = (struct reader){plain, plain + length, false};
	text_len = number_take(&reader, MANIFEST_MAX_BYTES);
	if (reader.bad || text_len > (size_t)(reader.end - reader.at))
		return error_make(err, -EBADMSG, "the plan of the cast is damaged");
	r = text_check((const char *)reader.at, text_len, digest, &manifest, err);
	if (r < 0)
		return r;
	*ret_text = xstrndup((const char *)reader.at, text_len);
	reader.at += text_len;
	r = lists_read(&reader, &manifest, ret_plan, err);
	if (r < 0)
		free(TAKE_PTR(*ret_text));
	else
		*ret_text_len = text_len;
	return r;
}

/* ---- blocks ---- */

static int layout_of_plan(
	const struct cast_range *range, uint32_t plan_bytes, struct cast_layout *layout)
{
	if (range->first > plan_bytes || range->count > plan_bytes - range->first)
		return -EBADMSG;
	layout->bytes = range->count;
	return 0;
}

static int layout_add(
	const struct cast_range *range, const struct cast_plan *plan, struct cast_layout *layout)
{
	if (range->first > plan->n || range->count > plan->n - range->first ||
		range->count > (uint32_t)CAST_BLOCK_CHUNKS - layout->n)
		return -EBADMSG;
	for (uint32_t i = 0; i < range->count; i++) {
		uint32_t len = plan->at[range->first + i].len;

		if (len > CAST_BLOCK_BYTES - layout->bytes)
			return -EBADMSG;
		layout->at[layout->n] = range->first + i;
		layout->from[layout->n++] = layout->bytes;
		layout->bytes += len;
		layout->from[layout->n] = layout->bytes;
	}
	return 0;
}

int cast_layout_make(const struct cast_block *block, const struct cast_plan *plan,
	uint32_t plan_bytes, struct cast_layout *ret_layout)
{
	int r = 0;

	ret_layout->n = 0;
	ret_layout->bytes = 0;
	for (unsigned i = 0; i < block->n_ranges && r == 0; i++)
		r = block->of_plan ? layout_of_plan(&block->ranges[i], plan_bytes, ret_layout)
				   : layout_add(&block->ranges[i], plan, ret_layout);
	if (r < 0 || ret_layout->bytes == 0 || ret_layout->bytes > CAST_BLOCK_BYTES)
		return -EBADMSG;
	ret_layout->sources = (uint16_t)cast_sources(ret_layout->bytes);
	ret_layout->groups = (uint16_t)cast_groups(ret_layout->sources);
	return 0;
}
