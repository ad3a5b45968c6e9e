/* SPDX-License-Identifier: GPL-2.0-or-later */
/* From a request and the store to what a planner may know.
 *
 * Planners are pure, so everything they weigh must be in their hands: the net, the labs' documents (this lab's made
 * now, the others' as last heard), the addresses taken. What cannot be used is left out with the reason in a
 * sentence, because "no room" is only half an answer when a lab is unreachable or lacks the image. */
#include "controller/drive/context.h"

#include "controller/store/night.h"
#include "controller/store/vm.h"
#include "lib/clock.h"

static bool has(const struct strings *strings, const char *text)
{
	for (size_t i = 0; i < strings->n; i++)
		if (strcmp(strings->at[i], text) == 0)
			return true;
	return false;
}

static int running_night(struct controller *controller, struct night *ret_night, struct error **err)
{
	struct night night = {0};
	int r = store_night_current(controller->store, &night, NULL);
	if (r >= 0 && night.state == NIGHT_RUNNING) {
		*ret_night = night;
		return 0;
	}
	if (r >= 0)
		night_done(&night);
	return error_make(err, -EBUSY, "no night runs in lab %s now; begin one first (nightclass night start)",
		controller->config.lab);
}

static int find_net(struct controller *controller, const char *join, bool keep, struct cluster_context *context,
	struct error **err)
{
	int r = join_live(controller, join, &context->net, join ? err : NULL);
	if (r == -ENOENT && !join)
		r = join_alone(controller, &context->night, keep, &context->net, err);
	return r;
}

static void add_pcs(struct cluster_context *context, const struct lab_document *document, const char *digest)
{
	vec_each (struct lab_host, host, &document->hosts)
		vec_push(&context->pcs,
			((struct place_pc){.lab = document->name,
				.pc = host->pc,
				.cpus = host->free_cpus,
				.memory_mib = host->free_memory_mib,
				.holds = has(&host->images, digest)}));
}

/* This lab first, so that it wins ties. */
static void add_labs(struct controller *controller, const struct cluster *cluster, const struct strings *but,
	struct cluster_context *context)
{
	const char *self = controller->config.lab;
	for (int pass = 0; pass < 2; pass++)
		vec_each (struct join_member, member, &context->net.members) {
			auto_error struct error *why = NULL;
			auto_free char *veto = xasprintf("%s/%s", cluster->name, member->lab);
			struct lab_document document = {0};
			if ((strcmp(member->lab, self) == 0) != (pass == 0))
				continue;
			if (but && has(but, veto))
				continue;
			int r = labdoc_of(controller, member->lab, &document, &why);
			if (r < 0)
				buf_addf(&context->left_out, "; %s", error_text(why, r));
			else if (!has(&document.images, cluster->image))
				buf_addf(&context->left_out, "; lab %s does not have the image %s/%llu",
					member->lab, cluster->image_name,
					(unsigned long long)cluster->revision);
			else {
				vec_push(&context->documents, document);
				continue;
			}
			lab_document_done(&document);
		}
	vec_each (struct lab_document, document, &context->documents)
		add_pcs(context, document, cluster->image);
}

static int add_taken(struct controller *controller, const struct cluster *cluster,
	struct cluster_context *context, struct error **err)
{
	struct vms vms = {0};
	int r = store_vm_list(controller->store, NULL, &vms, err);
	vec_each (struct vm, vm, &vms) {
		if (strcmp(vm->cluster, cluster->name) == 0)
			continue;
		vec_push(&context->taken.macs, vm->mac);
		vec_push(&context->taken.ips, vm->ip.address);
	}
	vms_done(&vms);
	vec_each (struct lab_document, document, &context->documents)
		for (size_t i = 0; i < document->taken.n; i++) {
			struct ip4 ip;
			if (strcmp(document->name, controller->config.lab) != 0 &&
				ip4_parse(document->taken.at[i], &ip) == 0)
				vec_push(&context->taken.ips, ip);
		}
	return r;
}

int cluster_context(struct controller *controller, const struct cluster *cluster, const char *join,
	const struct strings *but, bool keep, struct cluster_context *ret_context, struct error **err)
{
	struct cluster_context context = {0};
	int r = running_night(controller, &context.night, err);
	if (r >= 0)
		r = find_net(controller, join, keep, &context, err);
	if (r >= 0) {
		add_labs(controller, cluster, but, &context);
		r = add_taken(controller, cluster, &context, err);
	}
	if (r < 0)
		cluster_context_done(&context);
	else
		*ret_context = context;
	return r;
}

void cluster_context_done(struct cluster_context *context)
{
	night_done(&context->night);
	join_done(&context->net);
	labdocs_done(&context->documents);
	vec_done(&context->pcs);
	addr_taken_done(&context->taken);
	buf_done(&context->left_out);
}

static int add_join_lab(struct controller *controller, const char *name, struct join_context *context,
	struct error **err)
{
	struct lab_document document = {0};
	int r = labdoc_of(controller, name, &document, err);
	if (r < 0)
		return r;
	vec_push(&context->documents, document);
	if (!document.has_night || document.night.state != NIGHT_RUNNING)
		return error_field(err, -EBUSY, "labs", "no night runs in lab %s now", name);
	int64_t ends = clock_wall() + (int64_t)document.night.ends_s;
	if (context->expires == 0 || ends < context->expires)
		context->expires = ends;
	struct join_lab *lab = vec_add(&context->labs);
	lab->uplink = document.uplink;
	lab->pool = document.cluster_net;
	vec_push(&lab->taken, document.lan);
	vec_each (struct lab_net, net, &document.nets)
		vec_push(&lab->taken, net->net);
	return 0;
}

int join_context(struct controller *controller, const struct strings *labs, struct join_context *ret_context,
	struct error **err)
{
	struct join_context context = {0};
	int r = has(labs, controller->config.lab)
			? 0
			: error_field(err, -EINVAL, "labs", "\"labs\" must contain this lab, %s",
				  controller->config.lab);
	for (size_t i = 0; r >= 0 && i < labs->n; i++)
		r = add_join_lab(controller, labs->at[i], &context, err);
	for (size_t i = 0; r >= 0 && i < context.labs.n; i++)
		context.labs.at[i].name = context.documents.at[i].name;
	if (r < 0)
		join_context_done(&context);
	else
		*ret_context = context;
	return r;
}

void join_context_done(struct join_context *context)
{
	join_labs_done(&context->labs);
	labdocs_done(&context->documents);
}
