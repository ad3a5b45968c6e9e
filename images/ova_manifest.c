/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The .mf member: one digest a line, as OpenSSL prints them.
 *
 *   SHA256(disk1.vmdk)= 9b1f...
 *
 * A list that is there is believed completely or refused: an unknown algorithm, a strange line or a
 * name twice is an error, never a line to skip, for a skipped line is a member nobody checked. The
 * caller bounds the text, so an endless list is refused by its size before it comes here.
 */
#include "images/ova_manifest.h"

#include "images/ovf.h"
#include "lib/str.h"

static const struct {
	const char *name;
	gnutls_digest_algorithm_t algorithm;
	size_t len;
} algorithms[] = {
	{"SHA1", GNUTLS_DIG_SHA1, 20},
	{"SHA256", GNUTLS_DIG_SHA256, 32},
	{"SHA512", GNUTLS_DIG_SHA512, 64},
};

static bool hex_read(const char *hex, unsigned char *bytes, size_t len)
{
	if (strlen(hex) != 2 * len)
		return false;
	for (size_t i = 0; i < len; i++) {
		int high = hex_digit(hex[2 * i]), low = hex_digit(hex[2 * i + 1]);

		if (high < 0 || low < 0)
			return false;
		bytes[i] = (unsigned char)(high << 4 | low);
	}
	return true;
}

/* Lower-cases the hex digits and takes spaces off both ends. */
static void tidy(char *text)
{
	size_t from = strspn(text, " \t"), len;

	memmove(text, text + from, strlen(text + from) + 1);
	for (len = strlen(text); len > 0 && strchr(" \t\r", text[len - 1]); len--)
		text[len - 1] = '\0';
	for (char *p = text; *p; p++)
		if (*p >= 'A' && *p <= 'F')
			*p = (char)(*p - 'A' + 'a');
}

/* Splits `line` in place. False when it is none of ours. */
static bool line_read(char *line, struct ova_digests *digests)
{
	char *open = strchr(line, '('), *close = strstr(line, ")=");
	struct ova_digest digest = {0};
	size_t i = 0;

	if (!close)
		close = strstr(line, ") =");
	if (!open || !close || close < open)
		return false;
	*open = '\0';
	*close = '\0';
	line[strcspn(line, " ")] = '\0';
	while (i < ARRAY_LEN(algorithms) && strcmp(line, algorithms[i].name) != 0)
		i++;
	char *hex = strchr(close + 1, '=') + 1;
	tidy(hex);
	if (i == ARRAY_LEN(algorithms) || !ovf_name_ok(open + 1) ||
		ova_digest_find(digests, open + 1) ||
		!hex_read(hex, digest.bytes, algorithms[i].len))
		return false;
	digest.algorithm = algorithms[i].algorithm;
	digest.name = xstrdup(open + 1);
	vec_push(digests, digest);
	return true;
}

int ova_manifest_read(
	const char *text, size_t len, struct ova_digests *ret_digests, struct error **err)
{
	struct ova_digests digests = {0};
	auto_free char *copy = NULL;
	char *rest, *line;
	unsigned number = 0;

	if (len > OVA_MANIFEST_MAX_BYTES || memchr(text, 0, len))
		return error_make(err, -EINVAL,
			"the manifest of the OVA is no text of at most %d bytes",
			OVA_MANIFEST_MAX_BYTES);
	copy = rest = xstrndup(text, len);
	while ((line = strsep(&rest, "\n"))) {
		number++;
		if (line[strspn(line, " \t\r")] == '\0' || line_read(line, &digests))
			continue;
		ova_digests_done(&digests);
		return error_make(err, -EINVAL,
			"line %u of the OVA's manifest is no digest of a member by SHA1, SHA256 or "
			"SHA512",
			number);
	}
	*ret_digests = digests;
	return 0;
}

void ova_digests_done(struct ova_digests *digests)
{
	vec_each (struct ova_digest, digest, digests)
		free(digest->name);
	vec_done(digests);
}

struct ova_digest *ova_digest_find(const struct ova_digests *digests, const char *name)
{
	vec_each (struct ova_digest, digest, digests)
		if (strcmp(digest->name, name) == 0)
			return digest;
	return NULL;
}
