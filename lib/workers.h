/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The pool of threads behind loop_work and loop_post. For loop.c alone; others use loop.h. */
#ifndef LIB_WORKERS_H
#define LIB_WORKERS_H

#include <systemd/sd-event.h>
#include "lib/loop.h"

struct workers;

/* A pool without threads yet (each is started when there is work and all others are busy, at most
 * 8). 0 or -errno. */
int workers_new(sd_event *event, struct workers **ret_workers);
/* Waits for what runs; what waits in the queue is not begun. The done() of everything that was
 * added and all posts are called before it returns, so that no arg is lost. NULL is fine. */
void workers_free(struct workers *workers);
void workers_add(struct workers *workers, loop_fn *work, loop_fn *done, void *arg);
/* From any thread. */
void workers_post(struct workers *workers, loop_fn *fn, void *arg);

#endif
