/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Strict parsers of the small texts the product is fed with, and their exact inverses.
 * A parser takes the whole string or nothing: no leading or trailing space, no trailing bytes.
 * All return 0 or -EINVAL and write the result only on success. */
#ifndef LIB_STR_H
#define LIB_STR_H

#include <stdbool.h>
#include "lib/util.h"

struct mac {
	uint8_t b[6];
};
struct ip4 {
	uint32_t host; /* host byte order: 10.0.0.1 is 0x0a000001 */
};
struct prefix4 {
	struct ip4 address; /* as written: host bits may be set (10.0.0.1/24) */
	uint8_t len;	    /* 0..32 */
};

enum { MAC_TEXT = 18, IP4_TEXT = 16, PREFIX4_TEXT = 19, NAME_MAX_LEN = 63 };

/* 0 to 15, -1: none. */
int hex_digit(char c);
/* Six two-digit hex bytes separated by ':' or '-' throughout; unicast and not all zero. */
int mac_parse(const char *text, struct mac *ret_mac);
const char *mac_format(const struct mac *mac, char ret_text[MAC_TEXT]); /* lower case, ':' */
int mac_cmp(const struct mac *a, const struct mac *b);

/* Dotted quad, decimal, no leading zeros, no "any" (0.0.0.0 is refused). */
int ip4_parse(const char *text, struct ip4 *ret_address);
const char *ip4_format(struct ip4 address, char ret_text[IP4_TEXT]);
/* ADDRESS/LEN with LEN 0..32. */
int prefix4_parse(const char *text, struct prefix4 *ret_prefix);
const char *prefix4_format(struct prefix4 prefix, char ret_text[PREFIX4_TEXT]);
uint32_t prefix4_mask(uint8_t len); /* host order */
struct prefix4 prefix4_network(struct prefix4 prefix); /* host bits cleared */
bool prefix4_contains(struct prefix4 prefix, struct ip4 address);
bool prefix4_overlaps(struct prefix4 a, struct prefix4 b);

/* "4096", "512MiB", "4GiB", "10KiB" -> bytes; "k", "MB" and the like are refused as ambiguous; no overflow. */
int size_parse(const char *text, uint64_t *ret_bytes);
char *size_format(uint64_t bytes); /* "4.0 GiB" for people; caller frees */
/* "90s", "15m", "8h", "2d" -> seconds (at most 30 days). */
int duration_parse(const char *text, int64_t *ret_seconds);
/* Decimal, no sign, no leading zero (but "0"), min..max. */
int uint_parse(const char *text, uint64_t min, uint64_t max, uint64_t *ret_value);

/* A label: 1-63 of [a-z0-9-], starts with a letter, does not end with '-' (RFC 1123, lower case).
 * Names of labs, PCs, clusters, images, users and hosts all follow it. */
bool name_ok(const char *text);
/* 64 lower-case hex digits. */
bool sha256_hex_ok(const char *text);
bool str_starts(const char *s, const char *prefix);
/* Printable one-line text for people (titles, reasons): UTF-8 without control characters, at most max bytes. */
bool text_ok(const char *text, size_t max);

/* A text that grows. A zeroed buffer is empty; .text is NUL-terminated once anything was added. */
struct buf {
	char *text;
	size_t len, cap;
};
void buf_add(struct buf *b, const void *bytes, size_t n);
void buf_adds(struct buf *b, const char *s);
void buf_addf(struct buf *b, const char *fmt, ...) PRINTF_LIKE(2, 3);
char *buf_take(struct buf *b); /* never NULL; caller frees; the buffer is empty again */
void buf_done(struct buf *b);
static inline void cleanup_buf(struct buf *b)
{
	buf_done(b);
}
#define auto_buf __attribute__((cleanup(cleanup_buf)))

#endif
