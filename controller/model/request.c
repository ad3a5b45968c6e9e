/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What people and other controllers ask for, from JSON to one typed struct each.
 *
 * The tables are the grammar: a member that no row names, a wrong type, a number out of its bounds is an error
 * with the field's path (lib/json). What a table cannot say (one of two members, a name inside a list) stands
 * in the function below it. Nothing here looks at the store or the clock: whether a thing exists or fits is
 * the question of context and plan. The same tables write what controllers send each other. */
#include "controller/model/request.h"

#include "lib/clock.h"
#include "lib/hostlist.h"

enum { PCS_MAX = 1024, VMS_MAX = 512, ARGS_MAX = 256 };

/* What tables cannot hold directly: the texts of a night. */
struct night_body {
	char *begins, *ends, *pcs;
	bool has_for_s;
	uint64_t for_s;
};
static const struct json_field night_fields[] = {
	FIELD(struct night_body, begins, JSON_KIND_STRING, false),
	FIELD(struct night_body, ends, JSON_KIND_STRING, false),
	{.name = "for_s", .kind = JSON_KIND_UINT, .offset = offsetof(struct night_body, for_s),
		.has_offset = offsetof(struct night_body, has_for_s), .min = 1, .max = 7 * 86400},
	FIELD_MAX(struct night_body, pcs, JSON_KIND_STRING, false, 4096),
};

static int read_time(const char *text, const char *field, bool *ret_has, int64_t *ret_time, struct error **err)
{
	if (!text)
		return 0;
	if (clock_parse(text, ret_time) < 0)
		return error_field(err, -EINVAL, field,
			"\"%s\" must be a UTC time like 2026-11-21T06:00:00Z.", field);
	*ret_has = true;
	return 0;
}

static int night_from_body(const struct night_body *body, struct request_night *night, struct error **err)
{
	int r = read_time(body->begins, "begins", &night->has_begins, &night->begins, err);
	if (r >= 0)
		r = read_time(body->ends, "ends", &night->has_ends, &night->ends, err);
	if (r < 0)
		return r;
	night->has_for_s = body->has_for_s;
	night->for_s = body->for_s;
	if (night->has_ends == night->has_for_s)
		return error_field(err, -EINVAL, "ends",
			"Give either \"ends\" (the hand-back time) or \"for_s\" (seconds from the beginning).");
	if (!body->pcs)
		return 0;
	r = hostlist_expand(body->pcs, PCS_MAX, &night->pcs, err);
	if (r < 0 && err && *err && !(*err)->field)
		(*err)->field = xstrdup("pcs");
	return r;
}

int request_night_read(const json_t *json, struct request_night *ret_request, struct error **err)
{
	struct night_body body = {0};
	int r = json_read(json, night_fields, ARRAY_LEN(night_fields), &body, err);
	if (r < 0)
		return r;
	struct request_night night = {0};
	r = night_from_body(&body, &night, err);
	json_done(night_fields, ARRAY_LEN(night_fields), &body);
	if (r < 0)
		request_night_done(&night);
	else
		*ret_request = night;
	return r;
}

void request_night_done(struct request_night *request)
{
	strings_done(&request->pcs);
}

static const struct json_field cluster_fields[] = {
	FIELD(struct request_cluster, name, JSON_KIND_NAME, true),
	FIELD(struct request_cluster, owner, JSON_KIND_NAME, false),
	FIELD(struct request_cluster, image, JSON_KIND_NAME, false),
	FIELD(struct request_cluster, join, JSON_KIND_NAME, false),
	{.name = "n", .kind = JSON_KIND_UINT, .offset = offsetof(struct request_cluster, n), .required = true,
		.has_offset = NO_HAS, .min = 1, .max = VMS_MAX},
	{.name = "cpus", .kind = JSON_KIND_UINT, .offset = offsetof(struct request_cluster, cpus),
		.has_offset = offsetof(struct request_cluster, has_cpus), .min = 1, .max = 256},
	{.name = "memory_mib", .kind = JSON_KIND_UINT, .offset = offsetof(struct request_cluster, memory_mib),
		.has_offset = offsetof(struct request_cluster, has_memory_mib), .min = 64, .max = 4 << 20},
	{.name = "revision", .kind = JSON_KIND_UINT, .offset = offsetof(struct request_cluster, revision),
		.has_offset = offsetof(struct request_cluster, has_revision), .min = 1, .max = INT32_MAX},
	FIELD_ENUM(struct request_cluster, policy, false, place_policy_names),
};

enum { CLUSTER_NAME_MAX = 59 }; /* host names are NAME-NNN, at most 63 */

int request_cluster_read(const json_t *body, struct request_cluster *ret_request, struct error **err)
{
	struct request_cluster request = {0};
	int r = json_read(body, cluster_fields, ARRAY_LEN(cluster_fields), &request, err);
	if (r < 0)
		return r;
	if (strlen(request.name) > CLUSTER_NAME_MAX) {
		request_cluster_done(&request);
		return error_field(err, -EINVAL, "name",
			"\"name\" has more than %d letters; the VMs' host names add four.", CLUSTER_NAME_MAX);
	}
	*ret_request = request;
	return 0;
}

void request_cluster_done(struct request_cluster *request)
{
	json_done(cluster_fields, ARRAY_LEN(cluster_fields), request);
}

static const struct json_field join_fields[] = {
	{.name = "labs", .kind = JSON_KIND_STRINGS, .offset = offsetof(struct request_join, labs),
		.required = true, .has_offset = NO_HAS, .max = 64},
};

static int check_names(const struct strings *names, const char *field, struct error **err)
{
	for (size_t i = 0; i < names->n; i++) {
		if (name_ok(names->at[i]))
			continue;
		auto_free char *path = xasprintf("%s[%zu]", field, i);
		return error_field(err, -EINVAL, path, "\"%s\" must be a name: a-z, 0-9 and '-'.", path);
	}
	return 0;
}

int request_join_read(const json_t *body, struct request_join *ret_request, struct error **err)
{
	struct request_join request = {0};
	int r = json_read(body, join_fields, ARRAY_LEN(join_fields), &request, err);
	if (r < 0)
		return r;
	r = check_names(&request.labs, "labs", err);
	if (r >= 0 && request.labs.n < 2)
		r = error_field(err, -EINVAL, "labs", "\"labs\" must name at least two labs.");
	if (r < 0)
		request_join_done(&request);
	else
		*ret_request = request;
	return r;
}

void request_join_done(struct request_join *request)
{
	strings_done(&request->labs);
}

static const struct json_field run_fields[] = {
	FIELD(struct request_run, cluster, JSON_KIND_NAME, true),
	{.name = "ranks", .kind = JSON_KIND_UINT, .offset = offsetof(struct request_run, ranks), .required = true,
		.has_offset = NO_HAS, .min = 1, .max = 4096},
	FIELD(struct request_run, program, JSON_KIND_SHA256, true),
	FIELD_MAX(struct request_run, name, JSON_KIND_STRING, true, 100),
	{.name = "args", .kind = JSON_KIND_STRINGS, .offset = offsetof(struct request_run, args),
		.has_offset = NO_HAS, .max = ARGS_MAX},
};

/* The program's base name ends up as a file name in the VMs. */
static bool file_name_ok(const char *name)
{
	if (!*name || *name == '.' || *name == '-')
		return false;
	for (const char *c = name; *c; c++)
		if (!strchr("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._+-", *c))
			return false;
	return true;
}

int request_run_read(const json_t *body, struct request_run *ret_request, struct error **err)
{
	struct request_run request = {0};
	int r = json_read(body, run_fields, ARRAY_LEN(run_fields), &request, err);
	if (r < 0)
		return r;
	if (!file_name_ok(request.name)) {
		request_run_done(&request);
		return error_field(err, -EINVAL, "name",
			"\"name\" must be a plain file name of letters, digits and . _ + -");
	}
	*ret_request = request;
	return 0;
}

void request_run_done(struct request_run *request)
{
	json_done(run_fields, ARRAY_LEN(run_fields), request);
}
