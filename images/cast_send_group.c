/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The group of a cast, and its move to another one.
 *
 * A receiver that is sent to its peers leaves the group, but its switch goes on filling its port
 * for two seconds more: it asks first whether anybody else behind that port still listens (RFC
 * 3376, the last member query time). A port that is too slow for the cast has then no room for what
 * its PC asks its peers for. So the cast leaves instead: all who stay are told another group, join
 * it (a join takes effect at once), and say so in their next status; then everything goes there.
 * Nobody waits meanwhile. One who did not hear of it finds its group silent, says hello, and is
 * told by the welcome.
 *
 * There are two groups, the one given and its other (group_other()), in turn, after longer and
 * longer pauses. Where a network passes the given one only, some hear nothing after the move: then
 * all go back, for good.
 */
#include "images/cast_send_inside.h"

enum {
	TELL_MS = 60,	       /* between two tellings of one who did not answer */
	JOINED_MS = 100,       /* after the last answer: their switch has heard the join too */
	WAIT_MS = 600,	       /* for answers; who is silent then must find out by itself */
	PAUSE_FIRST_MS = 5000, /* the switch may still have those who left with the last move */
	PAUSE_LAST_MS = 80000, /* each pause is twice the one before */
	JOIN_AGAIN_MS = 1500,  /* a join that was lost was said again by then */
	NEWCOMER_MS = 3000,    /* who never heard anything may be deaf for another reason */
	BACK_MS = 30000,       /* who hears nothing so soon after a move does so because of it */
};

/* Its third number differs in the last bit, so casts whose groups differ in the fourth never meet,
 * and the address stays one of 224/4 with another Ethernet address. */
static struct ip4 group_other(struct ip4 group)
{
	return (struct ip4){group.host ^ 0x100};
}

static struct ip4 group_now(const struct sender *sender)
{
	return (struct ip4){ntohl(sender->group.sin_addr.s_addr)};
}

void send_group_init(struct sender *sender, struct ip4 group, uint16_t port)
{
	sender->group = (struct sockaddr_in){.sin_family = AF_INET,
		.sin_port = htons(port),
		.sin_addr.s_addr = htonl(group.host)};
	sender->move = (struct send_move){.to = group, .pause_ms = PAUSE_FIRST_MS};
}

/* All who come hear it: while the cast is about to move only those that say they are there already
 * are told where it goes. */
struct ip4 send_group_of(const struct sender *sender, const struct send_member *member)
{
	bool there = member->group.host == sender->move.to.host;

	return there ? sender->move.to : group_now(sender);
}

static void move_begin(struct sender *sender)
{
	struct send_move *move = &sender->move;

	move->to = group_other(move->to);
	move->on = true;
	move->begun_ms = move->news_ms = sender->now_ms;
	move->told_ms = 0;
}

void send_group_leave(struct sender *sender)
{
	struct send_move *move = &sender->move;

	if (move->on || move->stay || sender->job->no_multicast ||
		(move->done_ms && sender->now_ms - move->done_ms < move->pause_ms))
		return;
	if (move->done_ms && move->pause_ms < PAUSE_LAST_MS)
		move->pause_ms *= 2;
	move_begin(sender);
}

bool send_group_silent(struct sender *sender, const struct send_member *member)
{
	struct send_move *move = &sender->move;
	int64_t ago = sender->now_ms - move->done_ms;

	if (move->on)
		return true;
	if (!move->done_ms)
		return false;
	if (ago < JOIN_AGAIN_MS)
		return true;
	if (move->stay || ago > BACK_MS || move->to.host == sender->job->group.host ||
		member->group.host != move->to.host)
		return false;
	if (member->joined_ms >= move->begun_ms || member->latest.received == 0)
		return ago < NEWCOMER_MS;
	move->stay = true;
	move_begin(sender);
	return true;
}

void send_group_heard(struct sender *sender, struct send_member *member, struct ip4 group)
{
	struct send_move *move = &sender->move;

	if (sender->job->no_multicast)
		return;
	if (member->group.host != group.host) {
		move->news_ms = sender->now_ms;
		send_member_settle(sender, member, SEND_SETTLE_MS); /* missed on the way */
	}
	member->group = group;
	if (!move->on && group.host != move->to.host)
		send_welcome(sender, member, move->to);
}

/* Was its PC sent away because of another image? */
static bool is_slow(const struct sender *sender, const struct send_member *member)
{
	for (size_t i = 0; i < sender->n_members; i++) {
		const struct send_member *other = &sender->members[i];

		if (other->lane == LANE_PEERS && other->dropped_for == CAST_SLOW &&
			other->address.sin_addr.s_addr == member->address.sin_addr.s_addr)
			return true;
	}
	return false;
}

/* Who may be the next to go is not told: it would take the new group along. */
int64_t send_group_tick(struct sender *sender)
{
	struct send_move *move = &sender->move;
	bool tell, all = true;

	if (!move->on)
		return INT64_MAX;
	tell = sender->now_ms - move->told_ms >= TELL_MS;
	for (size_t i = 0; i < sender->n_members; i++) {
		const struct send_member *member = &sender->members[i];

		if (!send_member_active(member) || member->group.host == move->to.host)
			continue;
		all = false;
		if (tell && member->strikes == 0 && !is_slow(sender, member))
			send_welcome(sender, member, move->to);
	}
	if (tell)
		move->told_ms = sender->now_ms;
	if (sender->now_ms - move->begun_ms < WAIT_MS &&
		(!all || sender->now_ms - move->news_ms < JOINED_MS))
		return TELL_MS / 2;
	sender->group.sin_addr.s_addr = htonl(move->to.host);
	move->on = false;
	move->done_ms = sender->now_ms;
	for (size_t i = 0; i < sender->n_members; i++)
		send_member_settle(sender, &sender->members[i], JOIN_AGAIN_MS);
	return INT64_MAX;
}
