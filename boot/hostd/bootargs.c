/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The kernel command line as this host's first configuration.
 *
 * A PC that network-boots knows nothing but what its boot script wrote behind the kernel: where the
 * controller is, which CA it must show, and from which card it booted. Words of other owners are
 * passed over; a word of ours with a bad value is an error, because a host that guesses its
 * controller would talk to a stranger. This file only parses text; it opens nothing and trusts
 * nothing: the CA digest is what makes the URL safe to use (see pin.c).
 */
#include "boot/hostd/bootargs.h"

#include <ctype.h>
#include "boot/hostd/ext4.h"

bool bootargs_url_ok(const char *url)
{
	if (!str_starts(url, "https://"))
		return false;
	const char *host = url + strlen("https://");
	const char *port = strchr(host, ':');
	size_t len = port ? (size_t)(port - host) : strlen(host);
	if (len == 0 || len > 253)
		return false;
	for (size_t i = 0; i < len; i++)
		if (!isalnum((unsigned char)host[i]) && host[i] != '.' && host[i] != '-')
			return false;
	uint64_t number;
	return !port || uint_parse(port + 1, 1, 65535, &number) == 0;
}

static int take_word(const char *word, struct bootargs *args, struct error **err)
{
	if (str_starts(word, "nightclass.url=")) {
		const char *url = strchr(word, '=') + 1;
		if (!bootargs_url_ok(url))
			return error_field(err, -EINVAL, "nightclass.url",
				"the boot script names no controller as https://HOST:PORT: \"%s\"",
				url);
		free(args->url);
		args->url = xstrdup(url);
	} else if (str_starts(word, "nightclass.ca=")) {
		const char *digest = strchr(word, '=') + 1;
		if (!str_starts(digest, "sha256:") || !sha256_hex_ok(digest + 7))
			return error_field(err, -EINVAL, "nightclass.ca",
				"not a digest of the form sha256:64 hex digits: \"%s\"", digest);
		memcpy(args->ca, digest + 7, SHA256_TEXT);
		args->has_ca = true;
	} else if (str_starts(word, "nightclass.scratch=")) {
		const char *label = strchr(word, '=') + 1;
		if (!name_ok(label) || strlen(label) > EXT4_LABEL_MAX)
			return error_field(err, -EINVAL, "nightclass.scratch",
				"not a label of a file system: \"%s\"", label);
		free(args->scratch);
		args->scratch = xstrdup(label);
	} else if (str_starts(word, "BOOTIF=01-")) {
		if (mac_parse(word + strlen("BOOTIF=01-"), &args->mac) < 0)
			return error_field(err, -EINVAL, "BOOTIF",
				"not a network card's address: \"%s\"", word);
		args->has_mac = true;
	}
	return 0;
}

int bootargs_parse(const char *cmdline, struct bootargs *ret_args, struct error **err)
{
	auto_free char *text = xstrdup(cmdline);
	struct bootargs args = {0};
	char *save = NULL;
	for (char *word = strtok_r(text, " \t\n", &save); word;
		word = strtok_r(NULL, " \t\n", &save)) {
		int r = take_word(word, &args, err);
		if (r < 0) {
			bootargs_done(&args);
			return r;
		}
	}
	*ret_args = args;
	return 0;
}

void bootargs_done(struct bootargs *args)
{
	free(args->url);
	free(args->scratch);
	memset(args, 0, sizeof(*args));
}
