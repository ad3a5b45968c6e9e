/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Server-sent events. A stream has no queue: it has a place in the log of events and reads on from
 * there when libmicrohttpd has room to send. So a reader that stalls costs nothing but its
 * connection, and after STALL_S without taking a byte that is cut too; the browser comes back with
 * Last-Event-ID and misses nothing.
 *
 * A comment goes out after BEAT_S of silence, which keeps proxies awake and finds dead peers. At
 * each beat the token is looked at anew, so a revoked one ends its streams. */
#include "controller/api/exchange.h"

#include "controller/api/present.h"
#include "controller/store/event.h"

enum { BEAT_S = 10, STALL_S = 45, BATCH = 64, BLOCK = 16 * 1024 };

static void add_event(struct buf *out, const struct event *event)
{
	auto_json json_t *data = event->data ? json_loads(event->data, 0, NULL) : NULL;
	auto_json json_t *object = json_pack("{s:I, s:o, s:s, s:s, s:s, s:O*}", "seq",
		(json_int_t)event->seq, "at", present_time(event->at), "kind", event->kind,
		"subject", event->subject, "text", event->text, "data", data);
	if (!object)
		return;
	auto_free char *text = json_text(object);
	buf_addf(
		out, "id: %lld\nevent: %s\ndata: %s\n\n", (long long)event->seq, event->kind, text);
}

/* More of the log into the buffer: 0 or -errno. */
static int read_on(struct exchange *exchange)
{
	struct events events = {0};
	int r = store_event_list(
		exchange->http->controller->store, exchange->stream_after, BATCH, &events, NULL);
	if (r < 0)
		return r;
	exchange->stream_out.len = exchange->stream_at = 0;
	vec_each (struct event, event, &events) {
		add_event(&exchange->stream_out, event);
		exchange->stream_after = event->seq;
	}
	events_done(&events);
	return 0;
}

static ssize_t give(void *arg, uint64_t pos, char *block, size_t max)
{
	struct exchange *exchange = arg;
	(void)pos;
	exchange->suspended = false;
	if (exchange->http->closing || exchange->stream_end)
		return MHD_CONTENT_READER_END_OF_STREAM;
	if (exchange->stream_at == exchange->stream_out.len && read_on(exchange) < 0)
		return MHD_CONTENT_READER_END_WITH_ERROR;
	size_t left = exchange->stream_out.len - exchange->stream_at;
	if (left == 0) {
		wait_sleep(exchange, "events");
		conn_arm(exchange->conn, CONN_BEAT, BEAT_S);
		return 0;
	}
	size_t n = left < max ? left : max;
	memcpy(block, exchange->stream_out.text + exchange->stream_at, n);
	exchange->stream_at += n;
	conn_arm(exchange->conn, CONN_DEADLINE, STALL_S);
	return (ssize_t)n;
}

void stream_beat(struct exchange *exchange)
{
	struct refusal refusal = {0};
	exchange->stream_out.len = exchange->stream_at = 0;
	exchange->stream_end = auth_check(exchange, &refusal) < 0;
	if (!exchange->stream_end)
		buf_adds(&exchange->stream_out, ": still here\n\n");
	error_free(refusal.err);
	wait_resume(exchange);
}

enum MHD_Result stream_begin(struct exchange *exchange, int64_t after)
{
	exchange->streaming = true;
	exchange->stream_after = after;
	buf_adds(&exchange->stream_out, "retry: 2000\n\n");
	struct MHD_Response *response =
		MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, BLOCK, give, exchange, NULL);
	MHD_add_response_header(response, "Content-Type", "text/event-stream");
	conn_arm(exchange->conn, CONN_DEADLINE, STALL_S);
	return answer_queue(exchange, 200, response);
}
