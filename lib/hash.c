/* SPDX-License-Identifier: GPL-2.0-or-later */
/* SHA-256, random bytes and constant-time comparison, by GnuTLS: the library that already does the
 * TLS of both ends, uses the CPU's SHA instructions and is kept up to date by the distribution.
 *
 * SHA-256 names images, chunks and uploads and hashes tokens at rest; tokens here are 256 random
 * bits, so a slow password hash would add nothing. When GnuTLS cannot hash or give random bytes (it
 * never fails on a sound system) the program ends: going on with a zero digest or a guessable token
 * is worse.
 *
 * What needs no library is in hash_text.c: the one program that cannot bring GnuTLS along (images/
 * nightclass-root.c) has SHA-256 from elsewhere.
 *
 * Must not be used for passwords chosen by people.
 */
#include <gnutls/crypto.h>
#include <gnutls/gnutls.h>

#include "lib/hash.h"
#include "lib/util.h"

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

char *random_hex(size_t n)
{
	auto_free uint8_t *bytes = xcalloc(1, n);
	char *text = xcalloc(2 * n + 1, 1);

	if (n && gnutls_rnd(GNUTLS_RND_KEY, bytes, n) < 0)
		abort();
	for (size_t i = 0; i < n; i++)
		snprintf(text + 2 * i, 3, "%02x", bytes[i]);
	return text;
}

bool secret_equal(const char *a, const char *b)
{
	/* digests first: the comparison then takes the same time whatever the lengths are */
	struct sha256 da = sha256_of(a, strlen(a)), db = sha256_of(b, strlen(b));

	return gnutls_memcmp(da.b, db.b, SHA256_LEN) == 0;
}
