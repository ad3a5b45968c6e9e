/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The listeners: HTTPS for API, page and agents, plain HTTP for the boot path. libmicrohttpd runs
 * on the controller's own loop, without a thread. */
#ifndef CONTROLLER_API_HTTP_H
#define CONTROLLER_API_HTTP_H

#include "controller/controller.h"
#include "controller/wake.h"
#include "lib/error.h"

struct http;

/* Opens all listeners of the configuration; store and pki are there. */
int http_new(struct controller *controller, struct http **ret_http, struct error **err);
/* Ends every connection. NULL is fine. */
void http_free(struct http *http);

#endif
