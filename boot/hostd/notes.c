/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A fetch tries again and meets the same bad neighbour again; what is known of an image already is no news, or the
 * controller would be told of one broken PC for as long as the night lasts. */
#include "boot/hostd/notes.h"

void notes_add(struct notes *notes, const char *text)
{
	auto_free char *line = report_clip(text);

	pthread_mutex_lock(&notes->lock);
	snprintf(notes->at[notes->n++ % PROTO_NOTES_MAX], REASON_MAX, "%s", line);
	pthread_mutex_unlock(&notes->lock);
}

static bool has(const struct strings *list, const char *text)
{
	vec_each (char *, known, list)
		if (strcmp(*known, text) == 0)
			return true;
	return false;
}

void notes_take(struct notes *notes, struct strings *to)
{
	pthread_mutex_lock(&notes->lock);
	for (unsigned i = notes->n > PROTO_NOTES_MAX ? notes->n - PROTO_NOTES_MAX : 0; i < notes->n; i++) {
		const char *text = notes->at[i % PROTO_NOTES_MAX];

		if (has(to, text))
			continue;
		if (to->n == PROTO_NOTES_MAX) {
			free(to->at[0]);
			vec_remove(to, 0);
		}
		vec_push(to, xstrdup(text));
	}
	notes->n = 0;
	pthread_mutex_unlock(&notes->lock);
}
