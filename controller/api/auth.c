/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Who calls, and may it? Two kinds of proof, never mixed: people and other labs show a bearer
 * token, a PC shows the certificate of its host session. A row for PCs looks at the certificate
 * alone, every other row at the token alone.
 *
 * Everything fails closed: an error of the store, an unknown role, a certificate without a session
 * are refusals. The chain is checked against our own CA without regard to time by GnuTLS, and the
 * end of the certificate by the product's clock. What identifies a PC is the certificate's key in
 * the row of its session, not what the certificate says.
 *
 * A session that speaks although a newer one was let in for the same PC means two machines claim
 * one name. Which is the right one cannot be known, so both are held until an operator decides. */
#include "controller/api/auth.h"

#include <gnutls/gnutls.h>
#include <gnutls/x509.h>
#include "controller/api/exchange.h"
#include "controller/drive/pcs.h"
#include "controller/pki.h"
#include "controller/store/enrolment.h"
#include "controller/store/pc.h"
#include "controller/store/store.h"
#include "controller/store/token.h"
#include "lib/clock.h"
#include "lib/file.h"
#include "lib/log.h"

enum { TOKEN_BYTES = 32, TOKEN_MAX = 256 };

const char *token_digest(const char *token, char ret_text[SHA256_TEXT])
{
	struct sha256 digest = sha256_of(token, strlen(token));
	return sha256_format(&digest, ret_text);
}

int token_make(struct store *store, const char *name, const char *role, int64_t expires,
	char **ret_token, struct error **err)
{
	char digest[SHA256_TEXT];
	auto_free char *secret = random_hex(TOKEN_BYTES);
	struct token token = {.name = (char *)name, .role = (char *)role, .expires = expires};
	token.digest = (char *)token_digest(secret, digest);
	int r = store_token_insert(store, &token, NULL, err);
	if (r >= 0)
		*ret_token = TAKE_PTR(secret);
	return r;
}

int token_first(struct store *store, const char *path, struct error **err)
{
	struct tokens tokens = {0};
	int r = store_token_list(store, &tokens, err);
	size_t n = tokens.n;
	tokens_done(&tokens);
	if (r < 0 || n > 0)
		return r;
	/* The file before the commit: a crash between leaves a file that the next start replaces,
	 * never a token that nobody knows. */
	auto_free char *token = NULL;
	r = store_begin(store, err);
	if (r < 0)
		return r;
	r = token_make(store, "admin", "admin", 0, &token, err);
	if (r >= 0) {
		auto_free char *line = xasprintf("%s\n", token);
		r = file_write(path, line, strlen(line), 0600, err);
	}
	return store_end(store, r, err);
}

static int by_token(struct exchange *exchange, struct refusal *refusal)
{
	static const char prefix[] = "Bearer ";
	char digest[SHA256_TEXT];
	struct token token = {0};
	const char *header = api_header(&exchange->api, "Authorization");
	if (!header)
		return 0;
	if (!str_starts(header, prefix) || strlen(header) > TOKEN_MAX)
		return refuse(
			refusal, 401, "Authorization", "show a token: Authorization: Bearer TOKEN");
	int r = store_token_by_digest(exchange->http->controller->store,
		token_digest(header + strlen(prefix), digest), &token, NULL);
	if (r < 0) {
		api_alarm(&exchange->api, "auth.refused", "token/unknown",
			"somebody at %s showed an unknown token",
			ip4_format(exchange->api.address, (char[IP4_TEXT]){0}));
		return refuse(refusal, r == -ENOENT ? 401 : 500, "Authorization",
			"this token is not known here; an administrator can make one: nightclass "
			"token create");
	}
	int role = name_index(role_names, token.role);
	if (token.expires != 0 && token.expires <= clock_wall())
		r = refuse(refusal, 401, "Authorization", "the token %s has expired", token.name);
	else if (role <= ROLE_NOBODY || role > ROLE_PEER)
		r = refuse(refusal, 403, NULL, "the token %s has no role", token.name);
	if (r >= 0) {
		exchange->api.who.role = (enum role)role;
		exchange->api.who.name = TAKE_PTR(token.name);
		exchange->api.who.token_id = token.id;
	}
	token_done(&token);
	return r;
}

/* The peer's certificate, found good against our CA: the id of its key. False for anything else. */
static bool certificate_ok(struct exchange *exchange, char ret_key_id[SHA256_TEXT])
{
	const union MHD_ConnectionInfo *info =
		MHD_get_connection_info(exchange->connection, MHD_CONNECTION_INFO_GNUTLS_SESSION);
	unsigned n = 0, status = 0;
	bool ok = false;
	gnutls_session_t session = info ? info->tls_session : NULL;
	const gnutls_datum_t *chain = session ? gnutls_certificate_get_peers(session, &n) : NULL;
	gnutls_x509_crt_t leaf, ca;
	gnutls_datum_t ca_pem = {.data = (unsigned char *)pki_ca(exchange->http->controller->pki)};
	if (!chain || n == 0)
		return false;
	ca_pem.size = (unsigned)strlen((const char *)ca_pem.data);
	gnutls_x509_crt_init(&leaf);
	gnutls_x509_crt_init(&ca);
	if (gnutls_x509_crt_import(leaf, &chain[0], GNUTLS_X509_FMT_DER) >= 0 &&
		gnutls_x509_crt_import(ca, &ca_pem, GNUTLS_X509_FMT_PEM) >= 0 &&
		gnutls_x509_crt_verify(leaf, &ca, 1, GNUTLS_VERIFY_DISABLE_TIME_CHECKS, &status) >=
			0 &&
		status == 0 &&
		gnutls_x509_crt_check_key_purpose(leaf, GNUTLS_KP_TLS_WWW_CLIENT, 0) &&
		gnutls_x509_crt_get_expiration_time(leaf) > clock_wall()) {
		ok = pki_key_id(leaf, ret_key_id) == 0;
	}
	gnutls_x509_crt_deinit(leaf);
	gnutls_x509_crt_deinit(ca);
	return ok;
}

int session_hold(struct controller *controller, const char *pc, const char *why, struct error **err)
{
	struct pc row = {0};
	int r = store_begin(controller->store, err);
	if (r < 0)
		return r;
	r = store_enrolment_hold(controller->store, pc, why, err);
	if (r >= 0)
		r = store_pc_get(controller->store, pc, &row, err);
	if (r >= 0)
		r = pc_move(controller, &row, PC_EXCEPTION, 0, why, err);
	pc_done(&row);
	if (r < 0) {
		store_rollback(controller->store);
		return r;
	}
	log_warning("%s: held: %s", pc, why);
	drive_kick(controller);
	return store_commit(controller->store, err);
}

static int check_session(
	struct exchange *exchange, const struct enrolment *enrolment, struct refusal *refusal)
{
	struct store *store = exchange->http->controller->store;
	struct pc pc = {0};
	if (enrolment->held)
		return refuse(refusal, 403, NULL,
			"this session of PC %s is held; an operator has to release the PC",
			enrolment->pc);
	if (store_pc_get(store, enrolment->pc, &pc, NULL) < 0)
		return refuse(refusal, 403, NULL, "PC %s is not known any more", enrolment->pc);
	bool present = strcmp(pc.boot_id, enrolment->boot_id) == 0;
	bool newer = pc.boot_id[0] != '\0';
	pc_done(&pc);
	if (present)
		return 0;
	if (newer && !exchange->suspended) {
		auto_error struct error *err = NULL;
		int r = session_hold(exchange->http->controller, enrolment->pc,
			"an older session of it still speaks beside the newer one", &err);
		if (r < 0)
			log_error("%s: it cannot be held: %s", enrolment->pc, error_text(err, r));
	}
	return refuse(
		refusal, 403, NULL, "this is not the present session of PC %s", enrolment->pc);
}

static int by_certificate(struct exchange *exchange, struct refusal *refusal)
{
	char key_id[SHA256_TEXT];
	struct enrolment enrolment = {0};
	if (!certificate_ok(exchange, key_id))
		return 0;
	int r = store_enrolment_by_certificate(
		exchange->http->controller->store, key_id, &enrolment, NULL);
	if (r < 0)
		return refuse(refusal, r == -ENOENT ? 403 : 500, NULL, "this session has ended");
	r = check_session(exchange, &enrolment, refusal);
	if (r >= 0) {
		exchange->api.who.role = ROLE_PC;
		exchange->api.who.name = TAKE_PTR(enrolment.pc);
		exchange->api.who.certificate = xstrdup(key_id);
	}
	enrolment_done(&enrolment);
	return r;
}

int auth_check(struct exchange *exchange, struct refusal *refusal)
{
	enum role wanted = exchange->match.route->role;
	struct api_identity *who = &exchange->api.who;
	int r = 0;
	free(who->name);
	free(who->certificate);
	*who = (struct api_identity){.role = ROLE_NOBODY};
	if (wanted == ROLE_PC && !exchange->conn->listener->boot)
		r = by_certificate(exchange, refusal);
	else if (wanted != ROLE_NOBODY && !exchange->conn->listener->boot)
		r = by_token(exchange, refusal);
	if (r < 0)
		return r;
	if (!who->name)
		who->name = xstrdup("");
	if (role_may(who->role, wanted))
		return 0;
	if (who->role == ROLE_NOBODY && wanted == ROLE_PC)
		return refuse(refusal, 401, NULL, "only an enrolled host may ask this");
	if (who->role == ROLE_NOBODY)
		return refuse(
			refusal, 401, "Authorization", "show a token: Authorization: Bearer TOKEN");
	return refuse(refusal, 403, NULL, "the token %s has the role %s, this needs %s", who->name,
		role_names[who->role], role_names[wanted]);
}
