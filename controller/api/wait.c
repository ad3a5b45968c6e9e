/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Sleepers: long polls and event streams that have nothing to say yet, hashed by the topic they
 * sleep on.
 *
 * A wake costs a hash and those it wakes, never the thousand others. Waking only takes the exchange
 * off its topic and tells libmicrohttpd to come back to it; the handler runs later, from the loop,
 * so http_wake() may be called anywhere, also inside a transaction. */
#include "controller/api/exchange.h"

static unsigned bucket_of(const char *topic)
{
	unsigned hash = 5381;
	for (; *topic; topic++)
		hash = hash * 33 + (unsigned char)*topic;
	return hash % TOPIC_BUCKETS;
}

void wait_sleep(struct exchange *exchange, const char *topic)
{
	struct exchange **bucket = &exchange->http->topics[bucket_of(topic)];
	wait_leave(exchange);
	exchange->topic = xstrdup(topic);
	exchange->next = *bucket;
	exchange->link = bucket;
	if (*bucket)
		(*bucket)->link = &exchange->next;
	*bucket = exchange;
	exchange->suspended = true;
	MHD_suspend_connection(exchange->connection);
}

void wait_leave(struct exchange *exchange)
{
	if (!exchange->topic)
		return;
	*exchange->link = exchange->next;
	if (exchange->next)
		exchange->next->link = exchange->link;
	exchange->next = NULL;
	exchange->link = NULL;
	free(exchange->topic);
	exchange->topic = NULL;
}

void wait_resume(struct exchange *exchange)
{
	if (!exchange->topic)
		return;
	wait_leave(exchange);
	MHD_resume_connection(exchange->connection);
	listener_run_soon(exchange->conn->listener);
	/* libmicrohttpd only marks it; from a timer or a worker's result nobody else would run it.
	 */
	sd_event_source_set_time(exchange->conn->listener->timer, 0);
	sd_event_source_set_enabled(exchange->conn->listener->timer, SD_EVENT_ONESHOT);
}

void http_wake(struct http *http, const char *topic)
{
	if (!http)
		return;
	for (struct exchange *e = http->topics[bucket_of(topic)], *next = NULL; e; e = next) {
		next = e->next;
		if (strcmp(e->topic, topic) == 0)
			wait_resume(e);
	}
}

void wait_resume_all(struct http *http)
{
	for (size_t i = 0; i < TOPIC_BUCKETS; i++)
		while (http->topics[i])
			wait_resume(http->topics[i]);
}
