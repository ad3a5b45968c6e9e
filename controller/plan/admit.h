/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Who may load the host image now, and who is woken now. Pure: lists in, lists out; times are
 * handed in. */
#ifndef CONTROLLER_PLAN_ADMIT_H
#define CONTROLLER_PLAN_ADMIT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "lib/vec.h"

enum {
	ADMIT_SILENT_S = 30, /* a waiting PC that has not asked for so long is gone */
	ADMIT_NEAR_S = 1,    /* pause between two questions of the PCs that are next */
	ADMIT_FAR_S = 10,    /* and of those far behind, at most */
};

/* A PC that loads (slot from 1) or waits (slot 0). */
struct admit_pc {
	char *name;
	unsigned slot;
	int64_t since; /* it has the slot, or asked first */
	int64_t heard; /* it asked last */
};
VEC_OF(admit_pcs, struct admit_pc); /* waiting ones in the order in which they asked first */

struct admit_rules {
	unsigned slots; /* at least 1 */
	int64_t slot_s; /* a slot ends after so long, whatever became of its PC */
};

struct admit_answer {
	unsigned slot;	 /* 0: wait */
	unsigned ahead;	 /* waiting PCs before this one */
	unsigned wait_s; /* seconds after which it should ask again */
	bool news;	 /* it came into the queue, or got its slot, just now */
	int64_t waited;	 /* with a slot that is news: seconds it stood in the queue before */
};

/* The PC asks for its boot script. One that has a slot keeps it (and its end); one in the queue
 * keeps its place. */
void plan_admit(struct admit_pcs *pcs, const struct admit_rules *rules, const char *name,
	int64_t now, struct admit_answer *ret_answer);
/* The PC needs its slot, or its place in the queue, no more. True when it had one. */
bool plan_admit_end(struct admit_pcs *pcs, const char *name);
/* Moves what has lapsed at `now` into ret_gone (freed by admit_pcs_done): slots past their time,
 * waiting PCs that fell silent. */
void plan_admit_lapse(struct admit_pcs *pcs, const struct admit_rules *rules, int64_t now,
	struct admit_pcs *ret_gone);

/* The PC's entry (borrowed until the next change), NULL: neither loads nor waits. */
const struct admit_pc *admit_find(const struct admit_pcs *pcs, const char *name);
/* Waiting PCs before this entry of the list. */
unsigned admit_ahead(const struct admit_pcs *pcs, const struct admit_pc *pc);
void admit_pcs_done(struct admit_pcs *pcs);

/* A PC for which a magic packet is due. */
struct admit_wake {
	size_t pc;	  /* the caller's number */
	unsigned wakes;	  /* packets it had already */
	int64_t waked_at; /* the last of them */
	bool holds;	  /* keeps an image that is wanted tonight */
};
VEC_OF(admit_wakes, struct admit_wake);

/* Leaves in `due`, in order of sending, the at most `budget` ones whose packet goes out now: those
 * that had none before those that are asked again, holders of tonight's images first among equals.
 */
void plan_wakes(struct admit_wakes *due, size_t budget);

#endif
