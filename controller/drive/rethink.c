/* SPDX-License-Identifier: GPL-2.0-or-later */
/* rethink(): after every change the whole is looked at anew and moved one step.
 *
 * There is no chain of callbacks that a crash could cut: each think_*() reads the store, compares what is
 * wanted with what was seen, writes the next state and wishes for outside effects (task.h). Doing it twice
 * is doing it once, and after a restart the first rethink simply goes on. All writes of one rethink are one
 * transaction; a failure rolls all of it back, is logged once, and the next tick tries again.
 *
 * Kicks in a burst become one rethink; beside kicks a tick comes each second, because deadlines pass
 * without any event. Long polls for goals are woken after the commit, by comparing generations, so that no
 * host ever sees a goal that a crash could take back. */
#include "controller/drive/cast.h"
#include "controller/drive/state.h"

#include "controller/wake.h"
#include "controller/drive/runs.h"
#include "controller/store/pc.h"
#include "controller/store/store.h"
#include "lib/clock.h"
#include "lib/file.h"
#include "lib/log.h"

enum { BURST_MS = 50, TICK_MS = 1000 };

struct pc_memory *pc_memory(struct drive *drive, const char *pc)
{
	vec_each (struct pc_memory, memory, &drive->pcs)
		if (strcmp(memory->name, pc) == 0)
			return memory;
	struct pc_memory *memory = vec_add(&drive->pcs);
	memory->name = xstrdup(pc);
	return memory;
}

typedef int think_fn(struct drive *drive, struct error **err);
static const struct {
	const char *what;
	think_fn *think;
} thoughts[] = {
	{"peers", think_peers},
	{"night", think_night},
	{"boots", think_boots},
	{"PCs", think_pcs},
	{"joins", think_joins},
	{"clusters", think_clusters},
	{"runs", think_runs},
	{"network", think_netd},
	{"cast", think_cast},
};

static int think_all(struct drive *drive, struct error **err)
{
	struct store *store = drive->controller->store;
	int r = store_begin(store, err);
	if (r < 0)
		return r;
	for (size_t i = 0; i < ARRAY_LEN(thoughts); i++) {
		r = thoughts[i].think(drive, err);
		if (r < 0) {
			store_rollback(store);
			return error_wrap(err, r, "%s", thoughts[i].what);
		}
	}
	return store_commit(store, err);
}

/* After the commit: hosts whose goal has a new generation are told. */
static int wake_goals(struct drive *drive, struct error **err)
{
	struct pcs pcs = {0};
	int r = store_pc_list(drive->controller->store, NULL, &pcs, err);
	if (r < 0)
		return r;
	vec_each (struct pc, pc, &pcs) {
		struct pc_memory *memory = pc_memory(drive, pc->name);
		if (memory->told == pc->generation)
			continue;
		memory->told = pc->generation;
		auto_free char *topic = xasprintf("goal/%s", pc->name);
		http_wake(drive->controller->http, topic);
	}
	pcs_done(&pcs);
	return 0;
}

static void rethink(void *arg)
{
	struct drive *drive = arg;
	auto_error struct error *err = NULL;
	plan_hearing(&drive->hearing, clock_wall_ms(), clock_mono_ms(), clock_real_ms());
	drive->thought_ms = clock_mono_ms();
	drive->thinking = true;
	int r = think_all(drive, &err);
	if (r >= 0)
		r = wake_goals(drive, &err);
	drive->thinking = false;
	if (r < 0)
		log_error("rethink: %s", error_text(err, r));
	drive->due_ms = clock_mono_ms() + (drive->kicked ? BURST_MS : TICK_MS);
	drive->kicked = false;
	loop_timer_at(drive->timer, drive->due_ms);
}

void drive_kick(struct controller *controller)
{
	struct drive *drive = controller->drive;
	if (!drive)
		return;
	int64_t soon = clock_mono_ms() + BURST_MS;
	if (drive->thinking) {
		drive->kicked = true;
	} else if (drive->due_ms == 0 || drive->due_ms > soon) {
		drive->due_ms = soon;
		loop_timer_at(drive->timer, soon);
	}
}

int drive_new(struct controller *controller, struct drive **ret_drive, struct error **err)
{
	auto_free char *peers = xasprintf("%s/peers", controller->config.state_dir);
	int r = file_mkdirs(peers, 0700, err);
	if (r >= 0)
		r = runs_after_restart(controller, err);
	if (r < 0)
		return r;
	struct drive *drive = xnew(struct drive);
	drive->controller = controller;
	drive->tasks = tasks_new(controller);
	drive->timer = loop_timer_new(controller->loop, rethink, drive);
	controller->drive = drive;
	drive_kick(controller);
	*ret_drive = drive;
	return 0;
}

void drive_free(struct drive *drive)
{
	if (!drive)
		return;
	drive->controller->drive = NULL;
	runs_stop(drive);
	loop_timer_free(drive->timer);
	tasks_free(drive->tasks);
	vec_each (struct pc_memory, memory, &drive->pcs)
		free(memory->name);
	vec_done(&drive->pcs);
	vec_each (struct peer_memory, memory, &drive->peers)
		free(memory->name);
	vec_done(&drive->peers);
	vec_each (struct join_watch, watch, &drive->watches)
		free(watch->id);
	vec_done(&drive->watches);
	admit_pcs_done(&drive->admits);
	holders_done(&drive->holders);
	cast_free(drive->cast);
	strings_done(&drive->vetoes);
	free(drive);
}
