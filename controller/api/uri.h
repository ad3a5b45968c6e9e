/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A request target, strictly read from its raw bytes. Pure. */
#ifndef CONTROLLER_API_URI_H
#define CONTROLLER_API_URI_H

#include "lib/error.h"

enum { URI_MAX = 2048, URI_PARAMS = 8 };

struct uri {
	char *path;
	struct {
		char *name, *value; /* decoded */
	} params[URI_PARAMS];
	size_t n_params;
};

/* -EINVAL with a text: too long, a byte outside printable ASCII, '%' or an empty, "." or ".."
 * segment in the path, a malformed or control escape in the query, a parameter twice. Free by
 * uri_done. */
int uri_parse(const char *raw, struct uri *ret_uri, struct error **err);
void uri_done(struct uri *uri);
/* The value, or NULL. */
const char *uri_param(const struct uri *uri, const char *name);

#endif
