/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Errors that a person can use: what failed, why, what to do next.
 *
 * Every function that can fail returns 0 or a negative errno and takes `struct error **err` last
 * (NULL: the caller does not care for the text). The codes are mapped once to HTTP problem+json
 * (controller/api) and once to CLI exit codes (controller/cli):
 *   -EINVAL 400   -EACCES 401   -EPERM 403   -ENOENT 404   -EEXIST, -EBUSY 409   -E2BIG 413
 *   -EAGAIN 503   -ETIMEDOUT 504   -EHOSTUNREACH, -ECONNREFUSED 502   anything else 500
 */
#ifndef LIB_ERROR_H
#define LIB_ERROR_H

#include <errno.h>
#include "lib/util.h"

struct error {
	int code;    /* negative errno */
	char *field; /* the member, key or line at fault ("pcs[2].mac"), or NULL */
	char *text;  /* one or two sentences, no trailing newline */
};

/* Makes *err (when err is not NULL and *err is NULL; an error already there is kept) and returns code. */
int error_make(struct error **err, int code, const char *fmt, ...) PRINTF_LIKE(3, 4);
/* The same with the name of the field at fault. */
int error_field(struct error **err, int code, const char *field, const char *fmt, ...)
	PRINTF_LIKE(4, 5);
/* Adds context in front on the way up: "context: text". Returns the code of *err, or `code` when there is none. */
int error_wrap(struct error **err, int code, const char *fmt, ...) PRINTF_LIKE(3, 4);
/* Puts `prefix` (and a dot, unless the field starts with '[') in front of the field at fault. */
void error_in_field(struct error *err, const char *prefix);
/* The text, or strerror of the code when err has none; never NULL. */
const char *error_text(const struct error *err, int code);
void error_free(struct error *err);

static inline void cleanup_error(struct error **err)
{
	error_free(*err);
}
#define auto_error __attribute__((cleanup(cleanup_error)))

#endif
