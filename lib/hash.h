/* SPDX-License-Identifier: GPL-2.0-or-later */
/* SHA-256 (by GnuTLS), random bytes, hex. */
#ifndef LIB_HASH_H
#define LIB_HASH_H

#include <stdbool.h>
#include "lib/error.h"

enum { SHA256_LEN = 32, SHA256_TEXT = 65 };
struct sha256 {
	uint8_t b[SHA256_LEN];
};

struct sha256 sha256_of(const void *bytes, size_t len);
int sha256_file(const char *path, struct sha256 *ret_digest, struct error **err);
const char *sha256_format(const struct sha256 *digest, char ret_text[SHA256_TEXT]);
int sha256_parse(const char *text, struct sha256 *ret_digest);

struct sha256_stream; /* incremental */
struct sha256_stream *sha256_begin(void);
void sha256_add(struct sha256_stream *stream, const void *bytes, size_t len);
struct sha256 sha256_end(struct sha256_stream *stream); /* frees the stream */

/* n random bytes as 2n hex digits; caller frees. */
char *random_hex(size_t n);
/* Constant-time comparison of two texts. */
bool secret_equal(const char *a, const char *b);

#endif
