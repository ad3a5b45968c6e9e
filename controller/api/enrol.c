/* SPDX-License-Identifier: GPL-2.0-or-later */
/* /enrol: how a booting host is let in without any secret in the boot path.
 *
 * A one-time token is answered only to the reserved address of a PC that we just sent its host
 * script to; with it and a certificate request the host gets a certificate for the night. A host
 * whose answer was lost asks again with the same boot id and key and gets the same result; anything
 * else that claims a PC which a session already holds (and which has not fetched a new boot script
 * since) is a second claimant. Then both are held and people are told, because nothing here can
 * know which of them is the PC.
 *
 * Every refusal is an event; it says who asked, never what the token was. */
#include "controller/api/route.h"

#include "controller/api/auth.h"
#include "controller/drive/drive.h"
#include "controller/pki.h"
#include "controller/store/enrolment.h"
#include "controller/store/night.h"
#include "controller/store/pc.h"
#include "controller/store/store.h"
#include "lib/clock.h"

enum { BODY_MAX = 32 << 10, TOKEN_S = 120, SLACK_S = 3600, TOKEN_BYTES = 32 };

static int refused(
	const struct api_request *request, const char *pc, struct error **err, const char *why)
{
	char address[IP4_TEXT];
	auto_free char *subject = xasprintf("pc/%s", pc);
	api_alarm(request, "enrol.refused", subject,
		"a host at %s wanted to be let in as PC %s: %s",
		ip4_format(request->address, address), pc, why);
	return error_make(err, -EPERM, "%s", why);
}

struct claims {
	bool other; /* another session was let in */
	bool held;
};

static int claims_on(struct store *store, const char *pc, const char *boot_id,
	struct claims *ret_claims, struct error **err)
{
	struct enrolments enrolments = {0};
	struct claims claims = {0};
	int r = store_enrolment_list(store, pc, &enrolments, err);
	vec_each (struct enrolment, enrolment, &enrolments) {
		claims.other = claims.other ||
			       (enrolment->used && strcmp(enrolment->boot_id, boot_id) != 0);
		claims.held = claims.held || enrolment->held;
	}
	enrolments_done(&enrolments);
	*ret_claims = claims;
	return r;
}

/* Two claim one PC: held, both, and an exception that an operator ends. The hold stands although
 * the request is refused: so it is committed by its own answer, status 403. */
static int hold(const struct api_request *request, const char *pc, struct api_answer *ret_answer,
	struct error **err)
{
	static const char why[] =
		"a second host claimed this PC in one boot; both are held until an operator looks";
	int r = session_hold(request->controller, pc, why, err);
	if (r < 0)
		return r;
	ret_answer->status = 403;
	ret_answer->body = json_pack("{s:s, s:s, s:i, s:s}", "type", "about:blank", "title",
		"Forbidden", "status", 403, "detail", why);
	return 0;
}

struct token_body {
	struct mac mac;
	char *boot_id;
};
static const struct json_field token_fields[] = {
	FIELD(struct token_body, mac, JSON_KIND_MAC, true),
	FIELD_MAX(struct token_body, boot_id, JSON_KIND_STRING, true, 64),
};

static int give_token(const struct api_request *request, const struct pc *pc, const char *boot_id,
	struct api_answer *ret_answer, struct error **err)
{
	char digest[SHA256_TEXT];
	auto_free char *secret = random_hex(TOKEN_BYTES);
	const struct enrolment enrolment = {.boot_id = (char *)boot_id,
		.pc = pc->name,
		.token = (char *)token_digest(secret, digest),
		.expires = clock_wall() + TOKEN_S};
	int r = store_enrolment_put(request->controller->store, &enrolment, err);
	if (r < 0)
		return r;
	ret_answer->status = 200;
	ret_answer->body = json_pack("{s:s}", "token", secret);
	return 0;
}

/* May this session claim the PC now? 1: yes; 0: answered (both are held); -errno: refused. */
static int judge(const struct api_request *request, const struct pc *pc, const char *boot_id,
	struct api_answer *ret_answer, struct error **err)
{
	struct controller *controller = request->controller;
	struct claims claims;
	if (pc->address.host != request->address.host)
		return refused(request, pc->name, err,
			"the request does not come from the address of this PC");
	int r = claims_on(controller->store, pc->name, boot_id, &claims, err);
	if (r < 0)
		return r;
	if (claims.held)
		return refused(
			request, pc->name, err, "this PC is held; an operator has to release it");
	if (strcmp(pc->boot_id, boot_id) == 0) /* its answer was lost */
		return 1;
	if (drive_expects(controller, pc->name))
		return 1;
	return claims.other ? hold(request, pc->name, ret_answer, err)
			    : refused(request, pc->name, err, "this PC is not expected now");
}

static int token_post(
	const struct api_request *request, struct api_answer *ret_answer, struct error **err)
{
	struct token_body body = {0};
	struct pc pc = {0};
	char mac[MAC_TEXT], address[IP4_TEXT];
	int r = json_read(request->body, token_fields, ARRAY_LEN(token_fields), &body, err);
	if (r < 0)
		return r;
	r = store_pc_by_mac(request->controller->store, &body.mac, &pc, NULL);
	if (r == -ENOENT) {
		api_alarm(request, "enrol.refused", "pc/unknown",
			"an unknown PC (MAC %s, address %s) wanted to be let in",
			mac_format(&body.mac, mac), ip4_format(request->address, address));
		r = error_make(
			err, -EPERM, "this PC is not known; `nightclass pc add` makes it known");
	}
	if (r >= 0)
		r = judge(request, &pc, body.boot_id, ret_answer, err);
	if (r > 0)
		r = give_token(request, &pc, body.boot_id, ret_answer, err);
	pc_done(&pc);
	json_done(token_fields, ARRAY_LEN(token_fields), &body);
	return r;
}

struct enrol_request {
	char *token, *boot_id, *csr;
	json_t *facts_json;
	struct proto_facts facts;
};

static void enrol_request_done(struct enrol_request *enrol)
{
	free(enrol->token);
	free(enrol->boot_id);
	free(enrol->csr);
	json_decref(enrol->facts_json);
	proto_facts_done(&enrol->facts);
	*enrol = (struct enrol_request){0};
}

static int read_enrol(const json_t *body, struct enrol_request *ret_enrol, struct error **err)
{
	static const struct json_field rows[] = {
		FIELD_MAX(struct enrol_request, token, JSON_KIND_STRING, true, 128),
		FIELD_MAX(struct enrol_request, boot_id, JSON_KIND_STRING, true, 64),
		FIELD_MAX(struct enrol_request, csr, JSON_KIND_TEXT, true, 16384),
		{.name = "facts",
			.kind = JSON_KIND_ANY,
			.offset = offsetof(struct enrol_request, facts_json),
			.required = true,
			.has_offset = NO_HAS},
	};
	struct enrol_request enrol = {0};
	struct error *inner = NULL;
	int r = json_read(body, rows, ARRAY_LEN(rows), &enrol, err);
	if (r < 0)
		return r;
	if (!json_is_object(enrol.facts_json))
		r = error_field(err, -EINVAL, "facts", "not an object");
	else
		r = proto_facts_read(enrol.facts_json, &enrol.facts, &inner);
	if (inner) {
		error_in_field(inner, "facts");
		error_field(err, r, inner->field, "%s", inner->text);
		error_free(inner);
	}
	if (r >= 0 && strcmp(enrol.boot_id, enrol.facts.boot_id) != 0)
		r = error_field(err, -EINVAL, "facts.boot_id", "not the boot id of the request");
	if (r < 0) {
		enrol_request_done(&enrol);
		return r;
	}
	*ret_enrol = enrol;
	return 0;
}

/* The certificate ends an hour after the hand-back; without a night, with the boot's deadline. */
static int64_t certificate_end(struct controller *controller, const struct pc *pc)
{
	struct night night = {0};
	int64_t end = clock_wall() + controller->config.host_boot_timeout;
	if (pc->night != 0 && store_night_get(controller->store, pc->night, &night, NULL) == 0)
		end = night.ends;
	night_done(&night);
	return end + SLACK_S;
}

static int let_in(const struct api_request *request, const struct pc *pc,
	const struct enrol_request *enrol, struct api_answer *ret_answer, struct error **err)
{
	struct controller *controller = request->controller;
	char key_id[SHA256_TEXT], address[IP4_TEXT];
	auto_free char *certificate = NULL;
	bool again = strcmp(pc->boot_id, enrol->boot_id) == 0;
	int r = pki_sign(controller->pki, enrol->csr, pc->name, certificate_end(controller, pc),
		&certificate, key_id, err);
	if (r < 0)
		return r;
	if (store_enrolment_use(controller->store, enrol->boot_id, key_id, NULL) < 0)
		return hold(
			request, pc->name, ret_answer, err); /* the same boot id with another key */
	if (!again) {
		auto_free char *subject = xasprintf("pc/%s", pc->name);
		r = drive_enrolled(controller, pc->name, &enrol->facts, err);
		if (r >= 0)
			r = store_event(controller->store, "enrol.done", subject, NULL, err,
				"PC %s was let in as a host", pc->name);
	}
	if (r < 0)
		return r;
	auto_free char *api = xasprintf("https://%s:%u",
		ip4_format(controller->config.lan_address.address, address),
		controller->config.api_port);
	ret_answer->status = 200;
	ret_answer->body = json_pack("{s:s, s:s, s:s, s:s}", "certificate", certificate, "ca",
		pki_ca(controller->pki), "pc", pc->name, "api", api);
	return 0;
}

static int judge_enrol(const struct api_request *request, const struct enrolment *enrolment,
	const struct pc *pc, const struct enrol_request *enrol, struct api_answer *ret_answer,
	struct error **err)
{
	if (strcmp(enrolment->boot_id, enrol->boot_id) != 0 || enrolment->expires <= clock_wall())
		return refused(
			request, pc->name, err, "the token is of another session, or too old");
	if (mac_cmp(&pc->mac, &enrol->facts.mac) != 0)
		return refused(request, pc->name, err, "the MAC is not that of this PC");
	int r = judge(request, pc, enrol->boot_id, ret_answer, err);
	return r > 0 ? let_in(request, pc, enrol, ret_answer, err) : r;
}

static int enrol_post(
	const struct api_request *request, struct api_answer *ret_answer, struct error **err)
{
	struct store *store = request->controller->store;
	char digest[SHA256_TEXT], address[IP4_TEXT];
	struct enrol_request enrol = {0};
	struct enrolment enrolment = {0};
	struct pc pc = {0};
	int r = read_enrol(request->body, &enrol, err);
	if (r < 0)
		return r;
	r = store_enrolment_by_token(store, token_digest(enrol.token, digest), &enrolment, NULL);
	if (r == -ENOENT) {
		api_alarm(request, "enrol.refused", "pc/unknown",
			"a host at %s showed a token that was not given out",
			ip4_format(request->address, address));
		r = error_field(err, -EPERM, "token", "the token is not known, or was used");
	}
	if (r >= 0)
		r = store_pc_get(store, enrolment.pc, &pc, err);
	if (r >= 0)
		r = judge_enrol(request, &enrolment, &pc, &enrol, ret_answer, err);
	pc_done(&pc);
	enrolment_done(&enrolment);
	enrol_request_done(&enrol);
	return r;
}

static const struct route rows[] = {
	{"POST", "/api/v1/enrol/token", ROLE_NOBODY, ROUTE_JSON | ROUTE_SECRET, 4096, NULL,
		token_post, "a one-time token for a PC that is expected"},
	{"POST", "/api/v1/enrol", ROLE_NOBODY, ROUTE_JSON | ROUTE_SECRET, BODY_MAX, NULL,
		enrol_post, "a certificate for the night in exchange for the token"},
};
const struct routes routes_enrol = {rows, ARRAY_LEN(rows)};
