/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The home lab's side of a cluster that spans labs.
 *
 * Two rounds, because a lab may refuse: first each lab is offered its VMs ("promise the room"), then all are told to
 * start. In the store a VM elsewhere is absent until its lab accepted, waiting after that; it is wanted from the
 * moment all labs accepted. From then on the labs' answers are polled and kept as seen. A lab that cannot be asked is
 * asked again for a minute and then planned around; once started, silence changes nothing: unknown is not absent. */
#include "controller/drive/parts.h"

#include "controller/drive/deploy.h"
#include "controller/drive/peers.h"
#include "controller/plan/place.h"
#include "controller/store/pc.h"
#include "controller/store/vm.h"
#include "lib/clock.h"
#include "lib/log.h"

enum { RETRY_MS = 3000, POLL_MS = 2000, OFFER_S = 60 };

static bool elsewhere(struct drive *drive, const struct vm *vm)
{
	return strcmp(vm->lab, drive->controller->config.lab) != 0;
}

/* Is this VM the first of its lab in the list? */
static bool first_of_lab(const struct vms *vms, const struct vm *vm)
{
	vec_each (struct vm, other, vms) {
		if (other == vm)
			return true;
		if (strcmp(other->lab, vm->lab) == 0)
			return false;
	}
	return false;
}

static json_t *part_of(const struct cluster *cluster, const struct vms *vms, const char *lab, bool go)
{
	struct request_part part = {.go = go,
		.home = cluster->home,
		.owner = cluster->owner,
		.image = cluster->image,
		.image_name = cluster->image_name,
		.join = cluster->join,
		.revision = cluster->revision,
		.n = cluster->n,
		.cpus = cluster->cpus,
		.memory_mib = cluster->memory_mib,
		.policy = place_policy_of(cluster->policy)};
	vec_each (struct vm, vm, vms) {
		json_t *document = NULL;
		if (strcmp(vm->lab, lab) != 0 ||
			json_parse_object(vm->context, strlen(vm->context), &document, NULL) < 0)
			continue;
		vec_push(&part.vms, ((struct request_part_vm){vm->pc, vm->number, document}));
	}
	json_t *json = request_part_write(&part);
	vec_each (struct request_part_vm, vm, &part.vms)
		json_decref(vm->vm);
	vec_done(&part.vms);
	return json;
}

/* PUT of one lab's part, once per content. */
static bool put_part(struct drive *drive, const struct cluster *cluster, const struct vms *vms, const char *lab,
	bool go, struct task_result *ret_result)
{
	json_t *body = part_of(cluster, vms, lab, go);
	auto_free char *identity = json_text(body);
	auto_free char *name = xasprintf("%s/cluster/%s", lab, cluster->name);
	auto_free char *path = xasprintf("/peers/clusters/%s", cluster->name);
	return peer_want(drive, name, lab, "PUT", path, body, identity, 0, RETRY_MS, ret_result);
}

static int accepted(struct drive *drive, const struct vms *vms, const char *lab, struct error **err)
{
	int r = 0;
	vec_each (struct vm, vm, vms)
		if (r >= 0 && strcmp(vm->lab, lab) == 0) {
			vm->state = VM_WAITING;
			r = store_vm_set_seen(drive->controller->store, vm->id, VM_WAITING, NULL, 0, err);
		}
	return r;
}

static int settle(struct drive *drive, const struct cluster *cluster, const struct vms *vms, struct error **err)
{
	struct store *store = drive->controller->store;
	int r = 0;
	vec_each (struct vm, vm, vms) {
		if (r >= 0)
			r = store_vm_set_wanted(store, vm->id, true, err);
		if (r >= 0 && !elsewhere(drive, vm))
			r = store_pc_bump(store, vm->pc, NULL, err);
	}
	log_info("cluster %s: all labs accepted their parts", cluster->name);
	return r;
}

int parts_offer(struct drive *drive, struct cluster *cluster, const struct vms *vms, struct error **err)
{
	bool all = true;
	int r = 0;
	vec_each (struct vm, vm, vms) {
		struct task_result result;
		if (r < 0 || !elsewhere(drive, vm) || vm->state != VM_ABSENT || !first_of_lab(vms, vm))
			continue;
		bool known = put_part(drive, cluster, vms, vm->lab, false, &result);
		bool late = clock_wall() > cluster->created + OFFER_S;
		if (known && result.code < 0 && (peer_refused(&result) || late))
			return deploy_again(drive->controller, cluster, vm->lab, result.text, err);
		if (known && result.code >= 0)
			r = accepted(drive, vms, vm->lab, err);
		else
			all = false;
	}
	if (r >= 0 && all)
		r = settle(drive, cluster, vms, err);
	return r;
}

static int keep_state(struct drive *drive, const struct vms *vms, const char *lab, const json_t *row,
	struct error **err)
{
	const char *id = json_string_value(json_object_get(row, "id"));
	const char *state = json_string_value(json_object_get(row, "state"));
	const char *reason = json_string_value(json_object_get(row, "reason"));
	json_int_t ready_ms = json_integer_value(json_object_get(row, "ready_ms"));
	vec_each (struct vm, vm, vms) {
		if (!id || !state || strcmp(vm->id, id) != 0 || strcmp(vm->lab, lab) != 0)
			continue;
		for (int i = 0; proto_vm_state_names[i]; i++)
			if (strcmp(proto_vm_state_names[i], state) == 0)
				return store_vm_set_seen(drive->controller->store, vm->id,
					(enum proto_vm_state)i, reason && text_ok(reason, 1000) ? reason : NULL,
					ready_ms > 0 ? (uint64_t)ready_ms : 0, err);
	}
	return 0;
}

static int keep_states(struct drive *drive, const struct vms *vms, const char *lab, const json_t *answer,
	struct error **err)
{
	size_t i;
	const json_t *row;
	int r = 0;
	json_array_foreach (json_object_get(answer, "vms"), i, row)
		if (r >= 0)
			r = keep_state(drive, vms, lab, row, err);
	return r;
}

static int fail_lab(struct drive *drive, const struct vms *vms, const char *lab, const char *reason,
	struct error **err)
{
	int r = 0;
	vec_each (struct vm, vm, vms)
		if (r >= 0 && strcmp(vm->lab, lab) == 0)
			r = store_vm_set_seen(drive->controller->store, vm->id, VM_FAILED, reason, 0, err);
	return r;
}

/* A lab that does not know its part any more (its night ended, say) runs none of it; one that is silent may. */
static int poll_lab(struct drive *drive, const struct cluster *cluster, const struct vms *vms, const char *lab,
	struct error **err)
{
	struct task_result result;
	auto_free char *name = xasprintf("%s/watch/%s", lab, cluster->name);
	auto_free char *path = xasprintf("/peers/clusters/%s", cluster->name);
	auto_free char *identity = xasprintf("watch since %lld", (long long)cluster->created);
	if (!peer_want(drive, name, lab, "GET", path, NULL, identity, POLL_MS, POLL_MS, &result))
		return 0;
	if (result.code == -ENOENT) {
		auto_free char *reason = xasprintf("lab %s ended its part of the cluster: %s", lab, result.text);
		return fail_lab(drive, vms, lab, reason, err);
	}
	return result.code < 0 ? 0 : keep_states(drive, vms, lab, result.answer, err);
}

int parts_follow(struct drive *drive, const struct cluster *cluster, const struct vms *vms, struct error **err)
{
	int r = 0;
	vec_each (struct vm, vm, vms) {
		struct task_result result;
		if (r < 0 || !elsewhere(drive, vm) || !first_of_lab(vms, vm))
			continue;
		if (!put_part(drive, cluster, vms, vm->lab, true, &result))
			continue;
		if (result.code >= 0)
			r = poll_lab(drive, cluster, vms, vm->lab, err);
		else if (peer_refused(&result))
			r = fail_lab(drive, vms, vm->lab, result.text, err);
	}
	return r;
}

int parts_close(struct drive *drive, const struct cluster *cluster, const struct vms *vms, bool give_up,
	struct error **err)
{
	int r = 0;
	vec_each (struct vm, vm, vms) {
		struct task_result result = {0};
		if (r < 0 || !elsewhere(drive, vm) || !first_of_lab(vms, vm))
			continue;
		auto_free char *name = xasprintf("%s/cluster/%s", vm->lab, cluster->name);
		auto_free char *path = xasprintf("/peers/clusters/%s", cluster->name);
		bool known = peer_want(
			drive, name, vm->lab, "DELETE", path, NULL, "close", POLL_MS, RETRY_MS, &result);
		const char *state = json_string_value(json_object_get(result.answer, "state"));
		bool gone = known && ((result.code >= 0 && state &&
					      strcmp(state, cluster_state_names[CLUSTER_CLOSED]) == 0) ||
					     result.code == -ENOENT);
		r = keep_states(drive, vms, vm->lab, result.answer, err);
		vec_each (struct vm, other, vms)
			if (r >= 0 && (gone || give_up) && strcmp(other->lab, vm->lab) == 0)
				r = store_vm_delete(drive->controller->store, other->id, err);
	}
	return r;
}
