/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Receiving a cast: hello, welcome, and then take what comes, say what lacks, until all is here.
 *
 * Two sockets. One is connected to the sender and says everything there is to say; the kernel drops
 * what others send to it, and tells when nobody is there. The other listens to the group
 * (cast_recv_group.c). Both can be lied to by whoever writes the sender's address: then chunks fail
 * and are asked for again, until the cast is given up for another way.
 *
 * Nothing is acknowledged. A report answers a question of the sender's; a status, twice a second,
 * says all that is needed anew. So every lost frame costs a little time and no state is ever wrong
 * for long.
 */
#include "images/cast_recv_inside.h"

#include <poll.h>
#include <sys/random.h>
#include <sys/socket.h>

#include "lib/clock.h"

enum {
	PATIENCE_MS = 5000,
	HELLO_FIRST_MS = 20, /* without an answer; then twice as long each time */
	HELLO_MS = 160,
	STATUS_MS = 500,
	STATUS_BAD_MS = 150, /* while much is missed */
	STATUS_PAGES = 4,
	DEAF_NEW_MS = 400, /* welcome, and never any multicast: a short plan was sent five times */
	DEAF_MS = 3000,	   /* the same for one that heard some */
	DEAF_AGAIN_MS = 50,
	REJOIN_MS = 200,  /* the switch may not have heard that we joined */
	SILENT_MS = 1000, /* or has forgotten it */
	PROBE_MS = 250,	  /* after such a silence of the group: does the sender live? */
	REFUSALS = 9,	  /* of hellos in a row: nobody is there */
	WANT_MS = 20,
	WANT_AGAIN_MS = 120,
	LOOK_MS = 500,
	NAP_US = 1500,
	DRAINS = 16, /* portions in a row, then all else has its turn */
	WRONG_MAX = 64,
};

struct clocks {
	int64_t now, begun, heard, group_heard, hello, status, want, look, report;
};

struct running {
	struct receiver *receiver;
	struct clocks at;
	int64_t hello_pause;	 /* since the last hello, before the next */
	int64_t rejoin_after;	 /* so long a silence of the group */
	unsigned page;		 /* of the needs, next to be told */
	struct cast_frame later; /* a report that waits for its moment */
	bool has_later, group_ever, ended;
	bool no_more;	   /* the sender cannot read what still lacks; what came is seen through */
	unsigned refusals; /* by the sender's machine, since it last spoke */
	unsigned seed;	   /* of the times that reports wait */
	int result;
	struct error **err; /* of a result below 0 */
	bool enough;	    /* as progress said */
	struct cast_count told;
};

static int end(struct running *run, int result, const char *why)
{
	run->ended = true;
	run->result = result;
	if (result < 0)
		error_make(run->err, result, "%s", why);
	return result;
}

/* ---- speaking ---- */

static void say(struct running *run, struct cast_frame *frame)
{
	uint8_t bytes[CAST_FRAME_MAX];
	size_t len;

	frame->session = frame->kind == CAST_HELLO ? 0 : run->receiver->session;
	len = cast_frame_write(frame, bytes);
	(void)!send(run->receiver->unicast, bytes, len, MSG_DONTWAIT);
}

static void say_hello(struct running *run)
{
	const struct cast_receive *job = run->receiver->job;
	struct cast_frame frame = {.kind = CAST_HELLO,
		.hello = {.nonce = run->receiver->nonce,
			.serve_port = job->serve_port,
			.partial = run->receiver->partial}};

	sha256_parse(job->digest, &frame.hello.digest);
	snprintf(frame.hello.name, sizeof(frame.hello.name), "%s", job->name);
	say(run, &frame);
	run->at.hello = run->at.now;
	run->hello_pause = run->hello_pause ? run->hello_pause * 2 : HELLO_FIRST_MS;
	if (run->hello_pause > HELLO_MS)
		run->hello_pause = HELLO_MS;
}

/* One page of what is needed; false: that was the last. */
static bool status_page(struct running *run, struct cast_status *status)
{
	const struct receiver *receiver = run->receiver;
	uint32_t first = run->page * CAST_PAGE_BYTES, bytes = (receiver->plan.n + 7) / 8;
	uint32_t n = bytes - first < CAST_PAGE_BYTES ? bytes - first : CAST_PAGE_BYTES;

	status->first = first * 8;
	status->n_bytes = (uint16_t)n;
	for (uint32_t i = 0; i < n; i++)
		status->need[i] = (uint8_t)~receiver->got[first + i];
	run->page = first + n < bytes ? run->page + 1 : 0;
	return run->page != 0;
}

static void say_status(struct running *run, bool deaf)
{
	struct receiver *receiver = run->receiver;
	struct cast_frame frame = {.kind = CAST_STATUS};
	struct cast_status *status = &frame.status;

	status->count = receiver->count;
	status->deaf = deaf;
	status->silent = run->at.now - run->at.group_heard > SILENT_MS;
	status->group = receiver->welcome.group;
	status->needs_plan = !receiver->planned;
	if (receiver->planned) {
		status->total = held_total(receiver->held);
		status->have = held_have(receiver->held);
		if (status->have > status->total)
			status->have = status->total;
	}
	for (unsigned i = 0; i < STATUS_PAGES; i++) {
		bool more = receiver->planned && status_page(run, status);

		say(run, &frame);
		if (!more)
			break;
	}
	run->at.status = run->at.now;
	run->told = receiver->count;
	receiver->fresh_needs = false;
}

static void say_leave(struct running *run, bool whole)
{
	struct cast_frame frame = {
		.kind = CAST_LEAVE, .leave = {.nonce = run->receiver->nonce, .whole = whole}};

	if (run->receiver->session == 0)
		return;
	say(run, &frame);
	say(run, &frame);
}

/* What readers of this host wait for, and is on its way through no block. */
static void say_wants(struct running *run)
{
	struct receiver *receiver = run->receiver;
	struct cast_frame frame = {.kind = CAST_WANT};
	size_t count = held_count(receiver->held);

	for (size_t n = held_next_wanted(receiver->held, 0); n < count && frame.want.n < CAST_WANTS;
		n = held_next_wanted(receiver->held, n + 1)) {
		uint32_t at = receiver->entry_of[n];

		if (at == CAST_NONE ||
			(cast_bit(receiver->got, at) && recv_block_brings(receiver, at)))
			continue;
		recv_got(receiver, at, false);
		frame.want.at[frame.want.n++] = at;
	}
	run->at.want = run->at.now;
	if (frame.want.n == 0)
		return;
	say(run, &frame);
	run->at.want += WANT_AGAIN_MS - WANT_MS;
}

/* ---- hearing ---- */

static int group_join(struct running *run, struct ip4 group, uint16_t port)
{
	struct receiver *receiver = run->receiver;

	run->rejoin_after = REJOIN_MS;
	return recv_group_join(&receiver->group, receiver->unicast, group, port);
}

/* The cast is about to move: listens to both groups, and says so. Where that fails it says nothing,
 * and will be told again. */
static void group_follow(struct running *run, struct ip4 group)
{
	struct receiver *receiver = run->receiver;

	if (receiver->welcome.group.host == group.host ||
		group_join(run, group, receiver->welcome.port) < 0)
		return;
	receiver->welcome.group = group;
	receiver->fresh_needs = true;
}

/* The session that begins: its plan can come, its group is listened to. */
static void session_begin(struct running *run)
{
	struct receiver *receiver = run->receiver;
	auto_free char *why = NULL;
	int r;

	if (receiver->planned) {
		end(run, -EHOSTUNREACH, "the cast began anew");
		return;
	}
	r = recv_plan_begin(receiver);
	if (r < 0) {
		why = xasprintf("it announces a plan of %u MiB, more than any image has",
			receiver->welcome.plan_bytes >> 20);
		end(run, r, why);
		return;
	}
	r = group_join(run, receiver->welcome.group, receiver->welcome.port);
	if (r < 0) {
		why = xasprintf("the group of the cast cannot be joined: %s", strerror(-r));
		end(run, r, why);
	}
}

static void welcome_take(struct running *run, const struct cast_frame *frame)
{
	struct receiver *receiver = run->receiver;

	if (frame->welcome.nonce != receiver->nonce)
		return;
	if (receiver->session == frame->session) {
		group_follow(run, frame->welcome.group);
		return;
	}
	recv_group_leave(&receiver->group);
	recv_blocks_reset(receiver);
	receiver->session = frame->session;
	receiver->seen.met = true;
	receiver->welcome = frame->welcome;
	receiver->count = (struct cast_count){0};
	run->has_later = run->group_ever = false;
	run->at.group_heard = run->at.now;
	run->hello_pause = 0;
	session_begin(run);
}

static void drop_take(struct running *run, const struct cast_drop *drop)
{
	struct receiver *receiver = run->receiver;

	if (drop->nonce != receiver->nonce)
		return;
	memcpy(receiver->seen.peers, drop->peers, drop->n_peers * sizeof(*drop->peers));
	receiver->seen.n_peers = drop->n_peers;
	switch (drop->reason) {
	case CAST_UNKNOWN:
		end(run, -ENOENT, "it is not cast");
		return;
	case CAST_DEAF:
		end(run, -ENOTCONN, "no multicast reaches this PC");
		return;
	case CAST_FULL:
		end(run, -EAGAIN, "the cast has no room for more PCs");
		return;
	case CAST_DAMAGED:
		run->no_more = true;
		return;
	default:
		end(run, -EAGAIN,
			"this PC misses more than half of what others get, its port or cable is "
			"slow; it asks its peers");
	}
}

/* Reports are spread in time, so that a thousand receivers do not answer in one moment. */
static void report_later(struct running *run, const struct cast_report *report, unsigned spread_ms)
{
	run->later = (struct cast_frame){.kind = CAST_REPORT, .report = *report};
	run->has_later = true;
	run->at.report = run->at.now + (spread_ms ? rand_r(&run->seed) % spread_ms : 0);
}

static void control_take(struct running *run, const uint8_t *bytes, size_t len)
{
	struct cast_frame frame;
	struct cast_report report;

	if (cast_frame_read(bytes, len, &frame) < 0)
		return;
	if (frame.kind == CAST_WELCOME)
		welcome_take(run, &frame);
	else if (frame.kind == CAST_DROP)
		drop_take(run, &frame.drop);
	else if (frame.kind == CAST_BLOCK && frame.session == run->receiver->session &&
		 recv_block_what(run->receiver, &frame.block, &report)) {
		if (run->has_later && run->later.report.block != report.block)
			say(run, &run->later);
		report_later(run, &report, frame.block.spread_ms);
	}
}

/* From the group. */
static bool frame_take(const uint8_t *bytes, size_t len, void *arg)
{
	struct running *run = arg;
	struct receiver *receiver = run->receiver;

	if (run->ended || len < CAST_HEADER || be32_at(bytes) != receiver->session)
		return false;
	if (run->at.now - run->at.group_heard > SILENT_MS)
		recv_blocks_silence(receiver);
	run->at.heard = run->at.group_heard = run->at.now;
	run->group_ever = true;
	run->rejoin_after = SILENT_MS;
	receiver->seen.bytes += len;
	if (be16_at(bytes + 4) == CAST_CONTROL)
		control_take(run, bytes, len);
	else if (len == CAST_FRAME_MAX)
		recv_packet(receiver, be16_at(bytes + 4), be16_at(bytes + 6), bytes + CAST_HEADER);
	return true;
}

/* -ECONNREFUSED: the machine is there, the sender is not. */
static int unicast_drain(struct running *run)
{
	uint8_t bytes[CAST_FRAME_MAX + 1];

	while (!run->ended) {
		ssize_t n = recv(run->receiver->unicast, bytes, sizeof(bytes), MSG_DONTWAIT);

		if (n < 0)
			return errno == ECONNREFUSED ? -ECONNREFUSED : 0;
		run->at.heard = run->at.now;
		run->refusals = 0;
		control_take(run, bytes, (size_t)n);
	}
	return 0;
}

/* ---- the loop ---- */

static bool much_missed(const struct running *run)
{
	uint32_t expected = run->receiver->count.expected - run->told.expected;
	uint32_t received = run->receiver->count.received - run->told.received;

	return expected > 200 && received < expected - expected / 3;
}

static void tell(struct running *run)
{
	const struct receiver *receiver = run->receiver;

	if (receiver->job->progress &&
		!receiver->job->progress(receiver->planned ? held_have(receiver->held) : 0,
			receiver->planned ? held_total(receiver->held) : 0, receiver->job->arg))
		run->enough = true;
}

/* The group is silent though something is to come, and the sender answered meanwhile: one that
 * stands still for a while makes nobody deaf. */
static bool deaf(const struct running *run)
{
	const struct receiver *receiver = run->receiver;
	const struct clocks *at = &run->at;
	int64_t patience = run->group_ever ? DEAF_MS : DEAF_NEW_MS;

	return (!receiver->planned || receiver->n_needed > 0) && !recv_blocks_busy(receiver) &&
	       at->now - at->group_heard > patience && at->heard - at->group_heard > patience / 2;
}

static void speak_when_due(struct running *run)
{
	struct receiver *receiver = run->receiver;
	struct clocks *at = &run->at;
	int64_t status_in =
		much_missed(run) ? STATUS_BAD_MS : STATUS_MS + (rand_r(&run->seed) & 63);
	bool is_deaf;

	if (receiver->session == 0 || at->now - at->group_heard > PROBE_MS) {
		if (at->now - at->hello >= run->hello_pause)
			say_hello(run);
		if (receiver->session == 0)
			return;
	}
	if (run->has_later && at->now >= at->report) {
		run->has_later = false;
		say(run, &run->later);
	}
	if (receiver->planned && at->now - at->look >= LOOK_MS) {
		at->look = at->now;
		recv_blocks_tick(receiver);
		recv_plan_look(receiver);
	}
	if (receiver->planned && at->now - at->want >= WANT_MS)
		say_wants(run);
	is_deaf = deaf(run);
	if (at->now - at->group_heard > run->rejoin_after) {
		run->rejoin_after =
			run->rejoin_after < SILENT_MS ? SILENT_MS : run->rejoin_after * 2;
		recv_group_rejoin(&receiver->group);
	}
	if (receiver->fresh_needs ||
		at->now - at->status >= (is_deaf ? DEAF_AGAIN_MS : status_in)) {
		say_status(run, is_deaf);
		tell(run);
	}
}

static void look_at_state(struct running *run, bool refused)
{
	struct receiver *receiver = run->receiver;
	int64_t patience = receiver->job->patience_ms ? receiver->job->patience_ms : PATIENCE_MS;

	if (run->enough || (receiver->job->cancel && atomic_load(receiver->job->cancel)))
		end(run, -ECANCELED, "it was cancelled");
	else if (receiver->failed < 0)
		end(run, receiver->failed, error_text(receiver->failure, receiver->failed));
	else if (receiver->seen.wrong > WRONG_MAX &&
		 receiver->seen.wrong > receiver->seen.packets / 100)
		end(run, -EBADMSG, "too much of what is cast is wrong");
	else if (run->at.now - run->at.heard > patience)
		end(run, -EHOSTUNREACH,
			receiver->session ? "the cast fell silent" : "nobody casts there");
	else if (refused && receiver->session)
		end(run, -EHOSTUNREACH, "the cast has ended");
	else if (run->refusals >= REFUSALS)
		end(run, -EHOSTUNREACH, "nobody casts there");
	else if (receiver->planned && receiver->n_needed == 0 && !recv_blocks_busy(receiver))
		end(run, 0, NULL);
	else if (run->no_more && !recv_blocks_busy(receiver))
		end(run, -EIO, "the lab server cannot read the rest of the image");
}

/* Waits for something to happen; a while of nothing but sleep when packets are streaming in. */
static void rest(const struct running *run, bool streaming)
{
	const struct receiver *receiver = run->receiver;
	struct pollfd fds[] = {{.fd = receiver->unicast, .events = POLLIN},
		{.fd = receiver->wake, .events = POLLIN},
		{.fd = streaming ? -1 : receiver->group.now.fd, .events = POLLIN},
		{.fd = streaming ? -1 : receiver->group.former.fd, .events = POLLIN}};
	int64_t us = streaming ? NAP_US : 10000, report_us = (run->at.report - run->at.now) * 1000;
	struct timespec t;

	if (run->has_later && report_us < us)
		us = report_us > 0 ? report_us : 0;
	t = (struct timespec){0, us * 1000};
	ppoll(fds, ARRAY_LEN(fds), &t, NULL);
}

static int receive_run(struct running *run)
{
	struct receiver *receiver = run->receiver;

	run->at.now = run->at.begun = run->at.heard = clock_real_ms();
	run->seed = (unsigned)receiver->nonce;
	while (!run->ended) {
		bool streaming = false, refused;
		unsigned drains = 0;

		receiver->now_ms = run->at.now = clock_real_ms();
		while (!run->ended && drains++ < DRAINS &&
			recv_group_drain(&receiver->group, &receiver->server, frame_take, run)) {
			streaming = true;
			recv_verify_results(receiver);
		}
		recv_verify_results(receiver);
		refused = unicast_drain(run) == -ECONNREFUSED;
		run->refusals += refused;
		if (run->ended)
			break;
		look_at_state(run, refused);
		if (run->ended)
			break;
		speak_when_due(run);
		rest(run, streaming);
	}
	if (run->result != -EHOSTUNREACH)
		say_leave(run, run->result == 0);
	return run->result;
}

/* ---- beginning and end ---- */

static int receiver_init(
	struct receiver *receiver, const struct cast_receive *job, struct error **err)
{
	auto_free char *map = xasprintf("%s/%s/map", job->dir, job->digest);

	*receiver = (struct receiver){.job = job, .unicast = -1, .wake = -1};
	recv_group_init(&receiver->group);
	receiver->server = (struct sockaddr_in){.sin_family = AF_INET,
		.sin_port = htons(job->port),
		.sin_addr.s_addr = htonl(job->server.host)};
	receiver->partial = access(map, F_OK) == 0;
	while (getrandom(&receiver->nonce, sizeof(receiver->nonce), 0) < 0)
		;
	recv_blocks_init(receiver);
	if (recv_verify_start(receiver) < 0)
		return error_make(err, -EAGAIN, "no thread can be started");
	receiver->unicast = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (receiver->unicast < 0 || connect(receiver->unicast, (const void *)&receiver->server,
					     sizeof(receiver->server)) < 0)
		return error_make(err, -EHOSTUNREACH, "no way to the sender: %s", strerror(errno));
	return 0;
}

static void receiver_done(struct receiver *receiver)
{
	recv_verify_stop(receiver);
	recv_blocks_done(receiver);
	recv_plan_done(receiver);
	if (receiver->unicast >= 0)
		close(receiver->unicast);
	recv_group_done(&receiver->group);
}

int cast_receive(
	const struct cast_receive *job, struct cast_received *ret_received, struct error **err)
{
	struct receiver *receiver = xnew(struct receiver);
	struct running *run = xnew(struct running);
	int r = 0;

	if (!sha256_hex_ok(job->digest) || !name_ok(job->name))
		r = error_make(err, -EINVAL, "a cast needs a digest of 64 hex digits and a name");
	if (r == 0) {
		run->receiver = receiver;
		run->err = err;
		r = receiver_init(receiver, job, err);
		if (r == 0)
			r = receive_run(run);
		if (r == 0)
			r = held_finish(receiver->held, err);
		if (r == 0)
			tell(run);
		receiver_done(receiver);
	}
	if (ret_received)
		*ret_received = receiver->seen;
	free(run);
	free(receiver);
	return r < 0 ? error_wrap(err, r, "image %.12s by multicast", job->digest) : 0;
}
