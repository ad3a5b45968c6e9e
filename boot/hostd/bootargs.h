/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the boot script told this PC on the kernel's command line. None of it is secret. */
#ifndef HOSTD_BOOTARGS_H
#define HOSTD_BOOTARGS_H

#include <stdbool.h>
#include "lib/error.h"
#include "lib/hash.h"
#include "lib/str.h"

struct bootargs {
	char *url; /* "https://10.71.0.1:8443", no path; NULL when absent */
	bool has_ca;
	char ca[SHA256_TEXT]; /* SHA-256 of the controller's CA certificate (DER) */
	bool has_mac;
	struct mac mac; /* of the card the PC booted from */
	char *scratch;	/* label of the partition that the lab lends, NULL: none */
};

/* Reads the words `nightclass.url=`, `nightclass.ca=sha256:`, `nightclass.scratch=`, `BOOTIF=01-`;
 * every other word belongs to somebody else. -EINVAL names the word with the bad value. The caller frees by
 * bootargs_done. */
int bootargs_parse(const char *cmdline, struct bootargs *ret_args, struct error **err);
/* "https://HOST[:PORT]" without path, query or user part. */
bool bootargs_url_ok(const char *url);
void bootargs_done(struct bootargs *args);

#endif
