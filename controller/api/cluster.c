/* SPDX-License-Identifier: GPL-2.0-or-later */
/* /clusters: VMs for somebody, from one image, with names and addresses of their own.
 *
 * POST plans at once and answers with the plan (or the reason why it does not fit); the VMs follow. With dry_run=1
 * nothing is kept. A user acts for himself; acting for another takes a teacher's token. */
#include "controller/api/route.h"

#include "controller/api/present.h"
#include "controller/drive/clusters.h"
#include "controller/drive/deploy.h"
#include "controller/model/request.h"
#include "controller/store/cluster.h"
#include "controller/store/store.h"
#include "controller/store/vm.h"

enum { BODY_MAX = 64 << 10, PEERS_WAIT_MS = 5000 };

static int cluster_json(struct controller *controller, const struct cluster *cluster, json_t **ret_json,
	struct error **err)
{
	struct vm_filter filter = {.cluster = cluster->name};
	struct vms vms = {0};
	int r = store_vm_list(controller->store, &filter, &vms, err);
	if (r >= 0)
		*ret_json = present_cluster(controller, cluster, &vms);
	vms_done(&vms);
	return r < 0 ? r : 0;
}

static int clusters_get(const struct api_request *request, struct api_answer *ret_answer, struct error **err)
{
	struct clusters clusters = {0};
	json_t *items = json_array();
	int r = store_cluster_list(request->controller->store, NULL, &clusters, err);
	vec_each (struct cluster, cluster, &clusters) {
		json_t *json = NULL;
		if (r >= 0)
			r = cluster_json(request->controller, cluster, &json, err);
		if (json)
			json_array_append_new(items, json);
	}
	clusters_done(&clusters);
	if (r < 0) {
		json_decref(items);
		return r;
	}
	ret_answer->status = 200;
	ret_answer->body = present_list(items);
	return 0;
}

static int cluster_get(const struct api_request *request, struct api_answer *ret_answer, struct error **err)
{
	struct cluster cluster = {0};
	int r = store_cluster_get(request->controller->store, request->params[0], &cluster, err);
	if (r < 0)
		return r;
	r = cluster_json(request->controller, &cluster, &ret_answer->body, err);
	cluster_done(&cluster);
	ret_answer->status = 200;
	return r;
}

static int may_act_for(const struct api_request *request, const char *owner, struct error **err)
{
	if (request->who.role >= ROLE_TEACHER || strcmp(owner, request->who.name) == 0)
		return 0;
	return error_field(err, -EPERM, "owner", "This token acts for %s, not for %s.", request->who.name, owner);
}

/* A plan says of each VM whether its PC has the image already. */
static void show_holders(const struct vms *vms, json_t *body)
{
	const json_t *rows = json_object_get(body, "vms");
	for (size_t i = 0; i < vms->n; i++)
		json_object_set_new(json_array_get(rows, i), "image_there",
			json_boolean(vms->at[i].planned_on_holder));
}

static int clusters_post(const struct api_request *request, struct api_answer *ret_answer, struct error **err)
{
	struct controller *controller = request->controller;
	struct request_cluster asked = {0};
	struct deployed deployed = {0};
	const char *dry_text = api_query(request, "dry_run");
	bool dry = dry_text && strcmp(dry_text, "1") == 0;
	int r = request_cluster_read(request->body, &asked, err);
	if (r < 0)
		return r;
	if (!request->waited && !drive_peers_fresh(controller)) {
		request_cluster_done(&asked);
		ret_answer->wait_topic = xstrdup("peers");
		ret_answer->wait_ms = PEERS_WAIT_MS;
		return 0;
	}
	if (asked.owner)
		r = may_act_for(request, asked.owner, err);
	if (r >= 0)
		r = deploy_new(controller, &asked, request->who.name, dry, &deployed, err);
	request_cluster_done(&asked);
	if (r < 0)
		return r;
	ret_answer->status = dry || deployed.known ? 200 : 201;
	if (ret_answer->status == 201)
		ret_answer->location = xasprintf("/api/v1/clusters/%s", deployed.cluster.name);
	ret_answer->body = present_cluster(controller, &deployed.cluster, &deployed.vms);
	if (dry && !deployed.known)
		show_holders(&deployed.vms, ret_answer->body);
	deployed_done(&deployed);
	return 0;
}

static int cluster_delete(const struct api_request *request, struct api_answer *ret_answer, struct error **err)
{
	struct controller *controller = request->controller;
	struct cluster cluster = {0};
	int r = store_cluster_get(controller->store, request->params[0], &cluster, err);
	if (r < 0)
		return r;
	r = may_act_for(request, cluster.owner, err);
	if (r >= 0 && strcmp(cluster.home, controller->config.lab) != 0)
		r = error_make(err, -EPERM, "cluster %s belongs to lab %s; close it there", cluster.name, cluster.home);
	if (r >= 0 && cluster.state == CLUSTER_FAILED) /* holds nothing; closed from now on, and why it failed stays */
		r = store_cluster_set_state(controller->store, cluster.name, CLUSTER_CLOSED, cluster.reason, err);
	else if (r >= 0)
		r = cluster_close(controller, &cluster, NULL, err);
	cluster_done(&cluster);
	if (r < 0)
		return r;
	r = store_cluster_get(controller->store, request->params[0], &cluster, err);
	if (r >= 0)
		r = cluster_json(controller, &cluster, &ret_answer->body, err);
	ret_answer->status = cluster.state == CLUSTER_CLOSING ? 202 : 200;
	cluster_done(&cluster);
	return r;
}

static const struct route rows[] = {
	{"GET", "/api/v1/clusters", ROLE_USER, 0, 0, NULL, clusters_get, "lists clusters with their VMs"},
	{"POST", "/api/v1/clusters", ROLE_USER, ROUTE_JSON, BODY_MAX, "dry_run", clusters_post,
		"makes a cluster; dry_run=1 only plans it"},
	{"GET", "/api/v1/clusters/{name}", ROLE_USER, 0, 0, NULL, cluster_get, "shows a cluster"},
	{"DELETE", "/api/v1/clusters/{name}", ROLE_USER, 0, 0, NULL, cluster_delete,
		"closes a cluster and gives all it held back"},
};
const struct routes routes_cluster = {rows, ARRAY_LEN(rows)};
