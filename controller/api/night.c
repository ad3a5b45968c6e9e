/* SPDX-License-Identifier: GPL-2.0-or-later */
/* /nights: lends PCs for a while and takes them back. A night has a hand-back time from its first
 * moment; ending it early only moves that time to now. Nights of one lab do not overlap, so "the
 * night" is always one. */
#include "controller/api/route.h"

#include "controller/api/present.h"
#include "controller/drive/drive.h"
#include "controller/model/request.h"
#include "controller/store/night.h"
#include "controller/store/pc.h"
#include "controller/store/store.h"
#include "lib/clock.h"

enum { NIGHT_MAX_S = 7 * 86400, BODY_MAX = 64 << 10 };

static int answer_night(struct controller *controller, int64_t id, int status,
	struct api_answer *ret_answer, struct error **err)
{
	struct night night = {0};
	int r = store_night_get(controller->store, id, &night, err);
	if (r < 0)
		return r;
	ret_answer->status = status;
	ret_answer->body = present_night(&night);
	if (status == 201)
		ret_answer->location = xasprintf("/api/v1/nights/%lld", (long long)id);
	night_done(&night);
	return 0;
}

static int nights_get(
	const struct api_request *request, struct api_answer *ret_answer, struct error **err)
{
	struct nights nights = {0};
	int r = store_night_list(request->controller->store, false, &nights, err);
	if (r < 0)
		return r;
	json_t *items = json_array();
	vec_each (struct night, night, &nights)
		json_array_append_new(items, present_night(night));
	nights_done(&nights);
	ret_answer->status = 200;
	ret_answer->body = present_list(items);
	return 0;
}

/* The night that runs; also one that begins now and that the drive has not yet turned to: who asked
 * for it must find it. */
static int find_current(struct controller *controller, struct night *ret_night, struct error **err)
{
	struct nights nights = {0};
	int64_t id = 0;
	int r = store_night_list(controller->store, true, &nights, err);
	vec_each (struct night, night, &nights)
		if (night->begins <= clock_wall())
			id = night->id; /* newest first: the oldest stays */
	nights_done(&nights);
	if (r < 0)
		return r;
	return id ? store_night_get(controller->store, id, ret_night, err)
		  : error_make(err, -ENOENT, "no night runs now");
}

/* "current" or a number. */
static int find_night(
	const struct api_request *request, struct night *ret_night, struct error **err)
{
	uint64_t id;
	if (strcmp(request->params[0], "current") == 0)
		return find_current(request->controller, ret_night, err);
	if (uint_parse(request->params[0], 1, INT64_MAX, &id) < 0)
		return error_make(err, -ENOENT, "there is no night %s", request->params[0]);
	return store_night_get(request->controller->store, (int64_t)id, ret_night, err);
}

static int night_get(
	const struct api_request *request, struct api_answer *ret_answer, struct error **err)
{
	struct night night = {0};
	int r = find_night(request, &night, err);
	if (r < 0)
		return r;
	ret_answer->status = 200;
	ret_answer->body = present_night(&night);
	night_done(&night);
	return 0;
}

static int check_times(const struct request_night *asked, struct night *night, struct error **err)
{
	int64_t now = clock_wall();
	night->begins = asked->has_begins ? asked->begins : now;
	night->ends = asked->has_ends ? asked->ends : night->begins + (int64_t)asked->for_s;
	if (night->ends <= now || night->ends <= night->begins)
		return error_field(err, -EINVAL, "ends",
			"The hand-back time must be later than now and than the beginning.");
	if (night->ends - night->begins > NIGHT_MAX_S)
		return error_field(err, -EINVAL, "ends", "A night lasts at most seven days.");
	return 0;
}

/* The PCs asked for, or all of the lab; each is one of ours. */
static int check_pcs(struct controller *controller, const struct request_night *asked,
	struct night *night, struct error **err)
{
	struct pcs pcs = {0};
	int r = store_pc_list(controller->store, NULL, &pcs, err);
	if (asked->pcs.n == 0)
		vec_each (struct pc, pc, &pcs)
			vec_push(&night->pcs, xstrdup(pc->name));
	for (size_t i = 0; r >= 0 && i < asked->pcs.n; i++) {
		bool known = false;
		vec_each (struct pc, pc, &pcs)
			known = known || strcmp(pc->name, asked->pcs.at[i]) == 0;
		if (!known)
			r = error_field(err, -EINVAL, "pcs", "There is no PC %s in lab %s.",
				asked->pcs.at[i], controller->config.lab);
		vec_push(&night->pcs, xstrdup(asked->pcs.at[i]));
	}
	pcs_done(&pcs);
	if (r >= 0 && night->pcs.n == 0)
		r = error_field(err, -EBUSY, "pcs", "Lab %s has no PC yet; add some first.",
			controller->config.lab);
	return r;
}

static bool same_pcs(const struct night *a, const struct night *b)
{
	if (a->pcs.n != b->pcs.n)
		return false;
	for (size_t i = 0; i < a->pcs.n; i++)
		if (strcmp(a->pcs.at[i], b->pcs.at[i]) != 0)
			return false;
	return true;
}

/* 1: this very night was asked for before, *ret_id is it; 0: nothing overlaps. */
static int check_others(struct controller *controller, const struct request_night *asked,
	const struct night *night, int64_t *ret_id, struct error **err)
{
	struct nights nights = {0};
	int r = store_night_list(controller->store, true, &nights, err);
	vec_each (struct night, other, &nights) {
		if (r != 0 || other->begins >= night->ends || night->begins >= other->ends)
			continue;
		bool same = asked->has_ends && other->ends == night->ends &&
			    same_pcs(other, night) &&
			    (!asked->has_begins || other->begins == night->begins);
		char ends[CLOCK_TEXT];
		if (same)
			r = 1;
		else
			r = error_field(err, -EBUSY, "begins",
				"Night %lld of this lab lasts until %s; end it first, or begin "
				"later.",
				(long long)other->id, clock_format(other->ends, ends));
		*ret_id = other->id;
	}
	nights_done(&nights);
	return r;
}

static int plan_night(struct controller *controller, const struct request_night *asked,
	int64_t *ret_id, struct error **err)
{
	struct night night = {.state = NIGHT_PLANNED};
	int r = check_times(asked, &night, err);
	if (r >= 0)
		r = check_pcs(controller, asked, &night, err);
	if (r >= 0)
		r = check_others(controller, asked, &night, ret_id, err);
	int known = r;
	if (r == 0)
		r = store_night_insert(controller->store, &night, ret_id, err);
	night_done(&night);
	return r < 0 ? r : known;
}

static int nights_post(
	const struct api_request *request, struct api_answer *ret_answer, struct error **err)
{
	struct controller *controller = request->controller;
	struct request_night asked = {0};
	int64_t id = 0;
	int r = request_night_read(request->body, &asked, err);
	if (r < 0)
		return r;
	r = plan_night(controller, &asked, &id, err);
	request_night_done(&asked);
	if (r < 0)
		return r;
	drive_kick(controller);
	return answer_night(controller, id, r == 1 ? 200 : 201, ret_answer, err);
}

static int night_end(
	const struct api_request *request, struct api_answer *ret_answer, struct error **err)
{
	struct night night = {0};
	int r = find_night(request, &night, err);
	if (r < 0)
		return r;
	if (night.state != NIGHT_DONE && night.ends > clock_wall()) {
		r = store_night_set_ends(request->controller->store, night.id, clock_wall(), err);
		if (r >= 0)
			r = store_event(request->controller->store, "night.end", "night", NULL, err,
				"%s moved the hand-back time of night %lld to now",
				request->who.name, (long long)night.id);
	}
	int64_t id = night.id;
	night_done(&night);
	if (r < 0)
		return r;
	drive_kick(request->controller);
	return answer_night(request->controller, id, 200, ret_answer, err);
}

static const struct route rows[] = {
	{"GET", "/api/v1/nights", ROLE_OPERATOR, 0, 0, NULL, nights_get,
		"lists the nights, newest first"},
	{"POST", "/api/v1/nights", ROLE_OPERATOR, ROUTE_JSON, BODY_MAX, NULL, nights_post,
		"lends PCs until a hand-back time"},
	{"GET", "/api/v1/nights/{id}", ROLE_OPERATOR, 0, 0, NULL, night_get,
		"shows a night and its report; \"current\": the one that runs"},
	{"POST", "/api/v1/nights/{id}/end", ROLE_OPERATOR, 0, 0, NULL, night_end,
		"moves the hand-back time to now"},
};
const struct routes routes_night = {rows, ARRAY_LEN(rows)};
