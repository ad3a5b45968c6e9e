/* SPDX-License-Identifier: GPL-2.0-or-later */
/* An image being cast: its plan, and which of its chunks should go out next.
 *
 * There is no list of work. Each time a block has to be filled, the needs of all receivers are put
 * together anew, without what is on its way, and taken in the plan's order from where the last
 * block ended. That makes a carousel: who joins late, lost a block, or held a part of the image all
 * along is served by the same few lines, and what nobody needs is never sent.
 *
 * Two things go before: the plan, without which a receiver can do nothing, and chunks that a
 * machine is waiting for. The latter make small blocks, so that they are repaired and done at once.
 */
#include "images/cast_send_inside.h"

#include <sys/stat.h>

#include "images/chunk.h"
#include "images/store.h"
#include "images/trace.h"

enum {
	URGENT_BYTES = 2 << 20,
	LEAST_BYTES = 1 << 20, /* of a block of the bulk */
	LAST_BLOCKS = 4,       /* a block is at most such a part of what is left */
	BAD_MOST = 16,	       /* chunks that cannot be read: none of the image will be */
	BAD_MS = 60000,	       /* until they are tried again */
	GATHER_MS = 4,	       /* who comes brings others: the plan waits for those */
	PLAN_VAIN_MAX =
		6, /* each time nobody new came, the next sending of the plan waits twice as long */
};

/* One that is not there has its place in the plan all the same; what is sent in it, as long as we
 * send, is no use to anybody. */
static int stored_len(const struct sha256 *digest, uint32_t *ret_len, void *arg)
{
	auto_free char *path = chunkstore_chunk_path(arg, digest);
	struct stat st;
	bool there = stat(path, &st) == 0 && st.st_size > 0 && st.st_size <= CHUNK_PACKED_MAX;

	*ret_len = there ? (uint32_t)st.st_size : 1;
	return 0;
}

static int make_plan(struct send_image *image, const char *store, struct error **err)
{
	struct trace trace = {0};
	size_t n_chunks = 0;
	int r;

	for (int i = 0; i < PART_COUNT; i++)
		n_chunks += image->manifest.parts[i].chunks.n;
	trace_of_store(store, image->digest, n_chunks, &trace);
	r = cast_plan_make(
		&image->manifest, trace.at, trace.n, stored_len, (void *)store, &image->plan, err);
	vec_done(&trace);
	if (r == 0)
		r = cast_plan_pack(&image->plan, &image->manifest, &image->plan_bytes,
			&image->plan_len, &image->plan_length, err);
	return r;
}

int send_image_open(struct send_image *image, const char *store, const char *digest, uint8_t number,
	struct error **err)
{
	auto_chunkstore struct chunkstore *chunks = NULL;
	int r = chunkstore_open(store, CHUNKSTORE_READ, &chunks, err);

	image->digest = xstrdup(digest);
	image->number = number;
	if (r == 0 && sha256_parse(digest, &image->name) < 0)
		r = error_make(err, -EINVAL, "an image digest has 64 lower-case hex digits");
	if (r == 0)
		r = chunkstore_get_manifest(chunks, &image->name, &image->manifest, err);
	if (r == 0)
		r = make_plan(image, store, err);
	if (r < 0)
		return error_wrap(err, r, "image %.12s", digest);
	image->words = image->plan.n / 64 + 1;
	image->busy = xcalloc(image->words, sizeof(uint64_t));
	image->wanted = xcalloc(image->words, sizeof(uint64_t));
	image->needed = xcalloc(image->words, sizeof(uint64_t));
	image->read = xcalloc(image->words, sizeof(uint64_t));
	image->bad = xcalloc(image->words, sizeof(uint64_t));
	image->index = chunk_index_new(&image->manifest);
	image->plan_cursor = image->plan_len;
	return 0;
}

void send_image_close(struct send_image *image)
{
	free(image->digest);
	manifest_done(&image->manifest);
	cast_plan_done(&image->plan);
	free(image->plan_bytes);
	free(image->busy);
	free(image->wanted);
	free(image->needed);
	free(image->read);
	free(image->bad);
	chunk_index_free(image->index);
}

struct send_image *send_image_find(struct sender *sender, const struct sha256 *name)
{
	for (size_t i = 0; i < sender->n_images; i++)
		if (memcmp(sender->images[i].name.b, name->b, SHA256_LEN) == 0)
			return &sender->images[i];
	return NULL;
}

/* ---- what next ---- */

/* Adds chunk `at` to the block; false: it is full. */
static bool add_chunk(struct send_block *block, const struct cast_plan *plan, uint32_t at,
	uint32_t most, uint32_t *bytes)
{
	struct cast_block *what = &block->what;
	struct cast_range *last = what->n_ranges ? &what->ranges[what->n_ranges - 1] : NULL;

	if (*bytes + plan->at[at].len > most)
		return false;
	if (last && last->first + last->count == at) {
		last->count++;
	} else if (what->n_ranges < CAST_RANGES) {
		what->ranges[what->n_ranges++] = (struct cast_range){at, 1};
	} else {
		return false;
	}
	*bytes += plan->at[at].len;
	return true;
}

/* From `from` on, the chunks set in `bits`, at most so many bytes; returns where it stopped. */
static uint32_t fill(struct send_block *block, const struct send_image *image, const uint64_t *bits,
	uint32_t from, uint32_t most)
{
	uint32_t bytes = 0, n = 0;

	while (from < image->plan.n && n < CAST_BLOCK_CHUNKS) {
		uint64_t word = bits[from / 64] >> from % 64;

		if (word == 0) {
			from = (from / 64 + 1) * 64;
			continue;
		}
		from += (uint32_t)__builtin_ctzll(word);
		if (!add_chunk(block, &image->plan, from, most, &bytes))
			break;
		from++;
		n++;
	}
	return from < image->plan.n ? from : image->plan.n;
}

bool send_image_wanted(struct sender *sender, struct send_image *image, struct send_block *block)
{
	(void)sender;
	if (image->n_wanted == 0)
		return false;
	block->urgent = true;
	block->what.n_ranges = 0;
	fill(block, image, image->wanted, 0, URGENT_BYTES);
	for (unsigned i = 0; i < block->what.n_ranges; i++)
		for (uint32_t c = 0; c < block->what.ranges[i].count; c++) {
			bit64_set(image->wanted, block->what.ranges[i].first + c, false);
			image->n_wanted--;
		}
	return block->what.n_ranges > 0;
}

static bool plan_missed(const struct sender *sender, const struct send_image *image)
{
	for (size_t i = 0; i < sender->n_members; i++) {
		const struct send_member *member = &sender->members[i];

		if (member->image == image && send_member_active(member) && !member->has_plan)
			return true;
	}
	return false;
}

bool send_image_plan(struct sender *sender, struct send_image *image, struct send_block *block)
{
	uint32_t left;

	if (sender->now_ms - image->came_ms < GATHER_MS)
		return false;
	if (image->plan_cursor == image->plan_len) {
		double own_ms = 8e3 * image->plan_len / sender->rate.rate;
		double pause_ms = (SEND_PLAN_PAUSE_MS + 2 * own_ms) * (1 << image->plan_vain);

		if ((double)(sender->now_ms - image->plan_sent_ms) < pause_ms ||
			!plan_missed(sender, image))
			return false;
		image->plan_cursor = 0;
		if (image->plan_vain < PLAN_VAIN_MAX)
			image->plan_vain++;
	}
	left = image->plan_len - image->plan_cursor;
	if (left > CAST_BLOCK_BYTES)
		left = CAST_BLOCK_BYTES;
	block->urgent = true;
	block->what.of_plan = true;
	block->what.n_ranges = 1;
	block->what.ranges[0] = (struct cast_range){image->plan_cursor, left};
	image->plan_cursor += left;
	image->plan_sent_ms = sender->now_ms;
	return true;
}

/* All needs together, of those who have shown that they hear: nothing is cast into a lab where no
 * multicast gets through. */
static void gather(const struct sender *sender, struct send_image *image)
{
	memset(image->needed, 0, image->words * sizeof(uint64_t));
	for (size_t i = 0; i < sender->n_members; i++) {
		const struct send_member *member = &sender->members[i];

		if (member->image != image || !send_member_active(member) || !member->has_plan ||
			member->n_need == 0)
			continue;
		for (uint32_t w = 0; w < image->words; w++)
			image->needed[w] |= member->need[w];
	}
	for (uint32_t w = 0; w < image->words; w++)
		image->needed[w] &= ~image->busy[w] & ~image->bad[w];
}

static uint64_t bytes_needed(const struct send_image *image)
{
	uint64_t bytes = 0;

	for (uint32_t w = 0; w < image->words; w++)
		for (uint64_t bits = image->needed[w]; bits; bits &= bits - 1)
			bytes += image->plan.at[w * 64 + (uint32_t)__builtin_ctzll(bits)].len;
	return bytes;
}

/* Nothing else of the image is to be sent: those who lack much of its blocks have their turn, for
 * other images may go on for long. */
static void relent(struct sender *sender, const struct send_image *image)
{
	for (unsigned b = 0; b < SEND_BLOCKS; b++)
		if (sender->blocks[b].open && sender->blocks[b].image == image)
			send_block_relent(sender, &sender->blocks[b]);
}

/* Blocks become smaller towards the end: what is repaired last is unpacked last, by all receivers
 * at once while the wire is idle. */
bool send_image_bulk(struct sender *sender, struct send_image *image, struct send_block *block)
{
	uint64_t most;

	block->what.n_ranges = 0;
	gather(sender, image);
	most = bytes_needed(image) / LAST_BLOCKS;
	most = most > CAST_BLOCK_BYTES ? CAST_BLOCK_BYTES : most < LEAST_BYTES ? LEAST_BYTES : most;
	image->cursor = fill(block, image, image->needed, image->cursor, (uint32_t)most);
	if (block->what.n_ranges == 0)
		image->cursor = fill(block, image, image->needed, 0, (uint32_t)most);
	if (block->what.n_ranges == 0)
		relent(sender, image);
	return block->what.n_ranges > 0;
}

bool send_image_left(const struct sender *sender, struct send_image *image)
{
	gather(sender, image);
	for (uint32_t w = 0; w < image->words; w++)
		if (image->needed[w])
			return true;
	return false;
}

void send_image_bad(const struct sender *sender, struct send_image *image, uint32_t at)
{
	if (bit64(image->bad, at))
		return;
	bit64_set(image->bad, at, true);
	image->bad_ms = sender->now_ms;
	if (++image->n_bad >= BAD_MOST)
		memset(image->bad, 0xff, image->words * sizeof(uint64_t));
}

void send_image_tick(const struct sender *sender, struct send_image *image)
{
	if (image->n_bad == 0 || sender->now_ms - image->bad_ms < BAD_MS)
		return;
	memset(image->bad, 0, image->words * sizeof(uint64_t));
	image->n_bad = 0;
}
