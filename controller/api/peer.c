/* SPDX-License-Identifier: GPL-2.0-or-later */
/* /peers: controller to controller. A peer may look at this lab, ask it into a join, ask it for VMs; never more: each
 * of these is judged here again, by this lab's own store (the veto). All requests are idempotent, because the other
 * side repeats them until it hears an answer.
 *
 * /boot/probe is what a join's probes fetch from gateway to gateway, over the plain listener, since no certificate
 * names an address that exists for one night. */
#include "controller/api/route.h"

#include "controller/api/present.h"
#include "controller/drive/clusters.h"
#include "controller/drive/joins.h"
#include "controller/drive/labdoc.h"
#include "controller/drive/parts.h"
#include "controller/plan/join.h"
#include "controller/store/cluster.h"
#include "controller/store/join.h"
#include "controller/store/night.h"
#include "controller/store/vm.h"
#include "lib/clock.h"

enum { JOIN_MAX = 64 << 10, PART_MAX = 16 << 20, WAIT_MS = 12000 };

static int lab_get(const struct api_request *request, struct api_answer *ret_answer, struct error **err)
{
	struct lab_document document = {0};
	int r = labdoc_self(request->controller, &document, err);
	if (r < 0)
		return r;
	ret_answer->status = 200;
	ret_answer->body = lab_document_write(&document);
	lab_document_done(&document);
	return 0;
}

/* Joins */

static int veto_join(struct controller *controller, const struct join *join, struct error **err)
{
	const struct config *config = &controller->config;
	const struct join_member *self = join_member_of(join, config->lab);
	struct prefixes taken = {0};
	struct night night = {0};
	char text[PREFIX4_TEXT];
	if (!self)
		return error_field(err, -EINVAL, "members", "Lab %s is no member of this join.", config->lab);
	if (self->uplink.host != config->uplink_address.host)
		return error_field(
			err, -EINVAL, "members", "The uplink address of lab %s is another one.", config->lab);
	if (!prefix4_contains(config->cluster_net, join->net.address) || join->net.len < config->cluster_net.len)
		return error_field(err, -EBUSY, "net", "The net is outside this lab's cluster_net %s.",
			prefix4_format(config->cluster_net, text));
	bool runs = store_night_current(controller->store, &night, NULL) >= 0 && night.state == NIGHT_RUNNING;
	night_done(&night);
	if (!runs)
		return error_make(err, -EBUSY, "no night runs in lab %s now", config->lab);
	int r = join_taken(controller, join->id, &taken, err);
	if (r >= 0)
		r = plan_join_check(join, &taken, err);
	vec_done(&taken);
	return r;
}

static bool same_members(const struct join *a, const struct join *b)
{
	if (a->members.n != b->members.n || a->net.address.host != b->net.address.host || a->net.len != b->net.len)
		return false;
	vec_each (struct join_member, member, &a->members) {
		const struct join_member *other = join_member_of(b, member->lab);
		if (!other || other->uplink.host != member->uplink.host ||
			other->cluster_net.address.host != member->cluster_net.address.host)
			return false;
	}
	return true;
}

/* A new one is judged and kept; a commit moves a prepared one on; all else is a repetition. */
static int take_join(struct controller *controller, struct join *asked, struct error **err)
{
	struct join there = {0};
	enum join_state to = asked->state;
	int r = store_join_get(controller->store, asked->id, &there, NULL);
	bool over = r >= 0 && (there.state == JOIN_WITHDRAWN || there.state == JOIN_FAILED);
	if (to == JOIN_COMMITTED && (r == -ENOENT || over)) {
		join_done(&there);
		return error_make(err, -ENOENT, "join %s is not prepared here (any more)", asked->id);
	}
	if (r == -ENOENT) {
		r = veto_join(controller, asked, err);
		asked->state = JOIN_PROPOSED;
		return r < 0 ? r : store_join_put(controller->store, asked, err);
	}
	if (r >= 0 && (strcmp(there.coordinator, asked->coordinator) != 0 || !same_members(&there, asked)))
		r = error_make(err, -EEXIST, "another join has the id %s here", asked->id);
	else if (over)
		r = 0; /* the answer says so; an id is never used twice */
	else if (r >= 0 && to == JOIN_COMMITTED && there.state != JOIN_COMMITTED) {
		r = store_join_set_expires(controller->store, asked->id, asked->expires, err);
		if (r >= 0)
			r = store_join_set_state(controller->store, asked->id, JOIN_COMMITTED, NULL, err);
	} else if (r >= 0 && to == JOIN_PREPARED && there.state != JOIN_COMMITTED) {
		r = store_join_set_expires(controller->store, asked->id, asked->expires, err);
	}
	join_done(&there);
	return r;
}

static json_t *share_json(struct controller *controller, const struct join *join)
{
	const struct join_member *self = join_member_of(join, controller->config.lab);
	enum join_state state = self ? self->state : join->state;
	if (state != JOIN_WITHDRAWN && (join->state == JOIN_FAILED || join->state == JOIN_WITHDRAWN))
		state = JOIN_FAILED;
	return json_pack("{s:s, s:s}", "state", join_state_names[state], "reason", join->reason ? join->reason : "");
}

/* The share's state once it is what was asked for, or failed, or the wait is over. */
static int answer_share(const struct api_request *request, enum join_state wanted, struct api_answer *ret_answer,
	struct error **err)
{
	struct controller *controller = request->controller;
	struct join join = {0};
	int r = store_join_get(controller->store, request->params[0], &join, err);
	if (r < 0)
		return r;
	const struct join_member *self = join_member_of(&join, controller->config.lab);
	bool over = join.state == JOIN_FAILED || join.state == JOIN_WITHDRAWN;
	bool there = !self || self->state == wanted || (over && wanted != JOIN_WITHDRAWN);
	if (!there && !request->waited) {
		ret_answer->status = 0;
		ret_answer->wait_topic = xasprintf("join/%s", join.id);
		ret_answer->wait_ms = WAIT_MS;
	} else {
		ret_answer->status = 200;
		ret_answer->body = share_json(controller, &join);
	}
	join_done(&join);
	return 0;
}

static int join_put(const struct api_request *request, struct api_answer *ret_answer, struct error **err)
{
	struct controller *controller = request->controller;
	struct join asked = {0};
	int r = request_peer_join_read(request->body, request->params[0], clock_wall(), &asked, err);
	if (r < 0)
		return r;
	enum join_state wanted = asked.state;
	r = request->waited ? 0 : take_join(controller, &asked, err);
	join_done(&asked);
	if (r < 0)
		return r;
	drive_kick(controller);
	return answer_share(request, wanted, ret_answer, err);
}

static int join_delete(const struct api_request *request, struct api_answer *ret_answer, struct error **err)
{
	struct controller *controller = request->controller;
	struct join join = {0};
	int r = join_get_shared(controller, request->params[0], &join, err);
	if (r < 0)
		return r;
	r = join_withdraw(controller, &join, "ended by its coordinator", err);
	join_done(&join);
	return r < 0 ? r : answer_share(request, JOIN_WITHDRAWN, ret_answer, err);
}

static int probe_post(const struct api_request *request, struct api_answer *ret_answer, struct error **err)
{
	struct controller *controller = request->controller;
	struct join join = {0};
	struct task_result result;
	const char *to = json_string_value(json_object_get(request->body, "to"));
	json_int_t port = json_integer_value(json_object_get(request->body, "port"));
	int r = store_join_get(controller->store, request->params[0], &join, err);
	if (r < 0)
		return r;
	if (!to || port < 1 || port > 65535 || json_object_size(request->body) != 2)
		r = error_field(err, -EINVAL, "to", "Give \"to\" (a lab) and \"port\".");
	else if (!join_member_of(&join, to) || !join_member_of(&join, controller->config.lab))
		r = error_field(err, -EINVAL, "to", "Lab %s is no member of this join.", to);
	if (r >= 0 && join_probe(controller->drive, &join, to, (uint16_t)port, &result)) {
		ret_answer->status = 200;
		ret_answer->body = json_deep_copy(result.answer);
	} else if (r >= 0 && !request->waited) {
		ret_answer->status = 0;
		ret_answer->wait_topic = join_probe_topic(&join, to);
		ret_answer->wait_ms = 2 * WAIT_MS;
	} else if (r >= 0) {
		r = error_make(err, -ETIMEDOUT, "the probe of lab %s is not done yet", to);
	}
	join_done(&join);
	return r;
}

/* Clusters */

static int answer_part(struct controller *controller, const char *name, int status, struct api_answer *ret_answer,
	struct error **err)
{
	struct cluster cluster = {0};
	struct vm_filter filter = {.cluster = name};
	struct vms vms = {0};
	int r = store_cluster_get(controller->store, name, &cluster, err);
	if (r >= 0)
		r = store_vm_list(controller->store, &filter, &vms, err);
	if (r >= 0) {
		ret_answer->status = status;
		ret_answer->body = json_pack("{s:s, s:s, s:o}", "name", name, "state",
			cluster_state_names[cluster.state], "vms", present_vms(&vms));
	}
	cluster_done(&cluster);
	vms_done(&vms);
	return r;
}

static int part_of_peer(struct controller *controller, const char *name, struct cluster *ret_cluster,
	struct error **err)
{
	int r = store_cluster_get(controller->store, name, ret_cluster, err);
	if (r >= 0 && strcmp(ret_cluster->home, controller->config.lab) == 0) {
		cluster_done(ret_cluster);
		return error_make(err, -ENOENT, "no other lab has a cluster %s here", name);
	}
	return r;
}

static int cluster_put(const struct api_request *request, struct api_answer *ret_answer, struct error **err)
{
	struct request_part part = {0};
	int r = request_part_read(request->body, &part, err);
	if (r < 0)
		return r;
	r = part_put(request->controller, request->params[0], &part, err);
	request_part_done(&part);
	return r < 0 ? r : answer_part(request->controller, request->params[0], 200, ret_answer, err);
}

static int cluster_get(const struct api_request *request, struct api_answer *ret_answer, struct error **err)
{
	struct cluster cluster = {0};
	int r = part_of_peer(request->controller, request->params[0], &cluster, err);
	cluster_done(&cluster);
	return r < 0 ? r : answer_part(request->controller, request->params[0], 200, ret_answer, err);
}

static int cluster_delete(const struct api_request *request, struct api_answer *ret_answer, struct error **err)
{
	struct cluster cluster = {0};
	int r = part_of_peer(request->controller, request->params[0], &cluster, err);
	if (r < 0)
		return r;
	r = cluster_close(request->controller, &cluster, "closed by its home lab", err);
	cluster_done(&cluster);
	return r < 0 ? r : answer_part(request->controller, request->params[0], 202, ret_answer, err);
}

static int boot_probe(const struct api_request *request, struct api_answer *ret_answer, struct error **err)
{
	(void)request;
	(void)err;
	ret_answer->status = 200;
	ret_answer->text = xcalloc(PROBE_BYTES + 1, 1);
	memset(ret_answer->text, 'n', PROBE_BYTES);
	ret_answer->text_len = PROBE_BYTES;
	ret_answer->content_type = "application/octet-stream";
	return 0;
}

static const struct route rows[] = {
	{"GET", "/api/v1/peers/lab", ROLE_PEER, 0, 0, NULL, lab_get, "what this lab tells other labs"},
	{"PUT", "/api/v1/peers/joins/{id}", ROLE_PEER, ROUTE_JSON, JOIN_MAX, NULL, join_put,
		"prepares or commits this lab's share of a join"},
	{"DELETE", "/api/v1/peers/joins/{id}", ROLE_PEER, 0, 0, NULL, join_delete, "lets this lab's share go"},
	{"POST", "/api/v1/peers/joins/{id}/probe", ROLE_PEER, ROUTE_JSON, JOIN_MAX, NULL, probe_post,
		"probes another member from here"},
	{"PUT", "/api/v1/peers/clusters/{name}", ROLE_PEER, ROUTE_JSON, PART_MAX, NULL, cluster_put,
		"promises or starts VMs of another lab's cluster"},
	{"GET", "/api/v1/peers/clusters/{name}", ROLE_PEER, 0, 0, NULL, cluster_get,
		"states of another lab's VMs here"},
	{"DELETE", "/api/v1/peers/clusters/{name}", ROLE_PEER, 0, 0, NULL, cluster_delete,
		"closes this lab's part of another lab's cluster"},
	{"GET", "/boot/probe", ROLE_NOBODY, ROUTE_BOOT, 0, NULL, boot_probe, "bytes for the probes of a join"},
};
const struct routes routes_peer = {rows, ARRAY_LEN(rows)};
