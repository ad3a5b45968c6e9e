/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The next step of a night and of each of its PCs. Pure: same situation, same step. */
#ifndef CONTROLLER_PLAN_NIGHT_H
#define CONTROLLER_PLAN_NIGHT_H

#include "controller/model/model.h"

struct night_times { /* seconds, from the configuration */
	int64_t wake, boot, back, grace, lost;
};

/* What is known about one PC beside its row. */
enum night_conflict { CONFLICT_UNKNOWN, CONFLICT_NONE, CONFLICT_FOUND };
struct night_seen {
	int64_t listens;	      /* since when reports can arrive at all: night_hearing.since */
	size_t vms;		      /* wanted on it */
	enum night_conflict conflict; /* does another machine answer at its address? */
	struct mac other;	      /* which, for CONFLICT_FOUND */
	unsigned wakes;		      /* magic packets sent so far in this state */
	int64_t waked_at;	      /* last of them, 0: none */
	bool leaving;		      /* its host said that it leaves, or it fetched the local-disk script */
	bool answers;		      /* its desktop answered the probe in this state */
	bool probed;		      /* there is a probe at all (desktop_probe is not none) */
	bool weak;		      /* and it is one that firmware and host answer, too: a ping */
	int64_t booted;		      /* when it last fetched a boot script, 0: not known */
};

/* What the controller knows of its own ears, between two rethinks; at first all zero. */
struct night_hearing {
	int64_t since;		   /* wall clock, seconds: reports can arrive since then */
	int64_t real_ms, apart_ms; /* the last rethink; how far the wall clock was from the monotonic one */
};

enum night_effect { EFFECT_NONE, EFFECT_CHECK_ADDRESS, EFFECT_WAKE, EFFECT_PROBE };
struct night_step {
	enum night_effect effect;
	bool moves;	     /* state, deadline and reason below are new */
	enum pc_state state;
	int64_t deadline;    /* 0: none */
	char *reason;	     /* NULL: none; the caller frees */
	bool desktop_seen;   /* the probe's answer counts as the desktop */
};

/* `night` is the one that holds the PC or should (running, ending), NULL in the day. */
void plan_pc_step(const struct pc *pc, const struct night *night, int64_t now, const struct night_seen *seen,
	const struct night_times *times, struct night_step *ret_step);

/* Once each rethink, with lib/clock.h's three clocks: hears anew after a pause of the controller (its machine was
 * suspended, its disk stood still) and when the wall clock was set, for then a host's report may wait at the door. */
void plan_hearing(struct night_hearing *hearing, int64_t wall_ms, int64_t mono_ms, int64_t real_ms);

/* The state the night itself should be in; all_back: each of its PCs is on its desktop or an exception. */
enum night_state plan_night_state(const struct night *night, int64_t now, bool all_back);
/* Seconds to wait after the n-th magic packet (n from 1). */
int64_t plan_wake_pause(unsigned n);

#endif
