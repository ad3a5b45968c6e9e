/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The sender's loop: what goes out next, and when.
 *
 * Order of precedence: repair of blocks whose sources are all out (receivers hold memory for them),
 * then blocks somebody waits for, then the bulk. Time is a schedule, not a sleep: each burst moves
 * the moment of the next by what it takes on the wire, so a late wake-up is made good, but never by
 * more than a few milliseconds, which the buffers of a switch can bear. The socket's own buffer is
 * kept short, so that a port slower than the rate pushes back here instead of dropping.
 *
 * One system call sends up to 44 frames (UDP_SEGMENT). The one socket is bound to our address and
 * the group's port: receivers hear the source they know, and answer to it.
 *
 * Nothing here believes a receiver (cast_send_member.c), and nothing blocks but poll.
 */
#include "images/cast_send_inside.h"

#include <netinet/udp.h>
#include <poll.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/socket.h>

#include "lib/clock.h"

enum {
	WIRE_OVERHEAD = 42, /* Ethernet, IP and UDP headers of each frame */
	CATCH_UP_US = 20000,
	HEAD_START_US = 5000, /* after a silence: the queues on the way are empty */
	STUCK_MS = 200,	      /* the socket takes nothing for so long: these frames are lost */
	FAILING_MS = 10000,   /* nothing but errors for so long: the cast ends */
	OWED_MOST = 1500,     /* frames: about an urgent block */
	BUFFERED_US = 10000,  /* at most so much waits in the socket */
	QUIET_MS = 600,	      /* nothing went to the group: we stood still, or had nothing to say */
	RECEIVE_BATCH = 32,
	IDLE_MS = 100,
	REPORT_MS = 1000,
};
#define OF_RATE 0.999 /* the rest is for the sender's own control frames */

/* ---- frames out ---- */

void send_frame(struct sender *sender, const struct sockaddr_in *to, struct cast_frame *frame)
{
	uint8_t bytes[CAST_FRAME_MAX];
	size_t len;

	frame->session = sender->session;
	len = cast_frame_write(frame, bytes);
	/* One that is lost will be said again. */
	(void)!sendto(sender->socket, bytes, len, MSG_DONTWAIT, (const void *)to, sizeof(*to));
	sender->bytes += len;
}

unsigned send_spread_ms(const struct sender *sender)
{
	unsigned ms = sender->n_active / 10;

	return ms > 50 ? 50 : ms;
}

void send_block_frame(struct sender *sender, const struct send_block *block, uint8_t round)
{
	struct cast_frame frame = {.kind = CAST_BLOCK, .block = block->what};

	frame.block.round = round;
	frame.block.spread_ms = (uint8_t)send_spread_ms(sender);
	send_frame(sender, &sender->group, &frame);
	sender->sent_ms = sender->now_ms;
}

static int burst_failed(struct sender *sender, int64_t now, int error)
{
	if (sender->failing_ms == 0)
		sender->failing_ms = now;
	return now - sender->failing_ms > FAILING_MS ? error : 0;
}

/* What an error of the network ate (a cable pulled for a moment) is lost like any frame; 0, or why
 * it seems to be for good. */
static int burst_send(struct sender *sender, const uint8_t *frames, unsigned n)
{
	uint16_t segment = CAST_FRAME_MAX;
	union {
		char bytes[CMSG_SPACE(sizeof(uint16_t))];
		struct cmsghdr align;
	} control = {0};
	struct iovec part = {(void *)frames, (size_t)n * CAST_FRAME_MAX};
	struct msghdr message = {.msg_name = &sender->group,
		.msg_namelen = sizeof(sender->group),
		.msg_iov = &part,
		.msg_iovlen = 1};

	if (n > 1) {
		message.msg_control = control.bytes;
		message.msg_controllen = sizeof(control.bytes);
		*CMSG_FIRSTHDR(&message) = (struct cmsghdr){.cmsg_level = SOL_UDP,
			.cmsg_type = UDP_SEGMENT,
			.cmsg_len = CMSG_LEN(sizeof(segment))};
		memcpy(CMSG_DATA(CMSG_FIRSTHDR(&message)), &segment, sizeof(segment));
	}
	for (int64_t begun = clock_real_ms();;) {
		struct pollfd room = {.fd = sender->socket, .events = POLLOUT};
		int error = EAGAIN;
		int64_t now;

		/* Writable: half of the buffer is free, and stays so for send_frame(), which does
		 * not wait. Without its questions no block ever ends. */
		if (poll(&room, 1, 5) > 0)
			error = sendmsg(sender->socket, &message, MSG_DONTWAIT) < 0 ? errno : 0;
		if (error == 0 || error == EINTR || error == ECONNREFUSED)
			break;
		now = clock_real_ms();
		if (error != EAGAIN && error != ENOBUFS)
			return burst_failed(sender, now, -error);
		if (now - begun > STUCK_MS || (sender->job->stop && atomic_load(sender->job->stop)))
			return 0;
	}
	sender->failing_ms = 0;
	sender->sent_ms = sender->now_ms;
	sender->bytes += part.iov_len;
	return 0;
}

/* ---- what next ---- */

static struct send_block *free_block(struct sender *sender)
{
	struct send_block *oldest = NULL;

	for (unsigned b = 0; b < SEND_BLOCKS; b++) {
		struct send_block *block = &sender->blocks[b];

		if (!block->open)
			return block;
		if (block->next == block->layout.sources &&
			(!oldest || block->asked_ms < oldest->asked_ms))
			oldest = block;
	}
	if (oldest) /* what is still lacked of it will be in another one */
		send_block_close(sender, oldest);
	return oldest;
}

typedef bool choose_fn(struct sender *, struct send_image *, struct send_block *);

/* A new block, by the first image in turn that has one of this sort. */
static struct send_block *begin_block(struct sender *sender, choose_fn *choose)
{
	struct send_block *block = NULL;

	for (size_t i = 0; i < sender->n_images; i++) {
		struct send_image *image = &sender->images[(sender->turn + i) % sender->n_images];
		struct send_block chosen = {0};

		if (!choose(sender, image, &chosen))
			continue;
		block = free_block(sender);
		if (!block)
			return NULL;
		*block = chosen;
		send_block_open(sender, image, block);
		sender->turn = (sender->turn + i + 1) % sender->n_images;
		return block;
	}
	return NULL;
}

static struct send_block *unsent(struct sender *sender, bool urgent)
{
	for (unsigned b = 0; b < SEND_BLOCKS; b++) {
		struct send_block *block = &sender->blocks[b];

		if (block->open && block->urgent == urgent && block->next < block->layout.sources)
			return block;
	}
	return NULL;
}

static struct send_block *lacking(struct sender *sender)
{
	for (unsigned b = 0; b < SEND_BLOCKS; b++)
		if (send_block_lacks(&sender->blocks[b]))
			return &sender->blocks[b];
	return NULL;
}

/* Blocks that somebody waits for go before the bulk, and then owe it as much: nobody stops the
 * others by asking for everything at once. */
static struct send_block *choose_block(struct sender *sender)
{
	bool in_debt = sender->owed >= OWED_MOST;
	struct send_block *block = unsent(sender, true);

	if (!block)
		block = begin_block(sender, send_image_plan);
	if (!block && !in_debt)
		block = begin_block(sender, send_image_wanted);
	if (!block)
		block = unsent(sender, false);
	if (!block)
		block = begin_block(sender, send_image_bulk);
	if (!block && in_debt) {
		sender->owed = 0;
		block = begin_block(sender, send_image_wanted);
	}
	return block;
}

static unsigned sources(
	struct sender *sender, struct send_block *block, unsigned max, const uint8_t **ret_frames)
{
	unsigned n = send_block_sources(sender, block, max, ret_frames);

	sender->owed += block->urgent ? (int)n : -(int)n;
	if (sender->owed < 0)
		sender->owed = 0;
	return n;
}

/* Frames to send now; 0: none. */
static unsigned next_frames(struct sender *sender, unsigned max, const uint8_t **ret_frames)
{
	struct send_block *block = lacking(sender);

	if (!block) {
		block = choose_block(sender);
		if (block)
			return sources(sender, block, max, ret_frames);
		block = lacking(sender); /* those whose turn has come now */
	}
	return block ? send_block_parities(sender, block, max, ret_frames) : 0;
}

/* ---- frames in ---- */

static void receive_all(struct sender *sender)
{
	static uint8_t bytes[RECEIVE_BATCH][CAST_FRAME_MAX + 1];
	static struct sockaddr_in from[RECEIVE_BATCH];
	struct iovec parts[RECEIVE_BATCH];
	struct mmsghdr messages[RECEIVE_BATCH] = {0};
	struct cast_frame frame;
	int n;

	do {
		for (unsigned i = 0; i < RECEIVE_BATCH; i++) {
			parts[i] = (struct iovec){bytes[i], sizeof(bytes[i])};
			messages[i].msg_hdr = (struct msghdr){.msg_name = &from[i],
				.msg_namelen = sizeof(from[i]),
				.msg_iov = &parts[i],
				.msg_iovlen = 1};
		}
		n = recvmmsg(sender->socket, messages, RECEIVE_BATCH, MSG_DONTWAIT, NULL);
		for (int i = 0; i < n; i++)
			if (cast_frame_read(bytes[i], messages[i].msg_len, &frame) == 0)
				send_member_frame(sender, &from[i], &frame);
	} while (n == RECEIVE_BATCH);
}

/* ---- the loop ---- */

/* All receivers, or those whose lane has changed. */
static void tell(struct sender *sender, bool whole)
{
	const struct cast_send *job = sender->job;
	static struct cast_member all[CAST_RECEIVERS];
	struct cast_progress progress = {(uint64_t)sender->rate.rate, sender->bytes, whole, all, 0};

	sender->lanes_changed = false;
	if (!job->progress)
		return;
	for (size_t i = 0; i < sender->n_members; i++) {
		struct send_member *member = &sender->members[i];

		if (!whole && !member->changed)
			continue;
		all[progress.n++] = (struct cast_member){.name = member->name,
			.digest = member->image->digest,
			.reason = member->reason,
			.address = {ntohl(member->address.sin_addr.s_addr)},
			.have = member->have,
			.total = member->total,
			.loss = (unsigned)(member->loss * 1000),
			.lane = member->lane,
			.changed = member->changed};
		member->changed = false;
	}
	job->progress(&progress, job->arg);
}

static bool ended(const struct sender *sender)
{
	if (sender->ended || (sender->job->stop && atomic_load(sender->job->stop)))
		return true;
	return sender->job->until_done && sender->ever_joined && sender->n_active == 0;
}

/* Sends one burst when it is due. Returns when the next one is (us), or -1: there is nothing to
 * send. *due is when the wire is free again. */
static int64_t pace(struct sender *sender, int64_t *due, int *ret_error)
{
	double frame_us = (CAST_FRAME_MAX + WIRE_OVERHEAD) * 8e6 / (sender->rate.rate * OF_RATE);
	unsigned max = (unsigned)(2000 / frame_us);
	int64_t now = clock_real_us();
	const uint8_t *frames;
	unsigned n;

	if (now < *due)
		return *due;
	n = next_frames(sender, max < 1 ? 1 : max > SEND_BURST ? SEND_BURST : max, &frames);
	if (n == 0)
		return -1;
	*ret_error = burst_send(sender, frames, n);
	if (*due < now - CATCH_UP_US)
		*due = now - CATCH_UP_US;
	*due += (int64_t)(n * frame_us);
	return *due;
}

/* All that has its time; returns when it wants to be called again, in ms from now. */
static int64_t tick(struct sender *sender, int64_t *next_report_ms)
{
	int64_t soonest = send_group_tick(sender);

	soonest = soonest < IDLE_MS ? soonest : IDLE_MS;
	for (unsigned b = 0; b < SEND_BLOCKS; b++) {
		int64_t in = sender->blocks[b].open ? send_block_tick(sender, &sender->blocks[b])
						    : INT64_MAX;

		soonest = in < soonest ? in : soonest;
	}
	if (sender->now_ms >= sender->rate_ms + CAST_RATE_STEP_MS) {
		sender->rate_ms = sender->now_ms;
		for (size_t i = 0; i < sender->n_images; i++)
			send_image_tick(sender, &sender->images[i]);
		send_members_tick(sender);
	}
	if (sender->now_ms >= *next_report_ms) {
		*next_report_ms = sender->now_ms + REPORT_MS;
		tell(sender, true);
	} else if (sender->lanes_changed) {
		tell(sender, false);
	}
	return soonest;
}

static void wait_until(struct sender *sender, int64_t until_us)
{
	int64_t left = until_us - clock_real_us();
	struct timespec t = {0};
	struct pollfd in[] = {{.fd = sender->socket, .events = POLLIN},
		{.fd = sender->more.fd, .events = POLLIN},
		{.fd = sender->more.wake, .events = POLLIN}};

	if (left > 0)
		t = (struct timespec){left / 1000000, left % 1000000 * 1000};
	ppoll(in, ARRAY_LEN(in), &t, NULL);
	if (in[1].revents)
		send_more_read(sender);
	send_more_tick(sender);
}

static int run(struct sender *sender)
{
	int64_t due = 0, next_report_ms = 0;
	int error = 0;

	sender->now_ms = clock_real_ms();
	next_report_ms = sender->now_ms + REPORT_MS;
	while (!ended(sender) && error == 0) {
		int64_t next, soonest;

		sender->now_ms = clock_real_ms();
		if (sender->now_ms - sender->sent_ms > QUIET_MS)
			sender->steady_ms = sender->now_ms;
		receive_all(sender);
		soonest = tick(sender, &next_report_ms);
		next = pace(sender, &due, &error);
		sender->idle = next < 0;
		if (!sender->idle) {
			wait_until(sender, next);
			continue;
		}
		wait_until(sender, clock_real_us() + soonest * 1000);
		/* Time in which there was nothing to send is not made good. */
		due = clock_real_us() - HEAD_START_US;
	}
	tell(sender, true);
	return error;
}

/* ---- beginning and end ---- */

static int socket_open(struct sender *sender, struct error **err)
{
	const struct cast_send *job = sender->job;
	struct sockaddr_in us = {.sin_family = AF_INET,
		.sin_port = htons(job->port),
		.sin_addr.s_addr = htonl(job->address.host)};
	struct in_addr interface = us.sin_addr;
	int buffer = (int)(job->rate / 8e6 * BUFFERED_US), one = 1;
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	sender->socket = fd;
	buffer = buffer < 128 << 10 ? 128 << 10 : buffer > 4 << 20 ? 4 << 20 : buffer;
	if (fd < 0 || bind(fd, (const void *)&us, sizeof(us)) < 0 ||
		setsockopt(fd, IPPROTO_IP, IP_MULTICAST_IF, &interface, sizeof(interface)) < 0 ||
		setsockopt(fd, IPPROTO_IP, IP_MULTICAST_TTL, &one, sizeof(one)) < 0 ||
		setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &buffer, sizeof(buffer)) < 0) {
		char address[IP4_TEXT];

		return error_make(err, -errno, "cast from %s, port %u: %s",
			ip4_format(job->address, address), job->port, strerror(errno));
	}
	buffer = 4 << 20;
	(void)setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &buffer, sizeof(buffer));
	return 0;
}

static int sender_init(struct sender *sender, const struct cast_send *job, struct error **err)
{
	int r;

	*sender = (struct sender){.job = job, .socket = -1};
	r = send_more_init(&sender->more, job->store, job->more);
	if (r < 0)
		error_make(err, r, "the cast: %s", strerror(-r));
	send_group_init(sender, job->group, job->port);
	sender->images = xcalloc(CAST_IMAGES, sizeof(*sender->images));
	sender->members = xcalloc(CAST_RECEIVERS, sizeof(*sender->members));
	sender->burst = xcalloc(SEND_BURST, CAST_FRAME_MAX);
	sender->coder = chunk_coder_new();
	cast_rate_init(&sender->rate, (double)job->rate);
	while (getrandom(&sender->session, sizeof(sender->session), 0) < 0 || sender->session == 0)
		;
	for (; sender->n_images < job->n_digests && r == 0; sender->n_images++)
		r = send_image_open(&sender->images[sender->n_images], job->store,
			job->digests[sender->n_images], (uint8_t)sender->n_images, err);
	return r < 0 ? r : socket_open(sender, err);
}

static void sender_done(struct sender *sender)
{
	send_more_done(sender);
	for (unsigned b = 0; b < SEND_BLOCKS; b++)
		free(sender->blocks[b].frames);
	for (unsigned i = 0; i < sender->n_spare; i++)
		free(sender->spare[i]);
	for (size_t i = 0; i < sender->n_images; i++)
		send_image_close(&sender->images[i]);
	send_members_done(sender);
	free(sender->images);
	free(sender->burst);
	chunk_coder_free(sender->coder);
	if (sender->socket >= 0)
		close(sender->socket);
}

static int job_check(const struct cast_send *job, struct error **err)
{
	if (job->group.host >> 28 != 14 && !job->no_multicast)
		return error_field(
			err, -EINVAL, "group", "must be a multicast address (239.x.y.z)");
	if (job->port == 0 || job->rate < 100000)
		return error_field(err, -EINVAL, job->port ? "rate" : "port", "must be %s",
			job->port ? "at least 100000 bits per second" : "1 to 65535");
	if ((job->n_digests == 0 && job->more < 0) || job->n_digests > CAST_IMAGES)
		return error_field(
			err, -EINVAL, "digest", "a cast has 1 to %d images", CAST_IMAGES);
	return 0;
}

/* A wake-up that comes late is time that no port gets back. Where the system does not grant the
 * priority the cast is a little slower on a busy machine; bursts are short either way. */
static void keep_time(void)
{
	const struct sched_param lowest = {.sched_priority = 1};

	prctl(PR_SET_TIMERSLACK, 1000UL);
	(void)sched_setscheduler(0, SCHED_RR | SCHED_RESET_ON_FORK, &lowest);
}

int cast_send(const struct cast_send *job, struct error **err)
{
	struct sender *sender = xnew(struct sender);
	int r = job_check(job, err);

	if (r == 0) {
		keep_time();
		r = sender_init(sender, job, err);
		if (r == 0) {
			r = run(sender);
			if (r < 0)
				error_make(err, r, "the cast cannot send: %s", strerror(-r));
		}
		sender_done(sender);
	}
	free(sender);
	return r;
}
