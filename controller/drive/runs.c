/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Runs: which are to start, which are over, and what happens to them when the daemon or the cluster ends.
 *
 * A run is a child `ssh` of this daemon (drive/run_child); its state in the store is staging, running, done or
 * failed. Nothing of it can be taken up again after a restart, because the session is gone: such runs are failed with
 * the reason, never started twice. A run whose cluster closes is ended. Keys and known_hosts lie beside the output in
 * STATE_DIR/runs/ID with mode 0600 while the child runs, and are removed with it; the output stays for thirty days
 * after the end of the run: older ones are removed when a new run begins, which is when room is needed. */
#include "controller/drive/runs.h"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include "controller/wake.h"
#include "controller/drive/joins.h"
#include "controller/drive/run_child.h"
#include "controller/plan/run.h"
#include "controller/store/cluster.h"
#include "controller/store/join.h"
#include "controller/store/run.h"
#include "controller/store/store.h"
#include "controller/store/vm.h"
#include "lib/clock.h"
#include "lib/file.h"
#include "lib/log.h"

enum { KEEP_S = 30 * 86400 };

struct active_run {
	struct active_run *next;
	struct drive *drive;
	int64_t id;
	char *cluster, *vm; /* vm: it was started from */
	struct run_child *child;
};

char *run_path(struct controller *controller, int64_t id, const char *name)
{
	const char *state_dir = controller->config.state_dir;
	if (!name)
		return xasprintf("%s/runs/%lld", state_dir, (long long)id);
	return xasprintf("%s/runs/%lld/%s", state_dir, (long long)id, name);
}

char *run_program_path(struct controller *controller, const char *sha256)
{
	return xasprintf("%s/incoming/%s", controller->config.state_dir, sha256);
}

static void forget_keys(struct controller *controller, int64_t id)
{
	auto_free char *key = run_path(controller, id, "key");
	auto_free char *known_hosts = run_path(controller, id, "known_hosts");
	unlink(key);
	unlink(known_hosts);
}

int runs_after_restart(struct controller *controller, struct error **err)
{
	struct runs runs = {0};
	int r = store_begin(controller->store, err);
	if (r < 0)
		return r;
	r = store_run_list(controller->store, true, NULL, &runs, err);
	vec_each (struct run, run, &runs) {
		forget_keys(controller, run->id);
		if (r >= 0)
			r = store_run_set_state(controller->store, run->id, RUN_FAILED, -1,
				"the controller was restarted while it ran; start it again", err);
	}
	runs_done(&runs);
	return store_end(controller->store, r, err);
}

static void wake(struct drive *drive, int64_t id)
{
	auto_free char *topic = xasprintf("run/%lld", (long long)id);
	http_wake(drive->controller->http, topic);
}

static void active_free(struct active_run *active)
{
	run_child_free(active->child);
	free(active->cluster);
	free(active->vm);
	free(active);
}

void runs_stop(struct drive *drive)
{
	while (drive->runs) {
		struct active_run *active = drive->runs;
		drive->runs = active->next;
		forget_keys(drive->controller, active->id);
		active_free(active);
	}
}

static void unlink_active(struct active_run *active)
{
	for (struct active_run **at = &active->drive->runs; *at; at = &(*at)->next)
		if (*at == active) {
			*at = active->next;
			return;
		}
}

static void on_output(void *arg)
{
	struct active_run *active = arg;
	wake(active->drive, active->id);
}

/* What the script says first; a program that ends with the same code has been staged. */
static bool is_staged(struct controller *controller, int64_t id)
{
	auto_free char *path = run_path(controller, id, "output");
	char first[sizeof(RUN_NOT_STAGED)] = "";
	auto_close int fd = open(path, O_RDONLY | O_CLOEXEC);
	return fd < 0 || read(fd, first, sizeof(first) - 1) < 0 || strcmp(first, RUN_NOT_STAGED) != 0;
}

/* The reason for which this end of the session is no end of the program, NULL when it is one. */
static char *why_failed(const struct active_run *active, int status)
{
	if (status == RUN_EXIT_STAGING && !is_staged(active->drive->controller, active->id))
		return xstrdup("the program did not reach every VM; see the output");
	if (status == 255)
		return xasprintf("ssh to %s failed, or mpirun or the program ended with 255; see the output",
			active->vm);
	return status >= RUN_SIGNALED ? xasprintf("was ended by signal %d", status - RUN_SIGNALED) : NULL;
}

/* Not in a rethink: the loop calls when the child is reaped and its output read. */
static void on_end(int status, void *arg)
{
	struct active_run *active = arg;
	struct drive *drive = active->drive;
	auto_error struct error *err = NULL;
	auto_free char *reason = why_failed(active, status);
	int code = status >= RUN_SIGNALED ? 128 + status - RUN_SIGNALED : status; /* as a shell has it */
	int r = store_run_set_state(drive->controller->store, active->id, reason ? RUN_FAILED : RUN_DONE, code, reason,
		&err);
	if (r < 0)
		log_error("run %lld: its end is not kept: %s", (long long)active->id, error_text(err, r));
	log_info("run %lld: ended with %d", (long long)active->id, code);
	forget_keys(drive->controller, active->id);
	wake(drive, active->id);
	unlink_active(active);
	active_free(active);
	drive_kick(drive->controller);
}

static int keep_keys(struct controller *controller, const struct run *run, const struct cluster *cluster,
	struct error **err)
{
	auto_json json_t *keys = NULL;
	auto_free char *key_path = run_path(controller, run->id, "key");
	auto_free char *hosts_path = run_path(controller, run->id, "known_hosts");
	if (!cluster->keys || json_parse_object(cluster->keys, strlen(cluster->keys), &keys, NULL) < 0)
		return error_make(err, -EBUSY, "cluster %s has no keys any more", cluster->name);
	const char *key = json_string_value(json_object_get(keys, "user_key"));
	const char *known_hosts = json_string_value(json_object_get(keys, "known_hosts"));
	if (!key || !known_hosts)
		return error_make(err, -EIO, "the keys of cluster %s are damaged", cluster->name);
	int r = file_write(key_path, key, strlen(key), 0600, err);
	return r < 0 ? r : file_write(hosts_path, known_hosts, strlen(known_hosts), 0600, err);
}

/* VMs that are ready, one of our own lab first: the lab server reaches it without another router. */
static void order_vms(struct controller *controller, struct vms *vms)
{
	size_t k = 0;
	vec_each (struct vm, vm, vms) {
		if (vm->state == VM_READY && vm->wanted)
			vms->at[k++] = *vm;
		else
			vm_done(vm);
	}
	vms->n = k;
	for (size_t i = 0; i < vms->n; i++) {
		if (strcmp(vms->at[i].lab, controller->config.lab) != 0)
			continue;
		struct vm first = vms->at[i];
		memmove(&vms->at[1], &vms->at[0], i * sizeof(first));
		vms->at[0] = first;
		return;
	}
}

static int net_of(struct controller *controller, const struct cluster *cluster, const struct vms *vms,
	struct prefix4 *ret_net, struct error **err)
{
	struct join join = {0};
	if (!cluster->join) {
		*ret_net = prefix4_network(vms->at[0].ip);
		return 0;
	}
	int r = store_join_get(controller->store, cluster->join, &join, err);
	*ret_net = join.net;
	join_done(&join);
	return r;
}

static int read_args(const char *text, struct strings *args)
{
	auto_json json_t *array = json_loads(text, 0, NULL);
	size_t i;
	const json_t *value;
	json_array_foreach (array, i, value)
		vec_push(args, xstrdup(json_string_value(value)));
	return 0;
}

static int launch(struct drive *drive, const struct run *run, const struct cluster *cluster, struct vms *vms,
	struct error **err)
{
	struct controller *controller = drive->controller;
	struct strings args = {0};
	struct run_plan plan = {.id = run->id,
		.name = run->name,
		.args = &args,
		.ranks = run->ranks,
		.cpus = cluster->cpus,
		.vms = vms};
	order_vms(controller, vms);
	if (vms->n == 0)
		return error_make(err, -EBUSY, "no VM of cluster %s is ready", cluster->name);
	int r = net_of(controller, cluster, vms, &plan.net, err);
	if (r >= 0)
		r = keep_keys(controller, run, cluster, err);
	if (r < 0)
		return r;
	read_args(run->args, &args);
	struct active_run *active = xnew(struct active_run);
	active->drive = drive;
	active->id = run->id;
	active->cluster = xstrdup(run->cluster);
	active->vm = xstrdup(vms->at[0].id);
	auto_free char *dir = run_path(controller, run->id, NULL);
	auto_free char *program = run_program_path(controller, run->program);
	r = run_child_start(controller->loop, &plan, dir, program, on_output, on_end, active, &active->child, err);
	strings_done(&args);
	if (r < 0) {
		active_free(active);
		return r;
	}
	active->next = drive->runs;
	drive->runs = active;
	return store_run_set_state(controller->store, run->id, RUN_RUNNING, 0, NULL, err);
}

static struct active_run *active_of(struct drive *drive, int64_t id)
{
	for (struct active_run *active = drive->runs; active; active = active->next)
		if (active->id == id)
			return active;
	return NULL;
}

static bool is_old(struct controller *controller, int64_t id)
{
	struct run run = {0};
	bool known = store_run_get(controller->store, id, &run, NULL) >= 0;
	bool over = run.state == RUN_DONE || run.state == RUN_FAILED;
	bool old = known && over && run.ended < clock_wall() - KEEP_S;
	run_done(&run);
	return old;
}

/* The run itself stays in the list; its output is empty from then on. */
static void forget_old(struct controller *controller)
{
	auto_free char *folder = xasprintf("%s/runs", controller->config.state_dir);
	DIR *dir = opendir(folder);
	uint64_t id;
	for (struct dirent *entry; dir && (entry = readdir(dir));) {
		auto_error struct error *err = NULL;
		if (uint_parse(entry->d_name, 1, INT64_MAX, &id) < 0 || !is_old(controller, (int64_t)id))
			continue;
		auto_free char *path = run_path(controller, (int64_t)id, NULL);
		int r = file_remove_tree(path, &err);
		if (r < 0)
			log_warning("run %llu: its old output cannot be removed: %s", (unsigned long long)id,
				error_text(err, r));
	}
	if (dir)
		closedir(dir);
}

static int start(struct drive *drive, const struct run *run, struct error **err)
{
	struct controller *controller = drive->controller;
	struct cluster cluster = {0};
	struct vm_filter filter = {.cluster = run->cluster};
	struct vms vms = {0};
	auto_error struct error *why = NULL;
	auto_free char *dir = run_path(controller, run->id, NULL);
	forget_old(controller);
	int r = file_mkdirs(dir, 0700, &why);
	if (r >= 0)
		r = store_cluster_get(controller->store, run->cluster, &cluster, &why);
	if (r >= 0)
		r = store_vm_list(controller->store, &filter, &vms, &why);
	if (r >= 0)
		r = launch(drive, run, &cluster, &vms, &why);
	cluster_done(&cluster);
	vms_done(&vms);
	if (r >= 0)
		return 0;
	forget_keys(controller, run->id);
	wake(drive, run->id);
	return store_run_set_state(controller->store, run->id, RUN_FAILED, -1, error_text(why, r), err);
}

/* Runs end with their cluster. */
static void end_orphans(struct drive *drive)
{
	for (struct active_run *active = drive->runs; active; active = active->next) {
		struct cluster cluster = {0};
		int r = store_cluster_get(drive->controller->store, active->cluster, &cluster, NULL);
		bool open = r >= 0 && cluster.state != CLUSTER_CLOSING && cluster.state != CLUSTER_CLOSED &&
			    cluster.state != CLUSTER_FAILED;
		cluster_done(&cluster);
		if (!open)
			run_child_end(active->child);
	}
}

int think_runs(struct drive *drive, struct error **err)
{
	struct runs runs = {0};
	int r = store_run_list(drive->controller->store, true, NULL, &runs, err);
	vec_each (struct run, run, &runs)
		if (r >= 0 && run->state == RUN_STAGING && !active_of(drive, run->id))
			r = start(drive, run, err);
	runs_done(&runs);
	end_orphans(drive);
	return r;
}
