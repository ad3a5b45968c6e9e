/* SPDX-License-Identifier: GPL-2.0-or-later */
/* When to go around a predecessor.
 *
 * Slow. A chain is as fast as its slowest link, so everybody behind a slow PC sees the same low
 * rate and could blame anybody. Each node therefore tells how much it has and how much those before
 * it had when they last said so. The slow one is where the rate breaks: it gets less than half of
 * what its predecessor gets. Only its own successor may act on that; those further back see equal
 * rates and stay. When the break lies between my predecessor and me, it is its way out or my way
 * in; one change of predecessor tells, and a second would only tear up the chain. One that says I
 * come second, since another has gone around it to the same predecessor, is not left for that. Of
 * one that has everything the port's rate is expected, when that is known. And everything has to
 * show twice: a machine may stand still for a moment, and a chain that is torn up for that loses
 * more.
 *
 * Lying. Frames are passed on before they are verified, so a wrong chunk says little about the one
 * it came from. An honest node finds out a moment later and says so ("bad"), which excuses it. But
 * only so often: an honest one leaves its own liar after three.
 *
 * What a predecessor tells may be a lie; it can make me leave it, which is no loss.
 */
#include "images/chain_watch.h"

static uint64_t rate_of(uint64_t from, uint64_t to, int64_t ms)
{
	return to > from && ms > 0 ? (to - from) * 1000 / (uint64_t)ms : 0;
}

bool chain_watch_lies(const struct chain_watch *watch, int64_t now)
{
	unsigned n = 0;

	for (unsigned i = 0; i < watch->n_wrong; i++)
		n += !watch->wrong[i].excused && now - watch->wrong[i].at >= CHAIN_EXCUSE_MS;
	return n >= CHAIN_WRONG_MAX || watch->n_wrong >= CHAIN_WRONG_ANY;
}

void chain_watch_again(struct chain_watch *watch)
{
	watch->begun = false;
	watch->times = 0;
	watch->suspected = CHAIN_STAY;
}

/* Of a whole window. One that has everything gets nothing more, and that is no fault. */
static enum chain_verdict judge(
	struct chain_watch *watch, const struct chain_seen *seen, int64_t ms)
{
	bool whole = seen->its == CHAIN_HAS_ALL;

	watch->rate = rate_of(watch->then.mine, seen->mine, ms);
	watch->its_rate = whole ? seen->expect : rate_of(watch->then.its, seen->its, ms);
	if (seen->before == CHAIN_HAS_ALL)
		watch->other = seen->expect;
	else
		watch->other = seen->before && watch->then.before
				       ? rate_of(watch->then.before, seen->before, ms)
				       : 0;
	if (!whole && watch->other / 2 > watch->its_rate)
		return CHAIN_LEAVE_SLOW;
	if (!watch->tried && !seen->second && watch->its_rate / 2 > watch->rate) {
		watch->other = watch->its_rate;
		return CHAIN_TRY_OTHER;
	}
	return CHAIN_STAY;
}

enum chain_verdict chain_watch_look(
	struct chain_watch *watch, int64_t now, const struct chain_seen *seen)
{
	enum chain_verdict suspect = CHAIN_STAY;

	if (chain_watch_lies(watch, now))
		return CHAIN_LEAVE_LIAR;
	if (watch->begun && now - watch->since < CHAIN_WATCH_MS)
		return CHAIN_STAY;
	if (watch->begun)
		suspect = judge(watch, seen, now - watch->since);
	watch->begun = true;
	watch->since = now;
	watch->then = *seen;
	watch->times = suspect == watch->suspected ? watch->times + 1 : 1;
	watch->suspected = suspect;
	return watch->times >= CHAIN_WATCH_TIMES ? suspect : CHAIN_STAY;
}

void chain_watch_wrong(struct chain_watch *watch, int64_t now, uint32_t number)
{
	bool excused = false;

	if (watch->n_wrong == CHAIN_WRONG_ANY)
		return;
	for (unsigned i = 0; i < watch->n_early && i < CHAIN_WRONG_ANY; i++)
		excused |= watch->early[i] == number;
	watch->wrong[watch->n_wrong].number = number;
	watch->wrong[watch->n_wrong].at = now;
	watch->wrong[watch->n_wrong++].excused = excused;
}

void chain_watch_excuse(struct chain_watch *watch, uint32_t number)
{
	for (unsigned i = 0; i < watch->n_wrong; i++)
		if (watch->wrong[i].number == number)
			watch->wrong[i].excused = true;
	watch->early[watch->n_early++ % CHAIN_WRONG_ANY] = number;
}
