/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The receiving half of a chain's node.
 *
 * The calling thread takes bytes from one source and lays them into the log, from where the
 * successors' threads pass them on; a second thread unpacks, verifies and puts. So neither a slow
 * disk nor SHA-256 stands between a byte's coming and its going on.
 *
 * The sources are a list, the predecessor first, the root last. A source that breaks off, falls
 * silent, lies or is slower than it need be (chain_watch.c) is left for the next one, never to
 * come back: whoever goes around a dead PC names again what it lacks and goes on from there. At an
 * END with something missing the same source is asked once more when the round brought anything:
 * a chunk that was wrong on the way is there by then, verified.
 *
 * Bringing is what is held afterwards, never bytes or words: a source that says something all the
 * time, sends what is known, or has one damaged chunk, would otherwise be listened to for ever. So
 * every round adds to what is held, and none is silent about it for long. All behind a source that
 * stalls stall with it; who is nearer to the root goes first, and those behind have their chunks
 * again before their time comes.
 *
 * Nothing that came is believed before its digest was checked, and nothing is kept that was not.
 */
#include "images/chain_inside.h"

#include <poll.h>
#include <stdarg.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include "images/chain_verify.h"
#include "images/chain_watch.h"
#include "lib/clock.h"

enum {
	PATIENCE_MS = 5000,
	CONNECT_MS = 2000,
	AGAIN_MS = 150, /* between two tries of a source that is not ready */
	ANSWER_MS = 5000,
	SILENCE_MS = 4000, /* a living source speaks twice a second */
	STALL_MS = 10000,  /* and brings something */
	STALL_HOP_MS = 100,
	STALL_HOPS = 16, /* from the root, at most: it is the source that says how far it is */
	TICK_MS = 250,
	GATHER_US = 3000,
	TAKE_AT_ONCE = 256 << 10,
};

struct receiving {
	const struct chain_job *job;
	struct chunk_index *index;
	struct chain_log *log;
	struct chain_verifier *verifier;
	unsigned wrong;
	uint64_t port_bits;
	size_t at; /* in the list of sources */
	int fd;
	struct chain_parser parser;
	struct chain_watch watch;
	uint32_t its[CHAIN_HOPS]; /* what the source and those before it have, in units */
	size_t n_its;
	bool over, second;
	uint32_t whole_rate;	/* as it says: KiB/s that who has everything gives */
	uint64_t received, had; /* frames' bytes; plain ones at the beginning of all */
	uint64_t had_before,
		grown; /* plain ones: at that of the round, and when last seen to grow */
	int64_t grown_at;
	unsigned changes;
	const char *around; /* the source that was left because it is slow or lies; NULL: none */
};

/* What a round with one source comes to. */
enum outcome { ROUND_WHOLE = 1, ROUND_AGAIN, ROUND_NEXT };

static bool cancelled(const struct receiving *all)
{
	return all->job->cancel && atomic_load(all->job->cancel);
}

static const char *source_name(const struct receiving *all)
{
	return all->job->sources[all->at];
}

/* Nobody comes after this source but HTTP. */
static bool is_last(const struct receiving *all)
{
	return all->at + 1 == all->job->n_sources;
}

static void note(const struct receiving *all, const char *fmt, ...) PRINTF_LIKE(2, 3);
static void note(const struct receiving *all, const char *fmt, ...)
{
	char text[256];
	va_list args;

	va_start(args, fmt);
	vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	if (all->job->note)
		all->job->note(text, all->job->arg);
}

/* ---- what the source says ---- */

static int on_begin(uint32_t number, void *arg)
{
	struct receiving *all = arg;

	chain_log_begin(all->log, number, (uint32_t)all->at);
	return 0;
}

static int on_add(const void *bytes, size_t len, void *arg)
{
	struct receiving *all = arg;

	chain_log_add(all->log, bytes, len);
	all->received += len;
	return 0;
}

static int on_end(bool whole, void *arg)
{
	struct receiving *all = arg;

	chain_log_end(all->log, whole);
	return 0;
}

static void on_bad(uint32_t number, void *arg)
{
	struct receiving *all = arg;

	chain_watch_excuse(&all->watch, number);
}

static void on_status(const uint32_t *values, size_t n, uint32_t number, void *arg)
{
	struct receiving *all = arg;

	all->second = number & CHAIN_SECOND;
	all->whole_rate = number >> 1;
	all->n_its = n < CHAIN_HOPS - 1 ? n : CHAIN_HOPS - 1;
	memcpy(all->its, values, all->n_its * sizeof(*values));
}

static void on_over(void *arg)
{
	struct receiving *all = arg;

	all->over = true;
}

static const struct chain_events events = {
	.begin = on_begin,
	.add = on_add,
	.end = on_end,
	.bad = on_bad,
	.status = on_status,
	.over = on_over,
};

/* ---- a source ---- */

/* The hello and what is needed, each content by its lowest number. */
static int hello_send(struct receiving *all)
{
	size_t count = chunk_index_count(all->index), len = CHAIN_HELLO + (count + 7) / 8;
	auto_free uint8_t *bytes = xcalloc(1, len);
	struct chain_hello hello = {
		.count = (uint32_t)count, .around = chain_tcp_address(all->around)};

	sha256_parse(all->job->digest, &hello.digest);
	chain_hello_write(&hello, bytes);
	for (uint32_t i = 0; i < count; i++)
		if (chunk_index_first(all->index, i) && !chain_has(all->job->held, all->index, i))
			bytes[CHAIN_HELLO + i / 8] |= (uint8_t)(1u << i % 8);
	return chain_tcp_write(all->fd, bytes, len, CONNECT_MS, all->job->cancel);
}

/* 0: the stream follows; -EAGAIN: not ready yet. */
static int source_greet(struct receiving *all, struct error **err)
{
	uint8_t bytes[CHAIN_ANSWER];
	enum chain_answer answer;
	int r = chain_tcp_connect(source_name(all), CONNECT_MS, &all->fd, err);

	if (r < 0)
		return r == -ECONNREFUSED ? -EAGAIN : r;
	r = hello_send(all);
	/* One that is full says so before it reads, and closes. */
	if (r == 0 || r == -EPIPE || r == -ECONNRESET)
		r = chain_tcp_read(all->fd, bytes, sizeof(bytes), ANSWER_MS, all->job->cancel);
	if (r == 0)
		r = chain_answer_read(bytes, &answer);
	if (r == 0 && answer != CHAIN_YES)
		r = answer == CHAIN_FULL ? -EBUSY : -EAGAIN;
	if (r < 0)
		return error_make(err, r, "%s: %s", source_name(all),
			r == -EAGAIN	? "does not have the image yet"
			: r == -EBUSY	? "serves enough others"
			: r == -EBADMSG ? "does not speak as a peer"
					: strerror(-r));
	return 0;
}

static void source_close_fd(struct receiving *all)
{
	if (all->fd >= 0)
		close(TAKE_FD(all->fd));
}

static int source_connect(struct receiving *all, struct error **err)
{
	unsigned patience = all->job->patience_ms ? all->job->patience_ms : PATIENCE_MS;
	int64_t until = clock_real_ms() + patience;
	int r;

	for (;;) {
		auto_error struct error *why = NULL;

		r = source_greet(all, &why);
		if (r == 0)
			break;
		source_close_fd(all);
		if (cancelled(all))
			return -ECANCELED;
		if (r != -EAGAIN || clock_real_ms() >= until)
			return error_make(
				err, r == -EAGAIN ? -EHOSTUNREACH : r, "%s", error_text(why, r));
		poll(NULL, 0, AGAIN_MS);
	}
	all->parser = (struct chain_parser){.count = (uint32_t)chunk_index_count(all->index)};
	chain_watch_again(&all->watch);
	all->n_its = 0;
	all->whole_rate = 0;
	all->over = false;
	all->had_before = all->grown = held_have(all->job->held);
	all->grown_at = clock_real_ms();
	return 0;
}

/* ---- a round ---- */

static bool whole(const struct receiving *all)
{
	return held_have(all->job->held) >= held_total(all->job->held);
}

static uint64_t amount(uint32_t units)
{
	return units == CHAIN_WHOLE ? CHAIN_HAS_ALL : (uint64_t)units * CHAIN_UNIT;
}

static void take_wrong(struct receiving *all, int64_t now)
{
	struct chain_wrong wrong;

	while (chain_verifier_wrong(all->verifier, &wrong))
		if (wrong.source == all->at)
			chain_watch_wrong(&all->watch, now, wrong.number);
}

/* What a port takes, and who has everything gives, in plain bytes: all others tell of those. */
static uint64_t expected(const struct receiving *all)
{
	double got = (double)(held_have(all->job->held) - all->had);
	double port = (double)all->port_bits / 8, given = 1024.0 * all->whole_rate;

	if (given > 0 && given < port)
		port = given;
	return all->received ? (uint64_t)(port * got / (double)all->received) : 0;
}

/* My successors learn what those before me have. When I went around a slow one and am as slow now,
 * one that has everything is no measure: it serves slowly, and all behind me would leave me for it
 * in turn. When I tried another and am still slow, it is my port, and they should leave me. */
static void tell(struct receiving *all)
{
	uint32_t its[CHAIN_HOPS];

	memcpy(its, all->its, all->n_its * sizeof(*its));
	if (all->n_its && its[0] == CHAIN_WHOLE && all->around &&
		all->watch.rate < expected(all) / 2)
		its[0] = 0;
	if (all->job->server)
		chain_relay_tell(all->job->server, all->job->digest, its, all->n_its,
			all->n_its && all->its[0] == CHAIN_WHOLE ? all->whole_rate : 0);
}

static bool stalls(struct receiving *all, int64_t now, uint64_t mine)
{
	size_t hops = all->n_its < STALL_HOPS ? all->n_its : STALL_HOPS;

	if (mine > all->grown) {
		all->grown = mine;
		all->grown_at = now;
	}
	return now - all->grown_at > STALL_MS + (int64_t)hops * STALL_HOP_MS;
}

static int leave_liar(struct receiving *all)
{
	note(all, "%s sent wrong data %u times and is passed over", source_name(all),
		all->watch.n_wrong);
	all->around = source_name(all);
	return ROUND_NEXT;
}

/* Some times a second: should this source be left? */
static int tick(struct receiving *all, int64_t now)
{
	struct chain_seen seen = {.mine = held_have(all->job->held),
		.its = all->n_its ? amount(all->its[0]) : 0,
		.before = all->n_its > 1 ? amount(all->its[1]) : 0,
		.expect = expected(all),
		.second = all->second};

	if (all->job->progress)
		all->job->progress(seen.mine, held_total(all->job->held), all->job->arg);
	take_wrong(all, now);
	tell(all);
	if (stalls(all, now, seen.mine)) {
		note(all, "%s brought nothing for %lld s and is passed over", source_name(all),
			(long long)(now - all->grown_at) / 1000);
		all->around = source_name(all);
		return ROUND_NEXT;
	}
	if (!all->n_its) /* it does not tell of itself */
		return chain_watch_lies(&all->watch, now) ? leave_liar(all) : 0;
	switch (chain_watch_look(&all->watch, now, &seen)) {
	case CHAIN_STAY:
		return 0;
	case CHAIN_LEAVE_LIAR:
		return leave_liar(all);
	case CHAIN_LEAVE_SLOW:
		if (is_last(all))
			return 0;
		note(all, "%s gets %.1f MB/s where %.1f are to be had, and is passed over",
			source_name(all), (double)all->watch.its_rate / 1e6,
			(double)all->watch.other / 1e6);
		all->around = source_name(all);
		return ROUND_NEXT;
	case CHAIN_TRY_OTHER:
		if (is_last(all))
			return 0;
		all->watch.tried = true;
		note(all, "only %.1f MB/s come from %s, which has %.1f: trying the one before it",
			(double)all->watch.rate / 1e6, source_name(all),
			(double)all->watch.other / 1e6);
		return ROUND_NEXT;
	}
	return 0;
}

/* What the socket has: 0, or why there will be no more. Some milliseconds are waited for more to
 * come with it: waking three threads for every frame on the wire costs more than moving bytes. */
static int take_bytes(struct receiving *all, uint8_t *buffer, size_t size, int64_t *heard_at)
{
	struct pollfd poller = {.fd = all->fd, .events = POLLIN};
	int there = 0;
	ssize_t n;

	if (poll(&poller, 1, TICK_MS) <= 0)
		return 0;
	if (ioctl(all->fd, FIONREAD, &there) == 0 && there > 0 && (size_t)there < size / 2)
		usleep(GATHER_US);
	n = recv(all->fd, buffer, size, MSG_DONTWAIT);
	if (n == 0)
		return -ECONNRESET;
	if (n < 0)
		return errno == EAGAIN || errno == EINTR ? 0 : -errno;
	*heard_at = clock_real_ms();
	return chain_parse(&all->parser, buffer, (size_t)n, &events, all);
}

/* Until the source has no more, or is to be left, or breaks off. */
static int stream(struct receiving *all, struct error **err)
{
	auto_free uint8_t *buffer = xcalloc(1, TAKE_AT_ONCE);
	int64_t heard_at = clock_real_ms(), tick_at = 0;
	int r = 0;

	while (r == 0 && !all->over && !whole(all)) {
		int64_t now = clock_real_ms();

		if (cancelled(all))
			return -ECANCELED;
		if (now >= tick_at) {
			tick_at = now + TICK_MS;
			r = chain_verifier_fault(all->verifier, err);
			if (r == 0)
				r = tick(all, now);
			if (r != 0)
				return r;
		}
		r = take_bytes(all, buffer, TAKE_AT_ONCE, &heard_at);
		if (r == 0 && now - heard_at > SILENCE_MS)
			r = -ETIMEDOUT;
	}
	if (r < 0 && !all->over) {
		note(all, "%s %s; %s", source_name(all),
			r == -EBADMSG	  ? "does not speak as a peer"
			: r == -ETIMEDOUT ? "has fallen silent"
					  : "broke off",
			is_last(all) ? "HTTP brings the rest" : "going on with the one before it");
		return ROUND_NEXT;
	}
	return 0;
}

/* Until all that came is verified. */
static void drain(struct receiving *all)
{
	for (;;) {
		uint32_t version = chain_log_wait(all->log, 0, 0);

		if (chain_log_drained(all->log))
			return;
		chain_log_wait(all->log, version, TICK_MS);
	}
}

/* Did the round get us any further? Under a limit what comes in drives out what was there. */
static bool brought(const struct receiving *all)
{
	const struct held *held = all->job->held;
	uint64_t limit = held_limit(held);

	return held_have(held) > all->had_before && (!limit || limit >= held_total(held));
}

static int round_run(struct receiving *all, struct error **err)
{
	int r = source_connect(all, err), s;

	if (r < 0)
		return r;
	r = stream(all, err);
	if (all->parser.open)
		chain_log_end(all->log, false);
	source_close_fd(all);
	drain(all);
	s = chain_verifier_fault(all->verifier, err);
	if (r < 0 || s < 0)
		return r < 0 ? r : s;
	if (whole(all))
		return ROUND_WHOLE;
	if (r == ROUND_NEXT)
		return r;
	take_wrong(all, clock_real_ms());
	return brought(all) && !chain_watch_lies(&all->watch, INT64_MAX) ? ROUND_AGAIN : ROUND_NEXT;
}

static int rounds(struct receiving *all, struct error **err)
{
	struct error *last = NULL;
	int r = -EAGAIN;

	while (all->at < all->job->n_sources && !whole(all)) {
		error_free(TAKE_PTR(last));
		r = round_run(all, &last);
		if (r == ROUND_AGAIN)
			continue;
		if (r == ROUND_WHOLE || r == -ECANCELED ||
			chain_verifier_fault(all->verifier, NULL) < 0)
			break;
		if (r < 0)
			note(all, "%s", error_text(last, r));
		all->at++;
		all->watch = (struct chain_watch){.tried = all->watch.tried};
		all->changes += all->at < all->job->n_sources;
	}
	if (whole(all)) {
		error_free(last);
		return 0;
	}
	if (r == -ECANCELED)
		error_make(err, r, "cancelled");
	else if (r >= 0)
		r = error_make(err, -EAGAIN, "the peers lack some chunks or had them wrong");
	else
		error_make(err, r, "%s", error_text(last, r));
	error_free(last);
	return r;
}

static int receive(struct receiving *all, struct error **err)
{
	const struct chain_job *job = all->job;
	int r = 0;

	if (cancelled(all))
		return error_make(err, -ECANCELED, "cancelled");
	if (job->server)
		r = chain_relay_open(job->server, job->digest, all->log);
	if (r < 0)
		return error_make(err, r, "too many images are coming in at once");
	r = chain_verifier_start(job->held, all->index, all->log, &all->verifier, err);
	if (r == 0) {
		r = rounds(all, err);
		all->wrong = chain_verifier_count(all->verifier);
	}
	chain_log_close(all->log);
	chain_verifier_free(all->verifier);
	if (job->server)
		chain_relay_close(job->server, job->digest);
	return r;
}

int chain_receive(const struct chain_job *job, struct chain_result *ret_result, struct error **err)
{
	struct receiving *all = xnew(struct receiving);
	int r;

	all->job = job;
	all->fd = -1;
	all->index = chunk_index_new(held_manifest(job->held));
	all->log = chain_log_new();
	all->had = held_have(job->held);
	all->port_bits = job->port_bits ? job->port_bits : chain_tcp_link_bits(NULL);
	r = receive(all, err);
	if (ret_result)
		*ret_result = (struct chain_result){
			.received = all->received, .wrong = all->wrong, .changes = all->changes};
	if (r == 0 && job->progress)
		job->progress(held_have(job->held), held_total(job->held), job->arg);
	source_close_fd(all);
	chain_log_unref(all->log);
	chunk_index_free(all->index);
	free(all);
	return r;
}
