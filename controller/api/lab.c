/* SPDX-License-Identifier: GPL-2.0-or-later */
/* /health, /ca, /lab and /labs: what this lab is, and which others it knows.
 *
 * /health and /ca are open to everybody: the first says only that we are alive, the second hands
 * out what every TLS handshake shows anyway; whoever needs it pins its digest. Tokens of peers go
 * in and never come out. */
#include "controller/api/route.h"

#include "controller/api/present.h"
#include "controller/drive/drive.h"
#include "controller/drive/joins.h"
#include "controller/pki.h"
#include "controller/store/cluster.h"
#include "controller/store/join.h"
#include "controller/store/lab.h"
#include "controller/store/night.h"
#include "controller/store/pc.h"
#include "controller/store/vm.h"
#include "images/publication.h"
#include "lib/clock.h"

enum { BODY_MAX = 64 << 10, UNREACHABLE = 3 };

static int health_get(
	const struct api_request *request, struct api_answer *ret_answer, struct error **err)
{
	(void)request;
	(void)err;
	ret_answer->status = 200;
	ret_answer->body = json_pack("{s:s, s:s}", "status", "ok", "version", NIGHTCLASS_VERSION);
	return 0;
}

static int ca_get(
	const struct api_request *request, struct api_answer *ret_answer, struct error **err)
{
	(void)err;
	ret_answer->status = 200;
	ret_answer->text = xstrdup(pki_ca(request->controller->pki));
	ret_answer->text_len = strlen(ret_answer->text);
	ret_answer->content_type = "application/x-pem-file";
	return 0;
}

static json_t *present_lab(const struct lab *lab)
{
	json_t *seen = lab->seen ? json_loads(lab->seen, 0, NULL) : NULL;
	bool reachable = lab->self || (lab->seen_at != 0 && lab->missed < UNREACHABLE);
	return json_pack("{s:s, s:b, s:s, s:b, s:o, s:o}", "name", lab->name, "self", lab->self,
		"url", lab->url, "reachable", reachable, "seen", seen ? seen : json_null(),
		"seen_at", present_time(lab->seen_at));
}

static int add_counts(struct controller *controller, json_t *document, struct error **err)
{
	struct pcs pcs = {0};
	json_t *counts = json_object();
	int r = store_pc_list(controller->store, NULL, &pcs, err);
	vec_each (struct pc, pc, &pcs) {
		const char *state = pc_state_names[pc->state];
		json_int_t n = json_integer_value(json_object_get(counts, state));
		json_object_set_new(counts, state, json_integer(n + 1));
	}
	pcs_done(&pcs);
	json_object_set_new(document, "pcs", counts);
	return r;
}

static int add_peers(struct controller *controller, json_t *document, struct error **err)
{
	struct labs labs = {0};
	json_t *peers = json_array();
	int r = store_lab_list(controller->store, false, &labs, err);
	vec_each (struct lab, lab, &labs) {
		json_t *peer = present_lab(lab);
		json_object_del(peer, "seen");
		json_array_append_new(peers, peer);
	}
	labs_done(&labs);
	json_object_set_new(document, "peers", peers);
	return r;
}

static int add_night_and_join(struct controller *controller, json_t *document, struct error **err)
{
	struct night night = {0};
	struct joins joins = {0};
	json_t *last = NULL;
	bool dark = store_night_current(controller->store, &night, NULL) == 0;
	json_object_set_new(document, "night", dark ? present_night(&night) : json_null());
	night_done(&night);
	int r = store_join_list(controller->store, true, &joins, err);
	for (size_t i = joins.n; !last && i-- > 0;)
		if (join_is_shared(&joins.at[i]))
			last = present_join(controller, &joins.at[i], false);
	json_object_set_new(document, "join", last ? last : json_null());
	joins_done(&joins);
	return r;
}

static int lab_get(
	const struct api_request *request, struct api_answer *ret_answer, struct error **err)
{
	struct controller *controller = request->controller;
	const struct config *config = &controller->config;
	char lan[PREFIX4_TEXT], net[PREFIX4_TEXT], uplink[IP4_TEXT];
	auto_json json_t *document = json_pack("{s:s, s:s, s:o, s:{s:s, s:s*}, s:s, s:s}", "name",
		config->lab, "version", NIGHTCLASS_VERSION, "now", present_time(clock_wall()),
		"addresses", "lan", prefix4_format(config->lan_address, lan), "uplink",
		config->uplink_address.host ? ip4_format(config->uplink_address, uplink) : NULL,
		"cluster_net", prefix4_format(config->cluster_net, net), "image_key",
		publisher_key(controller->publisher));
	int r = add_counts(controller, document, err);
	if (r >= 0)
		r = add_peers(controller, document, err);
	if (r >= 0)
		r = add_night_and_join(controller, document, err);
	if (r < 0)
		return r;
	ret_answer->status = 200;
	ret_answer->body = json_incref(document);
	return 0;
}

static int labs_get(
	const struct api_request *request, struct api_answer *ret_answer, struct error **err)
{
	struct labs labs = {0};
	int r = store_lab_list(request->controller->store, true, &labs, err);
	if (r < 0)
		return r;
	json_t *items = json_array();
	vec_each (struct lab, lab, &labs)
		json_array_append_new(items, present_lab(lab));
	labs_done(&labs);
	ret_answer->status = 200;
	ret_answer->body = present_list(items);
	return 0;
}

struct lab_body {
	char *url, *ca_pem, *token;
};
static const struct json_field lab_fields[] = {
	FIELD_MAX(struct lab_body, url, JSON_KIND_STRING, true, 256),
	FIELD_MAX(struct lab_body, ca_pem, JSON_KIND_TEXT, true, 32768),
	FIELD_MAX(struct lab_body, token, JSON_KIND_STRING, true, 128),
};

static bool url_ok(const char *url)
{
	const char *rest = url + 8;
	return str_starts(url, "https://") && *rest && !strpbrk(rest, "/?#@ \\");
}

static int lab_put(
	const struct api_request *request, struct api_answer *ret_answer, struct error **err)
{
	struct controller *controller = request->controller;
	struct lab_body body = {0};
	if (!name_ok(request->params[0]))
		return error_field(
			err, -EINVAL, "name", "\"%s\" is no lab name", request->params[0]);
	int r = json_read(request->body, lab_fields, ARRAY_LEN(lab_fields), &body, err);
	if (r < 0)
		return r;
	struct lab lab = {.name = (char *)request->params[0],
		.url = body.url,
		.ca_pem = body.ca_pem,
		.token = body.token};
	if (!url_ok(body.url))
		r = error_field(err, -EINVAL, "url", "write it as https://ADDRESS:PORT");
	else if (!strstr(body.ca_pem, "-----BEGIN CERTIFICATE-----"))
		r = error_field(err, -EINVAL, "ca_pem",
			"not a PEM certificate; GET /api/v1/ca of that lab gives it");
	else
		r = store_lab_put(controller->store, &lab, err);
	json_done(lab_fields, ARRAY_LEN(lab_fields), &body);
	if (r < 0)
		return r;
	r = store_lab_get(controller->store, request->params[0], &lab, err);
	if (r < 0)
		return r;
	ret_answer->status = 200;
	ret_answer->body = present_lab(&lab);
	lab_done(&lab);
	drive_kick(controller);
	return 0;
}

static int used_by_join(struct controller *controller, const char *lab, struct error **err)
{
	struct joins joins = {0};
	int r = store_join_list(controller->store, true, &joins, err);
	vec_each (struct join, join, &joins)
		if (r >= 0 && join_member_of(join, lab))
			r = error_make(err, -EBUSY,
				"lab %s is a member of join %s; end it first (nightclass join delete %s)", lab,
				join->id, join->id);
	joins_done(&joins);
	return r;
}

/* Its home or a VM of it. Until it is closed the other lab has to be told. */
static int used_by_cluster(struct controller *controller, const char *lab, struct error **err)
{
	struct cluster_filter open = {.open_only = true};
	struct clusters clusters = {0};
	int r = store_cluster_list(controller->store, &open, &clusters, err);
	vec_each (struct cluster, cluster, &clusters) {
		struct vm_filter there = {.cluster = cluster->name, .lab = lab};
		struct vms vms = {0};
		bool home = strcmp(cluster->home, lab) == 0;
		if (r >= 0 && !home)
			r = store_vm_list(controller->store, &there, &vms, err);
		if (r >= 0 && (home || vms.n > 0))
			r = error_make(err, -EBUSY,
				"cluster %s %s lab %s; close it first%s (nightclass cluster delete %s)", cluster->name,
				home ? "belongs to" : "has VMs in", lab, home ? " there" : "", cluster->name);
		vms_done(&vms);
	}
	clusters_done(&clusters);
	return r;
}

static int lab_delete(
	const struct api_request *request, struct api_answer *ret_answer, struct error **err)
{
	bool self = strcmp(request->params[0], request->controller->config.lab) == 0; /* never removed, see the store */
	int r = self ? 0 : used_by_join(request->controller, request->params[0], err);
	if (r >= 0 && !self)
		r = used_by_cluster(request->controller, request->params[0], err);
	if (r >= 0)
		r = store_lab_delete(request->controller->store, request->params[0], err);
	if (r < 0)
		return r;
	ret_answer->status = 204;
	drive_kick(request->controller);
	return 0;
}

static const struct route rows[] = {
	{"GET", "/api/v1/health", ROLE_NOBODY, ROUTE_JSON, 0, NULL, health_get,
		"says that the controller is alive"},
	{"GET", "/api/v1/ca", ROLE_NOBODY, ROUTE_JSON, 0, NULL, ca_get,
		"the certificate of this lab's CA, PEM"},
	{"GET", "/api/v1/lab", ROLE_VIEWER, ROUTE_JSON, 0, NULL, lab_get,
		"this lab, its night, PCs and peers"},
	{"GET", "/api/v1/labs", ROLE_VIEWER, ROUTE_JSON, 0, NULL, labs_get,
		"this lab and those it knows"},
	{"PUT", "/api/v1/labs/{name}", ROLE_ADMIN, ROUTE_JSON, BODY_MAX, NULL, lab_put,
		"makes another lab known"},
	{"DELETE", "/api/v1/labs/{name}", ROLE_ADMIN, ROUTE_JSON, 0, NULL, lab_delete,
		"forgets another lab"},
};
const struct routes routes_lab = {rows, ARRAY_LEN(rows)};
