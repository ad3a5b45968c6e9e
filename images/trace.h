/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The boot trace of an image: the numbers of its chunks in the order in which the first VM that was
 * ever started from it read them, until its guest said ready. As text, one decimal number a line.
 */
#ifndef IMAGES_TRACE_H
#define IMAGES_TRACE_H

#include "lib/error.h"
#include "lib/vec.h"

enum {
	TRACE_MAX = 1 << 15, /* chunks: 8 GiB; a boot reads some hundred MB */
	TRACE_MAX_BYTES = TRACE_MAX * 8,
};
VEC_OF(trace, uint32_t);

/* Strict: decimal numbers below `count` (the chunks of the image), none twice, each line ended by a
 * newline, at least one and at most TRACE_MAX. -EINVAL names the line. The caller frees by
 * vec_done. */
int trace_read(
	const char *text, size_t len, size_t count, struct trace *ret_trace, struct error **err);
/* Its inverse, for at most TRACE_MAX numbers (later ones are left out); caller frees. */
char *trace_write(const uint32_t *numbers, size_t n);

/* Where chunk store `store` has the trace of an image, whether it does or not: STORE/traces/DIGEST. Caller frees. */
char *trace_path(const char *store, const char *digest);

/* The trace that chunk store `store` has of an image with `count` chunks. It says what to send
 * first and nothing else, so one that is missing or makes no sense is empty. */
void trace_of_store(const char *store, const char *digest, size_t count, struct trace *ret_trace);

#endif
