/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A small HTTP server of images, for peers: GET /manifests/DIGEST and GET /chunks/DIGEST, nothing
 * else. It serves what a host holds, whole or in part, or a chunk store; it only ever reads. */
#ifndef IMAGES_SERVE_H
#define IMAGES_SERVE_H

#include <stdbool.h>
#include <stdint.h>
#include "lib/error.h"

enum { SERVE_PORT = 8081 };

struct serve_options {
	const char *address; /* to listen on; NULL: all */
	uint16_t port;	     /* 0: any (serve_port) */
	const char *held;    /* folder of held images, or NULL */
	const char *store;   /* chunk store, or NULL */
};

struct serve;

/* Listens, in two threads of its own, at most 64 connections. Texts are copied. -EADDRINUSE ... */
int serve_start(const struct serve_options *options, struct serve **ret_serve, struct error **err);
void serve_stop(struct serve *serve); /* NULL is fine */
/* The held image was removed: what is open of it is closed, so that its room is free. NULL is fine.
 */
void serve_forget(struct serve *serve, const char *digest);
uint16_t serve_port(const struct serve *serve);

#endif
