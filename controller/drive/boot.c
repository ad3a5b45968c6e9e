/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A PC in its firmware asks for its boot script, and a little later its host asks to be let in.
 *
 * The answer follows from the night alone: a PC that a running night holds becomes a host, whatever state we
 * believed it in (it was reset, it came late, somebody pressed its button); any other PC of ours goes to its own
 * disk; a stranger is refused. A failure to write the state down does not change the answer: the next rethink
 * will see the host's enrolment, and a PC must never hang in its firmware because of us. */
#include "controller/drive/pcs.h"

#include "controller/store/night.h"
#include "controller/store/pc.h"
#include "controller/store/store.h"
#include "lib/clock.h"
#include "lib/log.h"

static int note_host_boot(struct controller *controller, struct pc *pc, const struct night *night,
	struct error **err)
{
	int r = store_begin(controller->store, err);
	if (r < 0)
		return r;
	if (pc->night != night->id) {
		r = store_pc_set_night(controller->store, pc->name, night->id, err);
		pc->night = night->id;
	}
	if (r >= 0)
		r = pc_move(controller, pc, PC_BOOTING, clock_wall() + controller->config.host_boot_timeout,
			NULL, err);
	return store_end(controller->store, r, err);
}

enum drive_boot drive_booted(struct controller *controller, const char *name)
{
	struct pc pc = {0};
	struct night night = {0};
	auto_error struct error *err = NULL;
	enum drive_boot boot = DRIVE_BOOT_LOCAL;
	int r = store_pc_get(controller->store, name, &pc, NULL);
	if (r < 0)
		return DRIVE_BOOT_REFUSE;
	r = night_of_pc(controller, &pc, &night, &err);
	if (r > 0 && night.state == NIGHT_RUNNING && clock_wall() < night.ends) {
		boot = DRIVE_BOOT_HOST;
		r = note_host_boot(controller, &pc, &night, &err);
	} else if (controller->drive) {
		pc_memory(controller->drive, name)->local_boot = true;
	}
	if (r < 0)
		log_error("%s: its boot is not noted: %s", name, error_text(err, r));
	night_done(&night);
	pc_done(&pc);
	drive_kick(controller);
	return boot;
}

void drive_desktop(struct controller *controller, const char *name)
{
	if (!controller->drive)
		return;
	pc_memory(controller->drive, name)->desktop_at = clock_wall();
	drive_kick(controller);
}

bool drive_expects(struct controller *controller, const char *name)
{
	struct pc pc = {0};
	if (store_pc_get(controller->store, name, &pc, NULL) < 0)
		return false;
	bool expected = pc.state == PC_BOOTING && clock_wall() < pc.deadline;
	pc_done(&pc);
	return expected;
}

int drive_enrolled(struct controller *controller, const char *name, const struct proto_facts *facts,
	struct error **err)
{
	struct store *store = controller->store;
	struct pc pc = {0};
	int r = store_begin(store, err);
	if (r < 0)
		return r;
	r = store_pc_get(store, name, &pc, err);
	if (r >= 0)
		r = store_pc_set_session(store, name, facts, err);
	if (r >= 0)
		r = pc_move(controller, &pc, PC_HOST, 0, NULL, err);
	pc_done(&pc);
	if (r < 0) {
		store_rollback(store);
		return r;
	}
	drive_kick(controller);
	return store_commit(store, err);
}
