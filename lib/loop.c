/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What every daemon adds to an sd-event loop. One thread owns all state; blocking work goes to
 * workers (workers.c), which hand results back by a queue. This file has the rest: SIGTERM and
 * SIGINT as an orderly end (blocked in every thread, read from a signalfd), and timers that follow
 * the product's clock.
 *
 * A timer keeps its time on clock_mono_ms(). It is armed in the kernel for the real time that is
 * left and looks again when it fires, so a clock that a rehearsal shifts only needs all timers to
 * be armed anew: the folder of the clock's file is watched (the file itself is replaced by rename)
 * for that.
 *
 * Must not run callbacks from any thread but the loop's, nor call a timer that was set idle
 * meanwhile.
 */
#include <signal.h>
#include <stdbool.h>
#include <sys/epoll.h>
#include <sys/inotify.h>
#include <systemd/sd-daemon.h>

#include "lib/clock.h"
#include "lib/loop.h"
#include "lib/vec.h"
#include "lib/workers.h"

enum { TIMER_ACCURACY_US = 5000 };

VEC_OF(loop_timers, struct loop_timer *);

struct loop {
	sd_event *event;
	struct workers *workers;
	struct loop_timers timers;
	sigset_t old_mask;
	int clock; /* inotify descriptor on the folder of the clock's file, -1: none */
};

struct loop_timer {
	struct loop *loop;
	sd_event_source *source;
	loop_fn *fn;
	void *arg;
	int64_t at_ms; /* -1: idle */
};

static int on_clock(sd_event_source *source, int fd, uint32_t events, void *arg)
{
	struct loop *loop = arg;
	char changes[4096];

	(void)source;
	(void)events;
	/* which file it was does not matter: reading the offset again is cheap */
	while (read(fd, changes, sizeof(changes)) > 0)
		;
	if (clock_reread())
		vec_each (struct loop_timer *, timer, &loop->timers)
			loop_timer_at(*timer, (*timer)->at_ms);
	return 0;
}

static int watch_clock(struct loop *loop)
{
	const char *file = clock_file(), *slash = file ? strrchr(file, '/') : NULL;
	auto_free char *folder = NULL;

	if (!file)
		return 0;
	folder = slash ? xstrndup(file, slash == file ? 1 : (size_t)(slash - file)) : xstrdup(".");
	/* not sd_event_add_inotify: libsystemd 252 never frees a loop that had one */
	loop->clock = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
	if (loop->clock < 0 ||
		inotify_add_watch(loop->clock, folder, IN_MOVED_TO | IN_CLOSE_WRITE) < 0)
		return -errno;
	return sd_event_add_io(loop->event, NULL, loop->clock, EPOLLIN, on_clock, loop);
}

static int catch_signals(struct loop *loop)
{
	sigset_t set;
	int r = 0;

	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	/* children are watched by sd_event_add_child, which wants SIGCHLD blocked */
	sigaddset(&set, SIGCHLD);
	/* a peer that hangs up is an errno, not a signal */
	sigaddset(&set, SIGPIPE);
	r = -pthread_sigmask(SIG_BLOCK, &set, &loop->old_mask);
	/* without a handler sd-event ends the loop with the code given as its argument */
	if (r == 0)
		r = sd_event_add_signal(loop->event, NULL, SIGTERM, NULL, NULL);
	if (r >= 0)
		r = sd_event_add_signal(loop->event, NULL, SIGINT, NULL, NULL);
	return r;
}

int loop_new(struct loop **ret_loop, struct error **err)
{
	struct loop *loop = xnew(struct loop);
	int r = sd_event_new(&loop->event);

	loop->clock = -1;
	pthread_sigmask(SIG_SETMASK, NULL, &loop->old_mask);
	if (r >= 0)
		r = catch_signals(loop);
	if (r >= 0)
		r = watch_clock(loop);
	if (r >= 0)
		r = workers_new(loop->event, &loop->workers);
	if (r < 0) {
		loop_free(loop);
		return error_make(
			err, r, "The event loop cannot be made: %s.", error_text(NULL, r));
	}
	*ret_loop = loop;
	return 0;
}

void loop_free(struct loop *loop)
{
	if (!loop)
		return;
	workers_free(loop->workers);
	while (loop->timers.n)
		loop_timer_free(loop->timers.at[0]);
	vec_done(&loop->timers);
	sd_event_unref(loop->event);
	cleanup_close(&loop->clock);
	pthread_sigmask(SIG_SETMASK, &loop->old_mask, NULL);
	free(loop);
}

sd_event *loop_event(struct loop *loop)
{
	return loop->event;
}

int loop_run(struct loop *loop)
{
	int r = 0;

	sd_notify(0, "READY=1");
	r = sd_event_loop(loop->event);
	sd_notify(0, "STOPPING=1");
	return r < 0 ? EXIT_FAILURE : r;
}

void loop_quit(struct loop *loop, int code)
{
	sd_event_exit(loop->event, code);
}

static int on_timer(sd_event_source *source, uint64_t usec, void *arg)
{
	struct loop_timer *timer = arg;

	(void)source;
	(void)usec;
	if (clock_mono_ms() < timer->at_ms) {
		loop_timer_at(timer, timer->at_ms);
		return 0;
	}
	timer->at_ms = -1;
	timer->fn(timer->arg); /* may free the timer */
	return 0;
}

struct loop_timer *loop_timer_new(struct loop *loop, loop_fn *fn, void *arg)
{
	struct loop_timer *timer = xnew(struct loop_timer);

	*timer = (struct loop_timer){.loop = loop, .fn = fn, .arg = arg, .at_ms = -1};
	if (sd_event_add_time(loop->event, &timer->source, CLOCK_BOOTTIME, 0, TIMER_ACCURACY_US,
		    on_timer, timer) < 0)
		abort(); /* no memory or no descriptors: nothing a caller could do */
	sd_event_source_set_enabled(timer->source, SD_EVENT_OFF);
	vec_push(&loop->timers, timer);
	return timer;
}

void loop_timer_at(struct loop_timer *timer, int64_t at_ms)
{
	int64_t left = 0;

	timer->at_ms = at_ms < 0 ? -1 : at_ms;
	if (at_ms < 0) {
		sd_event_source_set_enabled(timer->source, SD_EVENT_OFF);
		return;
	}
	left = at_ms - clock_mono_ms();
	if (left < 0)
		left = 0;
	if (left > INT64_MAX / 4000)
		left = INT64_MAX / 4000;
	sd_event_source_set_time(timer->source, (uint64_t)(clock_real_ms() + left) * 1000);
	sd_event_source_set_enabled(timer->source, SD_EVENT_ONESHOT);
}

void loop_timer_free(struct loop_timer *timer)
{
	struct loop_timers *timers = NULL;

	if (!timer)
		return;
	timers = &timer->loop->timers;
	for (size_t i = 0; i < timers->n; i++) {
		if (timers->at[i] == timer) {
			vec_remove(timers, i);
			break;
		}
	}
	sd_event_source_disable_unref(timer->source);
	free(timer);
}

void loop_work(struct loop *loop, loop_fn *work, loop_fn *done, void *arg)
{
	workers_add(loop->workers, work, done, arg);
}

void loop_post(struct loop *loop, loop_fn *fn, void *arg)
{
	workers_post(loop->workers, fn, arg);
}
