/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The host's line to its controller: asks for the goal, delivers the report. */
#ifndef HOSTD_LINK_H
#define HOSTD_LINK_H

#include <stdbool.h>
#include "boot/hostd/enrol.h"
#include "lib/loop.h"

struct link;

/* All called on the loop thread. */
struct link_events {
	/* A goal other than the last; the receiver takes what it wants by value and zeroes it, the
	 * rest is freed. */
	void (*goal)(struct proto_goal *goal, void *arg);
	/* What hinders the line (NULL: it works again); called on change only. */
	void (*trouble)(const char *text, void *arg);
	/* A report was answered (true) or failed. */
	void (*reported)(bool delivered, void *arg);
	void *arg;
};

/* `generation`: of the goal already known (0: none). poll_s: how long the controller may hold a
 * question. */
struct link *link_new(struct loop *loop, const struct identity *identity, int64_t poll_s,
	uint64_t generation, const struct link_events *events);
/* Sends the report; when one is on its way, the newest text follows it. */
void link_report(struct link *link, const char *text);
/* No new question and no event from here on; called before loop_free, link_free after it. */
void link_stop(struct link *link);
void link_free(struct link *link);

#endif
