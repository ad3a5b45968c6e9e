/* SPDX-License-Identifier: GPL-2.0-or-later */
/* How nights, clusters, joins and runs look from outside. One function per noun, used by every route that shows
 * it, so that a list and a single answer can never differ. Keys, contexts and tokens have no way in here: what a
 * function below does not name does not leave. */
#include "controller/api/present.h"

#include "controller/drive/joins.h"
#include "controller/plan/cluster.h"
#include "controller/store/join.h"
#include "lib/clock.h"

json_t *present_time(int64_t wall)
{
	char text[CLOCK_TEXT];
	return wall ? json_string(clock_format(wall, text)) : json_null();
}

json_t *present_list(json_t *items)
{
	return json_pack("{s:o}", "items", items);
}

json_t *present_night(const struct night *night)
{
	json_t *pcs = json_array();
	json_t *report = night->report ? json_loads(night->report, 0, NULL) : NULL;
	for (size_t i = 0; i < night->pcs.n; i++)
		json_array_append_new(pcs, json_string(night->pcs.at[i]));
	return json_pack("{s:I, s:s, s:o, s:o, s:o, s:o}", "id", (json_int_t)night->id, "state",
		night_state_names[night->state], "begins", present_time(night->begins), "ends",
		present_time(night->ends), "pcs", pcs, "report", report ? report : json_null());
}

static json_t *present_vm(const struct vm *vm)
{
	char mac[MAC_TEXT], ip[IP4_TEXT];
	return json_pack("{s:s, s:I, s:s, s:s, s:s, s:s, s:s, s:s, s:I}", "id", vm->id, "number",
		(json_int_t)vm->number, "lab", vm->lab, "pc", vm->pc, "mac", mac_format(&vm->mac, mac), "ip",
		ip4_format(vm->ip.address, ip), "state", proto_vm_state_names[vm->state], "reason",
		vm->reason ? vm->reason : "", "ready_ms", (json_int_t)vm->ready_ms);
}

json_t *present_vms(const struct vms *vms)
{
	json_t *array = json_array();
	vec_each (struct vm, vm, vms)
		json_array_append_new(array, present_vm(vm));
	return array;
}

/* The net that covers all VMs of the cluster, "" when it is not known any more. */
static void if_include(struct controller *controller, const struct cluster *cluster, const struct vms *vms,
	char ret_text[PREFIX4_TEXT])
{
	struct join join = {0};
	*ret_text = '\0';
	if (cluster->join && store_join_get(controller->store, cluster->join, &join, NULL) >= 0)
		prefix4_format(join.net, ret_text);
	else if (vms->n > 0)
		prefix4_format(prefix4_network(vms->at[0].ip), ret_text);
	join_done(&join);
}

json_t *present_cluster(struct controller *controller, const struct cluster *cluster, const struct vms *vms)
{
	char net[PREFIX4_TEXT];
	auto_free char *hosts = plan_hosts_file(vms);
	if_include(controller, cluster, vms, net);
	json_t *json = json_pack("{s:s, s:s, s:s, s:I, s:s, s:I, s:s, s:I, s:I, s:s, s:s?, s:s, s:s, s:o}", "name",
		cluster->name, "owner", cluster->owner, "home", cluster->home, "n", (json_int_t)cluster->n, "image",
		cluster->image, "revision", (json_int_t)cluster->revision, "image_name", cluster->image_name,
		"cpus", (json_int_t)cluster->cpus, "memory_mib", (json_int_t)cluster->memory_mib, "policy",
		cluster->policy, "join", cluster->join, "state", cluster_state_names[cluster->state], "reason",
		cluster->reason ? cluster->reason : "", "created", present_time(cluster->created));
	json_object_set_new(json, "vms", present_vms(vms));
	json_object_set_new(json, "hostfile", json_string(hosts));
	json_object_set_new(json, "mpi", json_pack("{s:s}", "if_include", net));
	return json;
}

json_t *present_join(struct controller *controller, const struct join *join, bool with_commands)
{
	char net[PREFIX4_TEXT], uplink[IP4_TEXT];
	json_t *members = json_array(), *probes = join->probes ? json_loads(join->probes, 0, NULL) : NULL;
	vec_each (struct join_member, member, &join->members)
		json_array_append_new(members,
			json_pack("{s:s, s:s, s:s, s:s}", "lab", member->lab, "uplink",
				ip4_format(member->uplink, uplink), "cluster_net",
				prefix4_format(member->cluster_net, net), "state",
				join_state_names[member->state]));
	json_t *json = json_pack("{s:s, s:s, s:s, s:s, s:s, s:o, s:o, s:o}", "id", join->id, "coordinator",
		join->coordinator, "state", join_state_names[join->state], "reason",
		join->reason ? join->reason : "", "net", prefix4_format(join->net, net), "expires",
		present_time(join->expires), "members", members, "probes", probes ? probes : json_array());
	if (with_commands)
		json_object_set_new(json, "commands", join_commands(controller, join));
	return json;
}

json_t *present_run(const struct run *run)
{
	bool over = run->state == RUN_DONE || run->state == RUN_FAILED;
	json_t *args = run->args ? json_loads(run->args, 0, NULL) : NULL;
	return json_pack("{s:I, s:s, s:s, s:s, s:s, s:o, s:I, s:s, s:o, s:s, s:o, s:o}", "id", (json_int_t)run->id,
		"cluster", run->cluster, "owner", run->owner, "program", run->program, "name", run->name, "args",
		args ? args : json_array(), "ranks", (json_int_t)run->ranks, "state", run_state_names[run->state],
		"exit_code", over && run->exit_code >= 0 ? json_integer(run->exit_code) : json_null(), "reason",
		run->reason ? run->reason : "", "created", present_time(run->created), "ended",
		present_time(run->ended));
}
