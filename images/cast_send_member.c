/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The receivers of a cast, as the sender knows them: by what they say.
 *
 * All of it is hearsay from a segment where anybody may speak, so nothing here costs more than a
 * bounded share of the rate: a receiver may need chunks of its image, ask for some of them first,
 * lack packets of a block. One that says nothing for a while is counted out; one that misses more
 * than half of what the others get is sent to its peers by name, for it would hold up all and gain
 * little. It is compared with what the others say after it: a switch that starts anew strikes all
 * alike, but they do not tell at once. Whoever comes back is taken in again with what it then says
 * it needs.
 *
 * Needs are a level, not an edge: every status repeats them, so a report that was lost costs time
 * and nothing else.
 */
#include "images/cast_send_inside.h"

enum {
	SILENCE_MS = 4000,
	STEADY_MS = 1200, /* for so long something was sent: who heard nothing is cut off */
	WINDOW_MIN = 400, /* packets that make a loss worth a look */
	STRIKES = 2,	  /* a hiccup of the machine makes nobody hopeless */
	DROP_PEERS = 8,
};

#define SURELY 0.67 /* so great a loss is no hiccup: one strike is enough */

const char *const cast_lane_names[] = {"multicast", "done", "peers", "lost", "left"};

bool send_member_active(const struct send_member *member)
{
	return member->lane == LANE_MULTICAST;
}

void send_member_lane(
	struct sender *sender, struct send_member *member, enum cast_lane lane, const char *reason)
{
	if (member->lane == lane)
		return;
	sender->n_active += (unsigned)(lane == LANE_MULTICAST);
	sender->n_active -= (unsigned)(member->lane == LANE_MULTICAST);
	member->lane = lane;
	free(member->reason);
	member->reason = xstrdup(reason);
	member->changed = sender->lanes_changed = true;
}

/* ---- coming ---- */

static void need_begin(struct send_member *member, bool all)
{
	const struct send_image *image = member->image;

	free(member->need);
	member->need = xcalloc(image->words, sizeof(uint64_t));
	for (uint32_t i = 0; i < image->plan.n && all; i++)
		bit64_set(member->need, i, true);
	member->n_need = all ? image->plan.n : 0;
}

static bool same_address(const struct sockaddr_in *a, const struct sockaddr_in *b)
{
	return a->sin_addr.s_addr == b->sin_addr.s_addr && a->sin_port == b->sin_port;
}

static struct send_member *member_at(struct sender *sender, const struct sockaddr_in *address)
{
	for (size_t i = 0; i < sender->n_members; i++)
		if (same_address(&sender->members[i].address, address))
			return &sender->members[i];
	return NULL;
}

/* The one of this name for this image (it may have been restarted), a new one, or one that is gone;
 * NULL: full. */
static struct send_member *member_place(
	struct sender *sender, const struct send_image *image, const char *name)
{
	struct send_member *gone = NULL;

	for (size_t i = 0; i < sender->n_members; i++) {
		struct send_member *member = &sender->members[i];

		if (member->image == image && strcmp(member->name, name) == 0)
			return member;
		if (member->lane == LANE_LOST || member->lane == LANE_LEFT)
			gone = member;
		else if (member->lane == LANE_DONE && !gone)
			gone = member;
	}
	return sender->n_members < CAST_RECEIVERS ? &sender->members[sender->n_members++] : gone;
}

static void member_begin(struct sender *sender, struct send_member *member,
	struct send_image *image, const struct cast_hello *hello, const struct sockaddr_in *from)
{
	size_t index = (size_t)(member - sender->members);

	if (member->image && member->lane == LANE_MULTICAST)
		sender->n_active--;
	free(member->need);
	free(member->reason);
	*member = (struct send_member){.address = *from,
		.image = image,
		.serve_port = hello->serve_port,
		.nonce = hello->nonce,
		.lane = LANE_MULTICAST,
		.group = {ntohl(sender->group.sin_addr.s_addr)},
		.changed = true,
		.joined_ms = sender->now_ms,
		.heard_ms = sender->now_ms};
	snprintf(member->name, sizeof(member->name), "%s", hello->name);
	need_begin(member, !hello->partial);
	image->plan_vain = 0;
	if (image->plan_sent_ms >= image->came_ms) /* not for ever, however many come */
		image->came_ms = sender->now_ms;
	sender->n_active++;
	sender->ever_joined = sender->lanes_changed = true;
	for (unsigned b = 0; b < SEND_BLOCKS; b++)
		sender->blocks[b].answer[index] = sender->blocks[b].answered[index] = 0;
}

void send_welcome(struct sender *sender, const struct send_member *member, struct ip4 group)
{
	struct cast_frame frame = {.kind = CAST_WELCOME,
		.welcome = {.nonce = member->nonce,
			.group = group,
			.port = sender->job->port,
			.image = member->image->number,
			.plan_bytes = member->image->plan_len,
			.plan_length = member->image->plan_length}};

	send_frame(sender, &member->address, &frame);
}

static void refuse(struct sender *sender, const struct sockaddr_in *to, uint64_t nonce,
	enum cast_reason reason)
{
	struct cast_frame frame = {
		.kind = CAST_DROP, .drop = {.nonce = nonce, .reason = (uint8_t)reason}};

	send_frame(sender, to, &frame);
}

static void hello_take(
	struct sender *sender, const struct sockaddr_in *from, const struct cast_hello *hello)
{
	struct send_image *image = send_image_find(sender, &hello->digest);
	struct send_member *member = member_at(sender, from);

	if (!image) {
		if (!send_more_comes(sender, &hello->digest))
			refuse(sender, from, hello->nonce, CAST_UNKNOWN);
		return;
	}
	if (!member || member->image != image || member->nonce != hello->nonce) {
		member = member ? member : member_place(sender, image, hello->name);
		if (!member) {
			refuse(sender, from, hello->nonce, CAST_FULL);
			return;
		}
		member_begin(sender, member, image, hello, from);
	}
	member->heard_ms = sender->now_ms;
	if (member->lane == LANE_PEERS && member->dropped_for != CAST_DAMAGED) {
		send_drop(sender, member, member->dropped_for); /* it has not heard so yet */
		return;
	}
	if (!sender->job->no_multicast) {
		send_welcome(sender, member, send_group_of(sender, member));
		return;
	}
	send_member_lane(sender, member, LANE_PEERS, NULL);
	send_drop(sender, member, CAST_DEAF);
}

/* ---- going ---- */

/* Who may have the data: those before it first, so that deaf ones form a chain. */
void send_drop(struct sender *sender, struct send_member *member, enum cast_reason reason)
{
	struct cast_frame frame = {
		.kind = CAST_DROP, .drop = {.nonce = member->nonce, .reason = (uint8_t)reason}};
	struct cast_drop *drop = &frame.drop;
	size_t index = (size_t)(member - sender->members);

	for (size_t i = 1; i < sender->n_members && drop->n_peers < DROP_PEERS; i++) {
		const struct send_member *other =
			&sender->members[(index + sender->n_members - i) % sender->n_members];
		/* Of those behind it only who has something: when all are deaf, the first would
		 * wait for the last, and that one for the first. */
		bool before = i <= index;
		bool has = other->lane == LANE_DONE ||
			   (other->lane == LANE_MULTICAST && (before || other->have > 0)) ||
			   (other->lane == LANE_PEERS && reason == CAST_DEAF && before);

		if (has && other->image == member->image && other->serve_port)
			drop->peers[drop->n_peers++] = (struct cast_peer){
				{ntohl(other->address.sin_addr.s_addr)}, other->serve_port};
	}
	member->dropped_for = reason;
	send_frame(sender, &member->address, &frame);
}

static void leave_take(
	struct sender *sender, struct send_member *member, const struct cast_leave *leave)
{
	if (leave->nonce != member->nonce)
		return;
	if (leave->whole) {
		member->have = member->total;
		send_member_lane(sender, member, LANE_DONE, NULL);
	} else if (member->lane == LANE_MULTICAST) {
		send_member_lane(sender, member, LANE_LEFT, "it left");
	}
}

/* ---- speaking ---- */

static void count_take(
	const struct sender *sender, struct send_member *member, const struct cast_count *count)
{
	member->latest = *count;
	if (member->has_base || sender->now_ms < member->base_from_ms)
		return;
	member->base = *count;
	member->has_base = true;
}

static void status_take(
	struct sender *sender, struct send_member *member, const struct cast_status *status)
{
	uint64_t end = (uint64_t)status->first + status->n_bytes * 8ULL;

	member->have = status->have;
	member->total = status->total;
	member->has_plan = !status->needs_plan;
	count_take(sender, member, &status->count);
	send_group_heard(sender, member, status->group);
	for (uint64_t at = status->first; at < end && at < member->image->plan.n; at++) {
		bool need = cast_bit(status->need, at - status->first);

		member->n_need += (uint32_t)need - (uint32_t)bit64(member->need, (uint32_t)at);
		bit64_set(member->need, (uint32_t)at, need);
	}
	if (!status->deaf && (!status->silent || sender->now_ms - sender->steady_ms < STEADY_MS))
		return;
	if (send_group_silent(sender, member) || !status->deaf)
		return;
	send_member_lane(sender, member, LANE_PEERS, "it hears no multicast");
	send_drop(sender, member, CAST_DEAF);
}

static bool is_urgent(const struct sender *sender, const struct send_image *image, uint32_t at)
{
	for (unsigned b = 0; b < SEND_BLOCKS; b++) {
		const struct send_block *block = &sender->blocks[b];

		if (!block->open || !block->urgent || block->image != image)
			continue;
		for (unsigned i = 0; i < block->layout.n; i++)
			if (block->layout.at[i] == at)
				return true;
	}
	return false;
}

static void want_take(
	const struct sender *sender, struct send_member *member, const struct cast_want *want)
{
	struct send_image *image = member->image;

	for (unsigned i = 0; i < want->n; i++) {
		uint32_t at = want->at[i];

		if (at >= image->plan.n)
			continue;
		member->n_need += !bit64(member->need, at);
		bit64_set(member->need, at, true);
		if (bit64(image->wanted, at) || bit64(image->bad, at) ||
			is_urgent(sender, image, at))
			continue;
		bit64_set(image->wanted, at, true);
		image->n_wanted++;
	}
}

static void member_speaks(
	struct sender *sender, struct send_member *member, const struct cast_frame *frame)
{
	if (frame->kind == CAST_LEAVE) {
		leave_take(sender, member, &frame->leave);
		return;
	}
	if (member->lane == LANE_PEERS) { /* it has not heard so yet */
		send_drop(sender, member, member->dropped_for);
		return;
	}
	if (member->lane != LANE_MULTICAST && frame->kind == CAST_STATUS &&
		!sender->job->no_multicast)
		send_member_lane(sender, member, LANE_MULTICAST, NULL);
	if (!send_member_active(member))
		return;
	if (frame->kind == CAST_STATUS) {
		status_take(sender, member, &frame->status);
	} else if (frame->kind == CAST_WANT) {
		want_take(sender, member, &frame->want);
	} else if (frame->kind == CAST_REPORT) {
		count_take(sender, member, &frame->report.count);
		send_block_report(sender, (size_t)(member - sender->members), &frame->report);
	}
}

void send_member_frame(
	struct sender *sender, const struct sockaddr_in *from, const struct cast_frame *frame)
{
	struct send_member *member;

	if (frame->kind == CAST_HELLO) {
		hello_take(sender, from, &frame->hello);
		return;
	}
	member = member_at(sender, from);
	if (!member || frame->session != sender->session)
		return;
	member->heard_ms = sender->now_ms;
	member_speaks(sender, member, frame);
}

/* ---- judging ---- */

/* True: a new value. */
static bool loss_measure(const struct sender *sender, struct send_member *member)
{
	uint32_t expected = member->latest.expected - member->base.expected;
	uint32_t received = member->latest.received - member->base.received;

	if (!member->has_base || expected < WINDOW_MIN)
		return false;
	member->loss = received >= expected ? 0 : 1 - (double)received / expected;
	member->has_loss = true;
	member->measured_ms = sender->now_ms;
	member->base = member->latest;
	return true;
}

/* Of those measured at `since_ms` or later; of suspects only when they are asked for: who is about to
 * be sent away has no say in the rate. */
static size_t losses(
	const struct sender *sender, int64_t since_ms, bool suspects, double *ret_loss)
{
	size_t n = 0;

	for (size_t i = 0; i < sender->n_members; i++) {
		const struct send_member *member = &sender->members[i];

		if (send_member_active(member) && member->has_loss &&
			member->measured_ms >= since_ms && (suspects || member->strikes == 0))
			ret_loss[n++] = member->loss;
	}
	return n;
}

static void windows_restart(struct sender *sender)
{
	for (size_t i = 0; i < sender->n_members; i++) {
		send_member_settle(sender, &sender->members[i], SEND_SETTLE_MS);
		sender->members[i].strikes = 0;
	}
}

void send_member_settle(const struct sender *sender, struct send_member *member, int64_t ms)
{
	member->has_loss = member->has_base = false;
	if (member->base_from_ms < sender->now_ms + ms)
		member->base_from_ms = sender->now_ms + ms;
}

/* All that it still needs cannot be read here, and is on its way no more; a peer may have it. */
static void member_leave(struct sender *sender, struct send_member *member)
{
	const struct send_image *image = member->image;
	auto_free char *reason = NULL;

	if (!send_member_active(member) || !member->has_plan || member->n_need == 0)
		return;
	for (uint32_t w = 0; w < image->words; w++)
		if (member->need[w] & (~image->bad[w] | image->busy[w]))
			return;
	reason = xasprintf("the store cannot read %u chunk%s that it needs; it asks its peers",
		member->n_need, member->n_need == 1 ? "" : "s");
	send_member_lane(sender, member, LANE_PEERS, reason);
	send_drop(sender, member, CAST_DAMAGED);
}

/* It has a new loss. */
static void member_suspect(
	const struct sender *sender, struct send_member *member, double *all, size_t n)
{
	if (!cast_rate_hopeless(member->loss, all, n)) {
		member->strikes = 0;
		return;
	}
	if (member->strikes++ == 0)
		member->suspected_ms = sender->now_ms;
}

/* Is a suspect really worse than the others? Not before most of them were measured too. */
static void member_judge(struct sender *sender, struct send_member *member)
{
	double all[CAST_RECEIVERS];
	size_t known = losses(sender, 0, true, all);
	size_t n = losses(sender, member->suspected_ms, true, all);
	auto_free char *reason = NULL;

	if (n * 2 <= known)
		return;
	if (!cast_rate_hopeless(member->loss, all, n)) {
		member->strikes = 0;
		return;
	}
	if (member->strikes < STRIKES && member->loss < SURELY)
		return;
	reason = xasprintf("misses %.0f %% of what is sent; it gets the image from its peers",
		member->loss * 100);
	send_member_lane(sender, member, LANE_PEERS, reason);
	send_drop(sender, member, CAST_SLOW);
	send_group_leave(sender);
}

void send_members_tick(struct sender *sender)
{
	double all[CAST_RECEIVERS];
	bool fresh[CAST_RECEIVERS];
	unsigned n_fresh = 0;
	size_t n;

	for (size_t i = 0; i < sender->n_members; i++) {
		struct send_member *member = &sender->members[i];

		if (member->lane == LANE_MULTICAST &&
			sender->now_ms - member->heard_ms > SILENCE_MS)
			send_member_lane(sender, member, LANE_LOST, "no word from it any more");
		if (member->image->n_bad > 0)
			member_leave(sender, member);
		fresh[i] = send_member_active(member) && loss_measure(sender, member);
		n_fresh += fresh[i];
	}
	n = losses(sender, 0, true, all);
	for (size_t i = 0; i < sender->n_members; i++)
		if (fresh[i])
			member_suspect(sender, &sender->members[i], all, n);
	for (size_t i = 0; i < sender->n_members; i++)
		if (send_member_active(&sender->members[i]) && sender->members[i].strikes > 0)
			member_judge(sender, &sender->members[i]);
	sender->n_measured += n_fresh;
	if (n_fresh == 0 || n * 2 < sender->n_active || sender->n_measured * 2 < n)
		return;
	sender->n_measured = 0;
	n = losses(sender, 0, false, all);
	if (cast_rate_step(&sender->rate, all, n))
		windows_restart(sender);
}

void send_members_done(struct sender *sender)
{
	for (size_t i = 0; i < sender->n_members; i++) {
		free(sender->members[i].need);
		free(sender->members[i].reason);
	}
	free(sender->members);
}
