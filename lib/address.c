/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A URL from a user makes this server call somebody with the server's own position in the network:
 * behind the firewall, on loopback, on the PCs' segment. So what is called must be on the public
 * Internet, or on the administrator's list.
 *
 * The rule is asked about the address of each connection as it is made, not about a name: a name
 * that meant a public address when it was looked at can mean 127.0.0.1 a moment later. IPv6 is
 * taken from the one block that is given out (2000::/3), less what carries IPv4 addresses inside or
 * is for documents; everything else of it is not public by being new.
 *
 * A public address may be the server's own; the kernel knows which are. Without it, pure functions.
 */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <strings.h>

#include "lib/address.h"
#include "lib/str.h"

struct block {
	uint32_t net;
	uint8_t len;
};

/* IANA's special-purpose registry, IPv4. */
static const struct block special4[] = {
	{0x00000000, 8},
	{0x0a000000, 8},
	{0x64400000, 10},
	{0x7f000000, 8},
	{0xa9fe0000, 16},
	{0xac100000, 12},
	{0xc0000000, 24},
	{0xc0000200, 24},
	{0xc0586300, 24},
	{0xc0a80000, 16},
	{0xc6120000, 15},
	{0xc6336400, 24},
	{0xcb007100, 24},
	{0xe0000000, 3},
};

static bool same_prefix(const uint8_t *a, const uint8_t *b, unsigned bits)
{
	unsigned whole = bits / 8, rest = bits % 8;

	if (memcmp(a, b, whole) != 0)
		return false;
	return rest == 0 || ((a[whole] ^ b[whole]) >> (8 - rest)) == 0;
}

static bool public4(uint32_t host)
{
	for (size_t i = 0; i < ARRAY_LEN(special4); i++)
		if ((host ^ special4[i].net) >> (32 - special4[i].len) == 0)
			return false;
	return true;
}

static bool public6(const uint8_t b[16])
{
	static const uint8_t global[] = {0x20}, special[] = {0x20, 0x01, 0x00},
			     documents[] = {0x20, 0x01, 0x0d, 0xb8}, six_to_four[] = {0x20, 0x02},
			     documents2[] = {0x3f, 0xff, 0x00};

	return same_prefix(b, global, 3) && !same_prefix(b, special, 23) &&
	       !same_prefix(b, documents, 32) && !same_prefix(b, six_to_four, 16) &&
	       !same_prefix(b, documents2, 20);
}

/* The bytes of an address: 4 or 16, IPv4 in IPv6 as the 4 that it is. 0: neither. */
static size_t bytes_of(const struct sockaddr *address, uint8_t ret_bytes[16])
{
	if (address->sa_family == AF_INET) {
		memcpy(ret_bytes, &((const struct sockaddr_in *)address)->sin_addr, 4);
		return 4;
	}
	if (address->sa_family != AF_INET6)
		return 0;
	const struct in6_addr *six = &((const struct sockaddr_in6 *)address)->sin6_addr;

	if (IN6_IS_ADDR_V4MAPPED(six)) {
		memcpy(ret_bytes, six->s6_addr + 12, 4);
		return 4;
	}
	memcpy(ret_bytes, six->s6_addr, 16);
	return 16;
}

bool address_public(const struct sockaddr *address)
{
	uint8_t b[16];
	size_t n = bytes_of(address, b);

	if (n == 4)
		return public4((uint32_t)b[0] << 24 | b[1] << 16 | b[2] << 8 | b[3]);
	return n == 16 && public6(b);
}

/* Whoever is called by an address of this machine is called from that very address. Nothing is
 * sent. Binding to it would not tell: with ip_nonlocal_bind every address can be bound. */
bool address_own(const struct sockaddr *address)
{
	bool four = address->sa_family == AF_INET;
	auto_close int fd = socket(address->sa_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	struct sockaddr_storage there = {0}, here = {0};
	socklen_t len = four ? sizeof(struct sockaddr_in) : sizeof(struct sockaddr_in6);
	uint8_t a[16], b[16];
	size_t n = bytes_of(address, a);

	if (n == 0 || fd < 0)
		return false;
	memcpy(&there, address, len);
	if (four)
		((struct sockaddr_in *)&there)->sin_port = htons(9);
	else
		((struct sockaddr_in6 *)&there)->sin6_port = htons(9);
	if (connect(fd, (const struct sockaddr *)&there, len) < 0 ||
		getsockname(fd, (struct sockaddr *)&here, &len) < 0)
		return false;
	return bytes_of((const struct sockaddr *)&here, b) == n && memcmp(a, b, n) == 0;
}

/* "10.1.0.0/16", "fd00::/8" or one address; *ret_n is 4 or 16. */
static bool prefix_parse(const char *word, uint8_t ret_bytes[16], size_t *ret_n, unsigned *ret_len)
{
	const char *slash = strchr(word, '/');
	auto_free char *address = slash ? xstrndup(word, (size_t)(slash - word)) : xstrdup(word);
	uint64_t len;

	if (inet_pton(AF_INET, address, ret_bytes) == 1)
		*ret_n = 4;
	else if (inet_pton(AF_INET6, address, ret_bytes) == 1)
		*ret_n = 16;
	else
		return false;
	len = *ret_n * 8;
	if (slash && uint_parse(slash + 1, 0, len, &len) < 0)
		return false;
	*ret_len = (unsigned)len;
	return true;
}

static bool host_ok(const char *word)
{
	size_t len = strlen(word);

	if (len == 0 || len > 253 || word[0] == '.' || word[0] == '-')
		return false;
	return strspn(word, "abcdefghijklmnopqrstuvwxyz0123456789.-") == len;
}

/* The next word of the list, or NULL; moves *rest. */
static char *next_word(char **rest)
{
	char *word;

	while ((word = strsep(rest, ", \t")))
		if (*word)
			return word;
	return NULL;
}

int address_list_check(const char *list, struct error **err)
{
	auto_free char *copy = xstrdup(list);
	char *rest = copy, *word;
	uint8_t bytes[16];
	unsigned len;
	size_t n;

	while ((word = next_word(&rest)))
		if (!prefix_parse(word, bytes, &n, &len) && !host_ok(word))
			return error_make(err, -EINVAL,
				"\"%s\" is no host name in lower case, address or prefix", word);
	return 0;
}

bool address_listed(const char *list, const char *host, const struct sockaddr *address)
{
	auto_free char *copy = xstrdup(list ? list : "");
	char *rest = copy, *word;
	uint8_t mine[16], bytes[16];
	size_t n, n_mine = bytes_of(address, mine);
	unsigned len;

	while ((word = next_word(&rest))) {
		if (host && strcasecmp(word, host) == 0)
			return true;
		if (prefix_parse(word, bytes, &n, &len) && n == n_mine &&
			same_prefix(mine, bytes, len))
			return true;
	}
	return false;
}

char *address_text(const struct sockaddr *address)
{
	char text[INET6_ADDRSTRLEN] = "";
	uint8_t b[16];
	size_t n = bytes_of(address, b);

	if (n)
		inet_ntop(n == 4 ? AF_INET : AF_INET6, b, text, sizeof(text));
	return xstrdup(n ? text : "an address of no IP kind");
}
