/* SPDX-License-Identifier: GPL-2.0-or-later */
/* /events: the log, for programs as JSON (with a long poll) and for the page as a stream
 * (server-sent events). Both are told where to begin by a sequence number, so a reader that was
 * away misses nothing. Sending the stream is stream.c; this decides which of the two it is and from
 * where. */
#include "controller/api/route.h"

#include "controller/api/present.h"
#include "controller/store/event.h"

enum { AT_ONCE = 500, WAIT_MAX_S = 60 };

/* "last" is the newest of all, so that a reader can begin at the end of a long log. */
static int answer_events(struct events *events, int64_t last, struct api_answer *ret_answer)
{
	json_t *items = json_array();
	vec_each (struct event, event, events) {
		json_t *data = event->data ? json_loads(event->data, 0, NULL) : NULL;
		json_array_append_new(
			items, json_pack("{s:I, s:o, s:s, s:s, s:s, s:o}", "seq",
				       (json_int_t)event->seq, "at", present_time(event->at),
				       "kind", event->kind, "subject", event->subject, "text",
				       event->text, "data", data ? data : json_null()));
	}
	ret_answer->status = 200;
	ret_answer->body = present_list(items);
	json_object_set_new(ret_answer->body, "last", json_integer((json_int_t)last));
	return 0;
}

static int events_get(
	const struct api_request *request, struct api_answer *ret_answer, struct error **err)
{
	const char *accept = api_header(request, "Accept"),
		   *last = api_header(request, "Last-Event-ID");
	uint64_t after = 0, wait = 0;
	int r = api_query_uint(request, "after", INT64_MAX, 0, &after, err);
	if (r >= 0)
		r = api_query_uint(request, "wait", WAIT_MAX_S, 0, &wait, err);
	if (r >= 0 && last && uint_parse(last, 0, INT64_MAX, &after) < 0)
		r = error_field(err, -EINVAL, "Last-Event-ID", "not a sequence number");
	if (r < 0)
		return r;
	if (accept && strstr(accept, "text/event-stream")) {
		ret_answer->stream_events = true;
		ret_answer->text = xasprintf("%llu", (unsigned long long)after);
		return 0;
	}
	struct events events = {0};
	r = store_event_list(request->controller->store, (int64_t)after, AT_ONCE, &events, err);
	if (r < 0)
		return r;
	if (events.n == 0 && wait > 0 && !request->waited) {
		ret_answer->wait_topic = xstrdup("events");
		ret_answer->wait_ms = (int)wait * 1000;
		return 0;
	}
	int64_t newest = 0;
	r = store_event_last(request->controller->store, &newest, err);
	if (r >= 0)
		r = answer_events(&events, newest, ret_answer);
	events_done(&events);
	return r;
}

static const struct route rows[] = {
	{"GET", "/api/v1/events", ROLE_VIEWER, ROUTE_JSON, 0, "after wait", events_get,
		"what happened, as a list or a stream"},
};
const struct routes routes_event = {rows, ARRAY_LEN(rows)};
