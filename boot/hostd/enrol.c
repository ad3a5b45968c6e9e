/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Enrolment: token, key, certificate.
 *
 * The boot path carries no secret, so a booting PC proves itself by being expected: the controller
 * gives a one-time token to an address and MAC it is waiting for, and only while it waits. With the
 * token goes a certificate request; the key is made here, lives in this RAM file system and never
 * leaves the PC. The key is kept over failed tries and restarts of hostd: a request whose answer
 * was lost is the same request when it is repeated. identity.json is written last; it names the
 * boot it belongs to, so that nothing of another boot is ever used. The controller's answer is
 * strict JSON; the certificate is for its eyes, we only store it.
 */
#include "boot/hostd/enrol.h"

#include <gnutls/abstract.h>
#include <gnutls/x509.h>
#include "boot/hostd/bootargs.h"
#include "boot/hostd/pin.h"
#include "lib/file.h"

struct answer {
	char *certificate, *ca, *pc, *api;
};
static const struct json_field answer_fields[] = {
	FIELD(struct answer, certificate, JSON_KIND_TEXT, true),
	FIELD(struct answer, ca, JSON_KIND_TEXT, true),
	FIELD(struct answer, pc, JSON_KIND_NAME, true),
	FIELD(struct answer, api, JSON_KIND_STRING, true),
};

struct token {
	char *token;
};
static const struct json_field token_fields[] = {
	FIELD(struct token, token, JSON_KIND_STRING, true),
};

struct stored {
	char *boot_id, *pc, *api;
};
static const struct json_field stored_fields[] = {
	FIELD(struct stored, boot_id, JSON_KIND_STRING, true),
	FIELD(struct stored, pc, JSON_KIND_NAME, true),
	FIELD(struct stored, api, JSON_KIND_STRING, true),
};

static void set_files(struct identity *identity, const char *run_dir)
{
	identity->ca_file = xasprintf("%s/ca.pem", run_dir);
	identity->cert_file = xasprintf("%s/cert.pem", run_dir);
	identity->key_file = xasprintf("%s/key.pem", run_dir);
}

void identity_done(struct identity *identity)
{
	free(identity->pc);
	free(identity->api);
	free(identity->ca_file);
	free(identity->cert_file);
	free(identity->key_file);
	memset(identity, 0, sizeof(*identity));
}

int identity_load(
	const char *run_dir, const char *boot_id, struct identity *ret_identity, struct error **err)
{
	auto_free char *path = xasprintf("%s/identity.json", run_dir);
	auto_free char *text = NULL;
	auto_json json_t *object = NULL;
	struct stored stored = {0};
	size_t len;
	int r = file_read(path, 65536, &text, &len, err);
	if (r == 0)
		r = json_parse_object(text, len, &object, err);
	if (r == 0)
		r = json_read(object, stored_fields, ARRAY_LEN(stored_fields), &stored, err);
	if (r < 0)
		return r;
	if (strcmp(stored.boot_id, boot_id) != 0) {
		r = error_make(err, -ENOENT, "%s is of another boot", path);
	} else {
		memset(ret_identity, 0, sizeof(*ret_identity));
		ret_identity->pc = TAKE_PTR(stored.pc);
		ret_identity->api = TAKE_PTR(stored.api);
		set_files(ret_identity, run_dir);
	}
	json_done(stored_fields, ARRAY_LEN(stored_fields), &stored);
	return r;
}

static int tls_failed(int r, const char *what, struct error **err)
{
	return error_make(err, -EIO, "%s: %s", what, gnutls_strerror(r));
}

int enrol_make_key(char **ret_pem, struct error **err)
{
	gnutls_x509_privkey_t key = NULL;
	gnutls_datum_t pem = {0};
	int r = gnutls_x509_privkey_init(&key);
	if (r >= 0)
		r = gnutls_x509_privkey_generate(
			key, GNUTLS_PK_ECDSA, GNUTLS_CURVE_TO_BITS(GNUTLS_ECC_CURVE_SECP256R1), 0);
	if (r >= 0)
		r = gnutls_x509_privkey_export2_pkcs8(
			key, GNUTLS_X509_FMT_PEM, NULL, GNUTLS_PKCS_PLAIN, &pem);
	gnutls_x509_privkey_deinit(key);
	if (r < 0)
		return tls_failed(r, "key of this host", err);
	*ret_pem = xstrndup((const char *)pem.data, pem.size);
	gnutls_free(pem.data);
	return 0;
}

/* Fills and signs `request`; 0 or a GnuTLS error. */
static int sign_request(gnutls_x509_crq_t request, gnutls_x509_privkey_t key,
	gnutls_privkey_t signer, const char *name)
{
	int r = gnutls_x509_crq_set_version(request, 1);
	if (r >= 0)
		r = gnutls_x509_crq_set_dn_by_oid(
			request, GNUTLS_OID_X520_COMMON_NAME, 0, name, (unsigned)strlen(name));
	if (r >= 0)
		r = gnutls_x509_crq_set_key(request, key);
	if (r >= 0)
		r = gnutls_privkey_import_x509(signer, key, 0);
	if (r >= 0)
		r = gnutls_x509_crq_privkey_sign(request, signer, GNUTLS_DIG_SHA256, 0);
	return r;
}

int enrol_make_request(const char *key_pem, const char *boot_id, char **ret_pem, struct error **err)
{
	gnutls_x509_privkey_t key = NULL;
	gnutls_privkey_t signer = NULL;
	gnutls_x509_crq_t request = NULL;
	gnutls_datum_t in = {(void *)(uintptr_t)key_pem, (unsigned)strlen(key_pem)}, out = {0};
	int r = gnutls_x509_privkey_init(&key);
	if (r >= 0)
		r = gnutls_x509_privkey_import2(key, &in, GNUTLS_X509_FMT_PEM, NULL, 0);
	if (r >= 0)
		r = gnutls_privkey_init(&signer);
	if (r >= 0)
		r = gnutls_x509_crq_init(&request);
	if (r >= 0)
		r = sign_request(request, key, signer, boot_id);
	if (r >= 0)
		r = gnutls_x509_crq_export2(request, GNUTLS_X509_FMT_PEM, &out);
	if (request)
		gnutls_x509_crq_deinit(request);
	if (signer)
		gnutls_privkey_deinit(signer);
	if (key)
		gnutls_x509_privkey_deinit(key);
	if (r < 0)
		return tls_failed(r, "certificate request", err);
	*ret_pem = xstrndup((const char *)out.data, out.size);
	gnutls_free(out.data);
	return 0;
}

static int own_key(const char *path, char **ret_pem, struct error **err)
{
	auto_free char *pem = NULL;
	int r = file_read(path, 65536, &pem, NULL, NULL);
	if (r == 0 && pem) {
		*ret_pem = TAKE_PTR(pem);
		return 0;
	}
	r = enrol_make_key(&pem, err);
	if (r == 0 && pem)
		r = file_write(path, pem, strlen(pem), 0600, err);
	if (r == 0)
		*ret_pem = TAKE_PTR(pem);
	return r;
}

/* POST of a JSON object, the answer read by a table. */
static int post(struct httpc *client, const char *url, json_t *question,
	const struct json_field *fields, size_t n, void *base, struct error **err)
{
	auto_free char *text = json_text(question);
	const struct httpc_request request = {.method = "POST",
		.url = url,
		.body = text,
		.body_len = strlen(text),
		.max_body = 1 << 20};
	struct httpc_response response = {0};
	auto_json json_t *object = NULL;
	int r = httpc_do(client, &request, &response, err);
	if (r == 0)
		r = httpc_problem(&response, err);
	if (r == 0)
		r = json_parse_object(response.body, response.len, &object, err);
	if (r == 0)
		r = json_read(object, fields, n, base, err);
	httpc_response_done(&response);
	return r;
}

static int ask_token(struct httpc *client, const struct hostd_options *o,
	const struct proto_facts *facts, struct token *ret_token, struct error **err)
{
	char mac[MAC_TEXT];
	auto_free char *url = xasprintf("%s/api/v1/enrol/token", o->url);
	auto_json json_t *question = json_pack(
		"{s:s, s:s}", "mac", mac_format(&facts->mac, mac), "boot_id", facts->boot_id);
	int r = post(client, url, question, token_fields, ARRAY_LEN(token_fields), ret_token, err);
	return r < 0 ? error_wrap(err, r, "no enrolment token for %s", mac) : 0;
}

/* The facts as the report writes them: one format for both. */
static json_t *facts_object(const struct proto_facts *facts)
{
	const struct proto_report report = {.version = PROTO_VERSION, .facts = *facts};
	auto_free char *text = proto_report_write(&report);
	auto_json json_t *object = json_loads(text, 0, NULL);
	return json_incref(json_object_get(object, "facts"));
}

static int ask_certificate(struct httpc *client, const struct hostd_options *o,
	const struct proto_facts *facts, const char *token, const char *request,
	struct answer *ret_answer, struct error **err)
{
	auto_free char *url = xasprintf("%s/api/v1/enrol", o->url);
	auto_json json_t *question = json_pack("{s:s, s:s, s:s, s:o}", "token", token, "boot_id",
		facts->boot_id, "csr", request, "facts", facts_object(facts));
	int r = post(
		client, url, question, answer_fields, ARRAY_LEN(answer_fields), ret_answer, err);
	if (r < 0)
		return error_wrap(err, r, "no certificate");
	if (!bootargs_url_ok(ret_answer->api)) {
		r = error_field(err, -EINVAL, "api", "the controller gave no address as https://");
		json_done(answer_fields, ARRAY_LEN(answer_fields), ret_answer);
	}
	return r;
}

static int store(const struct hostd_options *o, const char *boot_id, const struct answer *answer,
	const struct identity *identity, struct error **err)
{
	auto_free char *path = xasprintf("%s/identity.json", o->run_dir);
	const struct stored stored = {(char *)(uintptr_t)boot_id, answer->pc, answer->api};
	auto_json json_t *object = json_write(stored_fields, ARRAY_LEN(stored_fields), &stored);
	auto_free char *text = json_text(object);
	int r = file_write(
		identity->cert_file, answer->certificate, strlen(answer->certificate), 0600, err);
	if (r == 0)
		r = file_write(path, text, strlen(text), 0600, err);
	return r;
}

/* All that needs the connection: the CA is trusted already. */
static int exchange(const struct hostd_options *o, const struct proto_facts *facts,
	const struct identity *identity, struct answer *ret_answer, struct error **err)
{
	auto_free char *key = NULL, *request = NULL;
	int r = own_key(identity->key_file, &key, err);
	if (r == 0 && key)
		r = enrol_make_request(key, facts->boot_id, &request, err);
	if (r < 0)
		return r;
	const struct httpc_trust trust = {.ca_file = identity->ca_file};
	struct httpc *client = httpc_new(&trust);
	struct token token = {0};
	r = ask_token(client, o, facts, &token, err);
	if (r == 0)
		r = ask_certificate(client, o, facts, token.token, request, ret_answer, err);
	json_done(token_fields, ARRAY_LEN(token_fields), &token);
	httpc_free(client);
	return r;
}

int enrol(const struct hostd_options *o, const struct proto_facts *facts,
	struct identity *ret_identity, struct error **err)
{
	struct identity identity = {0};
	struct answer answer = {0};
	auto_free char *ca = NULL;
	set_files(&identity, o->run_dir);
	int r = pin_fetch_ca(o->url, o->ca, &ca, err);
	if (r == 0)
		r = file_write(identity.ca_file, ca, strlen(ca), 0644, err);
	if (r == 0)
		r = exchange(o, facts, &identity, &answer, err);
	if (r == 0)
		r = store(o, facts->boot_id, &answer, &identity, err);
	if (r == 0) {
		identity.pc = TAKE_PTR(answer.pc);
		identity.api = TAKE_PTR(answer.api);
		*ret_identity = identity;
	} else {
		identity_done(&identity);
	}
	json_done(answer_fields, ARRAY_LEN(answer_fields), &answer);
	return r;
}
