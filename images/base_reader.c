/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Reading a disk that is not all here.
 *
 * What is held is read from the file. A missing chunk is wanted first, so that the transport which
 * is bringing the image takes it next: with many hosts booting at once that one word saves the
 * server most of its work. Only when patience ends, or when nothing is being brought at all, does
 * a reader ask a server itself. One reader at a time does, over one connection: the others wait on
 * their chunks, which may come by either way, and whoever finds the connection free goes next.
 *
 * A server that is gone or lies costs time and nothing else: the next one is asked, after a pause,
 * until the deadline, because an error here is a broken disk to a guest, and a guest does not
 * forgive. Every byte is verified before it is put, and only what was put is read.
 *
 * The same holds for a chunk that is here and cannot be read: a bad spot of a scratch partition is
 * no reason to stop a VM, as long as a server has the bytes.
 *
 * With a limit on what is held (images/held.h) a chunk may go again at any moment: then it is
 * brought again. The reader that brings one takes its bytes along in any case, so that a limit
 * which is too small, or a full memory, makes reading slow but never hang.
 */
#include "images/base_reader.h"

#include <poll.h>
#include <pthread.h>

#include "images/chunk.h"
#include "images/held.h"
#include "images/lane.h"
#include "lib/clock.h"

enum {
	BULK_MS = 1000,	 /* a put within that time means that the image is being brought */
	TAKEN_MS = 2000, /* who said that it brings a chunk is given that long */
	PAUSE_MS = 250,	 /* after every server has failed; then twice that, up to the last */
	PAUSE_MAX_MS = 4000,
	SILENCE_MS = 5000,
	PEER_MS = 4000, /* a peer whose answer takes longer has failed: bytes may drip */
};

struct base_reader {
	struct held *held;
	unsigned patience_ms, deadline_ms;
	struct lane *lanes[BASE_URLS_MAX];
	size_t n_lanes;
	pthread_mutex_t gate; /* of all below */
	size_t lane;	      /* the one that answered last */
	unsigned failures;    /* in a row */
	unsigned char *bytes;
	_Atomic uint32_t own_puts;
	_Atomic uint32_t puts_seen; /* by others, and when there was a new one */
	_Atomic int64_t puts_ms;
};

int base_new(const struct base_options *options, struct base_reader **ret_base, struct error **err)
{
	struct held *held = NULL;
	struct base_reader *base;
	int r = held_open(options->dir, options->digest, &held, err);

	if (r < 0)
		return r;
	base = xnew(struct base_reader);
	base->held = held;
	base->patience_ms = options->patience_ms;
	base->deadline_ms = options->deadline_ms;
	pthread_mutex_init(&base->gate, NULL);
	base->bytes = xcalloc(1, CHUNK_SIZE);
	base->puts_ms = -BULK_MS;
	base->puts_seen = held_puts(held);
	for (size_t i = 0; options->urls[i] && i < BASE_URLS_MAX; i++) {
		const struct lane_options lane = {.base = options->urls[i],
			.silence_ms = SILENCE_MS,
			.total_ms = options->urls[i + 1] ? PEER_MS : 0};

		base->lanes[base->n_lanes++] = lane_new(&lane);
	}
	*ret_base = base;
	return 0;
}

void base_free(struct base_reader *base)
{
	if (!base)
		return;
	for (size_t i = 0; i < base->n_lanes; i++)
		lane_free(base->lanes[i]);
	pthread_mutex_destroy(&base->gate);
	free(base->bytes);
	held_close(base->held);
	free(base);
}

uint64_t base_size(const struct base_reader *base)
{
	return held_manifest(base->held)->parts[PART_DISK].size;
}

/* Has anybody else put a chunk lately? */
static bool bulk_runs(struct base_reader *base)
{
	uint32_t others = held_puts(base->held) - base->own_puts;
	int64_t now_ms = clock_mono_ms();

	if (atomic_exchange(&base->puts_seen, others) != others)
		atomic_store(&base->puts_ms, now_ms);
	return now_ms - atomic_load(&base->puts_ms) < BULK_MS;
}

/* One question to one server, with the connection in hand; then the next server's turn. */
static int ask(struct base_reader *base, const struct held_chunk *chunk, struct error **err)
{
	int r;

	if (base->n_lanes == 0)
		return error_make(err, -EHOSTUNREACH, "no server of chunks is known");
	r = lane_chunk(base->lanes[base->lane], chunk, base->bytes, NULL, err);
	if (r < 0) {
		base->lane = (base->lane + 1) % base->n_lanes;
		base->failures++;
	} else {
		base->failures = 0;
	}
	return r;
}

/* What a reader wants: a piece of one chunk. */
struct piece {
	size_t number, len;
	uint64_t at;
	unsigned char *out;
};

/* Brings the chunk, unless the connection is in use (-EBUSY). */
static int bring(struct base_reader *base, const struct piece *piece, struct error **err)
{
	struct held_chunk chunk;
	int r;

	if (pthread_mutex_trylock(&base->gate) != 0)
		return -EBUSY;
	held_chunk_at(base->held, piece->number, &chunk);
	held_take(base->held, piece->number);
	r = ask(base, &chunk, err);
	if (r < 0) {
		held_untake(base->held, piece->number);
	} else {
		memcpy(piece->out, base->bytes + (piece->at - chunk.at), piece->len);
		base->own_puts++;
		/* A full memory: the bytes are good all the same. */
		if (held_put(base->held, piece->number, base->bytes, NULL) == 0)
			held_read(base->held, piece->number, piece->at, piece->out, 0, NULL);
		else
			held_untake(base->held, piece->number);
	}
	pthread_mutex_unlock(&base->gate);
	return r;
}

/* Time until every server had its turn again. */
static unsigned pause_ms(const struct base_reader *base)
{
	unsigned rounds = base->n_lanes ? base->failures / (unsigned)base->n_lanes : 1;
	unsigned pause = rounds ? PAUSE_MS : 0;

	while (rounds-- > 1 && pause < PAUSE_MAX_MS)
		pause *= 2;
	return pause;
}

/* 0: the piece is in its place. */
static int miss(struct base_reader *base, const struct piece *piece, struct error **err)
{
	int64_t end_ms = clock_mono_ms() + base->deadline_ms;
	struct held *held = base->held;
	unsigned wait_ms = bulk_runs(base) ? base->patience_ms : 0;

	for (;;) {
		auto_error struct error *why = NULL;
		int r;

		held_want(held, piece->number);
		r = held_wait(held, piece->number, wait_ms);
		if (r < 0 && held_is_taken(held, piece->number))
			r = held_wait(held, piece->number, TAKEN_MS);
		if (r == 0) {
			r = held_read(held, piece->number, piece->at, piece->out, piece->len, NULL);
			if (r == 0)
				return 0;
			if (r != -ENOENT) /* a bad spot: there was nothing to wait for */
				poll(NULL, 0, (int)wait_ms);
		}
		r = bring(base, piece, &why);
		if (r == 0)
			return 0;
		if (clock_mono_ms() >= end_ms)
			return error_make(err, -ETIMEDOUT, "chunk %zu could not be had: %s",
				piece->number, error_text(why, r));
		wait_ms = r == -EBUSY ? base->patience_ms + 1 : pause_ms(base) + 1;
	}
}

int base_read(struct base_reader *base, void *out, size_t len, uint64_t at, struct error **err)
{
	unsigned char *to = out;

	while (len > 0) {
		struct piece piece = {held_number(base->held, PART_DISK, at), 0, at, to};
		size_t left = CHUNK_SIZE - (size_t)(at % CHUNK_SIZE);
		int r;

		piece.len = len < left ? len : left;
		r = held_read(base->held, piece.number, at, to, piece.len, NULL);
		if (r < 0)
			r = miss(base, &piece, err);
		if (r < 0)
			return r;
		to += piece.len;
		at += piece.len;
		len -= piece.len;
	}
	return 0;
}

uint64_t base_extent(const struct base_reader *base, uint64_t at, uint64_t len, bool *ret_hole)
{
	uint64_t size = base_size(base), end = at + len < size ? at + len : size, next;
	struct held_chunk chunk;

	held_chunk_at(base->held, held_number(base->held, PART_DISK, at), &chunk);
	*ret_hole = chunk.zero;
	next = chunk.at + chunk.len;
	while (next < end) {
		held_chunk_at(base->held, held_number(base->held, PART_DISK, next), &chunk);
		if (chunk.zero != *ret_hole)
			break;
		next = chunk.at + chunk.len;
	}
	return (next < end ? next : end) - at;
}
