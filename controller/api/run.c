/* SPDX-License-Identifier: GPL-2.0-or-later */
/* /runs: a program over the VMs of a cluster. The program was uploaded before, under its digest; its output is a
 * file that grows, read from any offset, with a long poll at its end until the run is over. */
#include "controller/api/route.h"

#include <fcntl.h>
#include <sys/stat.h>
#include "controller/api/present.h"
#include "controller/drive/runs.h"
#include "controller/model/request.h"
#include "controller/store/cluster.h"
#include "controller/store/run.h"
#include "controller/store/store.h"

enum { BODY_MAX = 256 << 10, PIECE_MAX = 1 << 20, WAIT_MAX_S = 60 };

static int may_see(const struct api_request *request, const char *owner, struct error **err)
{
	if (request->who.role >= ROLE_TEACHER || strcmp(owner, request->who.name) == 0)
		return 0;
	return error_make(err, -EPERM, "this belongs to %s", owner);
}

static int find_run(const struct api_request *request, struct run *ret_run, struct error **err)
{
	uint64_t id;
	struct run run = {0};
	if (uint_parse(request->params[0], 1, INT64_MAX, &id) < 0)
		return error_make(err, -ENOENT, "there is no run %s", request->params[0]);
	int r = store_run_get(request->controller->store, (int64_t)id, &run, err);
	if (r >= 0)
		r = may_see(request, run.owner, err);
	if (r < 0)
		run_done(&run);
	else
		*ret_run = run;
	return r;
}

static int runs_get(const struct api_request *request, struct api_answer *ret_answer, struct error **err)
{
	struct runs runs = {0};
	int r = store_run_list(request->controller->store, false, NULL, &runs, err);
	if (r < 0)
		return r;
	json_t *items = json_array();
	vec_each (struct run, run, &runs)
		if (may_see(request, run->owner, NULL) == 0)
			json_array_append_new(items, present_run(run));
	runs_done(&runs);
	ret_answer->status = 200;
	ret_answer->body = present_list(items);
	return 0;
}

static int run_get(const struct api_request *request, struct api_answer *ret_answer, struct error **err)
{
	struct run run = {0};
	int r = find_run(request, &run, err);
	if (r < 0)
		return r;
	ret_answer->status = 200;
	ret_answer->body = present_run(&run);
	run_done(&run);
	return 0;
}

static int check_cluster(const struct api_request *request, const char *name, struct error **err)
{
	struct controller *controller = request->controller;
	struct cluster cluster = {0};
	int r = store_cluster_get(controller->store, name, &cluster, err);
	if (r < 0) {
		if (err && *err && !(*err)->field)
			(*err)->field = xstrdup("cluster");
		return r;
	}
	r = may_see(request, cluster.owner, err);
	if (r >= 0 && strcmp(cluster.home, controller->config.lab) != 0)
		r = error_field(err, -EBUSY, "cluster", "Cluster %s belongs to lab %s; start the run there.", name,
			cluster.home);
	if (r >= 0 && cluster.state != CLUSTER_READY && cluster.state != CLUSTER_PARTLY)
		r = error_field(err, -EBUSY, "cluster", "Cluster %s is %s, not ready.", name,
			cluster_state_names[cluster.state]);
	cluster_done(&cluster);
	return r;
}

static int check_program(struct controller *controller, const char *sha256, struct error **err)
{
	auto_free char *path = run_program_path(controller, sha256);
	/* As young as its last use: incoming.c drops what lay there for a week. */
	if (utimensat(AT_FDCWD, path, NULL, 0) == 0)
		return 0;
	return error_field(err, -ENOENT, "program", "The program %.12s... is not uploaded (PUT /uploads/SHA256).",
		sha256);
}

static int insert(const struct api_request *request, const struct request_run *asked, int64_t *ret_id,
	struct error **err)
{
	json_t *args = json_array();
	for (size_t i = 0; i < asked->args.n; i++)
		json_array_append_new(args, json_string(asked->args.at[i]));
	auto_free char *text = json_text(args);
	json_decref(args);
	struct run run = {.cluster = asked->cluster,
		.owner = request->who.name,
		.program = asked->program,
		.name = asked->name,
		.args = text,
		.ranks = asked->ranks,
		.state = RUN_STAGING};
	return store_run_insert(request->controller->store, &run, ret_id, err);
}

static int runs_post(const struct api_request *request, struct api_answer *ret_answer, struct error **err)
{
	struct controller *controller = request->controller;
	struct request_run asked = {0};
	struct run run = {0};
	int64_t id;
	int r = request_run_read(request->body, &asked, err);
	if (r < 0)
		return r;
	r = check_cluster(request, asked.cluster, err);
	if (r >= 0)
		r = check_program(controller, asked.program, err);
	if (r >= 0)
		r = insert(request, &asked, &id, err);
	request_run_done(&asked);
	if (r >= 0)
		r = store_run_get(controller->store, id, &run, err);
	if (r < 0)
		return r;
	drive_kick(controller);
	ret_answer->status = 201;
	ret_answer->location = xasprintf("/api/v1/runs/%lld", (long long)id);
	ret_answer->body = present_run(&run);
	run_done(&run);
	return 0;
}

static int number(const struct api_request *request, const char *name, uint64_t max, uint64_t *ret_value,
	struct error **err)
{
	const char *text = api_query(request, name);
	*ret_value = 0;
	if (!text || uint_parse(text, 0, max, ret_value) == 0)
		return 0;
	return error_field(err, -EINVAL, name, "\"%s\" must be a whole number from 0 to %ju.", name, (uintmax_t)max);
}

static int read_piece(const char *path, uint64_t from, char **ret_text, size_t *ret_len)
{
	auto_close int fd = open(path, O_RDONLY | O_CLOEXEC);
	char *text = xcalloc(PIECE_MAX + 1, 1);
	ssize_t n = fd < 0 ? 0 : pread(fd, text, PIECE_MAX, (off_t)from);
	*ret_text = text;
	*ret_len = n > 0 ? (size_t)n : 0;
	return 0;
}

static int run_output(const struct api_request *request, struct api_answer *ret_answer, struct error **err)
{
	struct run run = {0};
	uint64_t from, wait_s;
	char *text = NULL;
	size_t len;
	int r = number(request, "from", INT64_MAX, &from, err);
	if (r >= 0)
		r = number(request, "wait", WAIT_MAX_S, &wait_s, err);
	if (r >= 0)
		r = find_run(request, &run, err);
	if (r < 0)
		return r;
	bool over = run.state == RUN_DONE || run.state == RUN_FAILED;
	auto_free char *path = run_path(request->controller, run.id, "output");
	read_piece(path, from, &text, &len);
	if (len == 0 && !over && wait_s > 0 && !request->waited) {
		free(text);
		ret_answer->wait_topic = xasprintf("run/%lld", (long long)run.id);
		ret_answer->wait_ms = (int)wait_s * 1000;
		ret_answer->status = 0;
	} else {
		ret_answer->status = 200;
		ret_answer->text = text;
		ret_answer->text_len = len;
		ret_answer->content_type = "application/octet-stream";
		ret_answer->header_name = "Run-State";
		ret_answer->header_value = xstrdup(run_state_names[run.state]);
	}
	run_done(&run);
	return 0;
}

static const struct route rows[] = {
	{"GET", "/api/v1/runs", ROLE_USER, 0, 0, NULL, runs_get, "lists runs, newest first"},
	{"POST", "/api/v1/runs", ROLE_USER, ROUTE_JSON, BODY_MAX, NULL, runs_post,
		"runs an uploaded program over a cluster"},
	{"GET", "/api/v1/runs/{id}", ROLE_USER, 0, 0, NULL, run_get, "shows a run"},
	{"GET", "/api/v1/runs/{id}/output", ROLE_USER, 0, 0, "from wait", run_output,
		"the output from a byte on; wait: seconds to wait for more"},
};
const struct routes routes_run = {rows, ARRAY_LEN(rows)};
