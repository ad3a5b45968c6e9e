/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What goes wrong on an image's way here and does not stop it: a neighbour that sends wrong data, a way that is
 * left for another. Said in worker threads, read by the loop thread. */
#ifndef HOSTD_NOTES_H
#define HOSTD_NOTES_H

#include <pthread.h>
#include "boot/hostd/report.h"
#include "lib/proto.h"

/* Zeroed memory is an empty one that nobody holds; it needs no end. */
struct notes {
	pthread_mutex_t lock;
	unsigned n; /* since they were taken last; the newest are kept */
	char at[PROTO_NOTES_MAX][REASON_MAX];
};

/* Adds a text, made one short line. In any thread. */
void notes_add(struct notes *notes, const char *text);
/* Moves all to `to`, which then has the newest PROTO_NOTES_MAX, none twice. Loop thread. */
void notes_take(struct notes *notes, struct strings *to);

#endif
