/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The boot trace, from what is held to the controller (images/trace.h has its form).
 *
 * When the first guest of an image says ready, the chunks that were read until then are what a boot
 * needs. The map of what is held remembers them in their order; the controller keeps the first such
 * list it is told of an image and gives it to whoever brings that image from then on. A controller
 * that has one already answers well and keeps its own. One that cannot be reached is told later:
 * the first boot of a revision is seen once.
 */
#include "boot/hostd/trace.h"

#include "boot/hostd/backoff.h"
#include "images/held.h"
#include "images/trace.h"
#include "lib/clock.h"
#include "lib/hash.h"
#include "lib/httpc.h"
#include "lib/log.h"
#include "lib/vec.h"

/* One image. While it is under way, it is the worker's. */
struct telling {
	struct traces *traces;
	struct httpc *client;
	char *url, *image_dir, *digest;
	char *text; /* NULL: not taken yet */
	size_t n;
	unsigned failures;
	int64_t again_ms; /* -1: not again */
	bool later;	  /* the controller was not there */
	int rc;
	struct error *err;
};
VEC_OF(tellings, struct telling *);

struct traces {
	struct loop *loop;
	const struct identity *identity;
	struct loop_timer *again; /* freed with the loop */
	struct tellings list;
};

/* ---- in the worker ---- */

static int take(struct telling *t)
{
	auto_held struct held *held = NULL;
	auto_free uint32_t *numbers = xcalloc(TRACE_MAX, sizeof(*numbers));
	int r = held_open(t->image_dir, t->digest, &held, &t->err);

	if (r < 0)
		return r;
	t->n = held_order(held, numbers, TRACE_MAX);
	t->text = trace_write(numbers, t->n);
	return 0;
}

static void run(void *arg)
{
	struct telling *t = arg;
	struct httpc_response response = {0};
	struct httpc_request request = {
		.method = "PUT", .url = t->url, .content_type = "application/octet-stream"};

	t->later = false;
	t->rc = t->text ? 0 : take(t);
	if (t->rc < 0 || t->n == 0)
		return;
	request.body = t->text;
	request.body_len = strlen(t->text);
	t->rc = httpc_do(t->client, &request, &response, &t->err);
	t->later = t->rc < 0 || response.status >= 500;
	if (t->rc == 0)
		t->rc = httpc_problem(&response, &t->err);
	httpc_response_done(&response);
}

/* ---- on the loop's thread ---- */

static void arm(struct traces *traces)
{
	int64_t first = -1;

	vec_each (struct telling *, t, &traces->list)
		if ((*t)->again_ms >= 0 && (first < 0 || (*t)->again_ms < first))
			first = (*t)->again_ms;
	loop_timer_at(traces->again, first);
}

static void done(void *arg)
{
	struct telling *t = arg;

	httpc_free(TAKE_PTR(t->client));
	if (t->rc < 0 && t->failures++ == 0)
		log_notice("image %.12s: its boot trace was not told%s: %s", t->digest,
			t->later ? ", trying again" : "", error_text(t->err, t->rc));
	if (t->rc == 0)
		log_info("image %.12s: a boot reads %zu chunks, told", t->digest, t->n);
	if (t->rc < 0 && t->later) {
		auto_free char *hex = random_hex(4);

		t->again_ms = clock_mono_ms() + backoff_ms(t->failures, (uint32_t)strtoul(hex, NULL, 16));
		arm(t->traces);
	} else {
		free(TAKE_PTR(t->text));
	}
	error_free(TAKE_PTR(t->err));
}

static void start(struct telling *t)
{
	const struct identity *identity = t->traces->identity;
	const struct httpc_trust trust = {.ca_file = identity->ca_file,
		.cert_file = identity->cert_file,
		.key_file = identity->key_file};

	t->again_ms = -1;
	t->client = httpc_new(&trust);
	t->rc = -ECANCELED;
	loop_work(t->traces->loop, run, done, t);
}

static void again(void *arg)
{
	struct traces *traces = arg;

	vec_each (struct telling *, t, &traces->list)
		if ((*t)->again_ms >= 0 && (*t)->again_ms <= clock_mono_ms())
			start(*t);
	arm(traces);
}

struct traces *traces_new(struct loop *loop, const struct identity *identity)
{
	struct traces *traces = xnew(struct traces);

	traces->loop = loop;
	traces->identity = identity;
	traces->again = loop_timer_new(loop, again, traces);
	return traces;
}

void traces_free(struct traces *traces)
{
	if (!traces)
		return;
	vec_each (struct telling *, at, &traces->list) {
		struct telling *t = *at;

		free(t->url);
		free(t->image_dir);
		free(t->digest);
		free(t->text);
		free(t);
	}
	vec_done(&traces->list);
	free(traces);
}

bool traces_know(const struct traces *traces, const char *digest)
{
	vec_each (struct telling *, t, &traces->list)
		if (strcmp((*t)->digest, digest) == 0)
			return true;
	return false;
}

void traces_ready(struct traces *traces, const char *image_dir, const char *digest)
{
	struct telling *t;

	if (traces_know(traces, digest))
		return;
	t = xnew(struct telling);
	t->traces = traces;
	t->url = xasprintf("%s/api/v1/host/traces/%s", traces->identity->api, digest);
	t->image_dir = xstrdup(image_dir);
	t->digest = xstrdup(digest);
	vec_push(&traces->list, t);
	start(t);
}
