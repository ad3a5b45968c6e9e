/* SPDX-License-Identifier: GPL-2.0-or-later */
/* /checks and what begins one: verifying an image, comparing two revisions, sweeping the store.
 *
 * What takes as long as the disk needs is answered 202 with the place to ask; a comparison reads
 * two manifests only, so its request simply waits for the worker. */
#include "controller/api/route.h"

#include "controller/api/checks.h"
#include "controller/store/image.h"

enum { BODY_MAX = 256, WAIT_MAX_S = 60, DIFF_WAIT_MS = 30000 };

struct verify_body {
	uint64_t revision; /* 0: absent */
};
static const struct json_field verify_fields[] = {
	FIELD_UINT(struct verify_body, revision, false, 1, INT32_MAX),
};

struct gc_body {
	bool dry_run;
};
static const struct json_field gc_fields[] = {
	FIELD(struct gc_body, dry_run, JSON_KIND_BOOL, false),
};

static int answer_begun(const struct api_request *request, int64_t id,
	struct api_answer *ret_answer, struct error **err)
{
	ret_answer->status = 202;
	ret_answer->location = xasprintf("/api/v1/checks/%lld", (long long)id);
	return checks_present(request->controller->checks, id, &ret_answer->body, err);
}

static int verify_post(
	const struct api_request *request, struct api_answer *ret_answer, struct error **err)
{
	struct controller *controller = request->controller;
	struct verify_body body = {0};
	struct image image = {0};
	int64_t id = 0;
	int r = json_read(request->body, verify_fields, ARRAY_LEN(verify_fields), &body, err);
	if (r >= 0)
		r = store_image_get(
			controller->store, request->params[0], body.revision, &image, err);
	if (r >= 0)
		r = checks_verify(controller->checks, &image, &id, err);
	image_done(&image);
	return r < 0 ? r : answer_begun(request, id, ret_answer, err);
}

static int gc_post(
	const struct api_request *request, struct api_answer *ret_answer, struct error **err)
{
	struct gc_body body = {0};
	int64_t id = 0;
	int r = json_read(request->body, gc_fields, ARRAY_LEN(gc_fields), &body, err);
	if (r >= 0)
		r = checks_gc(request->controller->checks, body.dry_run, &id, err);
	return r < 0 ? r : answer_begun(request, id, ret_answer, err);
}

static bool runs(const json_t *document)
{
	return strcmp(json_string_value(json_object_get(document, "state")), "running") == 0;
}

static void sleep_on(struct api_answer *answer, int64_t id, int ms)
{
	answer->wait_topic = xasprintf("check/%lld", (long long)id);
	answer->wait_ms = ms;
}

static int check_get(
	const struct api_request *request, struct api_answer *ret_answer, struct error **err)
{
	uint64_t id = 0, wait = 0;
	json_t *document = NULL;
	if (uint_parse(request->params[0], 1, INT64_MAX, &id) < 0)
		return error_make(err, -ENOENT, "there is no check %s", request->params[0]);
	int r = api_query_uint(request, "wait", WAIT_MAX_S, 0, &wait, err);
	if (r >= 0)
		r = checks_present(request->controller->checks, (int64_t)id, &document, err);
	if (r < 0)
		return r;
	if (runs(document) && wait > 0 && !request->waited) {
		json_decref(document);
		sleep_on(ret_answer, (int64_t)id, (int)wait * 1000);
		return 0;
	}
	ret_answer->status = 200;
	ret_answer->body = document;
	return 0;
}

/* A revision that the query must name. */
static int named_revision(const struct api_request *request, const char *parameter,
	struct image *ret_image, struct error **err)
{
	uint64_t revision = 0;
	int r = api_query_uint(request, parameter, INT32_MAX, 0, &revision, err);
	if (r >= 0 && revision == 0)
		return error_field(err, -EINVAL, parameter, "name a revision, from 1 on");
	return r < 0 ? r
		     : store_image_get(request->controller->store, request->params[0], revision,
			       ret_image, err);
}

static int answer_diff(json_t *document, const struct image *from, const struct image *to,
	struct api_answer *ret_answer, struct error **err)
{
	json_t *result = json_incref(json_object_get(document, "result"));
	if (!json_is_object(result)) {
		json_decref(result);
		return error_make(
			err, -EIO, "%s", json_string_value(json_object_get(document, "reason")));
	}
	json_object_set_new(result, "name", json_string(to->name));
	json_object_set_new(result, "from", json_integer((json_int_t)from->revision));
	json_object_set_new(result, "to", json_integer((json_int_t)to->revision));
	ret_answer->status = 200;
	ret_answer->body = result;
	return 0;
}

static int diff_get(
	const struct api_request *request, struct api_answer *ret_answer, struct error **err)
{
	struct checks *checks = request->controller->checks;
	struct image from = {0}, to = {0};
	auto_json json_t *document = NULL;
	int64_t id = 0;
	int r = named_revision(request, "from", &from, err);
	if (r >= 0)
		r = named_revision(request, "to", &to, err);
	if (r >= 0)
		r = checks_diff(checks, &from, &to, &id, err);
	if (r >= 0)
		r = checks_present(checks, id, &document, err);
	if (r >= 0 && !runs(document))
		r = answer_diff(document, &from, &to, ret_answer, err);
	else if (r >= 0 && !request->waited)
		sleep_on(ret_answer, id, DIFF_WAIT_MS);
	else if (r >= 0)
		r = error_make(err, -ETIMEDOUT, "the comparison takes long; ask again");
	image_done(&from);
	image_done(&to);
	return r;
}

static const struct route rows[] = {
	{"POST", "/api/v1/images/{name}/verify", ROLE_OPERATOR, ROUTE_JSON, BODY_MAX, NULL,
		verify_post, "reads every chunk of a revision and puts damaged ones aside"},
	{"GET", "/api/v1/images/{name}/diff", ROLE_VIEWER, ROUTE_JSON, 0, "from to", diff_get,
		"what a revision changes, and what would have to travel"},
	{"POST", "/api/v1/store/gc", ROLE_OPERATOR, ROUTE_JSON, BODY_MAX, NULL, gc_post,
		"frees what no image needs"},
	{"GET", "/api/v1/checks/{id}", ROLE_VIEWER, ROUTE_JSON, 0, "wait", check_get,
		"how far a verification or sweep is, and its outcome"},
};
const struct routes routes_check = {rows, ARRAY_LEN(rows)};
