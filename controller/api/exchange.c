/* SPDX-License-Identifier: GPL-2.0-or-later */
/* One request, step by step, as libmicrohttpd calls back: headers whole -> guard, route, role,
 * announced body; pieces of the body -> kept up to the announced length; body whole -> strict JSON,
 * then the handler in one transaction of the store, then the answer. A handler may put the request
 * to sleep on a topic instead; when woken, who calls is asked again and the handler runs anew.
 *
 * Nothing is acknowledged before its commit returned. The event of a refusal (api_alarm) is written
 * after the roll back, in a transaction of its own, at most once a minute for the same text. A POST
 * with an Idempotency-Key keeps its answer in the transaction of its change. */
#include "controller/api/exchange.h"

#include <netinet/in.h>
#include <stdarg.h>
#include "controller/api/problem.h"
#include "controller/store/idempotency.h"
#include "controller/store/store.h"
#include "lib/hash.h"
#include "lib/log.h"

enum { BODY_S = 15, BODY_RATE = 64 * 1024, WAIT_MAX_MS = 60000, ALARM_AGAIN_S = 60, KEY_MAX = 64 };

const char *api_query(const struct api_request *request, const char *name)
{
	const struct exchange *exchange = request->http;
	return uri_param(&exchange->uri, name);
}

const char *api_header(const struct api_request *request, const char *name)
{
	const struct exchange *exchange = request->http;
	return MHD_lookup_connection_value(exchange->connection, MHD_HEADER_KIND, name);
}

int api_query_uint(const struct api_request *request, const char *name, uint64_t max,
	uint64_t fallback, uint64_t *ret_value, struct error **err)
{
	const char *text = api_query(request, name);
	uint64_t value = fallback;
	if (text && uint_parse(text, 0, max, &value) < 0)
		return error_field(
			err, -EINVAL, name, "not a number from 0 to %llu", (unsigned long long)max);
	*ret_value = value;
	return 0;
}

void api_alarm(const struct api_request *request, const char *kind, const char *subject,
	const char *fmt, ...)
{
	struct exchange *exchange = request->http;
	va_list args;
	if (exchange->alarm_kind)
		return;
	va_start(args, fmt);
	if (vasprintf(&exchange->alarm_text, fmt, args) < 0)
		abort();
	va_end(args);
	exchange->alarm_kind = xstrdup(kind);
	exchange->alarm_subject = xstrdup(subject);
}

void api_alarm_host(const struct api_request *request, const char *what)
{
	auto_free char *subject = xasprintf("pc/%s", request->who.name);
	api_alarm(request, "host.refused", subject, "PC %s %s", request->who.name, what);
}

/* True when the same alarm was told within the last minute; else remembers it. */
static bool told_before(struct http *http, const char *kind, const char *text)
{
	uint64_t hash = 1469598103934665603u, now = http_now_us(http);
	for (const char *p = kind; *p; p++)
		hash = (hash ^ (unsigned char)*p) * 1099511628211u;
	for (const char *p = text; *p; p++)
		hash = (hash ^ (unsigned char)*p) * 1099511628211u;
	struct alarm_told *told = &http->alarms[hash % ALARMS];
	if (told->at_us != 0 && now - told->at_us < ALARM_AGAIN_S * 1000000u)
		return true; /* the same, or another that fell into the same slot: both can wait */
	*told = (struct alarm_told){.hash = hash, .at_us = now};
	return false;
}

static void tell_alarm(struct exchange *exchange)
{
	auto_error struct error *err = NULL;
	if (!exchange->alarm_kind)
		return;
	if (!told_before(exchange->http, exchange->alarm_kind, exchange->alarm_text)) {
		log_notice("%s: %s", exchange->alarm_subject, exchange->alarm_text);
		int r = store_event(exchange->http->controller->store, exchange->alarm_kind,
			exchange->alarm_subject, NULL, &err, "%s", exchange->alarm_text);
		if (r < 0)
			log_error("event: %s", error_text(err, r));
	}
	free(exchange->alarm_kind);
	free(exchange->alarm_subject);
	free(exchange->alarm_text);
	exchange->alarm_kind = exchange->alarm_subject = exchange->alarm_text = NULL;
}

struct exchange *exchange_new(struct conn *conn, const char *raw_uri)
{
	struct exchange *exchange = xnew(struct exchange);
	exchange->conn = conn;
	exchange->http = conn->listener->http;
	exchange->connection = conn->connection;
	exchange->raw_uri = xstrndup(raw_uri, URI_MAX + 2);
	exchange->method = "?";
	exchange->api.controller = exchange->http->controller;
	exchange->api.http = exchange;
	conn->exchange = exchange;
	return exchange;
}

void exchange_free(struct exchange *exchange)
{
	wait_leave(exchange);
	if (exchange->counted_raw)
		exchange->http->raw_bodies--;
	pacing_end(exchange->conn);
	exchange->conn->exchange = NULL;
	uri_done(&exchange->uri);
	route_match_done(&exchange->match);
	free(exchange->api.who.name);
	free(exchange->api.who.certificate);
	json_decref(exchange->body);
	free(exchange->bytes);
	free(exchange->raw_uri);
	buf_done(&exchange->stream_out);
	free(exchange->alarm_kind);
	free(exchange->alarm_subject);
	free(exchange->alarm_text);
	free(exchange);
}

static struct ip4 peer_address(struct exchange *exchange)
{
	const union MHD_ConnectionInfo *info =
		MHD_get_connection_info(exchange->connection, MHD_CONNECTION_INFO_CLIENT_ADDRESS);
	struct sockaddr_in address = {0};
	if (info && info->client_addr->sa_family == AF_INET)
		memcpy(&address, info->client_addr, sizeof(address));
	return (struct ip4){.host = ntohl(address.sin_addr.s_addr)};
}

static bool word_in(const char *word, const char *words)
{
	size_t n = strlen(word);
	for (const char *p = words; p && *p; p += strspn(p, " ")) {
		size_t len = strcspn(p, " ");
		if (len == n && strncmp(p, word, n) == 0)
			return true;
		p += len;
	}
	return false;
}

static int check_query(struct exchange *exchange, struct refusal *refusal)
{
	const struct route *route = exchange->match.route;
	for (size_t i = 0; i < exchange->uri.n_params; i++) {
		if (word_in(exchange->uri.params[i].name, route->query))
			continue;
		if (exchange->api.who.role == ROLE_PC)
			api_alarm_host(
				&exchange->api, "asked with a query parameter that no host sends");
		return refuse(refusal, 400, exchange->uri.params[i].name,
			"this request takes no such query parameter%s%s",
			route->query ? "; it takes: " : "", route->query ? route->query : "");
	}
	return 0;
}

/* Everything that can be said before the body. */
static int check_begin(struct exchange *exchange, const char *version, struct refusal *refusal)
{
	struct route_match *match = &exchange->match;
	int r = guard_check(exchange, version, refusal);
	if (r < 0)
		return r;
	routes_match(exchange->conn->listener->boot, exchange->method, exchange->uri.path, match);
	if (!match->route && match->allow.len)
		return refuse(
			refusal, 405, NULL, "%s takes %s", exchange->uri.path, match->allow.text);
	if (!match->route)
		return refuse(refusal, 404, NULL, "there is nothing at %s", exchange->uri.path);
	exchange->api.params[0] = match->params[0];
	exchange->api.params[1] = match->params[1];
	exchange->api.address = peer_address(exchange);
	r = auth_check(exchange, refusal);
	if (r >= 0)
		r = check_query(exchange, refusal);
	if (r >= 0)
		r = guard_body(exchange, refusal);
	return r;
}

static enum MHD_Result send_refusal(struct exchange *exchange, struct refusal *refusal)
{
	tell_alarm(exchange);
	enum MHD_Result result = answer_problem(exchange, refusal->status, refusal->err);
	error_free(refusal->err);
	return result;
}

static enum MHD_Result begin(struct exchange *exchange, const char *method, const char *version)
{
	struct refusal refusal = {0};
	exchange->method = method;
	int r = check_begin(exchange, version, &refusal);
	if (r < 0)
		return send_refusal(exchange, &refusal);
	exchange->begun = true;
	if (exchange->expected > 0)
		exchange->bytes = xcalloc(exchange->expected + 1, 1);
	conn_arm(exchange->conn, CONN_DEADLINE, BODY_S + exchange->expected / BODY_RATE);
	return MHD_YES;
}

static enum MHD_Result take_body(struct exchange *exchange, const char *data, size_t *data_len)
{
	if (*data_len > exchange->expected - exchange->n_bytes)
		return MHD_NO;
	memcpy(exchange->bytes + exchange->n_bytes, data, *data_len);
	exchange->n_bytes += *data_len;
	*data_len = 0;
	return MHD_YES;
}

/* The key of a POST that wants the result of one: 1 with key and digest, 0 without, -EINVAL. */
static int idempotency_key(struct exchange *exchange, const char **ret_key,
	char ret_digest[SHA256_TEXT], struct error **err)
{
	const char *key = api_header(&exchange->api, "Idempotency-Key");
	const struct route *route = exchange->match.route;
	if (!key || strcmp(route->method, "POST") != 0 || route->flags & ROUTE_SECRET)
		return 0;
	if (!*key || !text_ok(key, KEY_MAX))
		return error_field(
			err, -EINVAL, "Idempotency-Key", "1 to %d printable characters", KEY_MAX);
	struct sha256_stream *stream = sha256_begin();
	sha256_add(stream, route->method, strlen(route->method) + 1);
	sha256_add(stream, exchange->raw_uri, strlen(exchange->raw_uri) + 1);
	sha256_add(stream, exchange->bytes ? exchange->bytes : "", exchange->n_bytes);
	struct sha256 digest = sha256_end(stream);
	sha256_format(&digest, ret_digest);
	*ret_key = key;
	return 1;
}

/* The handler between find and keep of its idempotency key. */
static int handle_once(struct exchange *exchange, struct api_answer *answer, struct error **err)
{
	char digest[SHA256_TEXT];
	const char *key = NULL;
	struct store *store = exchange->http->controller->store;
	int64_t token = exchange->api.who.token_id;
	int keyed = idempotency_key(exchange, &key, digest, err);
	if (keyed < 0)
		return keyed;
	if (keyed) {
		char *text = NULL;
		int r = store_idempotency_find(
			store, key, token, digest, &answer->status, &text, err);
		if (r > 0) {
			answer->text = text;
			answer->text_len = strlen(text);
			answer->content_type = "application/json";
			return 0;
		}
		if (r < 0)
			return r;
	}
	int r = exchange->match.route->handler(&exchange->api, answer, err);
	if (r < 0 || !keyed || answer->status == 0)
		return r;
	auto_free char *text = answer->body ? json_text(answer->body) : xstrdup("");
	return store_idempotency_keep(store, key, token, digest, answer->status, text, err);
}

static int handle(struct exchange *exchange, struct api_answer *answer, struct error **err)
{
	struct store *store = exchange->http->controller->store;
	int r = store_begin(store, err);
	if (r < 0)
		return r;
	r = handle_once(exchange, answer, err);
	return store_end(store, r, err);
}

static void answer_drop(struct api_answer *answer)
{
	json_decref(answer->body);
	free(answer->text);
	free(answer->location);
	free(answer->header_value);
	free(answer->wait_topic);
	if (answer->fd >= 0)
		close(answer->fd);
	*answer = (struct api_answer){.fd = -1};
}

static enum MHD_Result sleep_on(struct exchange *exchange, struct api_answer *answer)
{
	if (!exchange->waiting) {
		int64_t ms = answer->wait_ms < WAIT_MAX_MS ? answer->wait_ms : WAIT_MAX_MS;
		exchange->waiting = true;
		exchange->wait_until_us =
			http_now_us(exchange->http) + (uint64_t)(ms > 0 ? ms : 0) * 1000;
	}
	conn_arm_at(exchange->conn, CONN_WAIT, exchange->wait_until_us);
	wait_sleep(exchange, answer->wait_topic);
	answer_drop(answer);
	return MHD_YES;
}

static enum MHD_Result run(struct exchange *exchange)
{
	struct api_answer answer = {.fd = -1};
	struct refusal refusal = {0};
	if (exchange->suspended && auth_check(exchange, &refusal) < 0) {
		exchange->suspended = false;
		return send_refusal(exchange, &refusal);
	}
	exchange->suspended = false;
	auto_error struct error *err = NULL;
	int r = handle(exchange, &answer, &err);
	if (r < 0) {
		answer_drop(&answer);
		tell_alarm(exchange);
		return answer_problem(exchange, problem_status(r), err);
	}
	tell_alarm(exchange);
	if (answer.stream_events) {
		int64_t after = answer.text ? strtoll(answer.text, NULL, 10) : 0;
		answer_drop(&answer);
		return stream_begin(exchange, after);
	}
	if (answer.status == 0 && answer.wait_topic && !exchange->api.waited)
		return sleep_on(exchange, &answer);
	if (answer.status == 0) {
		answer_drop(&answer);
		error_make(&err, -EIO, "the handler gave no answer");
		return answer_problem(exchange, 500, err);
	}
	return answer_send(exchange, &answer);
}

static enum MHD_Result body_whole(struct exchange *exchange)
{
	const struct route *route = exchange->match.route;
	auto_error struct error *err = NULL;
	if (exchange->n_bytes < exchange->expected)
		return MHD_NO;
	if (route->flags & ROUTE_RAW) {
		exchange->api.bytes = exchange->bytes ? exchange->bytes : "";
		exchange->api.n_bytes = exchange->n_bytes;
	} else if (route->max_body > 0) {
		int r = json_parse_object(exchange->bytes ? exchange->bytes : "", exchange->n_bytes,
			&exchange->body, &err);
		if (r < 0)
			return answer_problem(exchange, problem_status(r), err);
		exchange->api.body = exchange->body;
	}
	return run(exchange);
}

enum MHD_Result exchange_step(struct exchange *exchange, const char *method, const char *version,
	const char *data, size_t *data_len)
{
	if (exchange->http->closing)
		return MHD_NO;
	if (exchange->answered)
		return MHD_YES;
	if (!exchange->begun)
		return begin(exchange, method, version);
	if (*data_len > 0)
		return take_body(exchange, data, data_len);
	return exchange->suspended ? run(exchange) : body_whole(exchange);
}
