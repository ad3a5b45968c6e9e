/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The choice among several who may have a chunk.
 *
 * A source is as good as the time until it will have sent one more chunk: what it sent lately, by
 * the requests that are under way. So a peer that is twice as fast gets twice as many, and nobody
 * has to be told how fast a port is. One that was never asked, or not for some seconds, is tried,
 * with a single request. The controller counts four times as slow as it is: its port is
 * everybody's, and what a peer can bring should not be asked of it; but when the peers are slow,
 * gone, lying or lack the chunk, it is always there.
 *
 * A fault makes a source rest; three wrong chunks end its service for good, because a source that
 * lies once in a while would otherwise cost the night. Lacking a chunk is no fault: peers are asked
 * while they still fill. No I/O, no clock.
 */
#include "images/fetch_sources.h"

enum { CONTROLLER_WEIGHT = 4 };

void fetch_sources_init(struct fetch_sources *sources, const char *const *peers, size_t n_peers,
	const char *controller)
{
	memset(sources, 0, sizeof(*sources));
	pthread_mutex_init(&sources->lock, NULL);
	for (size_t i = 0; i < n_peers && i < FETCH_PEERS; i++)
		sources->at[sources->n++].base = peers[i];
	sources->at[sources->n].base = controller;
	sources->at[sources->n++].is_controller = true;
}

void fetch_sources_done(struct fetch_sources *sources)
{
	pthread_mutex_destroy(&sources->lock);
}

/* Lower is better. */
static double cost(const struct fetch_source *source, int64_t now_ms)
{
	bool known = source->rate > 0 && now_ms - source->rated_at < FETCH_FORGET_MS;
	double busy = source->busy;

	if (!known && source->is_controller)
		return 1e3 + busy;
	if (!known)
		return busy > 0 ? 1e3 + busy - 1 : 0;
	return (busy + 1) / source->rate * (source->is_controller ? CONTROLLER_WEIGHT : 1);
}

static int best(const struct fetch_sources *sources, unsigned tried, int64_t now_ms, bool resting)
{
	int found = -1;

	for (unsigned i = 0; i < sources->n; i++) {
		const struct fetch_source *each = &sources->at[i];

		if (each->dropped || (tried >> i & 1) || (!resting && each->rests_until > now_ms))
			continue;
		if (found < 0 || cost(each, now_ms) < cost(&sources->at[found], now_ms))
			found = (int)i;
	}
	return found;
}

int fetch_sources_pick(struct fetch_sources *sources, unsigned tried, int64_t now_ms)
{
	int at;

	pthread_mutex_lock(&sources->lock);
	at = best(sources, tried, now_ms, false);
	if (at < 0)
		at = best(sources, tried, now_ms, true);
	if (at >= 0)
		sources->at[at].busy++;
	pthread_mutex_unlock(&sources->lock);
	return at;
}

bool fetch_sources_end(struct fetch_sources *sources, int at, enum fetch_outcome outcome,
	uint64_t bytes, int64_t ms, int64_t now_ms)
{
	struct fetch_source *source = &sources->at[at];
	bool dropped = false;
	double rate = (double)bytes * 1000 / (double)(ms > 0 ? ms : 1);

	pthread_mutex_lock(&sources->lock);
	source->busy--;
	switch (outcome) {
	case FETCH_GOT:
		source->rate = source->rate > 0 ? source->rate * 0.75 + rate * 0.25 : rate;
		source->rated_at = now_ms;
		source->faults = 0;
		break;
	case FETCH_LACKS:
		break;
	case FETCH_FAULT:
		source->rests_until = now_ms + FETCH_REST_MS * ++source->faults;
		break;
	case FETCH_WRONG:
		dropped = ++source->wrong >= FETCH_WRONG_MAX && !source->dropped;
		source->dropped |= dropped;
		break;
	}
	pthread_mutex_unlock(&sources->lock);
	return dropped;
}

bool fetch_sources_left(struct fetch_sources *sources)
{
	bool left = false;

	pthread_mutex_lock(&sources->lock);
	for (unsigned i = 0; i < sources->n; i++)
		left |= !sources->at[i].dropped;
	pthread_mutex_unlock(&sources->lock);
	return left;
}
