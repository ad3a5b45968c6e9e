/* SPDX-License-Identifier: GPL-2.0-or-later */
/* From the CA digest on the kernel's command line to a CA certificate that can be trusted. */
#ifndef HOSTD_PIN_H
#define HOSTD_PIN_H

#include "lib/error.h"

/* Makes a TLS connection to `url` (https://HOST:PORT), takes the chain the server shows and returns
 * the certificate in it whose SHA-256 (DER) is `digest` (64 hex digits) as PEM; caller frees.
 * Nothing else is sent or believed. -EACCES when no certificate matches. Blocks up to 10 s; for
 * worker threads. */
int pin_fetch_ca(const char *url, const char *digest, char **ret_pem, struct error **err);

/* The certificate among `n` DER certificates with that digest, as PEM; NULL when none has it. Pure.
 */
struct pin_der {
	const void *bytes;
	unsigned len;
};
char *pin_pick(const struct pin_der *chain, unsigned n, const char *digest);

#endif
