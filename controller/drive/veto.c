/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Another lab's controller asks this lab to run VMs on its PCs.
 *
 * The answer is this lab's alone: it is given from its own store, not from what the other one believed. The join must
 * be live here and the addresses inside our subnet of it, the image must be ours already, the PCs must be hosts with
 * that room free. Anything else is refused with a sentence (the veto), and the home lab plans anew. The same
 * request again changes nothing; a request with other VMs replaces what has only been promised. A promise that
 * nobody starts is dropped after three minutes (drive/clusters). */
#include "controller/drive/parts.h"

#include "controller/drive/joins.h"
#include "controller/plan/addr.h"
#include "controller/plan/place.h"
#include "controller/drive/labdoc.h"
#include "controller/store/cluster.h"
#include "controller/store/image.h"
#include "controller/store/night.h"
#include "controller/store/pc.h"
#include "controller/store/vm.h"
#include "lib/clock.h"

/* The VM as its document says, checked against where it is to run. */
static int read_vm(struct controller *controller, const char *cluster, const struct request_part_vm *from,
	const struct prefix4 *subnet, struct vm *ret_vm, struct error **err)
{
	auto_json json_t *array = json_array();
	struct proto_vms one = {0};
	json_array_append(array, from->vm);
	int r = proto_vms_read(array, &one, err);
	if (r < 0)
		return r;
	const struct proto_vm *vm = &one.at[0];
	auto_free char *id = xasprintf("%s-%03llu", cluster, (unsigned long long)from->number);
	if (strcmp(vm->id, id) != 0 || strcmp(vm->context.hostname, id) != 0)
		r = error_field(err, -EINVAL, "vms", "VM %s must be called %s", vm->id, id);
	else if (!prefix4_contains(*subnet, vm->context.address.address) ||
		 vm->context.address.len != subnet->len ||
		 vm->context.gateway.host != addr_gateway(*subnet).address.host)
		r = error_field(err, -EINVAL, "vms", "VM %s has an address outside this lab's subnet", id);
	if (r >= 0)
		*ret_vm = (struct vm){.id = TAKE_PTR(id),
			.cluster = xstrdup(cluster),
			.number = from->number,
			.lab = xstrdup(controller->config.lab),
			.pc = xstrdup(from->pc),
			.mac = vm->context.mac,
			.ip = vm->context.address,
			.context = json_text(from->vm),
			.reason = xstrdup("")};
	proto_vms_done(&one);
	return r;
}

/* How many of the part's VMs are meant for this PC? */
static uint64_t count_on(const struct request_part *part, const char *pc)
{
	uint64_t n = 0;
	vec_each (struct request_part_vm, vm, &part->vms)
		n += strcmp(vm->pc, pc) == 0;
	return n;
}

static int check_room(struct controller *controller, const struct request_part *part, struct error **err)
{
	struct lab_document self = {0};
	struct place_request size = {.n = part->n, .cpus = part->cpus, .memory_mib = part->memory_mib};
	int r = labdoc_self(controller, &self, err);
	vec_each (struct request_part_vm, vm, &part->vms) {
		const struct lab_host *host = NULL;
		if (r < 0)
			break;
		vec_each (struct lab_host, candidate, &self.hosts)
			if (strcmp(candidate->pc, vm->pc) == 0)
				host = candidate;
		if (!host) {
			r = error_field(err, -EBUSY, "vms", "%s is not a host now", vm->pc);
			break;
		}
		struct place_pc room = {.cpus = host->free_cpus, .memory_mib = host->free_memory_mib};
		if (place_fits(&room, &size) < count_on(part, vm->pc))
			r = error_field(err, -EBUSY, "vms", "%s has room for %llu more VMs of this size, not %llu",
				vm->pc, (unsigned long long)place_fits(&room, &size),
				(unsigned long long)count_on(part, vm->pc));
	}
	lab_document_done(&self);
	return r;
}

static int check_image(struct controller *controller, const struct request_part *part, struct error **err)
{
	struct image image = {0};
	int r = store_image_by_digest(controller->store, part->image, &image, NULL);
	image_done(&image);
	if (r < 0)
		return error_field(err, -EBUSY, "image", "lab %s does not have the image %s/%llu",
			controller->config.lab, part->image_name, (unsigned long long)part->revision);
	return 0;
}

/* Any member of the join may be home, not only its coordinator. A peer's token is not bound to a lab's name, so this
 * is the asker's word; whoever has a token is one of the labs that an administrator here trusts. */
static int check_home(const struct request_part *part, const struct join *join, struct error **err)
{
	if (join_member_of(join, part->home))
		return 0;
	return error_field(err, -EINVAL, "home", "lab %s is no member of join %s", part->home, join->id);
}

static int insert(struct controller *controller, const char *name, const struct request_part *part,
	const struct night *night, const struct prefix4 *subnet, struct error **err)
{
	struct cluster cluster = {.name = (char *)name,
		.owner = part->owner,
		.home = part->home,
		.image = part->image,
		.image_name = part->image_name,
		.revision = part->revision,
		.n = part->n,
		.cpus = part->cpus,
		.memory_mib = part->memory_mib,
		.policy = (char *)place_policy_names[part->policy],
		.join = part->join,
		.night = night->id,
		.state = CLUSTER_DEPLOYING,
		.created = clock_wall(),
		.reason = (char *)""};
	int r = store_cluster_insert(controller->store, &cluster, err);
	vec_each (struct request_part_vm, from, &part->vms) {
		struct vm vm = {0};
		if (r >= 0)
			r = read_vm(controller, name, from, subnet, &vm, err);
		if (r >= 0)
			r = store_vm_insert(controller->store, &vm, err);
		vm_done(&vm);
	}
	return r;
}

static int start(struct controller *controller, const char *name, struct error **err)
{
	struct vm_filter filter = {.cluster = name};
	struct vms vms = {0};
	int r = store_vm_list(controller->store, &filter, &vms, err);
	vec_each (struct vm, vm, &vms) {
		if (r < 0 || vm->wanted)
			continue;
		r = store_vm_set_wanted(controller->store, vm->id, true, err);
		if (r >= 0)
			r = store_pc_bump(controller->store, vm->pc, NULL, err);
	}
	vms_done(&vms);
	return r;
}

/* 1: the part is here already, VM for VM; 0: there is none (any more). */
static int look_for(struct controller *controller, const char *name, const struct request_part *part,
	struct error **err)
{
	struct cluster there = {0};
	struct vm_filter filter = {.cluster = name};
	struct vms vms = {0};
	if (store_cluster_get(controller->store, name, &there, NULL) < 0)
		return 0;
	bool others = strcmp(there.home, part->home) != 0;
	bool over = there.state == CLUSTER_CLOSED || there.state == CLUSTER_FAILED;
	bool closing = there.state == CLUSTER_CLOSING;
	cluster_done(&there);
	if ((others && !over) || closing)
		return error_field(err, -EEXIST, "name", "lab %s has a cluster of the name %s%s",
			controller->config.lab, name, closing ? " that is closing" : "");
	int r = store_vm_list(controller->store, &filter, &vms, err);
	bool same = r >= 0 && vms.n == part->vms.n && !over, wanted = false;
	for (size_t i = 0; r >= 0 && i < vms.n; i++) {
		auto_free char *text = i < part->vms.n ? json_text(part->vms.at[i].vm) : NULL;
		same = same && text && strcmp(text, vms.at[i].context) == 0;
		wanted = wanted || vms.at[i].wanted;
	}
	vms_done(&vms);
	if (r < 0 || same)
		return r < 0 ? r : 1;
	if (wanted)
		return error_field(err, -EEXIST, "name", "cluster %s runs already with other VMs", name);
	return store_cluster_delete(controller->store, name, err);
}

int part_put(struct controller *controller, const char *name, const struct request_part *part, struct error **err)
{
	struct join join = {0};
	struct night night = {0};
	if (strcmp(part->home, controller->config.lab) == 0) /* our own clusters are not a peer's to change */
		return error_field(err, -EINVAL, "home", "lab %s is this lab itself", part->home);
	int r = look_for(controller, name, part, err);
	if (r == 1)
		return part->go ? start(controller, name, err) : 0;
	if (r >= 0)
		r = join_live(controller, part->join, &join, err);
	if (r >= 0)
		r = check_home(part, &join, err);
	if (r >= 0 && (store_night_current(controller->store, &night, NULL) < 0 || night.state != NIGHT_RUNNING))
		r = error_make(err, -EBUSY, "no night runs in lab %s now", controller->config.lab);
	if (r >= 0)
		r = check_image(controller, part, err);
	if (r >= 0)
		r = check_room(controller, part, err);
	if (r >= 0)
		r = insert(controller, name, part, &night,
			&join_member_of(&join, controller->config.lab)->cluster_net, err);
	if (r >= 0 && part->go)
		r = start(controller, name, err);
	join_done(&join);
	night_done(&night);
	drive_kick(controller);
	return r;
}
