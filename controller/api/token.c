/* SPDX-License-Identifier: GPL-2.0-or-later */
/* /tokens: who may what. A token's text is in the answer that makes it and nowhere after. The one
 * rule beyond the table: the last administrator cannot remove itself, since nobody could let
 * anybody in again. */
#include "controller/api/route.h"

#include "controller/api/auth.h"
#include "controller/api/present.h"
#include "controller/store/token.h"
#include "lib/clock.h"

enum { BODY_MAX = 4096, EXPIRES_MAX = 10 * 366 * 86400 };

static int tokens_get(
	const struct api_request *request, struct api_answer *ret_answer, struct error **err)
{
	struct tokens tokens = {0};
	int r = store_token_list(request->controller->store, &tokens, err);
	if (r < 0)
		return r;
	json_t *items = json_array();
	vec_each (struct token, token, &tokens)
		json_array_append_new(
			items, json_pack("{s:s, s:s, s:o}", "name", token->name, "role",
				       token->role, "expires", present_time(token->expires)));
	tokens_done(&tokens);
	ret_answer->status = 200;
	ret_answer->body = present_list(items);
	return 0;
}

static const char *const roles[] = {"viewer", "user", "teacher", "operator", "admin", "peer", NULL};

struct token_body {
	char *name;
	int role;
	uint64_t expires_s;
	bool has_expires_s;
};
static const struct json_field fields[] = {
	FIELD(struct token_body, name, JSON_KIND_NAME, true),
	FIELD_ENUM(struct token_body, role, true, roles),
	{.name = "expires_s",
		.kind = JSON_KIND_UINT,
		.offset = offsetof(struct token_body, expires_s),
		.has_offset = offsetof(struct token_body, has_expires_s),
		.min = 1,
		.max = EXPIRES_MAX},
};

static int tokens_post(
	const struct api_request *request, struct api_answer *ret_answer, struct error **err)
{
	struct token_body body = {0};
	auto_free char *secret = NULL;
	int r = json_read(request->body, fields, ARRAY_LEN(fields), &body, err);
	if (r < 0)
		return r;
	int64_t expires = body.has_expires_s ? clock_wall() + (int64_t)body.expires_s : 0;
	r = token_make(
		request->controller->store, body.name, roles[body.role], expires, &secret, err);
	if (r >= 0) {
		ret_answer->status = 201;
		ret_answer->body = json_pack("{s:s, s:s, s:o, s:s}", "name", body.name, "role",
			roles[body.role], "expires", present_time(expires), "token", secret);
	}
	json_done(fields, ARRAY_LEN(fields), &body);
	return r;
}

static int token_delete(
	const struct api_request *request, struct api_answer *ret_answer, struct error **err)
{
	struct tokens tokens = {0};
	size_t others = 0;
	int r = store_token_list(request->controller->store, &tokens, err);
	vec_each (struct token, token, &tokens)
		others += strcmp(token->role, "admin") == 0 &&
			  strcmp(token->name, request->params[0]) != 0 &&
			  (token->expires == 0 || token->expires > clock_wall());
	tokens_done(&tokens);
	if (r >= 0 && others == 0)
		r = error_make(err, -EBUSY,
			"%s is the last administrator's token; make another one first",
			request->params[0]);
	if (r >= 0)
		r = store_token_delete(request->controller->store, request->params[0], err);
	ret_answer->status = 204;
	return r;
}

static const struct route rows[] = {
	{"GET", "/api/v1/tokens", ROLE_ADMIN, ROUTE_JSON, 0, NULL, tokens_get,
		"the tokens, without their texts"},
	{"POST", "/api/v1/tokens", ROLE_ADMIN, ROUTE_JSON | ROUTE_SECRET, BODY_MAX, NULL,
		tokens_post, "makes a token and shows it once"},
	{"DELETE", "/api/v1/tokens/{name}", ROLE_ADMIN, ROUTE_JSON, 0, NULL, token_delete,
		"takes a token back"},
};
const struct routes routes_token = {rows, ARRAY_LEN(rows)};
