/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What every room uses: the allocators, and how many processors there are.
 *
 * Running out of memory ends the program at once: all state that matters is in SQLite or can be
 * asked for again, the service manager starts us anew, and code that cannot be reached by a test
 * (each failed malloc) is code that does not work. The price is that sizes from outside must be
 * bounded before they come here; no function below checks what is reasonable.
 *
 * Must not log (the log allocates nothing, but lib never logs) and must not return NULL, but for
 * the copy of a NULL text, which stays NULL so that optional members copy in one word.
 */
#include <sched.h>
#include <stdarg.h>

#include "lib/util.h"

static void *not_null(void *p)
{
	static const char text[] = "out of memory\n";

	if (p)
		return p;
	if (write(STDERR_FILENO, text, sizeof(text) - 1) < 0) {
		/* nothing is left to try */
	}
	abort();
}

void *xcalloc(size_t n, size_t size)
{
	return not_null(calloc(n ? n : 1, size ? size : 1));
}

void *xrealloc(void *p, size_t n, size_t size)
{
	size_t bytes = 0;

	if (__builtin_mul_overflow(n, size, &bytes))
		not_null(NULL);
	return not_null(realloc(p, bytes ? bytes : 1));
}

char *xstrdup(const char *s)
{
	return s ? not_null(strdup(s)) : NULL;
}

char *xstrndup(const char *s, size_t n)
{
	return s ? not_null(strndup(s, n)) : NULL;
}

void *xmemdup(const void *p, size_t n)
{
	void *copy = xcalloc(1, n);

	if (n)
		memcpy(copy, p, n);
	return copy;
}

char *xasprintf(const char *fmt, ...)
{
	char *text = NULL;
	va_list args;
	int n = 0;

	va_start(args, fmt);
	n = vasprintf(&text, fmt, args);
	va_end(args);
	if (n < 0)
		not_null(NULL);
	return text;
}

unsigned processors_usable(void)
{
	cpu_set_t set;

	return sched_getaffinity(0, sizeof(set), &set) == 0 ? (unsigned)CPU_COUNT(&set) : 1;
}
