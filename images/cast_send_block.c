/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A block on its way: its source packets once, then as many parities as the worst receiver lacks.
 *
 * After the last source everybody is asked what they lack (a round). A report names the round, and
 * the block remembers how many parities had gone out when that round was asked for; so a report
 * says how many must have gone out in all, whenever it arrives and however often. Lost, late and
 * repeated reports therefore do no harm: the target only grows. When it is reached the next round
 * is asked for, until everybody has settled, or nobody says anything new any more; who did not
 * settle still needs the chunks and will be served by a later block.
 *
 * A receiver that lacks more than a part of a group is not repaired here, since all others would
 * pay for it: it is far behind and says which chunks it needs after all.
 *
 * The frames lie in memory with their headers, end to end, as the kernel wants them for one system
 * call; chunks are read straight into that shape while the block goes out.
 */
#include "images/cast_send_inside.h"

#include <fcntl.h>

#include "images/chunk.h"
#include "images/fec.h"
#include "images/store.h"

enum {
	ROUND_PAUSE_MS = 12, /* after the spread: so long most answers are on their way */
	ROUND_AGAIN_MS = 50, /* more, while there is something else to send */
	ROUND_SLOWER = 3,    /* nobody answers: each question waits twice as long, so often */
	VAIN_MS = 1500,	     /* without any news */
	REPAIR_LEAST = 12,   /* packets of a group that are repaired for anybody */
	AHEAD_MORE = 2,	     /* so many of every group take less time than a round */
};

/* ---- opening and closing ---- */

static uint8_t *buffer_take(struct sender *sender)
{
	return sender->n_spare ? sender->spare[--sender->n_spare]
			       : xcalloc(CAST_BLOCK_SOURCES, CAST_FRAME_MAX);
}

/* A chunk may be in two blocks, one of them urgent. */
static void mark_busy(struct sender *sender, struct send_image *image)
{
	memset(image->busy, 0, image->words * sizeof(uint64_t));
	for (unsigned b = 0; b < SEND_BLOCKS; b++) {
		const struct send_block *block = &sender->blocks[b];

		if (!block->open || block->image != image)
			continue;
		for (unsigned i = 0; i < block->layout.n; i++)
			bit64_set(image->busy, block->layout.at[i], true);
	}
}

void send_block_open(struct sender *sender, struct send_image *image, struct send_block *block)
{
	block->image = image;
	block->what.block = sender->next_block;
	block->what.image = image->number;
	sender->next_block = (uint16_t)((sender->next_block + 1) % CAST_CONTROL);
	if (cast_layout_make(&block->what, &image->plan, image->plan_len, &block->layout) < 0)
		abort(); /* our own */
	block->frames = buffer_take(sender);
	block->open = true;
	block->opened_ms = sender->now_ms;
	for (unsigned i = 0; i < block->layout.sources; i++)
		cast_put_header(block->frames + (size_t)i * CAST_FRAME_MAX, sender->session,
			block->what.block, (uint16_t)i);
	mark_busy(sender, image);
	send_block_frame(sender, block, CAST_SILENT);
}

void send_block_close(struct sender *sender, struct send_block *block)
{
	struct send_image *image = block->image;

	sender->spare[sender->n_spare++] = block->frames;
	memset(block, 0, sizeof(*block));
	mark_busy(sender, image);
}

/* ---- content ---- */

/* Bytes at offset `at` of the block's content, into their frames. */
static void content_put(struct send_block *block, uint32_t at, const uint8_t *bytes, size_t len)
{
	while (len > 0) {
		size_t in = at % CAST_PAYLOAD,
		       n = CAST_PAYLOAD - in < len ? CAST_PAYLOAD - in : len;

		memcpy(block->frames + (size_t)(at / CAST_PAYLOAD) * CAST_FRAME_MAX + CAST_HEADER +
				in,
			bytes, n);
		bytes += n;
		at += (uint32_t)n;
		len -= n;
	}
}

static int chunk_file_read(const char *path, uint8_t *bytes, size_t len)
{
	auto_close int fd = open(path, O_RDONLY | O_CLOEXEC);
	size_t got = 0;

	if (fd < 0)
		return -errno;
	while (got < len) {
		ssize_t n = pread(fd, bytes + got, len - got, (off_t)got);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? -errno : -EBADMSG;
		got += (size_t)n;
	}
	return 0;
}

/* A chunk that has to go out again may have been lost on its way, or be damaged in the store; the
 * latter would be sent for ever. */
static int chunk_check(struct sender *sender, struct send_image *image, uint32_t at,
	const uint8_t *packed, size_t packed_len)
{
	static uint8_t plain[CHUNK_SIZE];
	const struct sha256 *digest;
	size_t len;

	if (!bit64(image->read, at)) {
		bit64_set(image->read, at, true);
		return 0;
	}
	digest = chunk_index_digest(image->index, image->plan.at[at].number, &len);
	return chunk_unpack(sender->coder, packed, packed_len, digest, plain, len, NULL);
}

static void chunk_load(struct sender *sender, struct send_block *block)
{
	static uint8_t packed[CHUNK_PACKED_MAX];
	uint32_t at = block->layout.at[block->chunk];
	const struct cast_entry *entry = &block->image->plan.at[at];
	const struct manifest_chunk *chunk = cast_chunk(&block->image->manifest, entry->number);
	auto_free char *path = chunkstore_chunk_path(sender->job->store, &chunk->digest);
	int r = chunk_file_read(path, packed, entry->len);

	if (r == 0)
		r = chunk_check(sender, block->image, at, packed, entry->len);
	if (r < 0) {
		send_image_bad(sender, block->image, at);
		memset(packed, 0, entry->len);
	}
	content_put(block, block->loaded, packed, entry->len);
	block->loaded += entry->len;
	block->chunk++;
}

/* The content up to `end`, and behind the last byte zeros. */
static void load_until(struct sender *sender, struct send_block *block, uint32_t end)
{
	static const uint8_t zeros[CAST_PAYLOAD];
	uint32_t bytes = block->layout.bytes;

	if (end > bytes)
		end = bytes;
	while (block->loaded < end) {
		if (block->what.of_plan) {
			content_put(block, 0,
				(const uint8_t *)block->image->plan_bytes +
					block->what.ranges[0].first,
				bytes);
			block->loaded = bytes;
			break;
		}
		chunk_load(sender, block);
	}
	if (end == bytes && bytes % CAST_PAYLOAD)
		content_put(block, bytes, zeros, CAST_PAYLOAD - bytes % CAST_PAYLOAD);
}

unsigned send_block_sources(
	struct sender *sender, struct send_block *block, unsigned max, const uint8_t **ret_frames)
{
	unsigned n = block->layout.sources - block->next;

	if (n > max)
		n = max;
	if (n == 0)
		return 0;
	load_until(sender, block, (block->next + n) * CAST_PAYLOAD);
	*ret_frames = block->frames + (size_t)block->next * CAST_FRAME_MAX;
	block->next = (uint16_t)(block->next + n);
	block->repaired = true;
	if (block->next < block->layout.sources &&
		block->next * 4 / block->layout.sources > block->quarter) {
		block->quarter++;
		send_block_frame(sender, block, CAST_SILENT);
	}
	return n;
}

/* ---- repair ---- */

bool send_block_lacks(const struct send_block *block)
{
	if (!block->open || block->next < block->layout.sources)
		return false;
	for (unsigned g = 0; g < block->layout.groups; g++)
		if (block->sent[g] < block->target[g])
			return true;
	return false;
}

static void parity_make(
	const struct sender *sender, const struct send_block *block, unsigned group, uint8_t *frame)
{
	const uint8_t *sources[CAST_GROUP_SOURCES];
	unsigned groups = block->layout.groups;
	unsigned n = cast_group_size(block->layout.sources, groups, group);
	unsigned number = block->sent[group];

	for (unsigned i = 0; i < n; i++)
		sources[i] =
			block->frames + (size_t)(group + i * groups) * CAST_FRAME_MAX + CAST_HEADER;
	cast_put_header(frame, sender->session, block->what.block,
		(uint16_t)(CAST_PARITY + group + groups * number));
	fec_encode(sources, n, number, CAST_PAYLOAD, frame + CAST_HEADER);
}

unsigned send_block_parities(
	struct sender *sender, struct send_block *block, unsigned max, const uint8_t **ret_frames)
{
	unsigned n = 0, groups = block->layout.groups;

	/* One of each group in turn: a burst that is lost then costs no group more than one. */
	for (unsigned passed = 0; n < max && passed < groups;
		block->group = (uint16_t)((block->group + 1) % groups)) {
		unsigned g = block->group;

		if (block->sent[g] >= block->target[g]) {
			passed++;
			continue;
		}
		parity_make(sender, block, g, sender->burst + (size_t)n * CAST_FRAME_MAX);
		block->sent[g]++;
		passed = 0;
		n++;
	}
	*ret_frames = sender->burst;
	if (n > 0)
		block->repaired = true;
	return n;
}

/* ---- rounds ---- */

/* What the receiver says it needs of the block's chunks: only who is far behind needs any. */
static void need_set(struct send_member *member, const struct send_block *block,
	const struct cast_report *report)
{
	for (unsigned i = 0; i < block->layout.n; i++) {
		uint32_t at = block->layout.at[i];
		bool need = report->far && i < report->n_chunks && cast_bit(report->need, i);

		member->n_need += (uint32_t)need - (uint32_t)bit64(member->need, at);
		bit64_set(member->need, at, need);
	}
	if (block->what.of_plan && !report->far &&
		block->what.ranges[0].count == block->image->plan_len)
		member->has_plan = true;
}

/* The targets rise to what a member's report asks for. */
static void lacks_apply(struct send_block *block, size_t member)
{
	const uint8_t *before = block->before[block->answered[member] - 1];

	for (unsigned g = 0; g < block->layout.groups; g++) {
		unsigned target = before[g] + block->lacks[member][g];

		if (target > FEC_PARITIES_MAX)
			target = FEC_PARITIES_MAX;
		if (block->lacks[member][g] > 0 && target > block->target[g])
			block->target[g] = (uint8_t)target;
	}
}

static unsigned most_repaired(const struct sender *sender)
{
	return sender->usual * 2 < REPAIR_LEAST ? REPAIR_LEAST : sender->usual * 2;
}

static void lacks_take(struct sender *sender, struct send_block *block, size_t member,
	const struct cast_report *report)
{
	unsigned worst = 0;

	for (unsigned g = 0; g < block->layout.groups; g++)
		worst = report->lacks[g] > worst ? report->lacks[g] : worst;
	memcpy(block->lacks[member], report->lacks, sizeof(report->lacks));
	if (report->round == 0)
		block->worst[member] = (uint8_t)worst;
	block->answer[member] = ANSWER_LACKS;
	if (worst > most_repaired(sender))
		block->answer[member] = ANSWER_MUCH;
	else
		lacks_apply(block, member);
}

static int byte_cmp(const void *a, const void *b)
{
	return *(const uint8_t *)a - *(const uint8_t *)b;
}

/* The reports of a round are in. What the middle one of those lacks who were there is usual, and
 * twice that is repaired; who lacks more has been away, and would make all others wait for what it
 * alone needs: it is helped when there is nothing else of its image to send. */
static void judge_much(struct sender *sender, struct send_block *block)
{
	uint8_t worst[CAST_RECEIVERS];
	size_t n = 0;

	for (size_t i = 0; i < sender->n_members && block->rounds == 1; i++)
		if (block->answered[i] && sender->members[i].joined_ms <= block->opened_ms)
			worst[n++] = block->worst[i];
	if (n > 0) {
		qsort(worst, n, 1, byte_cmp);
		sender->usual = worst[(n - 1) / 2];
	}
	for (size_t i = 0; i < sender->n_members; i++) {
		unsigned most = 0;

		if (block->answer[i] != ANSWER_MUCH)
			continue;
		for (unsigned g = 0; g < block->layout.groups; g++)
			most = block->lacks[i][g] > most ? block->lacks[i][g] : most;
		if (most > most_repaired(sender))
			continue;
		block->answer[i] = ANSWER_LACKS;
		lacks_apply(block, i);
	}
}

struct left {
	unsigned open;	 /* have not settled */
	unsigned silent; /* of these, did not answer the last round */
	unsigned much;	 /* wait until there is nothing else of the image to send */
};

static struct left left_of(const struct sender *sender, const struct send_block *block)
{
	struct left left = {0};

	for (size_t i = 0; i < sender->n_members; i++) {
		const struct send_member *member = &sender->members[i];

		if (member->image != block->image || !send_member_active(member) ||
			(!member->has_plan && !block->what.of_plan) ||
			block->answer[i] == ANSWER_SETTLED)
			continue;
		if (block->answer[i] == ANSWER_MUCH && block->judged == block->rounds) {
			left.much++;
			continue;
		}
		left.open++;
		left.silent += block->answered[i] < block->rounds;
	}
	return left;
}

void send_block_relent(struct sender *sender, struct send_block *block)
{
	for (size_t i = 0; i < sender->n_members; i++) {
		if (block->answer[i] != ANSWER_MUCH || !send_member_active(&sender->members[i]))
			continue;
		block->answer[i] = ANSWER_LACKS;
		lacks_apply(block, i);
	}
}

void send_block_report(struct sender *sender, size_t member, const struct cast_report *report)
{
	struct send_block *block = NULL;

	for (unsigned b = 0; b < SEND_BLOCKS; b++)
		if (sender->blocks[b].open && sender->blocks[b].what.block == report->block)
			block = &sender->blocks[b];
	if (!block || block->image != sender->members[member].image ||
		report->round >= block->rounds ||
		(report->n_groups && report->n_groups != block->layout.groups) ||
		(report->far && report->n_chunks != block->layout.n) ||
		report->round + 1 < block->answered[member]) /* it has said later what it lacks */
		return;
	if (block->answered[member] < report->round + 1) {
		block->answered[member] = (uint8_t)(report->round + 1);
		block->news = true;
	}
	if (report->n_groups == 0) {
		need_set(&sender->members[member], block, report);
		block->partly |= report->far;
		block->answer[member] = ANSWER_SETTLED;
	} else if (block->answer[member] != ANSWER_SETTLED) {
		lacks_take(sender, block, member, report);
	}
}

/* A new round, or the last one once more for those who did not answer it: as long as nothing was
 * sent since, their answers mean the same. */
static void ask(struct sender *sender, struct send_block *block)
{
	bool anew = block->repaired || block->rounds == 0;

	if (block->news || anew)
		block->news_ms = sender->now_ms;
	block->again = anew || block->news ? 0 : block->again + 1;
	block->news = block->repaired = false;
	block->asked_ms = sender->now_ms;
	if (anew)
		memcpy(block->before[block->rounds++], block->sent, sizeof(block->sent));
	/* Twice: of many receivers one will miss it, and then all wait. */
	send_block_frame(sender, block, block->rounds - 1);
	send_block_frame(sender, block, block->rounds - 1);
}

/* Nothing is left to send but repair: what groups needed of late goes out before anybody can have
 * asked for it, and a little more, since a group that still lacks something costs all a round. True:
 * it is to be sent now. */
static bool send_ahead(struct sender *sender, struct send_block *block)
{
	unsigned n = (unsigned)(sender->usual_parities + 0.5);

	if (block->ahead)
		return false;
	n += n > 0 ? AHEAD_MORE : 0;
	n = n > REPAIR_LEAST ? REPAIR_LEAST : n;
	block->ahead = true;
	for (size_t i = 0; i < sender->n_images && n > 0; i++)
		if (send_image_left(sender, &sender->images[i]))
			return false;
	for (unsigned g = 0; g < block->layout.groups && n > 0; g++)
		block->target[g] = (uint8_t)n;
	block->unasked = (uint8_t)n;
	return n > 0;
}

/* Whoever asks next should know what was needed here. Where what went out unasked was enough, nobody knows how much
 * of it was needed: that teaches nothing, or each such block would make the next one larger. */
static void usual_learn(struct sender *sender, const struct send_block *block)
{
	double sum = 0;

	for (unsigned g = 0; g < block->layout.groups; g++) {
		bool enough = block->unasked > 0 && block->target[g] == block->unasked;

		sum += enough ? sender->usual_parities : block->target[g];
	}
	sum /= block->layout.groups;
	sender->usual_parities += (sum - sender->usual_parities) / 4;
}

/* Nobody will say anything that helps any more. */
static bool vain(const struct sender *sender, const struct send_block *block)
{
	if (block->repaired)
		return block->rounds == SEND_ROUNDS;
	return !block->news && sender->now_ms - block->news_ms >= VAIN_MS;
}

/* How long after the last question the next one is due. All answered and were helped: at once.
 * Some did not: they are given a while, and more each time, since a receiver whose processor is
 * busy answers late, and no sooner for being asked more. */
static int64_t ask_in(const struct sender *sender, const struct send_block *block,
	const struct left *left, int64_t pause)
{
	unsigned slower = block->again < ROUND_SLOWER ? block->again : ROUND_SLOWER;

	if (block->repaired)
		return left->silent == 0 ? 0 : pause;
	return (sender->idle ? pause : ROUND_AGAIN_MS + pause) << slower;
}

int64_t send_block_tick(struct sender *sender, struct send_block *block)
{
	int64_t since = sender->now_ms - block->asked_ms;
	int64_t pause = ROUND_PAUSE_MS + (int64_t)send_spread_ms(sender), wait;
	struct left left;

	if (block->next < block->layout.sources || send_block_lacks(block))
		return INT64_MAX;
	if (block->rounds == 0) {
		if (send_ahead(sender, block))
			return 0;
		ask(sender, block);
		return pause;
	}
	left = left_of(sender, block);
	if (block->judged < block->rounds && (since >= pause || left.silent == 0)) {
		block->judged = block->rounds;
		judge_much(sender, block);
		if (send_block_lacks(block))
			return INT64_MAX;
		left = left_of(sender, block);
	}
	if (left.open == 0 || vain(sender, block)) {
		/* Where somebody came in its middle, its chunks go out again in their turn, for
		 * those who lack much too: they must not stay busy until the end. */
		if (left.much == 0 || block->partly || block->rounds == SEND_ROUNDS) {
			usual_learn(sender, block);
			send_block_close(sender, block);
		}
		return INT64_MAX;
	}
	wait = ask_in(sender, block, &left, pause) - since;
	if (wait > 0)
		return wait;
	ask(sender, block);
	return pause;
}
