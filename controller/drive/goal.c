/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Between controller and host: what a PC should be (goal) and what it was seen to be (report).
 *
 * A goal is made anew from the store each time it is asked for; nothing is queued, so a lost answer costs only
 * time. Its lease ends with the night, on the host's own clock: a host whose controller is dead hands its PC
 * back all the same. A report carries observations only. What it does not mention is gone only when the host
 * says that it has worked on the newest goal; before that, silence is not absence. */
#include "controller/drive/pcs.h"

#include "controller/drive/cast.h"
#include "controller/drive/holders.h"
#include "controller/drive/preload.h"
#include "controller/drive/trouble.h"
#include "controller/store/cluster.h"
#include "controller/store/night.h"
#include "controller/store/pc.h"
#include "controller/store/store.h"
#include "controller/store/vm.h"
#include "images/publication.h"
#include "images/trace.h"
#include "lib/clock.h"
#include "lib/log.h"

static bool runs_now(const struct night *night)
{
	return night->state == NIGHT_RUNNING && clock_wall() < night->ends;
}

static bool may_host(const struct pc *pc)
{
	return pc->state != PC_DRAINING && pc->state != PC_RETURNING && pc->state != PC_DESKTOP;
}

static void add_image(struct proto_goal *goal, const struct cluster *cluster)
{
	vec_each (struct proto_image, image, &goal->images)
		if (strcmp(image->digest, cluster->image) == 0)
			return;
	struct proto_image *image = vec_add(&goal->images);
	image->name = xstrdup(cluster->image_name);
	image->revision = cluster->revision;
	image->digest = xstrdup(cluster->image);
}

/* The VM's document goes into the goal, its image with it. */
static int add_vm(struct controller *controller, struct proto_goal *goal, const struct vm *vm, struct error **err)
{
	auto_json json_t *document = NULL;
	auto_json json_t *array = json_array();
	struct proto_vms one = {0};
	struct cluster cluster = {0};
	int r = store_cluster_get(controller->store, vm->cluster, &cluster, err);
	if (r < 0)
		return r;
	r = json_parse_object(vm->context, strlen(vm->context), &document, err);
	if (r >= 0) {
		json_array_append(array, document);
		r = proto_vms_read(array, &one, err);
	}
	if (r >= 0) {
		vec_push(&goal->vms, one.at[0]);
		vec_done(&one);
		add_image(goal, &cluster);
	}
	cluster_done(&cluster);
	return r < 0 ? error_wrap(err, r, "VM %s", vm->id) : 0;
}

/* The first VM of an image shows in which order a boot reads it, also on a PC that has all of it already. */
static void want_traces(const struct controller *controller, struct proto_goal *goal)
{
	auto_free char *store = xasprintf("%s/store", controller->config.state_dir);
	vec_each (struct proto_image, image, &goal->images) {
		auto_free char *path = trace_path(store, image->digest);
		image->record = access(path, F_OK) < 0;
	}
}

static int fill_host(struct controller *controller, const struct pc *pc, const struct night *night,
	struct proto_goal *goal, struct error **err)
{
	char address[IP4_TEXT], until[CLOCK_TEXT];
	const struct config *config = &controller->config;
	struct vm_filter filter = {.lab = config->lab, .pc = pc->name, .wanted_only = true};
	struct vms vms = {0};
	goal->role = ROLE_HOST;
	goal->lease_s = (uint64_t)(night->ends - clock_wall());
	goal->until = xstrdup(clock_format(night->ends, until));
	goal->chunk_url = xasprintf("http://%s:%u", ip4_format(config->lan_address.address, address),
		config->boot_port);
	goal->image_key = xstrdup(publisher_key(controller->publisher));
	int r = store_vm_list(controller->store, &filter, &vms, err);
	vec_each (struct vm, vm, &vms)
		if (r >= 0)
			r = add_vm(controller, goal, vm, err);
	vms_done(&vms);
	if (r >= 0)
		r = preload_goal(controller, pc, goal, err);
	if (r >= 0)
		r = holders_goal(controller, pc, goal, err);
	if (r >= 0)
		cast_goal(controller, pc->name, goal);
	want_traces(controller, goal);
	return r;
}

static void fill_desktop(struct controller *controller, struct proto_goal *goal)
{
	char until[CLOCK_TEXT], address[IP4_TEXT];
	goal->role = ROLE_DESKTOP;
	goal->until = xstrdup(clock_format(clock_wall(), until));
	goal->chunk_url =
		xasprintf("http://%s:%u", ip4_format(controller->config.lan_address.address, address),
			controller->config.boot_port);
}

int drive_goal(struct controller *controller, const char *name, struct proto_goal *ret_goal, struct error **err)
{
	struct pc pc = {0};
	struct night night = {0};
	int r = store_pc_get(controller->store, name, &pc, err);
	if (r < 0)
		return r;
	r = night_of_pc(controller, &pc, &night, err);
	struct proto_goal goal = {.version = PROTO_VERSION,
		.generation = pc.generation,
		.pc = xstrdup(name),
		.grace_s = (uint64_t)controller->config.grace};
	if (r > 0 && runs_now(&night) && may_host(&pc))
		r = fill_host(controller, &pc, &night, &goal, err);
	else if (r >= 0)
		fill_desktop(controller, &goal);
	night_done(&night);
	pc_done(&pc);
	if (r < 0)
		proto_goal_done(&goal);
	else
		*ret_goal = goal;
	return r < 0 ? r : 0;
}

static const struct proto_vm_seen *seen_vm(const struct proto_report *report, const char *id)
{
	vec_each (struct proto_vm_seen, seen, &report->vms)
		if (strcmp(seen->id, id) == 0)
			return seen;
	return NULL;
}

static int keep_vms(struct controller *controller, const struct pc *pc, const struct proto_report *report,
	struct error **err)
{
	struct vm_filter filter = {.lab = controller->config.lab, .pc = pc->name};
	struct vms vms = {0};
	int r = store_vm_list(controller->store, &filter, &vms, err);
	bool newest = report->generation >= pc->generation;
	vec_each (struct vm, vm, &vms) {
		const struct proto_vm_seen *seen = seen_vm(report, vm->id);
		if (r < 0)
			break;
		if (seen)
			r = store_vm_set_seen(controller->store, vm->id, (enum proto_vm_state)seen->state,
				seen->reason, seen->ready_ms, err);
		else if (newest || report->role == ROLE_DESKTOP)
			r = store_vm_set_seen(controller->store, vm->id, VM_ABSENT, NULL, 0, err);
	}
	vms_done(&vms);
	return r;
}

/* A host that was given up speaks again, or one says that it leaves. */
static int follow(struct controller *controller, struct pc *pc, const struct proto_report *report,
	struct error **err)
{
	struct night night = {0};
	int held = night_of_pc(controller, pc, &night, err);
	if (held < 0)
		return held;
	bool hosts = held > 0 && runs_now(&night);
	int r = 0;
	night_done(&night);
	if (report->role == ROLE_DESKTOP && report->vms.n == 0 && controller->drive)
		pc_memory(controller->drive, pc->name)->local_boot = true;
	if (pc->state == PC_EXCEPTION && report->role == ROLE_HOST && hosts)
		r = pc_move(controller, pc, PC_HOST, 0, NULL, err);
	else if (pc->state == PC_EXCEPTION && report->role == ROLE_HOST)
		r = pc_move(controller, pc, PC_DRAINING, clock_wall() + 2 * controller->config.grace + LOST_S,
			NULL, err);
	return r;
}

int drive_report(struct controller *controller, const char *name, const struct proto_report *report,
	struct error **err)
{
	struct store *store = controller->store;
	struct proto_report before = {0};
	struct pc pc = {0};
	int r = store_begin(store, err);
	if (r < 0)
		return r;
	bool again = store_pc_report(store, name, &before, NULL) >= 0;
	r = store_pc_get(store, name, &pc, err);
	if (r >= 0)
		r = store_pc_set_report(store, name, report, err);
	bool news = r > 0;
	if (news)
		r = preload_reported(controller, name, again ? &before : NULL, report, err);
	if (news && r >= 0)
		r = trouble_reported(controller, name, again ? &before : NULL, report, err);
	if (again)
		proto_report_done(&before);
	if (r >= 0)
		r = follow(controller, &pc, report, err);
	if (r >= 0)
		r = keep_vms(controller, &pc, report, err);
	pc_done(&pc);
	if (r < 0) {
		store_rollback(store);
		return r;
	}
	if (news) /* else the next tick sees it: a thousand heartbeats are no thousand rethinks */
		drive_kick(controller);
	return store_commit(store, err);
}
