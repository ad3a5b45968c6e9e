/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Long poll and report.
 *
 * Two lines of work run beside each other, each with a connection of its own and at most one
 * exchange under way in a worker: the question for the goal, which the controller holds until
 * something changes, and the report. The host's certificate says who asks; the controller takes
 * nothing else as name. A failure is told once to the owner, then the question is repeated with
 * growing pauses and jitter. An answer that comes back at once with nothing new is not repeated at
 * once: a controller that does not hold questions must not be hammered. What a lost connection
 * means for the lease is none of this file's business: silence never prolongs anything.
 */
#include "boot/hostd/link.h"

#include "boot/hostd/backoff.h"
#include "lib/clock.h"
#include "lib/log.h"

enum { MIN_PAUSE_MS = 1000, ANSWER_MS = 10000 };

struct exchange {
	struct httpc *client;
	char *url, *body; /* body NULL: GET */
	int timeout_ms;
	int rc;
	struct httpc_response response;
	struct error *err;
};

struct link {
	struct loop *loop;
	struct link_events events;
	char *api;
	int64_t poll_s;
	uint64_t generation;
	struct exchange poll, report;
	struct loop_timer *again;
	int64_t poll_began_ms;
	unsigned failures;
	bool reporting, stopped;
	char *next_report;
	char *trouble;
	char *refused; /* why the controller does not take the report; logged once */
};

/* In a worker. */
static void run(struct exchange *x)
{
	const struct httpc_request request = {
		.method = x->body ? "POST" : "GET",
		.url = x->url,
		.body = x->body,
		.body_len = x->body ? strlen(x->body) : 0,
		.timeout_ms = x->timeout_ms,
		.max_body = GOAL_MAX_BYTES,
	};
	x->rc = httpc_do(x->client, &request, &x->response, &x->err);
	if (x->rc == 0)
		x->rc = httpc_problem(&x->response, &x->err);
}

static void run_poll(void *arg)
{
	run(&((struct link *)arg)->poll);
}

static void run_report(void *arg)
{
	run(&((struct link *)arg)->report);
}

static void reset(struct exchange *x)
{
	free(TAKE_PTR(x->url));
	free(TAKE_PTR(x->body));
	httpc_response_done(&x->response);
	memset(&x->response, 0, sizeof(x->response));
	error_free(TAKE_PTR(x->err));
	x->rc = -ECANCELED;
}

static void set_trouble(struct link *link, const char *text)
{
	bool same = text ? link->trouble && strcmp(text, link->trouble) == 0 : !link->trouble;
	if (same)
		return;
	free(link->trouble);
	link->trouble = xstrdup(text);
	if (text)
		log_warning("controller: %s", text);
	else
		log_notice("controller: answers again");
	link->events.trouble(text, link->events.arg);
}

static uint32_t random_number(void)
{
	auto_free char *hex = random_hex(4);
	return (uint32_t)strtoul(hex, NULL, 16);
}

static int take_goal(struct link *link)
{
	struct exchange *x = &link->poll;
	struct proto_goal goal = {0};
	if (x->rc < 0 || x->response.status == 204)
		return x->rc;
	int r = proto_goal_read(x->response.body, x->response.len, &goal, &x->err);
	if (r < 0)
		return error_wrap(&x->err, r, "the goal is not understood");
	bool news = goal.generation != link->generation;
	link->generation = goal.generation;
	if (news)
		link->poll_began_ms = 0; /* ask on at once */
	link->events.goal(&goal, link->events.arg);
	proto_goal_done(&goal);
	return 0;
}

static void polled(void *arg)
{
	struct link *link = arg;
	if (!link->stopped) {
		int r = take_goal(link);
		int64_t next = link->poll_began_ms + MIN_PAUSE_MS;
		if (r < 0)
			next = clock_mono_ms() + backoff_ms(++link->failures, random_number());
		else
			link->failures = 0;
		set_trouble(link, r < 0 ? error_text(link->poll.err, r) : NULL);
		loop_timer_at(link->again, next);
	}
	reset(&link->poll);
}

static void ask(void *arg)
{
	struct link *link = arg;
	link->poll.url = xasprintf("%s/api/v1/host/goal?generation=%llu&wait=%lld", link->api,
		(unsigned long long)link->generation, (long long)link->poll_s);
	link->poll.timeout_ms = (int)link->poll_s * 1000 + ANSWER_MS;
	link->poll_began_ms = clock_mono_ms();
	loop_work(link->loop, run_poll, polled, link);
}

static void delivered(void *arg);

static void send_next(struct link *link)
{
	link->reporting = true;
	link->report.url = xasprintf("%s/api/v1/host/report", link->api);
	link->report.body = TAKE_PTR(link->next_report);
	link->report.timeout_ms = ANSWER_MS;
	loop_work(link->loop, run_report, delivered, link);
}

/* A report that is not taken comes again every few seconds, and the controller thinks this host dead
 * meanwhile. One that does not arrive is the poll's trouble, too, which is told already. */
static void log_report(struct link *link)
{
	const struct exchange *x = &link->report;
	const char *text = x->rc < 0 ? error_text(x->err, x->rc) : NULL;
	bool refused = text && x->response.status >= 400;
	if (refused && (!link->refused || strcmp(text, link->refused) != 0))
		log_warning("controller: it refuses this host's report and may take the host for lost: %s",
			text);
	else if (text)
		log_debug("controller: report: %s", text);
	if (refused || !text) {
		free(link->refused);
		link->refused = refused ? xstrdup(text) : NULL;
	}
}

static void delivered(void *arg)
{
	struct link *link = arg;
	bool ok = link->report.rc == 0;
	link->reporting = false;
	if (!link->stopped)
		log_report(link);
	reset(&link->report);
	if (link->stopped)
		return;
	if (link->next_report)
		send_next(link);
	else
		link->events.reported(ok, link->events.arg);
}

void link_report(struct link *link, const char *text)
{
	free(link->next_report);
	link->next_report = xstrdup(text);
	if (!link->reporting && !link->stopped)
		send_next(link);
}

struct link *link_new(struct loop *loop, const struct identity *identity, int64_t poll_s,
	uint64_t generation, const struct link_events *events)
{
	const struct httpc_trust trust = {.ca_file = identity->ca_file,
		.cert_file = identity->cert_file,
		.key_file = identity->key_file};
	struct link *link = xnew(struct link);
	link->loop = loop;
	link->events = *events;
	link->api = xstrdup(identity->api);
	link->poll_s = poll_s;
	link->generation = generation;
	link->poll.client = httpc_new(&trust);
	link->report.client = httpc_new(&trust);
	link->poll.rc = link->report.rc = -ECANCELED;
	link->again = loop_timer_new(loop, ask, link);
	ask(link);
	return link;
}

void link_stop(struct link *link)
{
	if (!link || link->stopped)
		return;
	link->stopped = true;
	loop_timer_at(link->again, -1);
}

void link_free(struct link *link)
{
	if (!link)
		return;
	reset(&link->poll);
	reset(&link->report);
	httpc_free(link->poll.client);
	httpc_free(link->report.client);
	free(link->next_report);
	free(link->trouble);
	free(link->refused);
	free(link->api);
	free(link);
}
