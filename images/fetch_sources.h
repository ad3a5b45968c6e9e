/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Whom to ask for the next chunk: some peers that hold the image, and the controller. */
#ifndef IMAGES_FETCH_SOURCES_H
#define IMAGES_FETCH_SOURCES_H

#include <pthread.h>
#include <stdbool.h>
#include "lib/util.h"

enum {
	FETCH_PEERS = 8, /* more are not asked */
	FETCH_SOURCES = FETCH_PEERS + 1,
	FETCH_WRONG_MAX = 3,	/* per source, for data that fails verification */
	FETCH_FORGET_MS = 5000, /* what a source was worth so long ago says nothing */
	FETCH_REST_MS = 1000,	/* after a fault; longer after each further one */
};

enum fetch_outcome {
	FETCH_GOT,
	FETCH_LACKS, /* it does not have this chunk: no fault of a peer */
	FETCH_FAULT, /* of the transport */
	FETCH_WRONG, /* what came was not the chunk */
};

struct fetch_source {
	const char *base;
	bool is_controller;
	bool dropped; /* it lied, and is not asked again */
	unsigned busy, wrong, faults;
	int64_t rests_until;
	double rate; /* bytes/s of a request, some mean of the last ones; 0: not known */
	int64_t rated_at;
};

/* All functions may be called from several threads at once. */
struct fetch_sources {
	pthread_mutex_t lock;
	struct fetch_source at[FETCH_SOURCES];
	unsigned n; /* the controller is the last */
};

/* The texts must live as long. */
void fetch_sources_init(struct fetch_sources *sources, const char *const *peers, size_t n_peers,
	const char *controller);
void fetch_sources_done(struct fetch_sources *sources);

/* The source that should have the chunk soonest, of those whose bit is not in `tried`; -1 when
 * there is none. Peers go before the controller, whose port all share, unless they are far slower;
 * one that rests only when no other is left. Each pick is followed by one end. */
int fetch_sources_pick(struct fetch_sources *sources, unsigned tried, int64_t now_ms);
/* How it went: `bytes` came in `ms`. True: it lied once too often and was dropped by this. */
bool fetch_sources_end(struct fetch_sources *sources, int at, enum fetch_outcome outcome,
	uint64_t bytes, int64_t ms, int64_t now_ms);
/* Is anybody left that was not dropped? */
bool fetch_sources_left(struct fetch_sources *sources);

#endif
