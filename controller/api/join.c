/* SPDX-License-Identifier: GPL-2.0-or-later */
/* /joins: several labs as one network. POST plans the subnets and answers at once; the members are then asked,
 * probed and committed, or all is rolled back, which GET shows as it goes. The lab asked is the coordinator. */
#include "controller/api/route.h"

#include "controller/api/present.h"
#include "controller/drive/context.h"
#include "controller/drive/drive.h"
#include "controller/drive/joins.h"
#include "controller/model/request.h"
#include "controller/plan/join.h"
#include "controller/store/join.h"
#include "controller/store/store.h"
#include "lib/hash.h"

enum { BODY_MAX = 64 << 10, PEERS_WAIT_MS = 5000 };

static int joins_get(const struct api_request *request, struct api_answer *ret_answer, struct error **err)
{
	struct joins joins = {0};
	int r = store_join_list(request->controller->store, false, &joins, err);
	if (r < 0)
		return r;
	json_t *items = json_array();
	for (size_t i = joins.n; i-- > 0;) /* newest first */
		if (join_is_shared(&joins.at[i]))
			json_array_append_new(items, present_join(request->controller, &joins.at[i], false));
	joins_done(&joins);
	ret_answer->status = 200;
	ret_answer->body = present_list(items);
	return 0;
}

static int join_get(const struct api_request *request, struct api_answer *ret_answer, struct error **err)
{
	struct join join = {0};
	int r = join_get_shared(request->controller, request->params[0], &join, err);
	if (r < 0)
		return r;
	ret_answer->status = 200;
	ret_answer->body = present_join(request->controller, &join, true);
	join_done(&join);
	return 0;
}

static bool has(const struct strings *strings, const char *text)
{
	for (size_t i = 0; i < strings->n; i++)
		if (strcmp(strings->at[i], text) == 0)
			return true;
	return false;
}

/* 1: these labs are joined or being joined already (ret_join); 0: this lab is in no join. */
static int look_for(struct controller *controller, const struct strings *labs, struct join *ret_join,
	struct error **err)
{
	struct joins joins = {0};
	int r = store_join_list(controller->store, true, &joins, err);
	vec_each (struct join, join, &joins) {
		if (r != 0 || !join_is_shared(join))
			continue;
		bool same = join->members.n == labs->n;
		vec_each (struct join_member, member, &join->members)
			same = same && has(labs, member->lab);
		if (same) {
			*ret_join = *join;
			*join = (struct join){0};
			r = 1;
		} else {
			r = error_field(err, -EBUSY, "labs", "This lab is in join %s already; end it first.",
				join->id);
		}
	}
	joins_done(&joins);
	return r;
}

static int propose(struct controller *controller, const struct strings *labs, struct join *ret_join,
	struct error **err)
{
	struct join_context context = {0};
	int r = join_context(controller, labs, &context, err);
	if (r < 0)
		return r;
	auto_free char *hex = random_hex(3);
	struct join join = {.id = xasprintf("j%s", hex),
		.coordinator = xstrdup(controller->config.lab),
		.state = JOIN_PROPOSED,
		.expires = context.expires,
		.reason = xstrdup("")};
	r = plan_join(&context.labs, &join, err);
	join_context_done(&context);
	if (r >= 0)
		r = store_join_put(controller->store, &join, err);
	if (r < 0)
		join_done(&join);
	else
		*ret_join = join;
	return r;
}

static int joins_post(const struct api_request *request, struct api_answer *ret_answer, struct error **err)
{
	struct controller *controller = request->controller;
	struct request_join asked = {0};
	struct join join = {0};
	int r = request_join_read(request->body, &asked, err);
	if (r < 0)
		return r;
	if (!request->waited && !drive_peers_fresh(controller)) {
		request_join_done(&asked);
		ret_answer->wait_topic = xstrdup("peers");
		ret_answer->wait_ms = PEERS_WAIT_MS;
		return 0;
	}
	r = look_for(controller, &asked.labs, &join, err);
	int known = r;
	if (r == 0)
		r = propose(controller, &asked.labs, &join, err);
	request_join_done(&asked);
	if (r < 0)
		return r;
	ret_answer->status = known ? 200 : 202;
	ret_answer->location = xasprintf("/api/v1/joins/%s", join.id);
	ret_answer->body = present_join(controller, &join, true);
	join_done(&join);
	drive_kick(controller);
	return 0;
}

static int join_delete(const struct api_request *request, struct api_answer *ret_answer, struct error **err)
{
	struct controller *controller = request->controller;
	struct join join = {0};
	int r = join_get_shared(controller, request->params[0], &join, err);
	if (r < 0)
		return r;
	auto_free char *reason = xasprintf("ended by %s", request->who.name);
	r = join_withdraw(controller, &join, reason, err);
	join_done(&join);
	if (r >= 0)
		r = store_join_get(controller->store, request->params[0], &join, err);
	if (r < 0)
		return r;
	ret_answer->status = 202;
	ret_answer->body = present_join(controller, &join, false);
	join_done(&join);
	return 0;
}

static const struct route rows[] = {
	{"GET", "/api/v1/joins", ROLE_OPERATOR, 0, 0, NULL, joins_get, "lists joins of labs, newest first"},
	{"POST", "/api/v1/joins", ROLE_OPERATOR, ROUTE_JSON, BODY_MAX, NULL, joins_post,
		"joins this lab with others until the earliest hand-back"},
	{"GET", "/api/v1/joins/{id}", ROLE_OPERATOR, 0, 0, NULL, join_get,
		"shows a join: members, probes, equivalent commands"},
	{"DELETE", "/api/v1/joins/{id}", ROLE_OPERATOR, 0, 0, NULL, join_delete, "ends a join everywhere"},
};
const struct routes routes_join = {rows, ARRAY_LEN(rows)};
