/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Reading and writing boot traces.
 *
 * A trace is advice: it says which chunks to send first and nothing about their bytes, so a wrong
 * one can only cost time. It comes from a host all the same, and a host is a PC that students sit
 * at by day: so it is read strictly, bounded in number and in length, and each chunk is named once,
 * which bounds the work of whoever follows it.
 *
 * This file knows nothing of images; `count` comes from the manifest.
 */
#include "images/trace.h"

#include "lib/file.h"
#include "lib/str.h"

/* The number on the line at `text`; *ret_len is the line's length without its newline. */
static int line_read(const char *text, size_t len, size_t count, uint32_t *ret_number,
	size_t *ret_len, struct error **err)
{
	const char *end = memchr(text, '\n', len);
	auto_free char *line = NULL;
	uint64_t number;

	if (!end)
		return error_make(err, -EINVAL, "it does not end");
	line = xstrndup(text, (size_t)(end - text));
	if (strlen(line) != (size_t)(end - text) || count == 0 ||
		uint_parse(line, 0, count - 1, &number) < 0)
		return error_make(err, -EINVAL, "not the number of a chunk");
	*ret_number = (uint32_t)number;
	*ret_len = (size_t)(end - text);
	return 0;
}

int trace_read(
	const char *text, size_t len, size_t count, struct trace *ret_trace, struct error **err)
{
	auto_free uint8_t *seen = xcalloc(1, count / 8 + 1);
	struct trace trace = {0};
	int r = len ? 0 : error_make(err, -EINVAL, "boot trace: it is empty");

	while (len > 0 && r == 0) {
		uint32_t number = 0;
		size_t line = 0;

		r = trace.n == TRACE_MAX ? error_make(err, -E2BIG, "more than %d chunks", TRACE_MAX)
					 : line_read(text, len, count, &number, &line, err);
		if (r == 0 && seen[number / 8] >> number % 8 & 1)
			r = error_make(err, -EINVAL, "chunk %u is there already", number);
		if (r < 0) {
			r = error_wrap(err, r, "boot trace: line %zu", trace.n + 1);
			break;
		}
		seen[number / 8] |= (uint8_t)(1 << number % 8);
		vec_push(&trace, number);
		text += line + 1;
		len -= line + 1;
	}
	if (r < 0) {
		vec_done(&trace);
		return r;
	}
	*ret_trace = trace;
	return 0;
}

char *trace_write(const uint32_t *numbers, size_t n)
{
	struct buf b = {0};

	for (size_t i = 0; i < n && i < TRACE_MAX; i++)
		buf_addf(&b, "%u\n", numbers[i]);
	return buf_take(&b);
}

char *trace_path(const char *store, const char *digest)
{
	return xasprintf("%s/traces/%s", store, digest);
}

void trace_of_store(const char *store, const char *digest, size_t count, struct trace *ret_trace)
{
	auto_free char *path = trace_path(store, digest), *text = NULL;
	size_t len;

	*ret_trace = (struct trace){0};
	if (file_read(path, TRACE_MAX_BYTES, &text, &len, NULL) == 0)
		trace_read(text, len, count, ret_trace, NULL);
}
