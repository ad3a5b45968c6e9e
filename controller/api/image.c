/* SPDX-License-Identifier: GPL-2.0-or-later */
/* /images and /imports: immutable revisions of VM disks, and how new ones come in.
 *
 * POST /images only writes down what is to be imported and answers 202: the work is importer.c's. A
 * path on the lab server is taken from administrators alone, because the import reads it with the
 * server's rights; everybody else uploads first, or names a URL, which leads to no private address.
 * Removing an image sweeps its chunks later, not here. */
#include "controller/api/route.h"

#include "controller/api/image.h"
#include "controller/api/import_request.h"
#include "controller/api/importer.h"
#include "controller/api/present.h"
#include "controller/api/uploads.h"
#include "controller/drive/drive.h"
#include "controller/store/image.h"
#include "controller/store/publish.h"

enum { BODY_MAX = 8192, WAIT_MAX_S = 60 };

json_t *present_image(const struct image *image)
{
	return json_pack("{s:s, s:I, s:s, s:s, s:I, s:I, s:o}", "name", image->name, "revision",
		(json_int_t)image->revision, "state", image_state_names[image->state], "digest",
		image->digest, "size", (json_int_t)image->size, "stored", (json_int_t)image->stored,
		"created", present_time(image->created));
}

json_t *present_image_whole(struct controller *controller, const struct image *image)
{
	auto_publication struct publication publication = {0};
	json_t *document = present_image(image), *part = json_null();
	if (store_publication(controller->store, image->digest, &publication, NULL) >= 0)
		part = json_pack("{s:I, s:o, s:s}", "sequence", (json_int_t)publication.sequence,
			"published", present_time((int64_t)publication.published), "key",
			publisher_key_id(controller->publisher));
	json_object_set_new(document, "publication", part);
	return document;
}

static int images_get(
	const struct api_request *request, struct api_answer *ret_answer, struct error **err)
{
	struct images images = {0};
	int r = store_image_list(request->controller->store, NULL, &images, err);
	if (r < 0)
		return r;
	json_t *items = json_array();
	vec_each (struct image, image, &images)
		json_array_append_new(items, present_image(image));
	images_done(&images);
	ret_answer->status = 200;
	ret_answer->body = present_list(items);
	return 0;
}

static int image_get(
	const struct api_request *request, struct api_answer *ret_answer, struct error **err)
{
	struct image image = {0};
	uint64_t revision = 0;
	int r = api_query_uint(request, "revision", INT32_MAX, 0, &revision, err);
	if (r >= 0)
		r = store_image_get(
			request->controller->store, request->params[0], revision, &image, err);
	if (r < 0)
		return r;
	ret_answer->status = 200;
	ret_answer->body = present_image_whole(request->controller, &image);
	image_done(&image);
	return 0;
}

static int image_delete(
	const struct api_request *request, struct api_answer *ret_answer, struct error **err)
{
	uint64_t revision = 0, force = 0;
	int r = api_query_uint(request, "revision", INT32_MAX, 0, &revision, err);
	if (r >= 0)
		r = api_query_uint(request, "force", 1, 0, &force, err);
	if (r >= 0)
		r = store_image_delete(
			request->controller->store, request->params[0], revision, force, err);
	ret_answer->status = 204;
	return r;
}

static int check_source(
	const struct api_request *request, const char *text, const char *field, struct error **err)
{
	char *path = NULL;
	if (!text)
		return 0;
	if (text[0] == '/')
		return request->who.role == ROLE_ADMIN
			       ? 0
			       : error_field(err, -EPERM, field,
					 "only an administrator may name a file on the lab server; "
					 "upload it");
	int r = upload_path(request->controller, text, field, &path, err);
	free(path);
	return r;
}

static int images_post(
	const struct api_request *request, struct api_answer *ret_answer, struct error **err)
{
	struct controller *controller = request->controller;
	struct import_request import = {0};
	int64_t id = 0;
	int r = import_request_read(request->body, &import, err);
	if (r < 0)
		return r;
	r = check_source(request, import.upload ? import.upload : import.path,
		import.upload ? "upload" : "path", err); /* none of both: a URL */
	if (r >= 0)
		r = check_source(request, import.kernel, "kernel", err);
	if (r >= 0)
		r = check_source(request, import.initrd, "initrd", err);
	auto_free char *text = json_text(request->body);
	if (r >= 0)
		r = store_import_insert(controller->store, import.name, text, &id, err);
	if (r >= 0) {
		ret_answer->status = 202;
		ret_answer->body = json_pack("{s:I, s:s, s:s}", "id", (json_int_t)id, "name",
			import.name, "state", "running");
		ret_answer->location = xasprintf("/api/v1/imports/%lld", (long long)id);
		importer_kick(controller->importer);
	}
	import_request_done(&import);
	return r;
}

/* Which revision an import made: its digest covers name and revision, so it is of that one alone.
 * Null while there is none, and when it was deleted since. */
static json_t *present_made(struct controller *controller, const struct import *import)
{
	struct image image = {0};
	if (import->state != IMPORT_DONE ||
		store_image_by_digest(controller->store, import->digest, &image, NULL) < 0)
		return json_null();
	json_t *revision = json_integer((json_int_t)image.revision);
	image_done(&image);
	return revision;
}

static int import_get(
	const struct api_request *request, struct api_answer *ret_answer, struct error **err)
{
	struct import import = {0};
	uint64_t id = 0, wait = 0;
	if (uint_parse(request->params[0], 1, INT64_MAX, &id) < 0)
		return error_make(err, -ENOENT, "there is no import %s", request->params[0]);
	int r = api_query_uint(request, "wait", WAIT_MAX_S, 0, &wait, err);
	if (r >= 0)
		r = store_import_get(request->controller->store, (int64_t)id, &import, err);
	if (r < 0)
		return r;
	if (import.state == IMPORT_RUNNING && wait > 0 && !request->waited) {
		ret_answer->wait_topic = xasprintf("import/%llu", (unsigned long long)id);
		ret_answer->wait_ms = (int)wait * 1000;
	}
	if (!ret_answer->wait_topic) {
		struct import_progress at =
			importer_progress(request->controller->importer, (int64_t)id);
		bool runs = import.state == IMPORT_RUNNING;
		ret_answer->status = 200;
		ret_answer->body = json_pack("{s:I, s:s, s:s, s:s, s:I, s:I, s:s, s:s, s:o}", "id",
			(json_int_t)id, "name", import.name, "state",
			import_state_names[import.state], "phase", runs ? at.phase : "", "done",
			(json_int_t)at.done, "total", (json_int_t)at.total, "reason", import.reason,
			"digest", import.digest, "revision",
			present_made(request->controller, &import));
	}
	import_done(&import);
	return 0;
}

static const struct route rows[] = {
	{"GET", "/api/v1/images", ROLE_VIEWER, ROUTE_JSON, 0, NULL, images_get,
		"the images, newest revision first"},
	{"POST", "/api/v1/images", ROLE_OPERATOR, ROUTE_JSON, BODY_MAX, NULL, images_post,
		"imports an image"},
	{"GET", "/api/v1/images/{name}", ROLE_VIEWER, ROUTE_JSON, 0, "revision", image_get,
		"one revision of an image: the published one, or the newest where none is"},
	{"DELETE", "/api/v1/images/{name}", ROLE_OPERATOR, ROUTE_JSON, 0, "revision force",
		image_delete, "removes an image, or one revision of it"},
	{"GET", "/api/v1/imports/{id}", ROLE_VIEWER, ROUTE_JSON, 0, "wait", import_get,
		"how far an import is"},
};
const struct routes routes_image = {rows, ARRAY_LEN(rows)};
