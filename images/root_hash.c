/* SPDX-License-Identifier: GPL-2.0-or-later */
/* SHA-256 for nightclass-root, by Nettle: the library below GnuTLS, which also uses the CPU's SHA
 * instructions, and which Debian has as a static library. In place of lib/hash.c, and in no other
 * program.
 */
#include <nettle/sha2.h>

#include "lib/hash.h"
#include "lib/util.h"

struct sha256_stream {
	struct sha256_ctx context;
};

struct sha256_stream *sha256_begin(void)
{
	struct sha256_stream *stream = xnew(struct sha256_stream);

	sha256_init(&stream->context);
	return stream;
}

void sha256_add(struct sha256_stream *stream, const void *bytes, size_t len)
{
	sha256_update(&stream->context, len, bytes);
}

struct sha256 sha256_end(struct sha256_stream *stream)
{
	struct sha256 digest;

	nettle_sha256_digest(&stream->context, SHA256_LEN, digest.b);
	free(stream);
	return digest;
}

struct sha256 sha256_of(const void *bytes, size_t len)
{
	struct sha256_stream *stream = sha256_begin();

	sha256_add(stream, bytes, len);
	return sha256_end(stream);
}
