/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Whom a node of the chain should leave: judged from what its predecessor tells of itself and of
 * those before it, and from what came and was wrong. Pure. */
#ifndef IMAGES_CHAIN_WATCH_H
#define IMAGES_CHAIN_WATCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
	CHAIN_WATCH_MS = 2500, /* rates are those of so long a time */
	CHAIN_WATCH_TIMES = 2, /* one after the other that say the same: then it is acted upon */
	CHAIN_WRONG_MAX = 3, /* chunks that were wrong and that the predecessor did not own up to */
	CHAIN_WRONG_ANY = 24,  /* all wrong chunks from one predecessor */
	CHAIN_EXCUSE_MS = 500, /* for its word that the chunk was wrong as it came to it too */
};

enum chain_verdict {
	CHAIN_STAY,
	CHAIN_LEAVE_SLOW, /* it gets less than half of what the one before it gets */
	CHAIN_TRY_OTHER, /* it has far more than reaches me: its port or mine, a change will tell */
	CHAIN_LEAVE_LIAR,
};

#define CHAIN_HAS_ALL UINT64_MAX

/* What is known at a moment: what I have, what the predecessor and the one before it have
 * (CHAIN_HAS_ALL: everything; `before` 0: there is none, or it is no measure). */
struct chain_seen {
	uint64_t mine, its, before;
	uint64_t expect; /* bytes/s that a port of this lab takes; 0: not known */
	bool second;	 /* it says that another gets most of its port */
};

/* Of one predecessor; zeroed at each change, with `tried` kept (chain_watch_again at each further
 * round with the same). Times in ms, amounts in bytes. */
struct chain_watch {
	bool tried; /* a change was tried for CHAIN_TRY_OTHER, so it is my own port */
	bool begun;
	int64_t since;
	struct chain_seen then; /* at `since` */
	uint64_t rate, its_rate,
		other; /* bytes/s of the last window; `other`: what was the measure */
	enum chain_verdict suspected; /* at the last look, so many times */
	unsigned times;
	unsigned n_wrong, n_early;
	uint32_t early[CHAIN_WRONG_ANY]; /* owned up to before it was found wrong here */
	struct {
		uint32_t number;
		int64_t at;
		bool excused;
	} wrong[CHAIN_WRONG_ANY];
};

/* Rates are measured anew; what was wrong is remembered. */
void chain_watch_again(struct chain_watch *watch);
enum chain_verdict chain_watch_look(
	struct chain_watch *watch, int64_t now, const struct chain_seen *seen);
/* Chunk `number` from it was wrong. It says that a chunk was wrong as it came to it. In any order.
 */
void chain_watch_wrong(struct chain_watch *watch, int64_t now, uint32_t number);
void chain_watch_excuse(struct chain_watch *watch, uint32_t number);
/* The verdict on these alone. `now` INT64_MAX: it will not own up to anything more. */
bool chain_watch_lies(const struct chain_watch *watch, int64_t now);

#endif
