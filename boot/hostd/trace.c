/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The boot trace, from what is held to the controller (images/trace.h has its form).
 *
 * When the first guest of an image says ready, the chunks that were read until then are what a boot
 * needs. The map of what is held remembers them in their order; the controller keeps the first such
 * list it is told of an image and gives it to whoever brings that image from then on. A controller
 * that has one already answers well and keeps its own.
 */
#include "boot/hostd/trace.h"

#include "images/held.h"
#include "images/trace.h"
#include "lib/httpc.h"
#include "lib/log.h"

struct telling {
	struct httpc *client;
	char *url, *image_dir, *digest;
	size_t n;
	int rc;
	struct error *err;
};

static void run(void *arg)
{
	struct telling *t = arg;
	auto_held struct held *held = NULL;
	auto_free uint32_t *numbers = xcalloc(TRACE_MAX, sizeof(*numbers));
	auto_free char *text = NULL;
	struct httpc_response response = {0};
	struct httpc_request request = {
		.method = "PUT", .url = t->url, .content_type = "application/octet-stream"};

	t->rc = held_open(t->image_dir, t->digest, &held, &t->err);
	if (t->rc < 0)
		return;
	t->n = held_order(held, numbers, TRACE_MAX);
	if (t->n == 0)
		return;
	request.body = text = trace_write(numbers, t->n);
	request.body_len = strlen(text);
	t->rc = httpc_do(t->client, &request, &response, &t->err);
	if (t->rc == 0)
		t->rc = httpc_problem(&response, &t->err);
	httpc_response_done(&response);
}

static void done(void *arg)
{
	struct telling *t = arg;

	if (t->rc < 0)
		log_notice("image %.12s: its boot trace was not told: %s", t->digest,
			error_text(t->err, t->rc));
	else
		log_info("image %.12s: a boot reads %zu chunks, told", t->digest, t->n);
	httpc_free(t->client);
	free(t->url);
	free(t->image_dir);
	free(t->digest);
	error_free(t->err);
	free(t);
}

void trace_send(struct loop *loop, const struct identity *identity, const char *image_dir,
	const char *digest)
{
	const struct httpc_trust trust = {.ca_file = identity->ca_file,
		.cert_file = identity->cert_file,
		.key_file = identity->key_file};
	struct telling *t = xnew(struct telling);

	t->client = httpc_new(&trust);
	t->url = xasprintf("%s/api/v1/host/traces/%s", identity->api, digest);
	t->image_dir = xstrdup(image_dir);
	t->digest = xstrdup(digest);
	t->rc = -ECANCELED;
	loop_work(loop, run, done, t);
}
