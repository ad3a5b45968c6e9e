/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What every daemon adds to an sd-event loop: timers on the product's own clock, SIGTERM/SIGINT as a clean
 * end, and a pool of workers that get a copy of one step and post the result back to the loop thread. */
#ifndef LIB_LOOP_H
#define LIB_LOOP_H

#include <stdint.h>
#include <systemd/sd-event.h>
#include "lib/error.h"

struct loop;
struct loop_timer;

/* An event loop that ends on SIGTERM and SIGINT and watches the clock file. */
int loop_new(struct loop **ret_loop, struct error **err);
void loop_free(struct loop *loop); /* waits for workers that run */
sd_event *loop_event(struct loop *loop);
/* READY=1 to the service manager, runs until loop_quit or a signal; the exit code. */
int loop_run(struct loop *loop);
void loop_quit(struct loop *loop, int code);

/* Calls fn(arg) once when clock_mono_ms() reaches `at_ms`; re-armed when the test clock is shifted. fn may
 * arm again. The timer is made idle by loop_timer_at(t, -1) and freed by loop_timer_free (from fn too). */
typedef void loop_fn(void *arg);
struct loop_timer *loop_timer_new(struct loop *loop, loop_fn *fn, void *arg);
void loop_timer_at(struct loop_timer *timer, int64_t at_ms);
void loop_timer_free(struct loop_timer *timer);

/* Runs work(arg) in a worker thread (at most `8` at once, the rest wait in order), then done(arg) on the
 * loop thread. work must touch nothing but arg. */
void loop_work(struct loop *loop, loop_fn *work, loop_fn *done, void *arg);
/* Posts fn(arg) to the loop thread from any thread. */
void loop_post(struct loop *loop, loop_fn *fn, void *arg);

#endif
