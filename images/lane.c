/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Asking a server of images for one thing at a time.
 *
 * Plain HTTP on a segment where anybody may answer, so an answer is bounded before it comes and
 * believed only when its digest is the one that was asked for. A server that says something else is
 * told apart (-EBADMSG) from one that says nothing, because who lies is given up and who is silent
 * is asked again; deciding that is the caller's work, here nothing is tried twice.
 *
 * The connection is kept between questions. Memory: the packed chunk, and what unpacks it.
 */
#include "images/lane.h"

#include "images/chunk.h"
#include "images/trace.h"
#include "lib/str.h"

struct lane {
	char *base;
	struct lane_options options;
	struct httpc *client;
	struct chunk_coder *coder;
	struct buf body;
	size_t max; /* of the body */
};

struct lane *lane_new(const struct lane_options *options)
{
	static const struct httpc_trust none;
	struct lane *lane = xnew(struct lane);

	lane->options = *options;
	lane->options.base = lane->base = xstrdup(options->base);
	lane->client = httpc_new(options->trust ? options->trust : &none);
	lane->coder = chunk_coder_new();
	return lane;
}

void lane_free(struct lane *lane)
{
	if (!lane)
		return;
	httpc_free(lane->client);
	chunk_coder_free(lane->coder);
	buf_done(&lane->body);
	free(lane->base);
	free(lane);
}

static int receive(const void *bytes, size_t len, void *arg)
{
	struct lane *lane = arg;

	if (lane->options.stopping && lane->options.stopping(lane->options.arg))
		return -ECANCELED;
	if (len > lane->max - lane->body.len)
		return -E2BIG;
	buf_add(&lane->body, bytes, len);
	return 0;
}

/* BASE/KIND/DIGEST into lane->body, at most `max` bytes. More than that is no answer to what was
 * asked: -EBADMSG. */
static int get(
	struct lane *lane, const char *kind, const char *digest, size_t max, struct error **err)
{
	unsigned silence_ms = lane->options.silence_ms;
	auto_free char *url = xasprintf("%s/%s/%s", lane->base, kind, digest);
	struct httpc_response response = {0};
	struct httpc_request request = {.method = "GET",
		.url = url,
		.timeout_ms = (int)(silence_ms ? silence_ms : LANE_SILENCE_MS),
		.total_ms = lane->options.total_ms,
		.max_body = max,
		.on_body = receive,
		.arg = lane};
	int r;

	lane->body.len = 0;
	lane->max = max;
	r = httpc_do(lane->client, &request, &response, err);
	if (r == 0 && response.status != 200)
		r = error_make(err, response.status == 404 ? -ENOENT : -EIO,
			"%s answered %d when asked for %s/%.12s", lane->base, response.status, kind,
			digest);
	httpc_response_done(&response);
	return r == -E2BIG ? -EBADMSG : r;
}

int lane_manifest(
	struct lane *lane, const char *digest, char **ret_text, size_t *ret_len, struct error **err)
{
	struct sha256 seen;
	char hex[SHA256_TEXT];
	int r = get(lane, "manifests", digest, MANIFEST_MAX_BYTES, err);

	if (r < 0)
		return r;
	seen = sha256_of(lane->body.text, lane->body.len);
	if (strcmp(sha256_format(&seen, hex), digest) != 0)
		return error_make(err, -EBADMSG, "%s sent a manifest whose digest does not match",
			lane->base);
	*ret_len = lane->body.len;
	*ret_text = buf_take(&lane->body);
	return 0;
}

int lane_chunk(struct lane *lane, const struct held_chunk *chunk, void *out, uint64_t *ret_received,
	struct error **err)
{
	char hex[SHA256_TEXT];
	int r = get(lane, "chunks", sha256_format(&chunk->digest, hex), CHUNK_PACKED_MAX, err);

	if (ret_received)
		*ret_received = r == 0 ? lane->body.len : 0;
	return r < 0 ? r
		     : chunk_unpack(lane->coder, lane->body.text ? lane->body.text : "",
			       lane->body.len, &chunk->digest, out, chunk->len, err);
}

int lane_trace(
	struct lane *lane, const char *digest, char **ret_text, size_t *ret_len, struct error **err)
{
	int r = get(lane, "traces", digest, TRACE_MAX_BYTES, err);

	if (r < 0)
		return r;
	*ret_len = lane->body.len;
	*ret_text = buf_take(&lane->body);
	return 0;
}
