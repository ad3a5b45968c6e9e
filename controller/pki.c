/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The certificate authority of one lab, by GnuTLS.
 *
 * A school has no PKI, so the controller makes its own at first start and everybody pins it: hosts
 * by the digest on their kernel command line, other labs and people by the PEM file. The CA's key
 * never leaves its 0600 file. A CA that cannot be read is never replaced, because that would lock
 * everybody out; the administrator decides.
 *
 * The server's certificate is derived: whenever names, CA or remaining time do not fit it is made
 * anew. No certificate has a beginning after 1970, because a PC whose clock battery died must still
 * get in; the end is what limits, and the end of a host's certificate is checked against the
 * controller's own clock (auth.c). */
#include "controller/pki.h"

#include <gnutls/crypto.h>
#include <gnutls/abstract.h>
#include <gnutls/gnutls.h>
#include <gnutls/x509.h>
#include <sys/stat.h>
#include <time.h>
#include "lib/clock.h"
#include "lib/file.h"

enum { DAY = 86400, CA_DAYS = 20 * 365, SERVER_DAYS = 10 * 365, RENEW_DAYS = 90, SERIAL_LEN = 16 };
enum { PEM_MAX = 64 * 1024 };

struct pki {
	gnutls_x509_crt_t ca;
	gnutls_x509_privkey_t ca_key;
	char *ca_pem, *chain, *key, ca_digest[SHA256_TEXT];
};

static int tls_error(struct error **err, int code, const char *what)
{
	return error_make(err, -EIO, "%s: %s", what, gnutls_strerror(code));
}

const char *pki_ca(const struct pki *pki)
{
	return pki->ca_pem;
}

const char *pki_chain(const struct pki *pki)
{
	return pki->chain;
}

const char *pki_key(const struct pki *pki)
{
	return pki->key;
}

const char *pki_ca_digest(const struct pki *pki)
{
	return pki->ca_digest;
}

static gnutls_datum_t datum(const char *text)
{
	return (gnutls_datum_t){.data = (unsigned char *)text, .size = (unsigned)strlen(text)};
}

static char *take_datum(gnutls_datum_t *d)
{
	char *text = xstrndup((const char *)d->data, d->size);
	gnutls_free(d->data);
	return text;
}

static char *crt_pem(gnutls_x509_crt_t crt)
{
	gnutls_datum_t out = {0};
	if (gnutls_x509_crt_export2(crt, GNUTLS_X509_FMT_PEM, &out) < 0)
		abort();
	return take_datum(&out);
}

static void fingerprint(gnutls_x509_crt_t crt, char ret_text[SHA256_TEXT])
{
	gnutls_datum_t der = {0};
	if (gnutls_x509_crt_export2(crt, GNUTLS_X509_FMT_DER, &der) < 0)
		abort();
	struct sha256 digest = sha256_of(der.data, der.size);
	gnutls_free(der.data);
	sha256_format(&digest, ret_text);
}

int pki_key_id(gnutls_x509_crt_t certificate, char ret_key_id[SHA256_TEXT])
{
	struct sha256 id;
	size_t len = sizeof(id.b);
	if (gnutls_x509_crt_get_key_id(certificate, GNUTLS_KEYID_USE_SHA256, id.b, &len) < 0 ||
		len != sizeof(id.b))
		return -EINVAL;
	sha256_format(&id, ret_key_id);
	return 0;
}

static int new_key(gnutls_x509_privkey_t *ret_key, char **ret_pem, struct error **err)
{
	gnutls_x509_privkey_t key;
	gnutls_datum_t out = {0};
	int code = gnutls_x509_privkey_init(&key);
	if (code < 0)
		return tls_error(err, code, "new key");
	code = gnutls_x509_privkey_generate(
		key, GNUTLS_PK_ECDSA, GNUTLS_CURVE_TO_BITS(GNUTLS_ECC_CURVE_SECP256R1), 0);
	if (code >= 0)
		code = gnutls_x509_privkey_export2_pkcs8(
			key, GNUTLS_X509_FMT_PEM, NULL, GNUTLS_PKCS_PLAIN, &out);
	if (code < 0) {
		gnutls_x509_privkey_deinit(key);
		return tls_error(err, code, "new key");
	}
	*ret_key = key;
	*ret_pem = take_datum(&out);
	return 0;
}

/* Serial number, times and common name: what every certificate of ours has. */
static int crt_begin(gnutls_x509_crt_t *ret_crt, const char *name, int64_t not_after)
{
	unsigned char serial[SERIAL_LEN];
	gnutls_x509_crt_t crt;
	int code = gnutls_x509_crt_init(&crt);
	if (code < 0)
		return code;
	gnutls_rnd(GNUTLS_RND_NONCE, serial, sizeof(serial));
	serial[0] = (serial[0] & 0x7f) | 0x40;
	if ((code = gnutls_x509_crt_set_version(crt, 3)) < 0 ||
		(code = gnutls_x509_crt_set_serial(crt, serial, sizeof(serial))) < 0 ||
		(code = gnutls_x509_crt_set_activation_time(crt, 0)) < 0 ||
		(code = gnutls_x509_crt_set_expiration_time(crt, (time_t)not_after)) < 0 ||
		(code = gnutls_x509_crt_set_dn_by_oid(
			 crt, GNUTLS_OID_X520_COMMON_NAME, 0, name, (unsigned)strlen(name))) < 0) {
		gnutls_x509_crt_deinit(crt);
		return code;
	}
	*ret_crt = crt;
	return 0;
}

/* Key identifiers of subject and issuer, then the CA's signature. */
static int crt_sign(gnutls_x509_crt_t crt, gnutls_x509_crt_t ca, gnutls_x509_privkey_t ca_key)
{
	unsigned char id[64];
	size_t len = sizeof(id);
	int code = gnutls_x509_crt_get_key_id(crt, GNUTLS_KEYID_USE_SHA1, id, &len);
	if (code >= 0)
		code = gnutls_x509_crt_set_subject_key_id(crt, id, len);
	len = sizeof(id);
	if (code >= 0 && ca != crt) {
		code = gnutls_x509_crt_get_subject_key_id(ca, id, &len, NULL);
		if (code >= 0)
			code = gnutls_x509_crt_set_authority_key_id(crt, id, len);
	}
	if (code >= 0)
		code = gnutls_x509_crt_sign2(crt, ca, ca_key, GNUTLS_DIG_SHA256, 0);
	return code;
}

static int make_ca(const char *dir, const char *lab, struct pki *pki, struct error **err)
{
	auto_free char *key_path = xasprintf("%s/ca.key", dir),
		       *crt_path = xasprintf("%s/ca.pem", dir);
	auto_free char *name = xasprintf("Nightclass CA of lab %s", lab), *key_pem = NULL;
	int r = new_key(&pki->ca_key, &key_pem, err);
	if (r < 0)
		return r;
	int code = crt_begin(&pki->ca, name, clock_wall() + (int64_t)CA_DAYS * DAY);
	if (code < 0)
		return tls_error(err, code, "new CA");
	if ((code = gnutls_x509_crt_set_basic_constraints(pki->ca, 1, 0)) < 0 ||
		(code = gnutls_x509_crt_set_key_usage(pki->ca, GNUTLS_KEY_KEY_CERT_SIGN)) < 0 ||
		(code = gnutls_x509_crt_set_key(pki->ca, pki->ca_key)) < 0 ||
		(code = crt_sign(pki->ca, pki->ca, pki->ca_key)) < 0)
		return tls_error(err, code, "new CA");
	pki->ca_pem = crt_pem(pki->ca);
	/* The certificate last: without it the next start makes both anew. */
	r = file_write(key_path, key_pem, strlen(key_pem), 0600, err);
	gnutls_memset(key_pem, 0, strlen(key_pem));
	return r < 0 ? r : file_write(crt_path, pki->ca_pem, strlen(pki->ca_pem), 0644, err);
}

static int load_pair(const char *crt_pem_text, const char *key_pem_text, gnutls_x509_crt_t *ret_crt,
	gnutls_x509_privkey_t *ret_key)
{
	gnutls_datum_t crt_text = datum(crt_pem_text), key_text = datum(key_pem_text);
	unsigned char a[64], b[64];
	size_t a_len = sizeof(a), b_len = sizeof(b);
	gnutls_x509_crt_t crt;
	gnutls_x509_privkey_t key;
	gnutls_x509_crt_init(&crt);
	gnutls_x509_privkey_init(&key);
	int code = gnutls_x509_crt_import(crt, &crt_text, GNUTLS_X509_FMT_PEM);
	if (code >= 0)
		code = gnutls_x509_privkey_import2(key, &key_text, GNUTLS_X509_FMT_PEM, NULL, 0);
	if (code >= 0)
		code = gnutls_x509_crt_get_key_id(crt, 0, a, &a_len);
	if (code >= 0)
		code = gnutls_x509_privkey_get_key_id(key, 0, b, &b_len);
	if (code >= 0 && (a_len != b_len || memcmp(a, b, a_len) != 0))
		code = GNUTLS_E_CERTIFICATE_KEY_MISMATCH;
	if (code < 0) {
		gnutls_x509_crt_deinit(crt);
		gnutls_x509_privkey_deinit(key);
		return code;
	}
	*ret_crt = crt;
	*ret_key = key;
	return 0;
}

static int open_ca(const char *dir, const char *lab, struct pki *pki, struct error **err)
{
	auto_free char *crt_path = xasprintf("%s/ca.pem", dir),
		       *key_path = xasprintf("%s/ca.key", dir);
	auto_free char *key_text = NULL;
	if (access(crt_path, F_OK) != 0 && errno == ENOENT)
		return make_ca(dir, lab, pki, err);
	int r = file_read(crt_path, PEM_MAX, &pki->ca_pem, NULL, err);
	if (r >= 0)
		r = file_read(key_path, PEM_MAX, &key_text, NULL, err);
	if (r < 0)
		return r;
	int code = load_pair(pki->ca_pem, key_text, &pki->ca, &pki->ca_key);
	gnutls_memset(key_text, 0, strlen(key_text));
	if (code < 0)
		return error_make(err, -EIO,
			"%s and ca.key: %s; put them back from a backup, or remove both to begin "
			"with a new CA that every "
			"lab and person has to learn anew",
			crt_path, gnutls_strerror(code));
	return 0;
}

static int add_names(gnutls_x509_crt_t crt, const char *lab, const struct strings *addresses)
{
	int code = gnutls_x509_crt_set_subject_alt_name(
		crt, GNUTLS_SAN_DNSNAME, lab, (unsigned)strlen(lab), 0);
	if (code >= 0)
		code = gnutls_x509_crt_set_subject_alt_name(
			crt, GNUTLS_SAN_DNSNAME, "localhost", 9, GNUTLS_FSAN_APPEND);
	vec_each (char *, text, addresses) {
		struct ip4 address;
		if (code < 0)
			break;
		if (ip4_parse(*text, &address) < 0)
			continue;
		uint8_t b[4] = {(uint8_t)(address.host >> 24), (uint8_t)(address.host >> 16),
			(uint8_t)(address.host >> 8), (uint8_t)address.host};
		code = gnutls_x509_crt_set_subject_alt_name(
			crt, GNUTLS_SAN_IPADDRESS, b, sizeof(b), GNUTLS_FSAN_APPEND);
	}
	return code;
}

static int make_server(const char *dir, const char *lab, const struct strings *addresses,
	struct pki *pki, struct error **err)
{
	auto_free char *crt_path = xasprintf("%s/server.pem", dir),
		       *key_path = xasprintf("%s/server.key", dir);
	gnutls_x509_privkey_t key = NULL;
	gnutls_x509_crt_t crt = NULL;
	int r = new_key(&key, &pki->key, err);
	if (r < 0)
		return r;
	int code = crt_begin(&crt, lab, clock_wall() + (int64_t)SERVER_DAYS * DAY);
	if (code >= 0 && ((code = gnutls_x509_crt_set_key(crt, key)) < 0 ||
				 (code = gnutls_x509_crt_set_basic_constraints(crt, 0, -1)) < 0 ||
				 (code = gnutls_x509_crt_set_key_usage(
					  crt, GNUTLS_KEY_DIGITAL_SIGNATURE)) < 0 ||
				 (code = gnutls_x509_crt_set_key_purpose_oid(
					  crt, GNUTLS_KP_TLS_WWW_SERVER, 0)) < 0 ||
				 (code = add_names(crt, lab, addresses)) < 0))
		r = tls_error(err, code, "server certificate");
	if (r >= 0 && (code = crt_sign(crt, pki->ca, pki->ca_key)) < 0)
		r = tls_error(err, code, "server certificate");
	if (r >= 0) {
		auto_free char *pem = crt_pem(crt);
		pki->chain = xasprintf("%s%s", pem, pki->ca_pem);
		r = file_write(key_path, pki->key, strlen(pki->key), 0600, err);
		if (r >= 0)
			r = file_write(crt_path, pki->chain, strlen(pki->chain), 0644, err);
	}
	if (crt)
		gnutls_x509_crt_deinit(crt);
	gnutls_x509_privkey_deinit(key);
	return r;
}

/* Does the certificate still do: our CA's, long enough, for exactly these names? */
static bool server_fits(
	gnutls_x509_crt_t crt, const char *lab, const struct strings *addresses, struct pki *pki)
{
	if (gnutls_x509_crt_get_expiration_time(crt) < clock_wall() + (int64_t)RENEW_DAYS * DAY ||
		!gnutls_x509_crt_check_issuer(crt, pki->ca) ||
		!gnutls_x509_crt_check_hostname(crt, lab))
		return false;
	unsigned status = 0;
	if (gnutls_x509_crt_verify(crt, &pki->ca, 1, GNUTLS_VERIFY_DISABLE_TIME_CHECKS, &status) <
			0 ||
		status)
		return false;
	size_t n = 2;
	vec_each (char *, text, addresses) {
		struct ip4 address;
		if (ip4_parse(*text, &address) < 0)
			continue;
		if (!gnutls_x509_crt_check_hostname(crt, *text))
			return false;
		n++;
	}
	char name[256];
	size_t len = sizeof(name);
	return gnutls_x509_crt_get_subject_alt_name(crt, (unsigned)n, name, &len, NULL) ==
	       GNUTLS_E_REQUESTED_DATA_NOT_AVAILABLE;
}

static int open_server(const char *dir, const char *lab, const struct strings *addresses,
	struct pki *pki, struct error **err)
{
	auto_free char *crt_path = xasprintf("%s/server.pem", dir),
		       *key_path = xasprintf("%s/server.key", dir);
	auto_free char *chain = NULL, *key_text = NULL;
	gnutls_x509_crt_t crt = NULL;
	gnutls_x509_privkey_t key = NULL;
	bool fits = false;
	if (file_read(crt_path, PEM_MAX, &chain, NULL, NULL) == 0 &&
		file_read(key_path, PEM_MAX, &key_text, NULL, NULL) == 0 &&
		load_pair(chain, key_text, &crt, &key) >= 0) {
		fits = server_fits(crt, lab, addresses, pki);
		gnutls_x509_crt_deinit(crt);
		gnutls_x509_privkey_deinit(key);
	}
	if (!fits)
		return make_server(dir, lab, addresses, pki, err);
	pki->chain = TAKE_PTR(chain);
	pki->key = TAKE_PTR(key_text);
	return 0;
}

int pki_open(const char *dir, const char *lab, const struct strings *addresses,
	struct pki **ret_pki, struct error **err)
{
	struct pki *pki = xnew(struct pki);
	int r = file_mkdirs(dir, 0700, err);
	if (r >= 0)
		r = open_ca(dir, lab, pki, err);
	if (r >= 0)
		r = open_server(dir, lab, addresses, pki, err);
	if (r < 0) {
		pki_free(pki);
		return error_wrap(err, r, "certificates");
	}
	fingerprint(pki->ca, pki->ca_digest);
	*ret_pki = pki;
	return 0;
}

void pki_free(struct pki *pki)
{
	if (!pki)
		return;
	if (pki->ca)
		gnutls_x509_crt_deinit(pki->ca);
	if (pki->ca_key)
		gnutls_x509_privkey_deinit(pki->ca_key);
	if (pki->key)
		gnutls_memset(pki->key, 0, strlen(pki->key));
	free(pki->ca_pem);
	free(pki->chain);
	free(pki->key);
	free(pki);
}

/* The certificate for the key of a request that was found good. */
static int sign_request(struct pki *pki, gnutls_x509_crq_t crq, const char *pc, int64_t not_after,
	gnutls_x509_crt_t *ret_crt)
{
	gnutls_x509_crt_t crt;
	gnutls_pubkey_t key;
	int code = crt_begin(&crt, pc, not_after);
	if (code < 0)
		return code;
	gnutls_pubkey_init(&key);
	if ((code = gnutls_pubkey_import_x509_crq(key, crq, 0)) >= 0 &&
		(code = gnutls_x509_crt_set_pubkey(crt, key)) >= 0 &&
		(code = gnutls_x509_crt_set_basic_constraints(crt, 0, -1)) >= 0 &&
		(code = gnutls_x509_crt_set_key_usage(crt, GNUTLS_KEY_DIGITAL_SIGNATURE)) >= 0 &&
		(code = gnutls_x509_crt_set_key_purpose_oid(crt, GNUTLS_KP_TLS_WWW_CLIENT, 0)) >= 0)
		code = crt_sign(crt, pki->ca, pki->ca_key);
	gnutls_pubkey_deinit(key);
	if (code < 0) {
		gnutls_x509_crt_deinit(crt);
		return code;
	}
	*ret_crt = crt;
	return 0;
}

int pki_sign(struct pki *pki, const char *csr_pem, const char *pc, int64_t not_after,
	char **ret_pem, char ret_key_id[SHA256_TEXT], struct error **err)
{
	gnutls_datum_t text = datum(csr_pem);
	gnutls_x509_crq_t crq;
	gnutls_x509_crt_t crt = NULL;
	unsigned bits = 0;
	gnutls_x509_crq_init(&crq);
	int code = gnutls_x509_crq_import(crq, &text, GNUTLS_X509_FMT_PEM);
	if (code >= 0)
		code = gnutls_x509_crq_verify(crq, 0);
	if (code >= 0 && gnutls_x509_crq_get_pk_algorithm(crq, &bits) == GNUTLS_PK_RSA &&
		bits < 2048)
		code = GNUTLS_E_INSUFFICIENT_SECURITY;
	if (code >= 0)
		code = sign_request(pki, crq, pc, not_after, &crt);
	gnutls_x509_crq_deinit(crq);
	if (code < 0)
		return error_field(err, -EINVAL, "csr",
			"the certificate request cannot be signed: %s", gnutls_strerror(code));
	pki_key_id(crt, ret_key_id);
	*ret_pem = crt_pem(crt);
	gnutls_x509_crt_deinit(crt);
	return 0;
}
