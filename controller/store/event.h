/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The log that people read. Events are appended by store_event (store.h) in the transaction of the
 * change they tell of, so that no reader hears of what did not happen. */
#ifndef CONTROLLER_STORE_EVENT_H
#define CONTROLLER_STORE_EVENT_H

#include <stdint.h>
#include "lib/error.h"
#include "lib/vec.h"

struct store;

struct event {
	int64_t seq, at;
	char *kind, *subject, *text;
	char *data; /* JSON text or NULL */
};
VEC_OF(events, struct event);
void events_done(struct events *events);

/* At most max events with seq > after, in order. */
int store_event_list(struct store *store, int64_t after, size_t max, struct events *ret_events,
	struct error **err);
/* The newest sequence number, 0 without any. */
int store_event_last(struct store *store, int64_t *ret_seq, struct error **err);

#endif
