/* SPDX-License-Identifier: GPL-2.0-or-later */
/* One successor of a chain's node, served by a thread of its own.
 *
 * It says which chunks it needs, once. From then on the frames that come in here go out as they
 * come: pieces as soon as some KiB of them are there. That is cut-through; with whole chunks each
 * hop would add the time of one, and 32 hops a second. When nothing new is there to pass on, what
 * the successor lacks and this node holds is sent from the disk (the backlog): all of it at the
 * root, and what was missed by one that came late or fell behind. Live before backlog, because the
 * live stream has the whole chain behind it.
 *
 * When a frame breaks off here it breaks off there (ABORT), and its chunk stays on the list of what
 * the successor needs. What was passed on and turns out wrong is owned up to (BAD). The END is said
 * when nothing comes in any more and nothing is left to send; the successor decides what then.
 */
#include "images/chain_inside.h"

#include <sys/socket.h>

#include "images/trace.h"
#include "lib/clock.h"

enum {
	HELLO_MS = 10000,
	WRITE_MS = 15000,
	STATUS_MS = 400,
	IDLE_MS = 200,	      /* at most, before looking around again */
	PIECE_MIN = 16 << 10, /* of a frame that is still coming */
	BYE_MS = 3000,
};

struct sending {
	struct chain_successor *successor;
	struct chain_server *server;
	struct source *source;
	struct chain_log *log; /* NULL: nothing is coming in */
	struct chunk_coder *coder;
	uint8_t *need; /* bit n: the successor lacks chunk n */
	size_t count;
	uint64_t seq; /* of the log: what is passed on next */
	bool over;    /* the log has no more */
	uint32_t *first;
	size_t n_first, at_first,
		at; /* of the backlog: numbers that go first; where the search is */
	size_t n_bad;
	int64_t status_at;
	uint64_t pace;
	uint8_t message[CHAIN_HEAD + CHAIN_PIECE];
};

static bool needs(const struct sending *sending, uint32_t number)
{
	return sending->need[number / 8] >> number % 8 & 1;
}

static void sent(struct sending *sending, uint32_t number)
{
	sending->need[number / 8] &= (uint8_t) ~(1u << number % 8);
}

/* The content of the message is in its place already. */
static int message_send(struct sending *sending, unsigned kind, uint32_t number, size_t len)
{
	chain_head_write(kind, number, len, sending->message);
	return chain_tcp_write(sending->successor->fd, sending->message, CHAIN_HEAD + len, WRITE_MS,
		&sending->server->stopping);
}

static uint32_t in_units(uint64_t have, uint64_t total)
{
	return have >= total ? CHAIN_WHOLE : (uint32_t)(have / CHAIN_UNIT);
}

static int status_send(struct sending *sending)
{
	uint32_t values[CHAIN_HOPS + 1], rate;
	size_t n = chain_relay_ancestors(
		sending->server, sending->successor->digest, values + 1, &rate);
	bool second = sending->pace < sending->server->pace;

	if (sending->server->capped)
		rate = (uint32_t)(sending->pace >> 10) & INT32_MAX;
	values[0] = in_units(source_have(sending->source), source_total(sending->source));
	n = n < CHAIN_HOPS - 1 ? n + 1 : CHAIN_HOPS;
	n = chain_status_write(values, n, sending->message + CHAIN_HEAD);
	return message_send(sending, CHAIN_STATUS, rate << 1 | (second ? CHAIN_SECOND : 0), n);
}

/* What is due between two pieces. */
static int attend(struct sending *sending)
{
	uint64_t pace = atomic_load(&sending->successor->pace);
	int64_t now = clock_real_ms();
	uint32_t number;
	int r = 0;

	if (pace != sending->pace) {
		sending->pace = pace;
		chain_tcp_pace(sending->successor->fd, pace);
	}
	if (now >= sending->status_at) {
		sending->status_at = now + STATUS_MS;
		r = status_send(sending);
	}
	while (r == 0 && sending->log && chain_log_bad(sending->log, sending->n_bad, &number)) {
		sending->n_bad++;
		r = message_send(sending, CHAIN_BAD, number, 0);
	}
	return r;
}

/* Some bytes of an entry: 1 when its frame has ended, 0 when more is to come. */
static int piece_send(struct sending *sending, const struct chain_log_view *view, size_t *from)
{
	size_t n = chain_log_copy(
		sending->log, sending->seq, *from, sending->message + CHAIN_HEAD, CHAIN_PIECE);
	bool last = view->state == LOG_WHOLE && *from + n == view->len;
	unsigned kind = CHAIN_DATA | (*from ? 0u : CHAIN_FIRST) | (last ? CHAIN_LAST : 0u);
	int r;

	if (n == 0 && !last)
		return 0; /* it was overwritten: the next look says so */
	r = message_send(sending, kind, view->number, n);
	*from += n;
	return r < 0 ? r : last;
}

/* Passes the entry at seq on, as it comes: 1 when it is done with, 0 when it is not there. */
static int live_send(struct sending *sending)
{
	size_t from = 0;

	for (;;) {
		struct chain_log_view view;
		uint32_t version = chain_log_wait(sending->log, 0, 0);
		int r = chain_log_look(sending->log, sending->seq, &view);

		if (r == -EAGAIN || r == -ENODATA) {
			sending->over = r == -ENODATA;
			return 0;
		}
		if (r == -ESTALE || view.state == LOG_ABORTED || !needs(sending, view.number)) {
			sending->seq =
				r == -ESTALE ? chain_log_oldest(sending->log) : sending->seq + 1;
			r = from ? message_send(sending, CHAIN_ABORT, 0, 0) : 0;
			return r < 0 ? r : 1;
		}
		if (view.state == LOG_OPEN && view.len - from < PIECE_MIN) {
			chain_log_wait(sending->log, version, IDLE_MS);
			r = attend(sending);
		} else {
			r = piece_send(sending, &view, &from);
			if (r > 0) {
				sent(sending, view.number);
				sending->seq++;
				return 1;
			}
			if (r == 0)
				r = attend(sending);
		}
		if (r < 0 || atomic_load(&sending->server->stopping))
			return r < 0 ? r : -ECANCELED;
	}
}

/* The next chunk that the successor lacks and this node has; SOURCE_NONE at the end of a search. */
static uint32_t backlog_next(struct sending *sending)
{
	while (sending->at_first < sending->n_first) {
		uint32_t number = sending->first[sending->at_first++];

		if (number < sending->count && needs(sending, number) &&
			source_has(sending->source, number))
			return number;
	}
	for (; sending->at < sending->count; sending->at++) {
		if (sending->at % 8 == 0 && sending->need[sending->at / 8] == 0) {
			sending->at += 7;
			continue;
		}
		if (needs(sending, (uint32_t)sending->at) &&
			source_has(sending->source, (uint32_t)sending->at))
			return (uint32_t)sending->at;
	}
	sending->at = 0;
	return SOURCE_NONE;
}

static int chunk_send(struct sending *sending, uint32_t number, const uint8_t *packed, size_t len)
{
	int r = 0;

	for (size_t from = 0; r == 0 && from < len;) {
		size_t n = len - from < CHAIN_PIECE ? len - from : CHAIN_PIECE;
		unsigned kind = CHAIN_DATA | (from ? 0u : CHAIN_FIRST) |
				(from + n == len ? CHAIN_LAST : 0u);

		memcpy(sending->message + CHAIN_HEAD, packed + from, n);
		r = message_send(sending, kind, number, n);
		from += n;
		if (r == 0)
			r = attend(sending);
	}
	return r;
}

/* One chunk of the backlog: 1, or 0 when there is none. */
static int backlog_send(struct sending *sending)
{
	uint32_t number = backlog_next(sending);
	const void *packed;
	size_t len;
	int r;

	if (number == SOURCE_NONE)
		return 0;
	r = source_packed(sending->source, sending->coder, number, &packed, &len, NULL);
	if (r == 0)
		r = chunk_send(sending, number, packed, len);
	else if (r == -ENOENT || r == -EIO) /* evicted just now, or a bad spot of the disk */
		r = 0;
	if (r < 0)
		return r;
	sent(sending, number);
	return 1;
}

/* Nothing more: says so, and leaves the closing to the successor, so that nothing is lost. */
static void farewell(struct sending *sending)
{
	uint8_t byte;

	if (message_send(sending, CHAIN_END, 0, 0) < 0)
		return;
	shutdown(sending->successor->fd, SHUT_WR);
	(void)chain_tcp_read(sending->successor->fd, &byte, 1, BYE_MS, &sending->server->stopping);
}

static void stream(struct sending *sending)
{
	int r = 0;

	while (r >= 0 && !atomic_load(&sending->server->stopping)) {
		uint32_t version = sending->log ? chain_log_wait(sending->log, 0, 0) : 0;

		r = attend(sending);
		if (r == 0 && sending->log)
			r = live_send(sending);
		if (r == 0)
			r = backlog_send(sending);
		if (r == 0 && (!sending->log || sending->over)) {
			farewell(sending);
			return;
		}
		if (r == 0)
			chain_log_wait(sending->log, version, IDLE_MS);
	}
}

/* By its lowest number: the need is said by those. */
static void first_add(struct sending *sending, uint32_t number)
{
	const struct chunk_index *index = source_index(sending->source);
	size_t len;
	const struct sha256 *digest = chunk_index_digest(index, number, &len);

	if (digest)
		sending->first[sending->n_first++] = chunk_index_find(index, digest);
}

/* A VM cannot start without kernel and initrd, whose numbers follow the disk's; then comes what its
 * boot reads. */
static void order_make(struct sending *sending, bool of_store)
{
	const struct chunk_index *index = source_index(sending->source);
	size_t count = chunk_index_count(index), disk = chunk_index_disk(index);
	struct trace trace = {0};

	if (of_store)
		trace_of_store(sending->server->store, sending->successor->digest, count, &trace);
	sending->first = xcalloc(count - disk + trace.n + 1, sizeof(*sending->first));
	for (size_t i = disk; i < count; i++)
		first_add(sending, (uint32_t)i);
	vec_each (uint32_t, number, &trace)
		first_add(sending, *number);
	vec_done(&trace);
}

/* What is held, or what the store has. */
static int source_find(struct sending *sending)
{
	const struct chain_server *server = sending->server;
	const char *digest = sending->successor->digest;
	bool of_store = false;
	int r = -ENOENT;

	if (server->held)
		r = source_open_held(server->held, digest, &sending->source, NULL);
	if (r == 0 && !sending->log &&
		source_have(sending->source) < source_total(sending->source)) {
		source_close(TAKE_PTR(sending->source));
		r = -ENOENT;
	}
	if (r < 0 && server->store) {
		of_store = true;
		r = source_open_store(server->store, digest, &sending->source, NULL);
	}
	if (r == 0)
		order_make(sending, of_store);
	return r;
}

static int answer(const struct sending *sending, enum chain_answer word)
{
	uint8_t bytes[CHAIN_ANSWER];

	chain_answer_write(word, bytes);
	return chain_tcp_write(
		sending->successor->fd, bytes, sizeof(bytes), WRITE_MS, &sending->server->stopping);
}

static int greet(struct sending *sending)
{
	struct chain_successor *successor = sending->successor;
	const atomic_bool *stopping = &sending->server->stopping;
	struct chain_hello hello;
	uint8_t bytes[CHAIN_HELLO];
	int r = chain_tcp_read(successor->fd, bytes, sizeof(bytes), HELLO_MS, stopping);

	if (r == 0)
		r = chain_hello_read(bytes, &hello);
	if (r < 0)
		return r;
	pthread_mutex_lock(&sending->server->lock);
	sha256_format(&hello.digest, successor->digest);
	successor->around = hello.around;
	pthread_mutex_unlock(&sending->server->lock);
	sending->log = chain_relay_log(sending->server, successor->digest);
	if (source_find(sending) < 0) {
		answer(sending, CHAIN_NOT_YET);
		return -ENOENT;
	}
	sending->count = chunk_index_count(source_index(sending->source));
	if (hello.count != sending->count)
		return -EBADMSG;
	sending->need = xcalloc(1, sending->count / 8 + 1);
	r = chain_tcp_read(
		successor->fd, sending->need, (sending->count + 7) / 8, HELLO_MS, stopping);
	if (sending->count % 8)
		sending->need[sending->count / 8] &= (uint8_t)((1u << sending->count % 8) - 1);
	return r < 0 ? r : answer(sending, CHAIN_YES);
}

void *chain_successor_run(void *arg)
{
	struct chain_successor *successor = arg;
	struct sending *sending = xnew(struct sending);

	sending->successor = successor;
	sending->server = successor->server;
	sending->coder = chunk_coder_new();
	sending->pace = UINT64_MAX;
	chain_tcp_sender(successor->fd);
	if (greet(sending) == 0) {
		chain_serve_share(sending->server, successor->digest);
		if (sending->log)
			sending->seq = chain_log_oldest(sending->log);
		stream(sending);
	}
	shutdown(successor->fd, SHUT_RDWR);
	pthread_mutex_lock(&sending->server->lock);
	successor->done = true;
	pthread_mutex_unlock(&sending->server->lock);
	chain_serve_share(sending->server, successor->digest);
	chain_log_unref(sending->log);
	source_close(sending->source);
	chunk_coder_free(sending->coder);
	free(sending->first);
	free(sending->need);
	free(sending);
	return NULL;
}
