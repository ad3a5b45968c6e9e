/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Waking those who wait for something, from below: the moving part knows what changed, the face (controller/api/wait.c)
 * knows who sleeps on it. */
#ifndef CONTROLLER_WAKE_H
#define CONTROLLER_WAKE_H

struct http;

/* Long polls that sleep on the topic are answered anew, soon after, from the loop. Cheap when nobody sleeps
 * there. Topics: "goal/PC", "events", "run/ID", or any other text a handler gave as wait_topic. http NULL is
 * fine (tests). */
void http_wake(struct http *http, const char *topic);

#endif
