/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Asking netd, from nightclassd: one blocking exchange, for a worker thread. */
#ifndef NETCONF_NETD_CLIENT_H
#define NETCONF_NETD_CLIENT_H

#include <jansson.h>
#include "lib/error.h"

/* Sends `request` to netd at `socket` and waits at most 10 s. 0: *ret_answer is the answer object
 * (new reference; ret_answer may be NULL). Otherwise netd's own error with its code and field,
 * -ECONNREFUSED when netd is not there, -ETIMEDOUT. */
int netd_call(const char *socket, const json_t *request, json_t **ret_answer, struct error **err);
/* "EINVAL" -> -EINVAL; -EIO for what is no errno name. */
int netd_code(const char *name);

#endif
