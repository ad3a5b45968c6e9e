/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A cluster's life after it was planned: deploying -> ready | partly, and closing -> closed.
 *
 * Its state is a function of what was seen of its VMs, worked out anew each time; so a VM that was given up and
 * speaks again makes a ready cluster of a partly one. Closing takes the VMs out of the goals, waits until each is seen
 * to be gone (or its PC is no host any more), and then deletes their rows: addresses return to the pool, and with
 * contexts and keys the secrets of the night are gone. A VM on a lost PC may run on, so its address stays taken: a
 * person's release of the PC or the night's end gives it back, and the VM's reason says so. Another lab's cluster, of
 * which we run a part, goes the same way but for its end: its row is deleted. */
#include "controller/drive/clusters.h"

#include "controller/drive/parts.h"
#include "controller/store/cluster.h"
#include "controller/store/night.h"
#include "controller/store/pc.h"
#include "controller/store/vm.h"
#include "lib/clock.h"
#include "lib/log.h"

enum { PROMISE_S = 180 };

static bool at_home(struct drive *drive, const struct cluster *cluster)
{
	return strcmp(cluster->home, drive->controller->config.lab) == 0;
}

static bool here(struct drive *drive, const struct vm *vm)
{
	return strcmp(vm->lab, drive->controller->config.lab) == 0;
}

int cluster_close(struct controller *controller, const struct cluster *cluster, const char *reason,
	struct error **err)
{
	if (cluster->state == CLUSTER_CLOSED || cluster->state == CLUSTER_CLOSING ||
		cluster->state == CLUSTER_FAILED)
		return 0;
	drive_kick(controller);
	return store_cluster_set_state(controller->store, cluster->name, CLUSTER_CLOSING, reason, err);
}

static int set_state(struct drive *drive, const struct cluster *cluster, enum cluster_state state,
	const char *reason, struct error **err)
{
	if (cluster->state == state && strcmp(cluster->reason ? cluster->reason : "", reason ? reason : "") == 0)
		return 0;
	if (cluster->state != state)
		log_info("cluster %s: %s -> %s", cluster->name, cluster_state_names[cluster->state],
			cluster_state_names[state]);
	return store_cluster_set_state(drive->controller->store, cluster->name, state, reason, err);
}

/* What its VMs make of it. */
static int judge(struct drive *drive, const struct cluster *cluster, const struct vms *vms, struct error **err)
{
	size_t ready = 0, failed = 0;
	auto_buf struct buf reason = {0};
	vec_each (struct vm, vm, vms) {
		ready += vm->state == VM_READY;
		if (vm->state != VM_FAILED)
			continue;
		failed++;
		if (failed == 1)
			buf_addf(&reason, "%s: %s", vm->id, vm->reason && *vm->reason ? vm->reason : "failed");
	}
	if (failed > 1)
		buf_addf(&reason, " (and %zu more)", failed - 1);
	if (vms->n > 0 && ready == vms->n)
		return set_state(drive, cluster, CLUSTER_READY, NULL, err);
	if (failed > 0)
		return set_state(drive, cluster, CLUSTER_PARTLY, reason.text, err);
	const char *before = cluster->state == CLUSTER_DEPLOYING ? cluster->reason : NULL;
	return set_state(drive, cluster, CLUSTER_DEPLOYING, before, err);
}

static bool all_wanted(const struct vms *vms)
{
	vec_each (struct vm, vm, vms)
		if (!vm->wanted)
			return false;
	return true;
}

static int think_open(struct drive *drive, struct cluster *cluster, const struct vms *vms, struct error **err)
{
	bool wanted = all_wanted(vms), home = at_home(drive, cluster);
	if (home && !wanted)
		return parts_offer(drive, cluster, vms, err);
	if (!home && !wanted && clock_wall() > cluster->created + PROMISE_S) {
		log_info("cluster %s: its home lab never started it", cluster->name);
		return store_cluster_delete(drive->controller->store, cluster->name, err);
	}
	int r = home ? parts_follow(drive, cluster, vms, err) : 0;
	return r < 0 || !wanted ? r : judge(drive, cluster, vms, err);
}

/* Has this VM of ours left its PC for certain? */
static bool gone(struct drive *drive, const struct vm *vm, bool night_over)
{
	struct pc pc = {0};
	if (night_over || store_pc_get(drive->controller->store, vm->pc, &pc, NULL) < 0)
		return true;
	bool hosts = pc.state == PC_HOST || pc.state == PC_HOSTING || pc.state == PC_DRAINING ||
		     pc.state == PC_EXCEPTION;
	bool told = vm->state == VM_ABSENT && pc.applied >= pc.generation;
	pc_done(&pc);
	return !hosts || told;
}

/* A PC that is lost or held cannot be told to end its VM, so the address is not free. Says what frees it; not at once,
 * for to a PC that is only out of reach for a moment a release would do harm. */
static int keep_address(struct drive *drive, const struct vm *vm, struct error **err)
{
	struct store *store = drive->controller->store;
	struct pc pc = {0};
	int r = store_pc_get(store, vm->pc, &pc, err);
	if (r >= 0 && pc.state == PC_EXCEPTION && clock_wall() >= pc.since + 2 * LOST_S) {
		auto_free char *reason = xasprintf("PC %s of lab %s: %s. Its address is kept until the hand-back, or "
						   "`nightclass pc release %s`",
			pc.name, vm->lab, pc.reason, pc.name);
		r = store_vm_set_seen(store, vm->id, VM_FAILED, reason, 0, err);
	}
	pc_done(&pc);
	return r;
}

static int unwant(struct drive *drive, const struct vms *vms, struct error **err)
{
	struct store *store = drive->controller->store;
	int r = 0;
	vec_each (struct vm, vm, vms) {
		if (r < 0 || !vm->wanted)
			continue;
		r = store_vm_set_wanted(store, vm->id, false, err);
		if (r >= 0 && here(drive, vm))
			r = store_pc_bump(store, vm->pc, NULL, err);
	}
	return r;
}

static bool is_night_over(struct drive *drive, const struct cluster *cluster)
{
	struct night night = {0};
	bool over = cluster->night == 0 ||
		    store_night_get(drive->controller->store, cluster->night, &night, NULL) < 0 ||
		    night.state == NIGHT_DONE;
	night_done(&night);
	return over;
}

static int think_closing(struct drive *drive, struct cluster *cluster, const struct vms *vms, struct error **err)
{
	struct store *store = drive->controller->store;
	bool over = is_night_over(drive, cluster), home = at_home(drive, cluster);
	if (vms->n == 0 && !home)
		return store_cluster_delete(store, cluster->name, err);
	if (vms->n == 0) {
		int k = store_cluster_set_keys(store, cluster->name, NULL, err);
		return k < 0 ? k : set_state(drive, cluster, CLUSTER_CLOSED, cluster->reason, err);
	}
	int r = unwant(drive, vms, err);
	vec_each (struct vm, vm, vms)
		if (r >= 0 && here(drive, vm) && !vm->wanted)
			r = gone(drive, vm, over) ? store_vm_delete(store, vm->id, err)
						  : keep_address(drive, vm, err);
	if (r >= 0 && home)
		r = parts_close(drive, cluster, vms, over, err);
	return r;
}

static int step(struct drive *drive, struct cluster *cluster, struct error **err)
{
	struct vm_filter filter = {.cluster = cluster->name};
	struct vms vms = {0};
	int r = store_vm_list(drive->controller->store, &filter, &vms, err);
	if (r < 0)
		return r;
	switch (cluster->state) {
	case CLUSTER_DEPLOYING:
	case CLUSTER_READY:
	case CLUSTER_PARTLY:
		r = think_open(drive, cluster, &vms, err);
		break;
	case CLUSTER_CLOSING:
		r = think_closing(drive, cluster, &vms, err);
		break;
	case CLUSTER_CLOSED:
	case CLUSTER_FAILED:
		break;
	}
	vms_done(&vms);
	return r;
}

int think_clusters(struct drive *drive, struct error **err)
{
	struct cluster_filter open = {.open_only = true};
	struct clusters clusters = {0};
	int r = store_cluster_list(drive->controller->store, &open, &clusters, err);
	vec_each (struct cluster, cluster, &clusters)
		if (r >= 0)
			r = step(drive, cluster, err);
	clusters_done(&clusters);
	return r;
}
