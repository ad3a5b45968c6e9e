/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What of hash.h needs no library for it: digests as text, and of files. Whatever computes SHA-256
 * is linked beside this (hash.c, by GnuTLS).
 */
#include <fcntl.h>

#include "lib/hash.h"
#include "lib/str.h"

int sha256_file(const char *path, struct sha256 *ret_digest, struct error **err)
{
	enum { PIECE = 256 << 10 };
	auto_close int fd = open(path, O_RDONLY | O_CLOEXEC);
	auto_free char *piece = NULL;
	struct sha256_stream *stream = NULL;
	struct sha256 digest;
	ssize_t n = 0;
	int r = 0;

	if (fd < 0)
		return error_make(err, -errno, "%s cannot be opened: %m.", path);
	piece = xcalloc(1, PIECE);
	stream = sha256_begin();
	do {
		n = read(fd, piece, PIECE);
		if (n > 0)
			sha256_add(stream, piece, (size_t)n);
		else if (n < 0 && errno != EINTR)
			r = error_make(err, -errno, "%s cannot be read: %m.", path);
	} while (n != 0 && r == 0);
	digest = sha256_end(stream);
	if (r == 0)
		*ret_digest = digest;
	return r;
}

const char *sha256_format(const struct sha256 *digest, char ret_text[SHA256_TEXT])
{
	static const char digits[] = "0123456789abcdef";

	for (size_t i = 0; i < SHA256_LEN; i++) {
		ret_text[2 * i] = digits[digest->b[i] >> 4];
		ret_text[2 * i + 1] = digits[digest->b[i] & 15];
	}
	ret_text[SHA256_TEXT - 1] = '\0';
	return ret_text;
}

int sha256_parse(const char *text, struct sha256 *ret_digest)
{
	if (!sha256_hex_ok(text))
		return -EINVAL;
	for (size_t i = 0; i < SHA256_LEN; i++) {
		char pair[] = {text[2 * i], text[2 * i + 1], '\0'};

		ret_digest->b[i] = (uint8_t)strtoul(pair, NULL, 16);
	}
	return 0;
}
