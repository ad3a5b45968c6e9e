/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The night as a whole: planned -> running -> ending -> done.
 *
 * At the hand-back time everything of the night is told to end: clusters close, joins are withdrawn, the goal of
 * every PC becomes "desktop". The night is done when each of its PCs answers as a desktop or is an exception with a
 * reason; then the report is closed and what the night held in the store is let go. A night that never
 * began before its end (the controller was off) goes through all states in a few rethinks and wakes nobody. */
#include "controller/drive/pcs.h"
#include "controller/drive/report.h"

#include "controller/plan/night.h"
#include "controller/store/cluster.h"
#include "controller/store/night.h"
#include "controller/store/pc.h"
#include "controller/store/store.h"
#include "lib/clock.h"
#include "lib/log.h"

/* The rows of the night's PCs. */
static int pcs_of(struct drive *drive, const struct night *night, struct pcs *ret_pcs, struct error **err)
{
	struct pcs all = {0}, some = {0};
	int r = store_pc_list(drive->controller->store, NULL, &all, err);
	if (r < 0)
		return r;
	vec_each (struct pc, pc, &all) {
		if (night_has(night, pc->name))
			vec_push(&some, *pc);
		else
			pc_done(pc);
	}
	vec_done(&all);
	*ret_pcs = some;
	return 0;
}

static bool all_back(const struct pcs *pcs)
{
	vec_each (struct pc, pc, pcs)
		if (pc->state != PC_DESKTOP && pc->state != PC_EXCEPTION)
			return false;
	return true;
}

static int begin_ending(struct drive *drive, const struct night *night, const struct pcs *pcs, struct error **err)
{
	struct store *store = drive->controller->store;
	struct cluster_filter filter = {.by_night = true, .night = night->id, .open_only = true};
	struct clusters clusters = {0};
	int r = store_cluster_list(store, &filter, &clusters, err);
	vec_each (struct cluster, cluster, &clusters)
		if (r >= 0 && cluster->state != CLUSTER_CLOSING)
			r = store_cluster_set_state(
				store, cluster->name, CLUSTER_CLOSING, "the night is over", err);
	clusters_done(&clusters);
	vec_each (struct pc, pc, pcs)
		if (r >= 0)
			r = store_pc_bump(store, pc->name, NULL, err);
	return r;
}

static int finish(struct drive *drive, const struct night *night, const struct pcs *pcs, struct error **err)
{
	struct store *store = drive->controller->store;
	int r = report_close(drive->controller, night, pcs, err);
	vec_each (struct pc, pc, pcs)
		if (r >= 0 && pc->night == night->id)
			r = store_pc_set_night(store, pc->name, 0, err);
	return r;
}

static int step(struct drive *drive, const struct night *night, struct error **err)
{
	struct pcs pcs = {0};
	int r = pcs_of(drive, night, &pcs, err);
	if (r < 0)
		return r;
	enum night_state to = plan_night_state(night, clock_wall(), all_back(&pcs));
	if (to != night->state) {
		log_notice("night %lld: %s -> %s", (long long)night->id, night_state_names[night->state],
			night_state_names[to]);
		if (to == NIGHT_ENDING)
			r = begin_ending(drive, night, &pcs, err);
		else if (to == NIGHT_DONE)
			r = finish(drive, night, &pcs, err);
		if (r >= 0)
			r = store_night_set_state(drive->controller->store, night->id, to, err);
	}
	pcs_done(&pcs);
	return r;
}

int think_night(struct drive *drive, struct error **err)
{
	struct nights nights = {0};
	int r = store_night_list(drive->controller->store, true, &nights, err);
	vec_each (struct night, night, &nights)
		if (r >= 0)
			r = step(drive, night, err);
	nights_done(&nights);
	return r;
}
