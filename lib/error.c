/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Errors as values. The first failure makes the struct where the most is known (what, why, which
 * field); each floor it passes on the way up may put context in front; the edge (API, CLI, a
 * daemon's log line) prints it once. So an error that is already there is never replaced by a
 * vaguer one, and the negative errno travels beside it in the return value for the code that only
 * has to decide.
 *
 * Every function accepts err == NULL for callers that do not care for the text: then only the code
 * is returned. Must not log and must not touch errno, which callers often still need (saved where
 * libc could change it).
 */
#include <stdarg.h>

#include "lib/error.h"

static char *format(const char *fmt, va_list args)
{
	char *text = NULL;

	if (vasprintf(&text, fmt, args) < 0)
		return xstrdup("out of memory");
	return text;
}

static void set(struct error **err, int code, const char *field, char *text)
{
	struct error *e = xnew(struct error);

	e->code = code;
	e->field = xstrdup(field);
	e->text = text;
	*err = e;
}

int error_make(struct error **err, int code, const char *fmt, ...)
{
	int saved = errno;
	va_list args;

	if (err && !*err) {
		va_start(args, fmt);
		set(err, code, NULL, format(fmt, args));
		va_end(args);
	}
	errno = saved;
	return code;
}

int error_field(struct error **err, int code, const char *field, const char *fmt, ...)
{
	int saved = errno;
	va_list args;

	if (err && !*err) {
		va_start(args, fmt);
		set(err, code, field, format(fmt, args));
		va_end(args);
	}
	errno = saved;
	return code;
}

int error_wrap(struct error **err, int code, const char *fmt, ...)
{
	auto_free char *context = NULL, *text = NULL;
	int saved = errno;
	va_list args;

	if (!err)
		return code;
	va_start(args, fmt);
	context = format(fmt, args);
	va_end(args);
	text = xasprintf("%s: %s", context, error_text(*err, code));
	if (!*err) {
		set(err, code, NULL, TAKE_PTR(text));
	} else {
		free((*err)->text);
		(*err)->text = TAKE_PTR(text);
	}
	errno = saved;
	return (*err)->code;
}

void error_in_field(struct error *err, const char *prefix)
{
	char *old = NULL;

	if (!err)
		return;
	old = err->field;
	if (!old)
		err->field = xstrdup(prefix);
	else
		err->field = xasprintf("%s%s%s", prefix, *old == '[' ? "" : ".", old);
	free(old);
}

const char *error_text(const struct error *err, int code)
{
	const char *text = NULL;

	if (err && err->text)
		return err->text;
	if (err)
		code = err->code;
	/* strerrordesc_np returns constant texts: safe in workers, unlike strerror */
	text = strerrordesc_np(code < 0 ? -code : code);
	return text ? text : "unknown error";
}

void error_free(struct error *err)
{
	if (!err)
		return;
	free(err->field);
	free(err->text);
	free(err);
}
