/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The CA: made once, kept, never replaced; the server's certificate follows names and addresses;
 * what is signed for a PC says what we say and nothing the request asked for. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <gnutls/abstract.h>
#include <gnutls/gnutls.h>
#include <gnutls/x509.h>
#include <sys/stat.h>

#include "controller/pki.h"
#include "lib/clock.h"
#include "lib/file.h"

#define NOW_MS 1800000000000
#define NOW (NOW_MS / 1000)

struct fixture {
	char dir[40];
	struct strings addresses;
};

static int setup(void **state)
{
	struct fixture *f = xnew(struct fixture);
	strcpy(f->dir, "/tmp/nightclass-pki-XXXXXX");
	assert_non_null(mkdtemp(f->dir));
	vec_push(&f->addresses, xstrdup("127.0.0.1"));
	vec_push(&f->addresses, xstrdup("10.71.0.1"));
	clock_fix(NOW_MS);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;
	file_remove_tree(f->dir, NULL);
	strings_done(&f->addresses);
	free(f);
	clock_fix(-1);
	return 0;
}

static struct pki *open_pki(struct fixture *f)
{
	struct pki *pki = NULL;
	struct error *err = NULL;
	if (pki_open(f->dir, "north", &f->addresses, &pki, &err) < 0)
		fail_msg("%s", err->text);
	return pki;
}

static gnutls_x509_crt_t import(const char *pem)
{
	gnutls_datum_t text = {.data = (unsigned char *)pem, .size = (unsigned)strlen(pem)};
	gnutls_x509_crt_t crt;
	gnutls_x509_crt_init(&crt);
	assert_int_equal(gnutls_x509_crt_import(crt, &text, GNUTLS_X509_FMT_PEM), 0);
	return crt;
}

static bool signed_by(const char *pem, const char *ca_pem)
{
	gnutls_x509_crt_t crt = import(pem), ca = import(ca_pem);
	unsigned status = 0;
	int code = gnutls_x509_crt_verify(crt, &ca, 1, GNUTLS_VERIFY_DISABLE_TIME_CHECKS, &status);
	gnutls_x509_crt_deinit(crt);
	gnutls_x509_crt_deinit(ca);
	return code >= 0 && status == 0;
}

static void test_ca_stays(void **state)
{
	struct fixture *f = *state;
	struct pki *first = open_pki(f), *second = open_pki(f);
	struct stat st;
	assert_string_equal(pki_ca(first), pki_ca(second));
	assert_string_equal(pki_chain(first), pki_chain(second));
	assert_string_equal(pki_ca_digest(first), pki_ca_digest(second));
	assert_true(signed_by(pki_chain(first), pki_ca(first)));
	for (int i = 0; i < 2; i++) {
		auto_free char *path = xasprintf("%s/%s", f->dir, i ? "ca.key" : "server.key");
		assert_int_equal(stat(path, &st), 0);
		assert_int_equal(st.st_mode & 0777, 0600);
	}
	pki_free(first);
	pki_free(second);
}

static void test_a_damaged_ca_is_never_replaced(void **state)
{
	struct fixture *f = *state;
	struct pki *pki = open_pki(f);
	struct error *err = NULL;
	auto_free char *path = xasprintf("%s/ca.key", f->dir), *before = NULL, *after = NULL;
	auto_free char *crt_path = xasprintf("%s/ca.pem", f->dir);
	pki_free(pki);
	assert_int_equal(file_read(crt_path, 65536, &before, NULL, NULL), 0);
	assert_int_equal(file_write(path, "nothing", 7, 0600, NULL), 0);
	assert_int_equal(pki_open(f->dir, "north", &f->addresses, &pki, &err), -EIO);
	assert_non_null(strstr(err->text, "backup"));
	error_free(err);
	assert_int_equal(file_read(crt_path, 65536, &after, NULL, NULL), 0);
	assert_string_equal(before, after);
}

static void test_server_follows(void **state)
{
	struct fixture *f = *state;
	struct pki *pki = open_pki(f);
	auto_free char *ca = xstrdup(pki_ca(pki)), *chain = xstrdup(pki_chain(pki));
	pki_free(pki);

	vec_push(&f->addresses, xstrdup("10.70.0.1"));
	pki = open_pki(f);
	assert_string_equal(pki_ca(pki), ca);
	assert_string_not_equal(pki_chain(pki), chain);
	gnutls_x509_crt_t crt = import(pki_chain(pki));
	const char *const names[] = {"north", "localhost", "127.0.0.1", "10.71.0.1", "10.70.0.1"};
	for (size_t i = 0; i < ARRAY_LEN(names); i++)
		assert_true(gnutls_x509_crt_check_hostname(crt, names[i]));
	assert_false(gnutls_x509_crt_check_hostname(crt, "10.70.0.2"));
	assert_int_equal(gnutls_x509_crt_get_activation_time(crt), 0);
	gnutls_x509_crt_deinit(crt);
	free(chain);
	chain = xstrdup(pki_chain(pki));
	pki_free(pki);

	/* one address less: the old certificate would still speak for it */
	free(f->addresses.at[--f->addresses.n]);
	pki = open_pki(f);
	assert_string_not_equal(pki_chain(pki), chain);
	free(chain);
	chain = xstrdup(pki_chain(pki));
	pki_free(pki);

	/* near its end: renewed, by the same CA */
	clock_fix(NOW_MS + (int64_t)(10 * 365 - 89) * 86400 * 1000);
	pki = open_pki(f);
	assert_string_equal(pki_ca(pki), ca);
	assert_string_not_equal(pki_chain(pki), chain);
	pki_free(pki);
}

static char *make_csr(gnutls_x509_privkey_t *ret_key, bool broken)
{
	gnutls_x509_privkey_t key;
	gnutls_privkey_t signer;
	gnutls_x509_crq_t crq;
	gnutls_datum_t out = {0};
	gnutls_x509_privkey_init(&key);
	gnutls_x509_privkey_generate(
		key, GNUTLS_PK_ECDSA, GNUTLS_CURVE_TO_BITS(GNUTLS_ECC_CURVE_SECP256R1), 0);
	gnutls_privkey_init(&signer);
	gnutls_privkey_import_x509(signer, key, 0);
	gnutls_x509_crq_init(&crq);
	gnutls_x509_crq_set_version(crq, 1);
	gnutls_x509_crq_set_dn_by_oid(crq, GNUTLS_OID_X520_COMMON_NAME, 0, "admin", 5);
	gnutls_x509_crq_set_basic_constraints(crq, 1, 5);
	gnutls_x509_crq_set_key(crq, key);
	assert_true(gnutls_x509_crq_privkey_sign(crq, signer, GNUTLS_DIG_SHA256, 0) >= 0);
	assert_true(gnutls_x509_crq_export2(
			    crq, broken ? GNUTLS_X509_FMT_DER : GNUTLS_X509_FMT_PEM, &out) >= 0);
	if (broken) { /* a byte of the signature */
		gnutls_datum_t pem = {0};
		out.data[out.size - 3] ^= 1;
		gnutls_pem_base64_encode2("NEW CERTIFICATE REQUEST", &out, &pem);
		gnutls_free(out.data);
		out = pem;
	}
	char *text = xstrndup((char *)out.data, out.size);
	gnutls_free(out.data);
	gnutls_x509_crq_deinit(crq);
	gnutls_privkey_deinit(signer);
	if (ret_key)
		*ret_key = key;
	else
		gnutls_x509_privkey_deinit(key);
	return text;
}

static void test_sign(void **state)
{
	struct pki *pki = open_pki(*state);
	gnutls_x509_privkey_t key;
	auto_free char *csr = make_csr(&key, false), *pem = NULL, *again = NULL;
	char id[SHA256_TEXT], id_again[SHA256_TEXT], name[64];
	size_t len = sizeof(name);
	unsigned ca = 0;
	assert_int_equal(pki_sign(pki, csr, "pc1", NOW + 3600, &pem, id, NULL), 0);
	assert_true(signed_by(pem, pki_ca(pki)));
	gnutls_x509_crt_t crt = import(pem);
	gnutls_x509_crt_get_dn_by_oid(crt, GNUTLS_OID_X520_COMMON_NAME, 0, 0, name, &len);
	assert_string_equal(name, "pc1");
	assert_true(gnutls_x509_crt_get_ca_status(crt, &ca) == 0);
	assert_true(gnutls_x509_crt_check_key_purpose(crt, GNUTLS_KP_TLS_WWW_CLIENT, 0));
	assert_false(gnutls_x509_crt_check_key_purpose(crt, GNUTLS_KP_TLS_WWW_SERVER, 0));
	assert_int_equal(gnutls_x509_crt_get_expiration_time(crt), NOW + 3600);
	assert_int_equal(gnutls_x509_crt_get_activation_time(crt), 0);
	gnutls_x509_crt_deinit(crt);

	/* the id is the key's, so a repeated request has the same */
	assert_int_equal(pki_sign(pki, csr, "pc1", NOW + 7200, &again, id_again, NULL), 0);
	assert_string_equal(id, id_again);
	assert_string_not_equal(pem, again);
	gnutls_x509_privkey_deinit(key);
	pki_free(pki);
}

static void test_bad_requests(void **state)
{
	struct pki *pki = open_pki(*state);
	auto_free char *broken = make_csr(NULL, true);
	const char *const cases[] = {"", "x",
		"-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----\n",
		pki_ca(pki), broken};
	char id[SHA256_TEXT], *pem = NULL;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct error *err = NULL;
		assert_int_equal(
			pki_sign(pki, cases[i], "pc1", NOW + 3600, &pem, id, &err), -EINVAL);
		assert_string_equal(err->field, "csr");
		assert_null(pem);
		error_free(err);
	}
	pki_free(pki);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_ca_stays, setup, teardown),
		cmocka_unit_test_setup_teardown(
			test_a_damaged_ca_is_never_replaced, setup, teardown),
		cmocka_unit_test_setup_teardown(test_server_follows, setup, teardown),
		cmocka_unit_test_setup_teardown(test_sign, setup, teardown),
		cmocka_unit_test_setup_teardown(test_bad_requests, setup, teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
