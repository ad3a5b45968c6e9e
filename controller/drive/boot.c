/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A PC in its firmware asks for its boot script, and a little later its host asks to be let in.
 *
 * The answer follows from the night alone: a PC that a running night holds becomes a host, whatever state we
 * believed it in (it was reset, it came late, somebody pressed its button); any other PC of ours goes to its own
 * disk; a stranger is refused. A failure to write the state down does not change the answer: the next rethink
 * will see the host's enrolment, and a PC must never hang in its firmware because of us.
 *
 * When many come at once, plan/admit says who loads now and who asks again. The queue is memory only: a
 * restart forgets it, the waiting PCs ask again within seconds, and at worst one more round of slots loads beside
 * the first.
 *
 * A slot is for what a PC loads by HTTP. Where the root image is cast that is kernel and initramfs, a quarter of it
 * all; a PC that the cast fails gets the rest without one. When one asks for it, the others' slots are for all again,
 * until the cast has brought a root image whole: a lab without multicast is paced as if there were no cast. */
#include "controller/drive/pcs.h"

#include <stdarg.h>
#include "controller/drive/cast.h"
#include "controller/store/night.h"
#include "controller/store/pc.h"
#include "controller/store/store.h"
#include "lib/clock.h"
#include "lib/log.h"

enum { BROKEN_AGAIN_S = 60 };

static struct admit_rules rules_of(const struct controller *controller)
{
	return (struct admit_rules){
		.slots = controller->config.boot_slots, .slot_s = controller->config.boot_slot_time};
}

static int tell(struct controller *controller, const char *kind, const char *pc, struct error **err,
	const char *fmt, ...) PRINTF_LIKE(5, 6);
static int tell(struct controller *controller, const char *kind, const char *pc, struct error **err,
	const char *fmt, ...)
{
	auto_free char *subject = xasprintf("pc/%s", pc);
	char text[256];
	va_list args;
	va_start(args, fmt);
	vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	log_notice("%s", text);
	return store_event(controller->store, kind, subject, NULL, err, "%s", text);
}

static int tell_turn(struct controller *controller, const char *pc, const struct admit_answer *turn,
	struct error **err)
{
	if (!turn->news || (turn->slot && turn->waited == 0))
		return 0;
	if (turn->slot == 0)
		return tell(controller, "boot.waits", pc, err,
			"PC %s waits until it may load the host image, %u before it", pc, turn->ahead);
	return tell(controller, "boot.slot", pc, err, "PC %s loads the host image after %lld s in the queue",
		pc, (long long)turn->waited);
}

/* A PC in the queue is heard of again and again: its deadline is put off, but not at each question. */
static bool worth_a_move(struct controller *controller, const struct pc *pc, const struct admit_answer *turn)
{
	return pc->state != PC_BOOTING || turn->slot ||
	       pc->deadline - clock_wall() < controller->config.host_boot_timeout / 2;
}

static int note_host_boot(struct controller *controller, struct pc *pc, const struct night *night,
	const struct admit_answer *turn, struct error **err)
{
	int r = store_begin(controller->store, err);
	if (r < 0)
		return r;
	if (pc->night != night->id) {
		r = store_pc_set_night(controller->store, pc->name, night->id, err);
		pc->night = night->id;
	}
	if (r >= 0 && worth_a_move(controller, pc, turn))
		r = pc_move(controller, pc, PC_BOOTING, clock_wall() + controller->config.host_boot_timeout,
			NULL, err);
	if (r >= 0)
		r = tell_turn(controller, pc->name, turn, err);
	return store_end(controller->store, r, err);
}

static void take_turn(struct controller *controller, const char *name, struct admit_answer *ret_turn)
{
	const struct admit_rules rules = rules_of(controller);
	*ret_turn = (struct admit_answer){.slot = 1};
	if (controller->drive)
		plan_admit(&controller->drive->admits, &rules, name, clock_wall(), ret_turn);
}

enum drive_boot drive_booted(struct controller *controller, const char *name, struct admit_answer *ret_turn)
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
		take_turn(controller, name, ret_turn);
		boot = ret_turn->slot ? DRIVE_BOOT_HOST : DRIVE_BOOT_WAIT;
		r = note_host_boot(controller, &pc, &night, ret_turn, &err);
	} else if (controller->drive) {
		plan_admit_end(&controller->drive->admits, name);
		pc_memory(controller->drive, name)->local_boot = true;
	}
	if (r < 0)
		log_error("%s: its boot is not noted: %s", name, error_text(err, r));
	night_done(&night);
	pc_done(&pc);
	drive_kick(controller);
	return boot;
}

void drive_scripted(struct controller *controller, const char *name)
{
	if (controller->drive)
		pc_memory(controller->drive, name)->booted_at = clock_wall();
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
	const struct admit_pc *place = drive_boot_place(controller, name, NULL);
	bool waits = place && place->slot == 0;
	bool expected = pc.state == PC_BOOTING && !waits && clock_wall() < pc.deadline;
	pc_done(&pc);
	return expected;
}

const struct admit_pc *drive_boot_place(struct controller *controller, const char *name, unsigned *ret_ahead)
{
	if (!controller->drive)
		return NULL;
	const struct admit_pcs *admits = &controller->drive->admits;
	const struct admit_pc *place = admit_find(admits, name);
	if (place && ret_ahead)
		*ret_ahead = admit_ahead(admits, place);
	return place;
}

/* Told once a minute and PC: a bad cable breaks off every few seconds. */
static void tell_broken(struct controller *controller, const struct pc *pc, const char *file)
{
	auto_error struct error *err = NULL;
	struct pc_memory *memory = pc_memory(controller->drive, pc->name);
	if (pc->state != PC_BOOTING || (memory->broke_at && clock_wall() < memory->broke_at + BROKEN_AGAIN_S))
		return;
	memory->broke_at = clock_wall();
	int r = tell(controller, "boot.broken", pc->name, &err,
		"PC %s broke off while it loaded %s; it goes on from there if it can", pc->name, file);
	if (r < 0)
		log_error("event: %s", error_text(err, r));
}

bool drive_boot_cast(struct controller *controller, const char *name, const char *digest)
{
	if (!controller->drive)
		return false;
	bool cast = digest && cast_root(controller, digest);
	pc_memory(controller->drive, name)->root_cast = cast;
	return cast;
}

void drive_boot_asked(struct controller *controller, struct ip4 address, const char *file)
{
	struct pc pc = {0};
	if (!controller->drive || strcmp(file, "host.squashfs") != 0 ||
		store_pc_by_address(controller->store, address, &pc, NULL) < 0)
		return;
	if (pc_memory(controller->drive, pc.name)->root_cast)
		cast_root_failed(controller->drive->cast);
	pc_done(&pc);
}

/* Does a PC that got this file whole need no more by HTTP? */
static bool is_last(struct drive *drive, const char *pc, const char *file)
{
	return strcmp(file, "host.squashfs") == 0 ||
	       (strcmp(file, "initrd.img") == 0 && pc_memory(drive, pc)->root_cast &&
		       cast_root_works(drive->cast));
}

void drive_boot_sent(struct controller *controller, struct ip4 address, const char *file, bool whole)
{
	struct pc pc = {0};
	if (!controller->drive || store_pc_by_address(controller->store, address, &pc, NULL) < 0)
		return;
	if (!whole)
		tell_broken(controller, &pc, file);
	else if (is_last(controller->drive, pc.name, file))
		plan_admit_end(&controller->drive->admits, pc.name);
	pc_done(&pc);
}

int think_boots(struct drive *drive, struct error **err)
{
	struct controller *controller = drive->controller;
	const struct admit_rules rules = rules_of(controller);
	struct admit_pcs gone = {0};
	int r = 0;
	plan_admit_lapse(&drive->admits, &rules, clock_wall(), &gone);
	vec_each (struct admit_pc, pc, &gone) {
		if (r >= 0 && pc->slot)
			r = tell(controller, "boot.expired", pc->name, err,
				"PC %s has not loaded the host image within %lld s; its slot is free again",
				pc->name, (long long)rules.slot_s);
		else if (r >= 0)
			r = tell(controller, "boot.left", pc->name, err,
				"PC %s left the queue for the host image: silent for %d s", pc->name,
				ADMIT_SILENT_S);
	}
	admit_pcs_done(&gone);
	return r;
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
	if (controller->drive)
		plan_admit_end(&controller->drive->admits, name);
	drive_kick(controller);
	return store_commit(store, err);
}
