/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Reading the log of events. The sequence is gapless: SQLite's AUTOINCREMENT takes its counter back
 * with a transaction that is rolled back, and rows are never deleted; so a reader that asks for
 * "after N" and gets nothing has missed nothing. */
#include "controller/store/event.h"

#include "controller/store/store.h"

void events_done(struct events *events)
{
	vec_each (struct event, event, events) {
		free(event->kind);
		free(event->subject);
		free(event->text);
		free(event->data);
	}
	vec_done(events);
}

int store_event_list(struct store *store, int64_t after, size_t max, struct events *ret_events,
	struct error **err)
{
	struct events events = {0};
	sqlite3_stmt *stmt = NULL;
	int r = store_query(store, &stmt, err,
		"SELECT seq, at, kind, subject, text, data FROM event WHERE seq > ? ORDER BY seq "
		"LIMIT ?",
		"ii", after, (int64_t)max);
	if (r < 0)
		return r;
	while ((r = store_step(store, stmt, err)) > 0) {
		struct event *event = vec_add(&events);
		event->seq = sqlite3_column_int64(stmt, 0);
		event->at = sqlite3_column_int64(stmt, 1);
		event->kind = store_text(stmt, 2);
		event->subject = store_text(stmt, 3);
		event->text = store_text(stmt, 4);
		event->data = store_text(stmt, 5);
	}
	store_finish(store, stmt);
	if (r < 0) {
		events_done(&events);
		return r;
	}
	*ret_events = events;
	return 0;
}

int store_event_last(struct store *store, int64_t *ret_seq, struct error **err)
{
	return store_number(store, ret_seq, err, "SELECT ifnull(max(seq), 0) FROM event", "");
}
