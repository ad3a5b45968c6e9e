/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Small words used everywhere: scoped cleanup, allocation that cannot fail, ownership hand-over. */
#ifndef LIB_UTIL_H
#define LIB_UTIL_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define ARRAY_LEN(a) (sizeof(a) / sizeof((a)[0]))
#define PRINTF_LIKE(fmt, args) __attribute__((format(printf, fmt, args)))

static inline void cleanup_free(void *p)
{
	free(*(void **)p);
}

static inline void cleanup_close(int *fd)
{
	if (*fd >= 0)
		close(*fd);
}

static inline void cleanup_fclose(FILE **f)
{
	if (*f)
		fclose(*f);
}

/* Variables that end with their scope: `auto_free char *s = NULL;`, `auto_close int fd = -1;`. */
#define auto_free __attribute__((cleanup(cleanup_free)))
#define auto_close __attribute__((cleanup(cleanup_close)))
#define auto_fclose __attribute__((cleanup(cleanup_fclose)))

/* Hands a pointer (or descriptor) over: its value is the result, the variable no longer owns it. */
#define TAKE_PTR(p)                                                                                \
	({                                                                                         \
		__typeof__(p) take_value = (p);                                                    \
		(p) = NULL;                                                                        \
		take_value;                                                                        \
	})
#define TAKE_FD(fd)                                                                                \
	({                                                                                         \
		int take_fd = (fd);                                                                \
		(fd) = -1;                                                                         \
		take_fd;                                                                           \
	})

/* Allocators that abort on exhaustion (all state is in SQLite, the service manager restarts us).
 * Sizes from outside are bounded before they come here. Zeroed memory; the caller frees. */
void *xcalloc(size_t n, size_t size);
void *xrealloc(void *p, size_t n, size_t size);
char *xstrdup(const char *s);		       /* NULL gives NULL */
char *xstrndup(const char *s, size_t n);
void *xmemdup(const void *p, size_t n);
char *xasprintf(const char *fmt, ...) PRINTF_LIKE(1, 2);
#define xnew(type) ((type *)xcalloc(1, sizeof(type)))

/* How many processors may run this process: at least 1. */
unsigned processors_usable(void);

#endif
