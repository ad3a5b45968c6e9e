/* SPDX-License-Identifier: GPL-2.0-or-later */
/* /host: the two things a host says to us. What should I be (long poll), and what I am (report).
 *
 * Which PC it is follows from its certificate alone: there is no parameter that could name another
 * one, so no host can see another's contexts. A report that claims to be of another boot than the
 * session is refused. */
#include "controller/api/route.h"

#include "controller/drive/drive.h"
#include "controller/store/pc.h"

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
		auto_free char *subject = xasprintf("pc/%s", pc.name);
		api_alarm(request, "host.refused", subject, "PC %s sent a report of another boot",
			pc.name);
		r = error_field(err, -EPERM, "facts.boot_id", "not the boot of this session");
	}
	if (r >= 0)
		r = drive_report(controller, request->who.name, &report, err);
	pc_done(&pc);
	proto_report_done(&report);
	ret_answer->status = 204;
	return r;
}

static const struct route rows[] = {
	{"GET", "/api/v1/host/goal", ROLE_PC, ROUTE_JSON, 0, "generation wait", goal_get,
		"what the calling PC should be"},
	{"POST", "/api/v1/host/report", ROLE_PC, ROUTE_JSON, REPORT_MAX_BYTES, NULL, report_post,
		"what the calling PC is"},
};
const struct routes routes_host = {rows, ARRAY_LEN(rows)};
