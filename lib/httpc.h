/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A small HTTPS client over libcurl (GnuTLS): one blocking exchange per call, safe in worker threads, a
 * handle kept for reuse of the connection. http and https only, no redirects, every answer bounded. */
#ifndef LIB_HTTPC_H
#define LIB_HTTPC_H

#include <stdbool.h>
#include <stdint.h>
#include "lib/error.h"

struct sockaddr;
struct httpc; /* a reusable connection; one thread at a time */

struct httpc_trust {
	const char *ca_file;   /* PEM; NULL: the system's (https only) */
	const char *cert_file; /* client certificate and key, PEM; NULL: none */
	const char *key_file;
	const char *token;     /* bearer token; NULL: none */
	const char *interface; /* local address to connect from ("10.80.1.1"); NULL: any */
	/* Asked about the address of each connection before it is made; false refuses it, and the
	 * exchange ends with -EPERM. NULL: all are good. */
	bool (*address_ok)(const struct sockaddr *address, void *arg);
	void *address_arg;
};

/* Gets body bytes as they come; a non-zero result aborts the exchange with that -errno. */
typedef int httpc_body_fn(const void *bytes, size_t len, void *arg);

struct httpc_response;
/* Gets status, length, etag of an answer before its first body byte; non-zero aborts as above. */
typedef int httpc_head_fn(const struct httpc_response *head, void *arg);

struct httpc_request {
	const char *method, *url;
	const char *content_type; /* of body; NULL: application/json */
	const void *body;
	size_t body_len;
	int timeout_ms;		  /* whole exchange; 0: 30 s. With on_body: time without a byte */
	int64_t total_ms;	  /* with on_body: whole exchange; 0: as long as bytes come */
	/* Of the answer; 0: 16 MiB; beyond: -E2BIG. When the status is no success 64 KiB and
	 * timeout_ms are given to the body, and what comes after is left unread. */
	size_t max_body;
	httpc_body_fn *on_body;	  /* streaming instead of response.body (statuses 2xx only) */
	httpc_head_fn *on_head;	  /* with on_body: before the first of it; NULL: not wanted */
	void *arg;
	uint64_t range_from;	  /* > 0: asks for bytes from here on (Range) */
	const char *accept;	  /* NULL: any */
	const char *header;	  /* one more request header, "Upload-Length: 4096"; NULL: none */
};

struct httpc_response {
	int status;
	char *body; /* NUL-terminated; caller frees by httpc_response_done */
	size_t len;
	char *etag, *location; /* or NULL */
	uint32_t mss;	       /* TCP maximum segment size of the connection, 0 unknown */
	double seconds;
	uint64_t length; /* of the body as announced, in on_head; 0: not announced */
};

struct httpc *httpc_new(const struct httpc_trust *trust); /* copies what it needs */
void httpc_free(struct httpc *client);
/* 0 when an answer came (any status), else -ECONNREFUSED, -EHOSTUNREACH, -ETIMEDOUT, -EPROTO (TLS) ... with
 * the URL's host and the reason in the text. */
int httpc_do(struct httpc *client, const struct httpc_request *request, struct httpc_response *ret_response,
	struct error **err);
void httpc_response_done(struct httpc_response *response);
/* Turns a problem+json answer (status >= 400) into an error with its code, field and detail. 0 for < 400. */
int httpc_problem(const struct httpc_response *response, struct error **err);

#endif
