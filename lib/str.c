/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The strict grammars of everything small that enters the product: MAC, IPv4 address and prefix,
 * sizes, durations, numbers, names. One parser per word, used by API, configuration, CLI and agents
 * alike, so that a text is judged the same way wherever it comes in, and each parser accepts
 * exactly one spelling class: no blanks around it, no trailing bytes, no signs, no leading zeros
 * (an address with them reads as octal elsewhere), nothing that a shell, dnsmasq, nft or a hosts
 * file could read as something else.
 *
 * The growing text (struct buf) is here too: it is what renderers write into.
 *
 * Must not allocate for parsing, must not write results on failure, must not ask the locale.
 */
#include <errno.h>
#include <stdarg.h>

#include "lib/str.h"

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

int hex_digit(char c)
{
	if (is_digit(c))
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

int mac_parse(const char *text, struct mac *ret_mac)
{
	static const struct mac none;
	char between = 0;
	struct mac mac;

	if (strlen(text) != MAC_TEXT - 1)
		return -EINVAL;
	between = text[2];
	if (between != ':' && between != '-')
		return -EINVAL;
	for (int i = 0; i < 6; i++) {
		int high = hex_digit(text[3 * i]), low = hex_digit(text[3 * i + 1]);

		if (high < 0 || low < 0 || (i < 5 && text[3 * i + 2] != between))
			return -EINVAL;
		mac.b[i] = (uint8_t)(high << 4 | low);
	}
	if ((mac.b[0] & 1) || mac_cmp(&mac, &none) == 0)
		return -EINVAL;
	*ret_mac = mac;
	return 0;
}

const char *mac_format(const struct mac *mac, char ret_text[MAC_TEXT])
{
	snprintf(ret_text, MAC_TEXT, "%02x:%02x:%02x:%02x:%02x:%02x", mac->b[0], mac->b[1],
		mac->b[2], mac->b[3], mac->b[4], mac->b[5]);
	return ret_text;
}

int mac_cmp(const struct mac *a, const struct mac *b)
{
	return memcmp(a->b, b->b, sizeof(a->b));
}

/* Reads a decimal without leading zeros at *at and moves on; -EINVAL when none stands there. */
static int read_number(const char **at, uint64_t max, uint64_t *ret_value)
{
	const char *p = *at;
	uint64_t value = 0;

	if (!is_digit(*p) || (p[0] == '0' && is_digit(p[1])))
		return -EINVAL;
	for (; is_digit(*p); p++) {
		if (__builtin_mul_overflow(value, 10U, &value) ||
			__builtin_add_overflow(value, (unsigned)(*p - '0'), &value) || value > max)
			return -EINVAL;
	}
	*at = p;
	*ret_value = value;
	return 0;
}

static int read_ip4(const char **at, struct ip4 *ret_address)
{
	uint32_t address = 0;

	for (int i = 0; i < 4; i++) {
		uint64_t octet = 0;

		if (i && *(*at)++ != '.')
			return -EINVAL;
		if (read_number(at, 255, &octet) < 0)
			return -EINVAL;
		address = address << 8 | (uint32_t)octet;
	}
	if (address == 0)
		return -EINVAL;
	ret_address->host = address;
	return 0;
}

int ip4_parse(const char *text, struct ip4 *ret_address)
{
	struct ip4 address = {0};

	if (read_ip4(&text, &address) < 0 || *text)
		return -EINVAL;
	*ret_address = address;
	return 0;
}

const char *ip4_format(struct ip4 address, char ret_text[IP4_TEXT])
{
	uint32_t a = address.host;

	snprintf(ret_text, IP4_TEXT, "%u.%u.%u.%u", a >> 24, a >> 16 & 255, a >> 8 & 255, a & 255);
	return ret_text;
}

int prefix4_parse(const char *text, struct prefix4 *ret_prefix)
{
	struct prefix4 prefix = {.len = 0};
	uint64_t len = 0;

	if (read_ip4(&text, &prefix.address) < 0 || *text++ != '/' ||
		read_number(&text, 32, &len) < 0 || *text)
		return -EINVAL;
	prefix.len = (uint8_t)len;
	*ret_prefix = prefix;
	return 0;
}

const char *prefix4_format(struct prefix4 prefix, char ret_text[PREFIX4_TEXT])
{
	char address[IP4_TEXT];

	snprintf(ret_text, PREFIX4_TEXT, "%s/%u", ip4_format(prefix.address, address),
		prefix.len % 100U);
	return ret_text;
}

uint32_t prefix4_mask(uint8_t len)
{
	return len ? UINT32_MAX << (32 - len) : 0;
}

struct prefix4 prefix4_network(struct prefix4 prefix)
{
	prefix.address.host &= prefix4_mask(prefix.len);
	return prefix;
}

bool prefix4_contains(struct prefix4 prefix, struct ip4 address)
{
	return ((prefix.address.host ^ address.host) & prefix4_mask(prefix.len)) == 0;
}

bool prefix4_overlaps(struct prefix4 a, struct prefix4 b)
{
	a.len = b.len = a.len < b.len ? a.len : b.len;
	return prefix4_contains(a, b.address);
}

int size_parse(const char *text, uint64_t *ret_bytes)
{
	static const struct {
		const char *unit;
		unsigned shift;
	} units[] = {{"", 0}, {"KiB", 10}, {"MiB", 20}, {"GiB", 30}, {"TiB", 40}};
	uint64_t value = 0;

	if (read_number(&text, UINT64_MAX, &value) < 0)
		return -EINVAL;
	for (size_t i = 0; i < ARRAY_LEN(units); i++) {
		if (strcmp(text, units[i].unit) != 0)
			continue;
		if (value > UINT64_MAX >> units[i].shift)
			return -EINVAL;
		*ret_bytes = value << units[i].shift;
		return 0;
	}
	return -EINVAL;
}

char *size_format(uint64_t bytes)
{
	static const char *const units[] = {"KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
	double value = (double)bytes / 1024;
	size_t unit = 0;

	if (bytes < 1024)
		return xasprintf("%u B", (unsigned)bytes);
	/* 1023.95 would print as 1024.0 */
	for (; value >= 1023.95 && unit + 1 < ARRAY_LEN(units); unit++)
		value /= 1024;
	return xasprintf("%.1f %s", value, units[unit]);
}

int duration_parse(const char *text, int64_t *ret_seconds)
{
	enum { DAY = 24 * 3600 };
	static const struct {
		char unit;
		unsigned seconds;
	} units[] = {{'s', 1}, {'m', 60}, {'h', 3600}, {'d', DAY}};
	uint64_t value = 0;

	if (read_number(&text, 30 * DAY, &value) < 0 || !text[0] || text[1])
		return -EINVAL;
	for (size_t i = 0; i < ARRAY_LEN(units); i++) {
		if (text[0] != units[i].unit)
			continue;
		value *= units[i].seconds;
		if (value > 30 * DAY)
			return -EINVAL;
		*ret_seconds = (int64_t)value;
		return 0;
	}
	return -EINVAL;
}

int uint_parse(const char *text, uint64_t min, uint64_t max, uint64_t *ret_value)
{
	uint64_t value = 0;

	if (read_number(&text, max, &value) < 0 || *text || value < min)
		return -EINVAL;
	*ret_value = value;
	return 0;
}

bool name_ok(const char *text)
{
	size_t n = 0;

	if (text[0] < 'a' || text[0] > 'z')
		return false;
	for (; text[n]; n++)
		if (n >= NAME_MAX_LEN ||
			!(is_digit(text[n]) || (text[n] >= 'a' && text[n] <= 'z') ||
				text[n] == '-'))
			return false;
	return text[n - 1] != '-';
}

bool sha256_hex_ok(const char *text)
{
	size_t n = 0;

	for (; text[n]; n++)
		if (n >= 64 || !(is_digit(text[n]) || (text[n] >= 'a' && text[n] <= 'f')))
			return false;
	return n == 64;
}

bool str_starts(const char *s, const char *prefix)
{
	return strncmp(s, prefix, strlen(prefix)) == 0;
}

/* Decodes one code point of shortest-form UTF-8 at p; its length, or 0 when it is malformed. */
static size_t utf8_decode(const unsigned char *p, uint32_t *ret_point)
{
	static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
	size_t n = p[0] < 0x80 ? 1 : (p[0] & 0xe0) == 0xc0 ? 2 : (p[0] & 0xf0) == 0xe0 ? 3 : 4;
	uint32_t point = p[0];

	if (n == 4 && (p[0] & 0xf8) != 0xf0)
		return 0;
	if (n > 1)
		point &= 0x7fU >> n;
	for (size_t i = 1; i < n; i++) {
		if ((p[i] & 0xc0) != 0x80)
			return 0;
		point = point << 6 | (p[i] & 0x3f);
	}
	if (point < least[n] || point > 0x10ffff || (point >= 0xd800 && point <= 0xdfff))
		return 0;
	*ret_point = point;
	return n;
}

bool text_ok(const char *text, size_t max)
{
	const unsigned char *p = (const unsigned char *)text;

	while (*p) {
		uint32_t point = 0;
		size_t n = utf8_decode(p, &point);

		if (n == 0 || point < 0x20 || (point >= 0x7f && point <= 0x9f) || point == 0x2028 ||
			point == 0x2029)
			return false;
		p += n;
		if ((size_t)(p - (const unsigned char *)text) > max)
			return false;
	}
	return true;
}

static void buf_room(struct buf *b, size_t n)
{
	size_t need = 0;

	if (__builtin_add_overflow(b->len, n, &need) || need >= SIZE_MAX / 2)
		abort();
	need++; /* the NUL */
	if (need <= b->cap)
		return;
	b->cap = need > 2 * b->cap ? need : 2 * b->cap;
	if (b->cap < 64)
		b->cap = 64;
	b->text = xrealloc(b->text, b->cap, 1);
}

void buf_add(struct buf *b, const void *bytes, size_t n)
{
	buf_room(b, n);
	if (n)
		memcpy(b->text + b->len, bytes, n);
	b->len += n;
	b->text[b->len] = '\0';
}

void buf_adds(struct buf *b, const char *s)
{
	buf_add(b, s, strlen(s));
}

void buf_addf(struct buf *b, const char *fmt, ...)
{
	va_list args, again;
	int n = 0;

	va_start(args, fmt);
	va_copy(again, args);
	n = vsnprintf(NULL, 0, fmt, args);
	va_end(args);
	if (n < 0)
		abort();
	buf_room(b, (size_t)n);
	vsnprintf(b->text + b->len, (size_t)n + 1, fmt, again);
	va_end(again);
	b->len += (size_t)n;
}

char *buf_take(struct buf *b)
{
	char *text = b->text ? b->text : xstrdup("");

	*b = (struct buf){0};
	return text;
}

void buf_done(struct buf *b)
{
	free(b->text);
	*b = (struct buf){0};
}
