/* SPDX-License-Identifier: GPL-2.0-or-later */
/* SHA-256, random bytes and constant-time comparison, by GnuTLS: the library that already does the
 * TLS of both ends, uses the CPU's SHA instructions and is kept up to date by the distribution.
 *
 * SHA-256 names images, chunks and uploads and hashes tokens at rest; tokens here are 256 random
 * bits, so a slow password hash would add nothing. When GnuTLS cannot hash or give random bytes (it
 * never fails on a sound system) the program ends: going on with a zero digest or a guessable token
 * is worse.
 *
 * Must not be used for passwords chosen by people.
 */
#include <fcntl.h>
#include <gnutls/crypto.h>
#include <gnutls/gnutls.h>

#include "lib/hash.h"
#include "lib/str.h"

struct sha256_stream {
	gnutls_hash_hd_t hash;
};

struct sha256 sha256_of(const void *bytes, size_t len)
{
	struct sha256 digest;

	if (gnutls_hash_fast(GNUTLS_DIG_SHA256, len ? bytes : "", len, digest.b) < 0)
		abort();
	return digest;
}

struct sha256_stream *sha256_begin(void)
{
	struct sha256_stream *stream = xnew(struct sha256_stream);

	if (gnutls_hash_init(&stream->hash, GNUTLS_DIG_SHA256) < 0)
		abort();
	return stream;
}

void sha256_add(struct sha256_stream *stream, const void *bytes, size_t len)
{
	if (len && gnutls_hash(stream->hash, bytes, len) < 0)
		abort();
}

struct sha256 sha256_end(struct sha256_stream *stream)
{
	struct sha256 digest;

	gnutls_hash_deinit(stream->hash, digest.b);
	free(stream);
	return digest;
}

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

static char *to_hex(const uint8_t *bytes, size_t n, char *ret_text)
{
	static const char digits[] = "0123456789abcdef";

	for (size_t i = 0; i < n; i++) {
		ret_text[2 * i] = digits[bytes[i] >> 4];
		ret_text[2 * i + 1] = digits[bytes[i] & 15];
	}
	ret_text[2 * n] = '\0';
	return ret_text;
}

const char *sha256_format(const struct sha256 *digest, char ret_text[SHA256_TEXT])
{
	return to_hex(digest->b, SHA256_LEN, ret_text);
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

char *random_hex(size_t n)
{
	auto_free uint8_t *bytes = xcalloc(1, n);
	char *text = xcalloc(2 * n + 1, 1);

	if (n && gnutls_rnd(GNUTLS_RND_KEY, bytes, n) < 0)
		abort();
	return to_hex(bytes, n, text);
}

bool secret_equal(const char *a, const char *b)
{
	/* digests first: the comparison then takes the same time whatever the lengths are */
	struct sha256 da = sha256_of(a, strlen(a)), db = sha256_of(b, strlen(b));

	return gnutls_memcmp(da.b, db.b, SHA256_LEN) == 0;
}
