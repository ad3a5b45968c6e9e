/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What libmicrohttpd 0.9.75 lets through and must not reach a handler (measured, see the faults
 * page): two ways to say where a body ends, doubled headers, escapes in the path, endless headers.
 *
 * All of it is refused with "Connection: close", so that nothing a smuggler put behind the request
 * is ever read as a second one. Time and number of connections are bounded in http.c. This runs in
 * libmicrohttpd's first call, when the headers are whole and no byte of the body was taken. */
#include "controller/api/exchange.h"

#include <stdarg.h>
#include <strings.h>

enum { HEADERS_MAX = 64, HEADER_MAX = 8192, RAW_AT_ONCE = 16 };

/* Headers whose meaning would be ambiguous when given twice. */
static const char *const single[] = {"Content-Length", "Host", "Authorization", "Content-Type",
	"Idempotency-Key", "Upload-Length", "Range", "Expect", "Connection", "Last-Event-ID",
	"Accept"};

struct seen {
	unsigned n, counts[ARRAY_LEN(single)];
	bool transfer_encoding, malformed, big;
};

int refuse(struct refusal *refusal, int status, const char *field, const char *fmt, ...)
{
	char *text = NULL;
	va_list args;
	va_start(args, fmt);
	int n = vasprintf(&text, fmt, args);
	va_end(args);
	if (n < 0)
		abort();
	refusal->status = status;
	if (field)
		error_field(&refusal->err, -EINVAL, field, "%s", text);
	else
		error_make(&refusal->err, -EINVAL, "%s", text);
	free(text);
	return -EINVAL;
}

static bool token_ok(const char *name, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		unsigned char c = (unsigned char)name[i];
		if (c <= 0x20 || c >= 0x7f || strchr("\"(),/:;<=>?@[\\]{}", c))
			return false;
	}
	return n > 0;
}

static enum MHD_Result look(void *arg, enum MHD_ValueKind kind, const char *name, size_t name_len,
	const char *value, size_t value_len)
{
	struct seen *seen = arg;
	(void)kind;
	seen->n++;
	if (!token_ok(name, name_len) || (value && memchr(value, '\0', value_len)))
		seen->malformed = true;
	for (size_t i = 0; value && i < value_len; i++)
		if (((unsigned char)value[i] < 0x20 && value[i] != '\t') || value[i] == 0x7f)
			seen->malformed = true;
	if (value_len > HEADER_MAX)
		seen->big = true;
	if (strcasecmp(name, "Transfer-Encoding") == 0)
		seen->transfer_encoding = true;
	for (size_t i = 0; i < ARRAY_LEN(single); i++)
		if (strcasecmp(name, single[i]) == 0)
			seen->counts[i]++;
	return MHD_YES;
}

static int check_headers(struct exchange *exchange, const char *version, struct refusal *refusal)
{
	struct seen seen = {0};
	MHD_get_connection_values_n(exchange->connection, MHD_HEADER_KIND, look, &seen);
	if (seen.n > HEADERS_MAX || seen.big)
		return refuse(refusal, 431, NULL, "too many or too long headers");
	if (seen.malformed)
		return refuse(refusal, 400, NULL, "a header cannot be read");
	if (seen.transfer_encoding)
		return refuse(refusal, 400, "Transfer-Encoding",
			"say the length of the body by Content-Length alone");
	for (size_t i = 0; i < ARRAY_LEN(single); i++)
		if (seen.counts[i] > 1)
			return refuse(refusal, 400, single[i], "the header is given twice");
	if (strcmp(version, "HTTP/1.1") == 0 && seen.counts[1] != 1)
		return refuse(refusal, 400, "Host", "the header is missing");
	return 0;
}

int guard_check(struct exchange *exchange, const char *version, struct refusal *refusal)
{
	if (strcmp(version, "HTTP/1.1") != 0 && strcmp(version, "HTTP/1.0") != 0)
		return refuse(refusal, 400, NULL, "HTTP/1.1 is spoken here");
	int r = check_headers(exchange, version, refusal);
	if (r < 0)
		return r;
	r = uri_parse(exchange->raw_uri, &exchange->uri, &refusal->err);
	if (r < 0)
		refusal->status = strlen(exchange->raw_uri) > URI_MAX ? 414 : 400;
	return r;
}

static bool type_is(const char *type, const char *wanted)
{
	size_t n = strlen(wanted);
	if (!type || strncasecmp(type, wanted, n) != 0)
		return false;
	const char *rest = type + n;
	rest += strspn(rest, " ");
	if (*rest == ';') {
		rest++;
		rest += strspn(rest, " ");
		return strcasecmp(rest, "charset=utf-8") == 0;
	}
	return *rest == '\0';
}

int guard_body(struct exchange *exchange, struct refusal *refusal)
{
	const struct route *route = exchange->match.route;
	const char *length = api_header(&exchange->api, "Content-Length");
	const char *wanted =
		route->flags & ROUTE_RAW ? "application/octet-stream" : "application/json";
	uint64_t n = 0;
	if (length && uint_parse(length, 0, INT64_MAX, &n) < 0)
		return refuse(refusal, 400, "Content-Length", "not a number");
	if (n > route->max_body && route->max_body == 0)
		return refuse(refusal, 400, "Content-Length", "this request takes no body");
	if (n > route->max_body)
		return refuse(refusal, 400, "Content-Length",
			"the body is larger than the %zu bytes this request takes",
			route->max_body);
	bool takes = route->max_body > 0 && strcmp(route->method, "GET") != 0;
	if (takes && !length)
		return refuse(refusal, 411, "Content-Length", "the header is missing");
	if (takes && !type_is(api_header(&exchange->api, "Content-Type"), wanted))
		return refuse(refusal, 415, "Content-Type", "the body has to be %s", wanted);
	if (takes && route->flags & ROUTE_RAW) {
		if (exchange->http->raw_bodies >= RAW_AT_ONCE)
			return refuse(
				refusal, 503, NULL, "too many uploads at once; try again soon");
		exchange->http->raw_bodies++;
		exchange->counted_raw = true;
	}
	exchange->expected = (size_t)n;
	return 0;
}
