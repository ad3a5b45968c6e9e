/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Publishing a revision, going back to an older one, and the signed word that hosts ask for.
 *
 * Publishing costs a row: nothing is copied, and what runs keeps its revision. A host gets the
 * public key in its goal, over TLS; the publication itself is read over the plain listener, beside
 * the manifest it speaks of, because its signature is all that is believed.
 *
 * A statement is signed when it is asked for, under the newest number of its name: so there is
 * nothing to be kept, and what must not be used any more is simply not signed again. */
#include "controller/api/route.h"

#include "controller/api/image.h"
#include "controller/drive/drive.h"
#include "controller/store/image.h"
#include "controller/store/publish.h"
#include "images/publication.h"

enum { BODY_MAX = 256 };

struct body {
	uint64_t revision;
	bool has_revision, again;
};

static const struct json_field publish_fields[] = {
	FIELD(struct body, again, JSON_KIND_BOOL, false),
	FIELD_UINT(struct body, revision, true, 1, INT32_MAX),
};

static const struct json_field rollback_fields[] = {
	{.name = "revision",
		.kind = JSON_KIND_UINT,
		.offset = offsetof(struct body, revision),
		.has_offset = offsetof(struct body, has_revision),
		.min = 1,
		.max = INT32_MAX},
};

/* The image as it is now; new clusters and hosts that preload are told of it. */
static int answer_published(
	const struct api_request *request, struct api_answer *ret_answer, struct error **err)
{
	struct image image = {0};
	int r = store_image_published(request->controller->store, request->params[0], &image, err);
	if (r < 0)
		return r;
	ret_answer->status = 200;
	ret_answer->body = present_image_whole(request->controller, &image);
	image_done(&image);
	drive_kick(request->controller);
	return 0;
}

static int publish_post(
	const struct api_request *request, struct api_answer *ret_answer, struct error **err)
{
	struct store *store = request->controller->store;
	const char *name = request->params[0];
	struct body body = {0};
	int r = json_read(request->body, publish_fields, ARRAY_LEN(publish_fields), &body, err);
	if (r >= 0)
		r = body.again ? store_image_publish_again(store, name, body.revision, err)
			       : store_image_publish(store, name, body.revision, err);
	return r < 0 ? r : answer_published(request, ret_answer, err);
}

static int rollback_post(
	const struct api_request *request, struct api_answer *ret_answer, struct error **err)
{
	struct body body = {0};
	int r = json_read(request->body, rollback_fields, ARRAY_LEN(rollback_fields), &body, err);
	if (r >= 0)
		r = store_image_rollback(
			request->controller->store, request->params[0], body.revision, err);
	return r < 0 ? r : answer_published(request, ret_answer, err);
}

static int publication_get(
	const struct api_request *request, struct api_answer *ret_answer, struct error **err)
{
	auto_publication struct publication publication = {0};
	int r = store_publication(
		request->controller->store, request->params[0], &publication, err);
	if (r < 0)
		return r;
	ret_answer->status = 200;
	ret_answer->text = publication_sign(request->controller->publisher, &publication);
	ret_answer->text_len = strlen(ret_answer->text);
	ret_answer->content_type = "application/json";
	return 0;
}

static const struct route rows[] = {
	{"POST", "/api/v1/images/{name}/publish", ROLE_OPERATOR, ROUTE_JSON, BODY_MAX, NULL,
		publish_post, "makes a revision the one that new clusters get"},
	{"POST", "/api/v1/images/{name}/rollback", ROLE_OPERATOR, ROUTE_JSON, BODY_MAX, NULL,
		rollback_post, "goes back to an older revision"},
	{"GET", "/publications/{digest}", ROLE_NOBODY, ROUTE_BOOT, 0, NULL, publication_get,
		"the signed word that an image may be used"},
};
const struct routes routes_publication = {rows, ARRAY_LEN(rows)};
