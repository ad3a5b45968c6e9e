/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The face of the controller as a table: method, path, who may, what the body is, who answers.
 * Deny by default: what has no row does not exist; a row names the least role that may call it. */
#ifndef CONTROLLER_API_ROUTE_H
#define CONTROLLER_API_ROUTE_H

#include <stdbool.h>
#include <stdint.h>
#include "lib/error.h"
#include "lib/json.h"
#include "lib/str.h"

struct controller;

/* Ordered: a token of a role may what lesser roles may, up to ADMIN. PEER, HOST and NOBODY stand
 * beside the order: only rows that name them exactly let them in. */
enum role {
	ROLE_NOBODY,
	ROLE_VIEWER,
	ROLE_USER,
	ROLE_TEACHER,
	ROLE_OPERATOR,
	ROLE_ADMIN,
	ROLE_PEER,
	ROLE_PC
};

struct api_identity {
	enum role role;
	char *name;	   /* token name, peer lab, or PC name; "" for nobody */
	int64_t token_id;  /* 0 without a token */
	char *certificate; /* ROLE_PC: SHA-256 of the public key in its certificate */
};

struct api_request {
	struct controller *controller;
	struct api_identity who;
	struct ip4 address;    /* of the caller */
	const char *params[2]; /* what stood for {…} in the path, percent-free and name-checked */
	const json_t *body;    /* JSON routes: an object, strictly parsed; else NULL */
	const void *bytes;     /* raw routes */
	size_t n_bytes;
	bool waited; /* the long poll's time is over: answer with what is there */
	void *http;  /* for api_query, api_header */
};
/* A query parameter or NULL. Parameters that the row does not list are refused with 400 before the
 * handler. */
const char *api_query(const struct api_request *request, const char *name);
const char *api_header(const struct api_request *request, const char *name);
/* The same as a number 0..max; `fallback` when absent; -EINVAL names the parameter. */
int api_query_uint(const struct api_request *request, const char *name, uint64_t max,
	uint64_t fallback, uint64_t *ret_value, struct error **err);
/* An event that stands although the request fails and is rolled back: refusals, alarms. At most one
 * a request. */
void api_alarm(const struct api_request *request, const char *kind, const char *subject,
	const char *fmt, ...) PRINTF_LIKE(4, 5);
/* The same for a host that wants what is not its own: host.refused, "PC NAME what". `what` holds
 * nothing that the host chose, so that no host can fill the log. */
void api_alarm_host(const struct api_request *request, const char *what);

/* How a file that was the answer went out: `whole` when the peer took it up to its last byte. */
typedef void api_sent(const struct api_request *request, bool whole);

struct api_answer {
	int status;   /* 200.. ; errors are returned, not answered */
	json_t *body; /* owned; or NULL */
	char *text;   /* owned; instead of body, with content_type */
	size_t text_len;
	const char *content_type;
	int fd; /* >= 0: a file is the body (closed after); set to -1 by the caller before */
	uint64_t fd_size;
	api_sent *fd_sent;	 /* or NULL */
	char *location;		 /* owned */
	const char *header_name; /* one further header */
	char *header_value;	 /* owned */
	/* Long poll: status 0 and a topic: the connection sleeps until http_wake(topic) or wait_ms
	 * passed, then the handler is called anew (with waited set in the latter case). Topics:
	 * "goal/PC", "events", "run/ID". */
	char *wait_topic; /* owned */
	int wait_ms;
	bool stream_events; /* SSE follows, from the sequence number in text */
};

/* 0 and an answer, or -errno and an error, which becomes problem+json (lib/error.h has the
 * mapping). Runs inside one transaction of the store: committed with the answer, rolled back with
 * an error. */
typedef int api_handler(
	const struct api_request *request, struct api_answer *ret_answer, struct error **err);

enum {
	ROUTE_JSON = 1,
	ROUTE_RAW = 2,
	ROUTE_BOOT = 4,	  /* plain HTTP listener, only there */
	ROUTE_SECRET = 8, /* the answer holds a secret: not kept under an Idempotency-Key */
};

struct route {
	const char *method, *path; /* "/api/v1/pcs/{name}" */
	enum role role;
	int flags;
	size_t max_body;   /* bytes; 0: no body allowed */
	const char *query; /* allowed parameters, space-separated; NULL: none */
	api_handler *handler;
	const char *help; /* one line, for the manual and OpenAPI */
};

/* The whole table is made of one slice per noun; routes.c strings them together. */
struct routes {
	const struct route *rows;
	size_t n;
};
extern const struct routes routes_lab, routes_pc, routes_image, routes_publication, routes_check,
	routes_cluster, routes_join, routes_night, routes_run, routes_event, routes_token,
	routes_enrol, routes_host, routes_peer, routes_boot, routes_web, routes_upload;

#endif
