/* SPDX-License-Identifier: GPL-2.0-or-later */
/* One request on its way through the face, from its first line to its last byte; shared by the
 * files of api/ that move it on (http, guard, auth, exchange, wait, stream, answer, pacing). Handlers
 * see struct api_request only. */
#ifndef CONTROLLER_API_EXCHANGE_H
#define CONTROLLER_API_EXCHANGE_H

#include <microhttpd.h>
#include "controller/api/http.h"
#include "controller/api/route.h"
#include "controller/api/routes.h"
#include "controller/api/uri.h"
#include "controller/plan/shares.h"
#include "lib/vec.h"

struct listener {
	struct http *http;
	struct MHD_Daemon *daemon;
	bool boot; /* plain HTTP */
	sd_event_source *io, *timer;
};
VEC_OF(listeners, struct listener *);

enum { TOPIC_BUCKETS = 1024, ALARMS = 64 };

struct alarm_told { /* so that a knocker cannot fill the log */
	uint64_t hash;
	uint64_t at_us;
};

struct http {
	struct controller *controller;
	struct listeners listeners;
	struct exchange *topics[TOPIC_BUCKETS]; /* sleeping ones, by hash of topic */
	struct alarm_told alarms[ALARMS];
	size_t raw_bodies;     /* uploads whose pieces are in memory */
	struct shares shares;  /* of the connections by which files go to PCs; each is a conn's */
	sd_event_source *look; /* at what they take */
	bool closing;
};

/* What the timer of a connection does when it fires. */
enum conn_timer {
	CONN_DEADLINE, /* the peer was too slow: cut */
	CONN_WAIT,     /* a long poll's time is over */
	CONN_BEAT,     /* an event stream has been silent: a comment keeps it alive */
};

struct conn {
	struct listener *listener;
	struct MHD_Connection *connection;
	sd_event_source *timer;
	enum conn_timer purpose;
	struct exchange *exchange; /* the one in work, or NULL */
	/* pacing.c */
	bool sending; /* its answer is a file, which libmicrohttpd is at */
	bool shares;  /* `share` is in http->shares */
	struct share share;
	uint64_t paced;	       /* bytes a second that the kernel was told last; 0: nothing yet */
	uint64_t acknowledged; /* bytes, when it was looked at last */
	uint64_t looked_us;
};

struct exchange {
	struct conn *conn;
	struct http *http;
	struct MHD_Connection *connection;
	char *raw_uri;
	struct uri uri;
	const char *method; /* of libmicrohttpd, valid as long as the exchange */
	struct route_match match;
	struct api_request api;
	json_t *body;
	char *bytes;
	size_t n_bytes, expected;
	bool begun, answered, counted_raw;
	api_sent *sent; /* told when the file that is the answer has gone out, or broke off */
	bool to_end;	/* its last byte is part of the answer */
	/* sleeping: long poll or stream */
	bool suspended, waiting;
	uint64_t wait_until_us;
	char *topic;
	struct exchange *next, **link; /* in http->topics */
	/* event stream */
	bool streaming, stream_end;
	int64_t stream_after;
	struct buf stream_out;
	size_t stream_at;
	/* api_alarm */
	char *alarm_kind, *alarm_subject, *alarm_text;
};

/* A refusal before the handler. */
struct refusal {
	int status; /* 0: none */
	struct error *err;
};
int refuse(struct refusal *refusal, int status, const char *field, const char *fmt, ...)
	PRINTF_LIKE(4, 5);

/* http.c */
void conn_arm(struct conn *conn, enum conn_timer purpose, uint64_t seconds);
void conn_arm_at(struct conn *conn, enum conn_timer purpose, uint64_t at_us);
uint64_t http_now_us(struct http *http);
/* libmicrohttpd has something to do although no descriptor says so: a resumed connection. */
void listener_run_soon(struct listener *listener);

/* guard.c: headers and target of a request whose headers are whole. 0 or the status in refusal. */
int guard_check(struct exchange *exchange, const char *version, struct refusal *refusal);
/* guard.c: is the body that was announced one the route takes? Sets exchange->expected. */
int guard_body(struct exchange *exchange, struct refusal *refusal);

/* auth.c: who calls, and may it? Fills exchange->api.who. */
int auth_check(struct exchange *exchange, struct refusal *refusal);

/* exchange.c */
struct exchange *exchange_new(struct conn *conn, const char *raw_uri);
void exchange_free(struct exchange *exchange);
enum MHD_Result exchange_step(struct exchange *exchange, const char *method, const char *version,
	const char *data, size_t *data_len);

/* wait.c */
void wait_sleep(struct exchange *exchange, const char *topic);
void wait_leave(struct exchange *exchange);  /* off its topic, still suspended */
void wait_resume(struct exchange *exchange); /* off its topic and on again */
void wait_resume_all(struct http *http);

/* stream.c */
enum MHD_Result stream_begin(struct exchange *exchange, int64_t after);
void stream_beat(struct exchange *exchange);

/* answer.c: queues and frees what the answer owns. */
enum MHD_Result answer_send(struct exchange *exchange, struct api_answer *answer);
enum MHD_Result answer_problem(struct exchange *exchange, int status, const struct error *err);
enum MHD_Result answer_queue(struct exchange *exchange, int status, struct MHD_Response *response);

/* pacing.c: a file for a PC goes out by this connection from now on. Returns the bytes a second that it
 * gets at least, if its peer takes them, while no more send than there are boot slots (or than send
 * now, where that is more). */
uint64_t pacing_begin(struct conn *conn);
/* libmicrohttpd is done with the answer, file or not; what the kernel still has keeps its share. */
void pacing_end(struct conn *conn);
/* The connection ends; its descriptor is not asked for again. */
void pacing_forget(struct conn *conn);
/* All connections have ended. */
void pacing_done(struct http *http);

#endif
