/* SPDX-License-Identifier: GPL-2.0-or-later */
/* request -> context -> plan -> store, for a cluster.
 *
 * Everything that makes the VMs what they are (place, addresses, keys, contexts) is decided here at once and kept in
 * one transaction; from then on rethink() only carries it out. VMs of a cluster that spans labs are kept as not yet
 * wanted: nothing starts anywhere before every lab has accepted its part, so a refusal can be answered by planning
 * anew without the lab, and no half cluster is left running. */
#include "controller/drive/deploy.h"

#include "controller/drive/context.h"
#include "controller/drive/keys.h"
#include "controller/store/cluster.h"
#include "controller/store/image.h"
#include "controller/store/pc.h"
#include "controller/store/publish.h"
#include "controller/store/vm.h"
#include "lib/clock.h"
#include "lib/hash.h"
#include "lib/log.h"

enum { DEFAULT_CPUS = 1, DEFAULT_MEMORY_MIB = 512 };

void deployed_done(struct deployed *deployed)
{
	cluster_done(&deployed->cluster);
	vms_done(&deployed->vms);
}

static int from_request(struct controller *controller, const struct request_cluster *request, const char *owner,
	struct cluster *ret_cluster, struct error **err)
{
	const char *name = request->image ? request->image : "mpi";
	struct image image = {0};
	int r = request->has_revision
			? store_image_get(controller->store, name, request->revision, &image, err)
			: store_image_published(controller->store, name, &image, err);
	if (r < 0) {
		if (err && *err && !(*err)->field)
			(*err)->field = xstrdup("image");
		return r;
	}
	*ret_cluster = (struct cluster){.name = xstrdup(request->name),
		.owner = xstrdup(request->owner ? request->owner : owner),
		.home = xstrdup(controller->config.lab),
		.image = TAKE_PTR(image.digest),
		.image_name = TAKE_PTR(image.name),
		.revision = image.revision,
		.n = request->n,
		.cpus = request->has_cpus ? request->cpus : DEFAULT_CPUS,
		.memory_mib = request->has_memory_mib ? request->memory_mib : DEFAULT_MEMORY_MIB,
		.policy = xstrdup(place_policy_names[request->policy]),
		.state = CLUSTER_DEPLOYING,
		.created = clock_wall(),
		.reason = xstrdup("")};
	image_done(&image);
	return 0;
}

static bool closed(const struct cluster *cluster)
{
	return cluster->state == CLUSTER_CLOSED || cluster->state == CLUSTER_FAILED;
}

static bool same(const struct cluster *a, const struct cluster *b)
{
	return a->n == b->n && a->cpus == b->cpus && a->memory_mib == b->memory_mib &&
	       strcmp(a->owner, b->owner) == 0 && strcmp(a->policy, b->policy) == 0 &&
	       strcmp(a->image_name, b->image_name) == 0 && strcmp(a->home, b->home) == 0 &&
	       a->state != CLUSTER_CLOSING;
}

/* What to do about a cluster in the way. One that is closing may wait for a person: a VM's reason says for what. */
static char *way_out(struct controller *controller, const struct cluster *cluster)
{
	struct vm_filter filter = {.cluster = cluster->name};
	struct vms vms = {0};
	char *text = NULL;
	if (cluster->state != CLUSTER_CLOSING)
		return xstrdup("close it first");
	if (store_vm_list(controller->store, &filter, &vms, NULL) >= 0)
		vec_each (struct vm, vm, &vms)
			if (!text && vm->state == VM_FAILED && strstr(vm->reason, "`nightclass pc release "))
				text = xasprintf("%s: %s", vm->id, vm->reason);
	vms_done(&vms);
	return text ? text : xstrdup("it is free again when that is done");
}

/* 1: the same cluster is there (and in ret_deployed); 0: the name is free now, or, with `dry`, would be. When no
 * revision was named, one that was begun before another revision was published is the same. */
static int look_for(struct controller *controller, const struct cluster *cluster, bool any_revision, bool dry,
	struct deployed *ret_deployed, struct error **err)
{
	struct cluster there = {0};
	int r = store_cluster_get(controller->store, cluster->name, &there, NULL);
	if (r == -ENOENT)
		return 0;
	if (r < 0)
		return error_make(err, r, "cluster %s cannot be read", cluster->name);
	if (closed(&there)) {
		cluster_done(&there);
		return dry ? 0 : store_cluster_delete(controller->store, cluster->name, err);
	}
	if (!same(&there, cluster) || (!any_revision && there.revision != cluster->revision)) {
		auto_free char *next = way_out(controller, &there);
		r = error_field(err, -EEXIST, "name",
			"cluster %s exists (%s, %llu VMs of %s, image %s revision %llu); %s", there.name,
			cluster_state_names[there.state], (unsigned long long)there.n, there.owner,
			there.image_name, (unsigned long long)there.revision, next);
		cluster_done(&there);
		return r;
	}
	struct vm_filter filter = {.cluster = cluster->name};
	ret_deployed->cluster = there;
	ret_deployed->known = true;
	r = store_vm_list(controller->store, &filter, &ret_deployed->vms, err);
	return r < 0 ? r : 1;
}

static bool spans(struct controller *controller, const struct vms *vms)
{
	vec_each (struct vm, vm, vms)
		if (strcmp(vm->lab, controller->config.lab) != 0)
			return true;
	return false;
}

static char *keys_text(const struct cluster_keys *keys, const char *known_hosts)
{
	auto_json json_t *json = json_pack("{s:s, s:s, s:s}", "user_key", keys->user.secret, "user_key_pub",
		keys->user.public, "known_hosts", known_hosts);
	return json_text(json);
}

static int keep_vms(struct controller *controller, struct vms *vms, struct error **err)
{
	bool wanted = !spans(controller, vms);
	int r = 0;
	vec_each (struct vm, vm, vms) {
		vm->wanted = wanted;
		if (r >= 0)
			r = store_vm_insert(controller->store, vm, err);
		if (r >= 0 && wanted)
			r = store_pc_bump(controller->store, vm->pc, NULL, err);
	}
	return r;
}

/* Plan with the context, then keys and contexts; writes the cluster's keys, join and night. */
static int work_out(struct cluster *cluster, struct cluster_context *context, struct vms *ret_vms,
	struct error **err)
{
	int r = plan_cluster(cluster, &context->net, &context->pcs, &context->taken, ret_vms, err);
	if (r < 0 && context->left_out.len > 0 && err && *err) {
		auto_free char *text = (*err)->text;
		(*err)->text = xasprintf("%s%s", text, context->left_out.text);
	}
	if (r < 0)
		return r;
	struct cluster_keys keys = {0};
	keys_make(cluster->name, ret_vms, &keys);
	auto_free char *nonce = random_hex(4);
	plan_contexts(cluster, &context->net, &keys, nonce, ret_vms);
	auto_free char *known = plan_known_hosts(ret_vms, &keys);
	free(cluster->keys);
	cluster->keys = keys_text(&keys, known);
	cluster_keys_done(&keys);
	free(cluster->join);
	cluster->join = join_is_shared(&context->net) ? xstrdup(context->net.id) : NULL;
	cluster->night = context->night.id;
	return 0;
}

static int plan_new(struct controller *controller, struct cluster *cluster, const char *join, bool keep,
	struct vms *ret_vms, struct error **err)
{
	struct cluster_context context = {0};
	int r = cluster_context(controller, cluster, join, NULL, keep, &context, err);
	if (r < 0)
		return r;
	r = work_out(cluster, &context, ret_vms, err);
	cluster_context_done(&context);
	if (r >= 0 && keep)
		r = store_cluster_insert(controller->store, cluster, err);
	if (r >= 0 && keep)
		r = keep_vms(controller, ret_vms, err);
	return r;
}

/* What labs refused to an earlier cluster of this name says nothing of this one. */
static void forget_vetoes(struct controller *controller, const char *cluster)
{
	struct strings *vetoes = &controller->drive->vetoes;
	auto_free char *prefix = xasprintf("%s/", cluster);
	for (size_t i = vetoes->n; i-- > 0;)
		if (str_starts(vetoes->at[i], prefix)) {
			free(vetoes->at[i]);
			vec_remove(vetoes, i);
		}
}

int deploy_new(struct controller *controller, const struct request_cluster *request, const char *owner, bool dry,
	struct deployed *ret_deployed, struct error **err)
{
	struct deployed deployed = {0};
	struct cluster cluster = {0};
	int r = from_request(controller, request, owner, &cluster, err);
	if (r < 0)
		return r;
	r = look_for(controller, &cluster, !request->has_revision, dry, &deployed, err);
	if (r == 0) {
		deployed.cluster = cluster;
		cluster = (struct cluster){0};
		if (!dry)
			forget_vetoes(controller, deployed.cluster.name);
		r = plan_new(controller, &deployed.cluster, request->join, !dry, &deployed.vms, err);
	}
	cluster_done(&cluster);
	if (r < 0) {
		deployed_done(&deployed);
		return r;
	}
	drive_kick(controller);
	*ret_deployed = deployed;
	return 0;
}

static int delete_vms(struct controller *controller, const char *cluster, struct error **err)
{
	struct vm_filter filter = {.cluster = cluster};
	struct vms vms = {0};
	int r = store_vm_list(controller->store, &filter, &vms, err);
	vec_each (struct vm, vm, &vms)
		if (r >= 0)
			r = store_vm_delete(controller->store, vm->id, err);
	vms_done(&vms);
	return r;
}

int deploy_fail(struct controller *controller, struct cluster *cluster, const char *reason, struct error **err)
{
	int r = delete_vms(controller, cluster->name, err);
	if (r >= 0)
		r = store_cluster_set_keys(controller->store, cluster->name, NULL, err);
	if (r >= 0)
		r = store_cluster_set_state(controller->store, cluster->name, CLUSTER_FAILED, reason, err);
	cluster->state = CLUSTER_FAILED;
	log_warning("cluster %s: failed: %s", cluster->name, reason);
	return r;
}

/* The old plan goes first: what it took is room for the new one. */
static int plan_anew(struct controller *controller, struct cluster *cluster, struct error **err)
{
	struct cluster_context context = {0};
	struct vms vms = {0};
	int r = delete_vms(controller, cluster->name, err);
	if (r < 0)
		return r;
	r = cluster_context(
		controller, cluster, cluster->join, &controller->drive->vetoes, true, &context, err);
	if (r < 0)
		return r;
	r = work_out(cluster, &context, &vms, err);
	cluster_context_done(&context);
	if (r >= 0)
		r = store_cluster_set_keys(controller->store, cluster->name, cluster->keys, err);
	if (r >= 0)
		r = keep_vms(controller, &vms, err);
	vms_done(&vms);
	return r;
}

int deploy_again(struct controller *controller, struct cluster *cluster, const char *lab, const char *why,
	struct error **err)
{
	auto_error struct error *no = NULL;
	vec_push(&controller->drive->vetoes, xasprintf("%s/%s", cluster->name, lab));
	auto_free char *refusal = xasprintf("lab %s refused its part: %s", lab, why);
	log_notice("cluster %s: %s", cluster->name, refusal);
	int r = plan_anew(controller, cluster, &no);
	if (r >= 0)
		return store_cluster_set_state(
			controller->store, cluster->name, CLUSTER_DEPLOYING, refusal, err);
	auto_free char *reason = xasprintf("%s; without it: %s", refusal, error_text(no, r));
	return deploy_fail(controller, cluster, reason, err);
}
