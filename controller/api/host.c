/* SPDX-License-Identifier: GPL-2.0-or-later */
/* /host: what a host says to us. What should I be (long poll), what I am (report), and, once for
 * each image, in which order its first VM read the disk (trace): the first host's word stands, for
 * images are the same everywhere.
 *
 * Which PC it is follows from its certificate alone: there is no parameter that could name another
 * one, so no host can see another's contexts. A report that claims to be of another boot than the
 * session is refused. */
#include "controller/api/route.h"

#include "controller/drive/drive.h"
#include "controller/store/pc.h"
#include "images/store.h"
#include "images/trace.h"
#include "lib/file.h"

enum { WAIT_MAX_S = 60, GENERATION_MAX = INT32_MAX };

static int goal_get(
	const struct api_request *request, struct api_answer *ret_answer, struct error **err)
{
	uint64_t generation = 0, wait = 0;
	struct proto_goal goal = {0};
	int r = api_query_uint(request, "generation", GENERATION_MAX, 0, &generation, err);
	if (r >= 0)
		r = api_query_uint(request, "wait", WAIT_MAX_S, 0, &wait, err);
	if (r >= 0)
		r = drive_goal(request->controller, request->who.name, &goal, err);
	if (r < 0)
		return r;
	bool same = api_query(request, "generation") && goal.generation == generation;
	if (same && wait > 0 && !request->waited) {
		ret_answer->wait_topic = xasprintf("goal/%s", request->who.name);
		ret_answer->wait_ms = (int)wait * 1000;
	} else if (same) {
		ret_answer->status = 204;
	} else {
		ret_answer->status = 200;
		ret_answer->text = proto_goal_write(&goal);
		ret_answer->text_len = strlen(ret_answer->text);
		ret_answer->content_type = "application/json";
	}
	proto_goal_done(&goal);
	return 0;
}

static int report_post(
	const struct api_request *request, struct api_answer *ret_answer, struct error **err)
{
	struct controller *controller = request->controller;
	struct proto_report report = {0};
	struct pc pc = {0};
	auto_free char *text = json_text(request->body);
	int r = proto_report_read(text, strlen(text), &report, err);
	if (r < 0)
		return r;
	r = store_pc_get(controller->store, request->who.name, &pc, err);
	if (r >= 0 && strcmp(pc.boot_id, report.facts.boot_id) != 0) {
		api_alarm_host(request, "sent a report of another boot");
		r = error_field(err, -EPERM, "facts.boot_id", "not the boot of this session");
	}
	if (r >= 0)
		r = drive_report(controller, request->who.name, &report, err);
	pc_done(&pc);
	proto_report_done(&report);
	ret_answer->status = 204;
	return r;
}

static bool goal_has_image(const struct proto_goal *goal, const char *digest)
{
	vec_each (struct proto_vm, vm, &goal->vms)
		if (strcmp(vm->image, digest) == 0)
			return true;
	return false;
}

/* Only an image that this host is running now. */
static int may_trace(const struct api_request *request, const char *digest, struct error **err)
{
	struct proto_goal goal = {0};
	int r = sha256_hex_ok(digest) ? 0 : error_make(err, -ENOENT, "%s is no digest", digest);
	if (r == 0)
		r = drive_goal(request->controller, request->who.name, &goal, err);
	if (r >= 0 && !goal_has_image(&goal, digest)) {
		api_alarm_host(request, "sent the boot trace of an image that it does not run");
		r = error_make(err, -EPERM, "PC %s runs no VM of image %.12s", request->who.name,
			digest);
	}
	proto_goal_done(&goal);
	return r;
}

/* -EINVAL: not a trace of this image. */
static int trace_check(
	const struct api_request *request, const char *dir, const char *hex, struct error **err)
{
	auto_chunkstore struct chunkstore *store = NULL;
	auto_manifest struct manifest manifest = {0};
	struct trace trace = {0};
	struct sha256 digest;
	int r = sha256_parse(hex, &digest);
	if (r == 0)
		r = chunkstore_open(dir, CHUNKSTORE_READ, &store, err);
	if (r == 0)
		r = chunkstore_get_manifest(store, &digest, &manifest, err);
	if (r == 0)
		r = trace_read(request->bytes, request->n_bytes,
			manifest.parts[PART_DISK].chunks.n, &trace, err);
	vec_done(&trace);
	return r;
}

static int trace_put(
	const struct api_request *request, struct api_answer *ret_answer, struct error **err)
{
	const char *digest = request->params[0];
	int r = may_trace(request, digest, err);
	if (r < 0)
		return r;
	auto_free char *dir = xasprintf("%s/store", request->controller->config.state_dir);
	auto_free char *folder = xasprintf("%s/traces", dir);
	auto_free char *path = trace_path(dir, digest);
	ret_answer->status = 204;
	if (access(path, F_OK) == 0)
		return 0;
	r = trace_check(request, dir, digest, err);
	if (r == 0)
		r = file_mkdirs(folder, 0755, err);
	if (r == 0)
		r = file_write(path, request->bytes, request->n_bytes, 0644, err);
	return r;
}

static const struct route rows[] = {
	{"GET", "/api/v1/host/goal", ROLE_PC, ROUTE_JSON, 0, "generation wait", goal_get,
		"what the calling PC should be"},
	{"POST", "/api/v1/host/report", ROLE_PC, ROUTE_JSON, REPORT_MAX_BYTES, NULL, report_post,
		"what the calling PC is"},
	{"PUT", "/api/v1/host/traces/{digest}", ROLE_PC, ROUTE_RAW, TRACE_MAX_BYTES, NULL,
		trace_put, "the order in which a boot of that image reads its disk"},
};
const struct routes routes_host = {rows, ARRAY_LEN(rows)};
