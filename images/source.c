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
#include "images/source.h"

#include "images/chunk.h"
#include "images/trace.h"
#include "lib/str.h"

struct source {
	char *base;
	struct source_options options;
	struct httpc *client;
	struct chunk_coder *coder;
	struct buf body;
	size_t max; /* of the body */
};

struct source *source_new(const struct source_options *options)
{
	static const struct httpc_trust none;
	struct source *source = xnew(struct source);

	source->options = *options;
	source->options.base = source->base = xstrdup(options->base);
	source->client = httpc_new(options->trust ? options->trust : &none);
	source->coder = chunk_coder_new();
	return source;
}

void source_free(struct source *source)
{
	if (!source)
		return;
	httpc_free(source->client);
	chunk_coder_free(source->coder);
	buf_done(&source->body);
	free(source->base);
	free(source);
}

const char *source_base(const struct source *source)
{
	return source->base;
}

static int receive(const void *bytes, size_t len, void *arg)
{
	struct source *source = arg;

	if (source->options.stopping && source->options.stopping(source->options.arg))
		return -ECANCELED;
	if (len > source->max - source->body.len)
		return -E2BIG;
	buf_add(&source->body, bytes, len);
	return 0;
}

/* BASE/KIND/DIGEST into source->body, at most `max` bytes. More than that is no answer to what was
 * asked: -EBADMSG. */
static int get(
	struct source *source, const char *kind, const char *digest, size_t max, struct error **err)
{
	unsigned silence_ms = source->options.silence_ms;
	auto_free char *url = xasprintf("%s/%s/%s", source->base, kind, digest);
	struct httpc_response response = {0};
	struct httpc_request request = {.method = "GET",
		.url = url,
		.timeout_ms = (int)(silence_ms ? silence_ms : SOURCE_SILENCE_MS),
		.max_body = max,
		.on_body = receive,
		.arg = source};
	int r;

	source->body.len = 0;
	source->max = max;
	r = httpc_do(source->client, &request, &response, err);
	if (r == 0 && response.status != 200)
		r = error_make(err, response.status == 404 ? -ENOENT : -EIO,
			"%s answered %d when asked for %s/%.12s", source->base, response.status,
			kind, digest);
	httpc_response_done(&response);
	return r == -E2BIG ? -EBADMSG : r;
}

int source_manifest(struct source *source, const char *digest, char **ret_text, size_t *ret_len,
	struct error **err)
{
	struct sha256 seen;
	char hex[SHA256_TEXT];
	int r = get(source, "manifests", digest, MANIFEST_MAX_BYTES, err);

	if (r < 0)
		return r;
	seen = sha256_of(source->body.text, source->body.len);
	if (strcmp(sha256_format(&seen, hex), digest) != 0)
		return error_make(err, -EBADMSG, "%s sent a manifest whose digest does not match",
			source->base);
	*ret_len = source->body.len;
	*ret_text = buf_take(&source->body);
	return 0;
}

int source_chunk(struct source *source, const struct held_chunk *chunk, void *out,
	uint64_t *ret_received, struct error **err)
{
	char hex[SHA256_TEXT];
	int r = get(source, "chunks", sha256_format(&chunk->digest, hex), CHUNK_PACKED_MAX, err);

	if (ret_received)
		*ret_received = r == 0 ? source->body.len : 0;
	return r < 0 ? r
		     : chunk_unpack(source->coder, source->body.text ? source->body.text : "",
			       source->body.len, &chunk->digest, out, chunk->len, err);
}

int source_trace(struct source *source, const char *digest, char **ret_text, size_t *ret_len,
	struct error **err)
{
	int r = get(source, "traces", digest, TRACE_MAX_BYTES, err);

	if (r < 0)
		return r;
	*ret_len = source->body.len;
	*ret_text = buf_take(&source->body);
	return 0;
}
