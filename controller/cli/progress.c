/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Progress on standard error, and waiting.
 *
 * Waiting is level-triggered: every event of the controller only wakes us to look again at the
 * thing we wait for, so a missed event costs a few seconds and never the result. Time is the
 * product's clock, as in all programs: in a rehearsal a wait of hours ends in minutes.
 */
#include <stdarg.h>
#include <time.h>
#include "controller/cli/progress.h"
#include "controller/cli/show.h"
#include "lib/clock.h"
#include "lib/str.h"

enum { POLL_S = 5, LINES_EVERY_MS = 10000, TERMINAL_EVERY_MS = 200 };

void progress_begin(struct progress *p, const struct cli *cli)
{
	*p = (struct progress){.cli = cli, .since_ms = clock_mono_ms(), .said_ms = INT64_MIN / 2};
}

static void put_line(struct progress *p, const char *text)
{
	int seconds = (int)((clock_mono_ms() - p->since_ms) / 1000);
	const char *start = p->cli->err_is_terminal ? "\r\033[K" : "";
	fprintf(stderr, "%s%3d:%02d  %s%s", start, seconds / 60, seconds % 60, text,
		p->cli->err_is_terminal ? "" : "\n");
	p->open = p->cli->err_is_terminal;
	p->said_ms = clock_mono_ms();
	fflush(stderr);
}

void progress_say(struct progress *p, const char *fmt, ...)
{
	va_list ap;
	char *text = NULL;
	va_start(ap, fmt);
	int n = vasprintf(&text, fmt, ap);
	va_end(ap);
	if (n < 0)
		abort();
	if (p->cli->err_is_terminal || !p->last || strcmp(p->last, text) != 0)
		put_line(p, text);
	free(p->last);
	p->last = text;
}

/* Bytes a second of what is counted now; 0: too early to say. */
static uint64_t rate_of(struct progress *p, const char *what, uint64_t done, int64_t now)
{
	if (!p->what || strcmp(p->what, what) != 0 || done < p->from) {
		free(p->what);
		p->what = xstrdup(what);
		p->from_ms = now;
		p->from = done;
		p->said_ms = INT64_MIN / 2;
	}
	return now > p->from_ms ? (done - p->from) * 1000 / (uint64_t)(now - p->from_ms) : 0;
}

static char *time_left(uint64_t seconds)
{
	return seconds < 120
		       ? xasprintf("%d s", (int)seconds + 1)
		       : xasprintf("%d min", (int)(seconds / 60 > 5999 ? 5999 : seconds / 60));
}

void progress_bytes(struct progress *p, const char *what, uint64_t done, uint64_t total)
{
	int64_t now = clock_mono_ms(),
		gap = p->cli->err_is_terminal ? TERMINAL_EVERY_MS : LINES_EVERY_MS;
	uint64_t rate = rate_of(p, what, done, now);
	if ((done < total || !total) && now - p->said_ms < gap)
		return;
	auto_free char *have = size_format(done), *all = size_format(total),
		       *speed = size_format(rate);
	int percent = total ? (int)((double)done * 100 / (double)total) : 100;
	if (!total)
		progress_say(p, "%s: %s, %s/s", what, have, speed);
	else if (done >= total || rate == 0)
		progress_say(p, "%s: %s of %s, %d %%", what, have, all, percent);
	else {
		auto_free char *left = time_left((total - done) / rate);
		progress_say(p, "%s: %s of %s, %d %%, %s/s, %s left", what, have, all, percent,
			speed, left);
	}
}

void progress_end(struct progress *p)
{
	if (p->open)
		fputc('\n', stderr);
	free(p->last);
	free(p->what);
	p->last = p->what = NULL;
	p->open = false;
}

/* Sleeps until something happened after *seq, or wait_s. */
static int await_event(struct cli *cli, int64_t *seq, int wait_s, struct error **err)
{
	auto_free char *path = xasprintf("/events?after=%lld&wait=%d", (long long)*seq, wait_s);
	auto_json json_t *answer = NULL;
	size_t i;
	json_t *event;
	int e = client_get(cli->client, path, wait_s, &answer, err);
	if (e < 0)
		return e;
	json_array_foreach (json_object_get(answer, "items"), i, event) {
		int64_t at = json_integer_value(json_object_get(event, "seq"));
		*seq = at > *seq ? at : *seq;
	}
	return 0;
}

/* Where the log stands now: what happened before we began to wait is nothing to wake for. */
static int newest_event(struct cli *cli, int64_t *ret_seq, struct error **err)
{
	auto_free char *path = xasprintf("/events?after=%lld", (long long)INT64_MAX);
	auto_json json_t *answer = NULL;
	int e = client_get(cli->client, path, 0, &answer, err);
	if (e == 0)
		*ret_seq = json_integer_value(json_object_get(answer, "last"));
	return e;
}

int wait_until(struct cli *cli, wait_look_fn *look, void *arg, struct error **err)
{
	struct progress p;
	bool done = false;
	int wait_s = 1;
	int64_t seq = 0;
	progress_begin(&p, cli);
	client_be_patient(cli->client);
	int e = newest_event(cli, &seq, err);
	while (e == 0) {
		e = look(cli, arg, &p, &done, err);
		if (e < 0 || done)
			break;
		if (clock_mono_ms() - p.since_ms > cli->timeout_s * 1000) {
			e = error_make(err, -ETIMEDOUT, "not done after %lld s (--timeout): %s",
				(long long)cli->timeout_s, p.last ? p.last : "nothing heard");
			break;
		}
		e = await_event(cli, &seq, wait_s, err);
		wait_s = wait_s < POLL_S ? wait_s + 1 : POLL_S;
	}
	progress_end(&p);
	return e;
}
