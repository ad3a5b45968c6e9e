/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Answers on their way out: JSON, text, a file (whole or from a byte on), or a problem.
 *
 * Every answer carries the same few headers that keep a browser from guessing, framing or storing;
 * the page needs nothing beyond its own origin. Files go out by descriptor, so that the plain
 * listener can use sendfile for the host image. Refusals end the connection: what follows them on
 * the wire is not trusted. */
#include "controller/api/exchange.h"

#include <fcntl.h>
#include "controller/api/problem.h"
#include "lib/log.h"

enum { SEND_S = 30, SEND_RATE = 64 * 1024 };

static void add_common(struct MHD_Response *response, bool boot)
{
	static const char *const headers[][2] = {
		{"X-Content-Type-Options", "nosniff"},
		{"Referrer-Policy", "no-referrer"},
		{"Cross-Origin-Opener-Policy", "same-origin"},
		{"Cross-Origin-Resource-Policy", "same-origin"},
		{"Content-Security-Policy", "default-src 'none'; script-src 'self'; style-src "
					    "'self'; img-src 'self' data:; "
					    "connect-src 'self'; base-uri 'none'; form-action "
					    "'none'; frame-ancestors 'none'"},
	};
	if (boot)
		return;
	for (size_t i = 0; i < ARRAY_LEN(headers); i++)
		MHD_add_response_header(response, headers[i][0], headers[i][1]);
	MHD_add_response_header(response, "Cache-Control", "no-store");
}

enum MHD_Result answer_queue(struct exchange *exchange, int status, struct MHD_Response *response)
{
	add_common(response, exchange->conn->listener->boot);
	enum MHD_Result result =
		MHD_queue_response(exchange->connection, (unsigned)status, response);
	MHD_destroy_response(response);
	exchange->answered = true;
	return result;
}

/* "bytes=N-" or "bytes=N-M" of a file of `size` bytes. 1: a part, 0: the whole, -ERANGE. */
static int parse_range(const char *header, uint64_t size, uint64_t *ret_from, uint64_t *ret_len)
{
	uint64_t from = 0, to = size ? size - 1 : 0;
	if (!header || !str_starts(header, "bytes=") || strchr(header, ','))
		return 0;
	auto_free char *text = xstrdup(header + 6);
	char *dash = strchr(text, '-');
	if (!dash || dash == text)
		return 0;
	*dash = '\0';
	if (uint_parse(text, 0, INT64_MAX, &from) < 0 ||
		(dash[1] && uint_parse(dash + 1, 0, INT64_MAX, &to) < 0))
		return 0;
	if (from >= size || to < from)
		return -ERANGE;
	*ret_from = from;
	*ret_len = (to < size ? to : size - 1) - from + 1;
	return 1;
}

/* Bytes a second by which a peer in good order takes a file; its deadline goes by them. */
static uint64_t slowest(struct exchange *exchange)
{
	uint64_t rate = exchange->conn->listener->boot ? pacing_begin(exchange->conn) : SEND_RATE;

	return rate < SEND_RATE ? rate : SEND_RATE;
}

static enum MHD_Result send_file(struct exchange *exchange, struct api_answer *answer)
{
	uint64_t from = 0, len = answer->fd_size;
	int part = parse_range(api_header(&exchange->api, "Range"), answer->fd_size, &from, &len);
	if (part < 0) {
		close(answer->fd);
		auto_error struct error *err = NULL;
		error_field(&err, part, "Range", "the file has %llu bytes",
			(unsigned long long)answer->fd_size);
		return answer_problem(exchange, 416, err);
	}
	struct MHD_Response *response =
		MHD_create_response_from_fd_at_offset64(len, answer->fd, from);
	if (!response) {
		close(answer->fd);
		return MHD_NO;
	}
	MHD_add_response_header(response, "Content-Type",
		answer->content_type ? answer->content_type : "application/octet-stream");
	MHD_add_response_header(response, "Accept-Ranges", "bytes");
	if (answer->header_name)
		MHD_add_response_header(response, answer->header_name, answer->header_value);
	if (part) {
		auto_free char *range = xasprintf("bytes %llu-%llu/%llu", (unsigned long long)from,
			(unsigned long long)(from + len - 1), (unsigned long long)answer->fd_size);
		MHD_add_response_header(response, "Content-Range", range);
	}
	exchange->sent = answer->fd_sent;
	exchange->to_end = from + len == answer->fd_size;
	conn_arm(exchange->conn, CONN_DEADLINE, SEND_S + len / slowest(exchange));
	return answer_queue(exchange, part ? 206 : answer->status, response);
}

enum MHD_Result answer_send(struct exchange *exchange, struct api_answer *answer)
{
	enum MHD_Result result = MHD_NO;
	if (answer->fd >= 0) {
		result = send_file(exchange, answer);
		answer->fd = -1;
	} else {
		char *text = answer->body ? json_text(answer->body) : TAKE_PTR(answer->text);
		size_t len = answer->body ? strlen(text) : answer->text_len;
		const char *type = answer->body ? "application/json" : answer->content_type;
		struct MHD_Response *response = MHD_create_response_from_buffer(
			text ? len : 0, text, MHD_RESPMEM_MUST_FREE);
		if (type)
			MHD_add_response_header(response, "Content-Type", type);
		if (answer->location)
			MHD_add_response_header(response, "Location", answer->location);
		if (answer->header_name)
			MHD_add_response_header(
				response, answer->header_name, answer->header_value);
		conn_arm(exchange->conn, CONN_DEADLINE, SEND_S + len / SEND_RATE);
		result = answer_queue(exchange, answer->status, response);
	}
	json_decref(answer->body);
	free(answer->text);
	free(answer->location);
	free(answer->header_value);
	free(answer->wait_topic);
	*answer = (struct api_answer){.fd = -1};
	return result;
}

enum MHD_Result answer_problem(struct exchange *exchange, int status, const struct error *err)
{
	const char *detail = error_text(err, err ? err->code : -EIO);
	const char *uri = exchange->uri.path ? exchange->uri.path : "?";
	if (status == 500)
		log_error("%s %s: %s", exchange->method, uri, detail);
	else
		log_debug("%s %s: %d %s", exchange->method, uri, status, detail);
	char *text = problem_text(status,
		status == 500 ? "something failed here; the log has it" : detail,
		status == 500 || !err ? NULL : err->field);
	struct MHD_Response *response =
		MHD_create_response_from_buffer(strlen(text), text, MHD_RESPMEM_MUST_FREE);
	MHD_add_response_header(response, "Content-Type", "application/problem+json");
	if (status == 401)
		MHD_add_response_header(response, "WWW-Authenticate", "Bearer");
	if (status == 503)
		MHD_add_response_header(response, "Retry-After", "5");
	if (status == 405)
		MHD_add_response_header(response, "Allow", exchange->match.allow.text);
	if (!exchange->begun || exchange->expected > exchange->n_bytes || status == 400)
		MHD_add_response_header(response, "Connection", "close");
	conn_arm(exchange->conn, CONN_DEADLINE, SEND_S);
	return answer_queue(exchange, status, response);
}
