/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The controller's own certificate authority: made at first start, it signs the server's
 * certificate and, each night, those of the hosts. ECDSA P-256 throughout. Nothing here has a "not
 * before" that a PC with a wrong clock could trip over (1970). */
#ifndef CONTROLLER_PKI_H
#define CONTROLLER_PKI_H

#include "lib/error.h"
#include "lib/hash.h"
#include "lib/hostlist.h"
#include "lib/str.h"

struct pki;

/* Opens or makes DIR/{ca.pem,ca.key,server.pem,server.key}. The server's certificate is for `lab`,
 * localhost and `addresses` (texts); it is made anew when those differ, when it does not fit the CA
 * or ends within 90 days. A CA that is there but unreadable is an error, never replaced. */
int pki_open(const char *dir, const char *lab, const struct strings *addresses,
	struct pki **ret_pki, struct error **err);
void pki_free(struct pki *pki);

/* Borrowed PEM texts. The chain is the server's certificate and the CA. */
const char *pki_ca(const struct pki *pki);
const char *pki_chain(const struct pki *pki);
const char *pki_key(const struct pki *pki);
/* SHA-256 (hex) of the DER form of the CA's certificate, which GET /api/v1/ca and http://…/boot/ca
 * answer as PEM; the kernel command line carries it as nightclass.ca=sha256:HEX. */
const char *pki_ca_digest(const struct pki *pki);

/* A certificate for the PC `pc` (CN, client authentication) from the public key of a CSR, until
 * not_after (Unix seconds). What else the CSR asks for is ignored; its self-signature must hold.
 * -EINVAL (field csr) for a bad one. The caller frees ret_pem. ret_key_id is pki_key_id() of the
 * key: the same for every certificate of it. */
int pki_sign(struct pki *pki, const char *csr_pem, const char *pc, int64_t not_after,
	char **ret_pem, char ret_key_id[SHA256_TEXT], struct error **err);
/* SHA-256 (hex) of the public key of a certificate. 0 or -EINVAL. */
struct gnutls_x509_crt_int;
int pki_key_id(struct gnutls_x509_crt_int *certificate, char ret_key_id[SHA256_TEXT]);

#endif
