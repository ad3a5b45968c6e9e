/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Every PC one step along its way through the night.
 *
 * plan/night decides; this file gathers what the decision may know (the row, the night, the answers of outside
 * checks) and carries the decision out. The address check of all PCs that are about to be woken is one call to
 * netd, so that a lab of 40 PCs is checked in a second. When netd cannot check, the PCs are woken all the same:
 * a night without the check is better than no night, and the event says so.
 *
 * pc_move() is the one door to a PC's state in drive/: whoever moves a PC also fails its VMs, renews its goal and
 * notes the time in the night's report, or none of it. */
#include "controller/drive/pcs.h"

#include "controller/drive/netd.h"
#include "controller/drive/preload.h"
#include "controller/drive/probe.h"
#include "controller/drive/report.h"
#include "controller/plan/night.h"
#include "controller/store/night.h"
#include "controller/store/pc.h"
#include "controller/store/store.h"
#include "controller/store/vm.h"
#include "lib/clock.h"
#include "lib/log.h"
#include "netconf/wol.h"

bool night_has(const struct night *night, const char *pc)
{
	for (size_t i = 0; i < night->pcs.n; i++)
		if (strcmp(night->pcs.at[i], pc) == 0)
			return true;
	return false;
}

int night_of_pc(struct controller *controller, const struct pc *pc, struct night *ret_night, struct error **err)
{
	struct night night = {0};
	int r = store_night_current(controller->store, &night, NULL);
	if (r == -ENOENT)
		return 0;
	if (r < 0)
		return error_make(err, r, "the current night cannot be read");
	if (!night_has(&night, pc->name)) {
		night_done(&night);
		return 0;
	}
	*ret_night = night;
	return 1;
}

int pc_fail_vms(struct controller *controller, const char *pc, const char *reason, struct error **err)
{
	struct vm_filter filter = {.lab = controller->config.lab, .pc = pc, .wanted_only = true};
	struct vms vms = {0};
	int r = store_vm_list(controller->store, &filter, &vms, err);
	vec_each (struct vm, vm, &vms)
		if (r >= 0)
			r = store_vm_set_seen(controller->store, vm->id, VM_FAILED, reason, 0, err);
	vms_done(&vms);
	return r;
}

/* A host that is no longer one has no VMs. */
static int leave_host(struct controller *controller, const struct pc *pc, enum pc_state to, const char *reason,
	struct error **err)
{
	bool was_host = pc->state == PC_HOST || pc->state == PC_HOSTING;
	bool is_host = to == PC_HOST || to == PC_HOSTING || to == PC_DRAINING;
	if (!was_host || is_host)
		return 0;
	auto_free char *text = xasprintf("host %s: %s", pc->name, reason ? reason : "started anew");
	return pc_fail_vms(controller, pc->name, text, err);
}

int pc_move(struct controller *controller, struct pc *pc, enum pc_state state, int64_t deadline,
	const char *reason, struct error **err)
{
	struct store *store = controller->store;
	bool changes = pc->state != state;
	int r = leave_host(controller, pc, state, reason, err);
	if (r >= 0)
		r = store_pc_set_state(store, pc->name, state, deadline, reason, err);
	if (r >= 0 && changes && (state == PC_DRAINING || state == PC_HOST))
		r = store_pc_bump(store, pc->name, &pc->generation, err);
	if (r >= 0 && changes)
		r = report_note(controller, pc, state, reason, err);
	if (r < 0)
		return r;
	if (changes && controller->drive) {
		struct pc_memory *memory = pc_memory(controller->drive, pc->name);
		memory->wakes = 0;
		memory->waked_at = 0;
		memory->local_boot = false;
	}
	log_info("%s: %s -> %s%s%s", pc->name, pc_state_names[pc->state], pc_state_names[state],
		reason && *reason ? ": " : "", reason ? reason : "");
	pc->state = state;
	pc->deadline = deadline;
	pc->since = clock_wall();
	free(pc->reason);
	pc->reason = xstrdup(reason ? reason : "");
	return 0;
}

VEC_OF(looks, struct look);
struct look { /* one rethink's view of one PC */
	struct drive *drive;
	struct pc *pc;
	const struct night *night;
	struct night_seen seen;
	struct night_times times;
	int64_t now;
	struct looks *to_wake; /* where it is put down when its magic packet is due */
};

static int gather(struct look *look, struct error **err)
{
	struct controller *controller = look->drive->controller;
	const struct config *config = &controller->config;
	struct vm_filter filter = {.lab = config->lab, .pc = look->pc->name, .wanted_only = true};
	struct vms vms = {0};
	if (look->pc->state == PC_HOST || look->pc->state == PC_HOSTING) {
		int r = store_vm_list(controller->store, &filter, &vms, err);
		if (r < 0)
			return r;
	}
	const struct pc_memory *memory = pc_memory(look->drive, look->pc->name);
	look->seen = (struct night_seen){.listens = look->drive->hearing.since,
		.vms = vms.n,
		.wakes = memory->wakes,
		.waked_at = memory->waked_at,
		.leaving = memory->local_boot,
		.probed = probe_known(controller, look->pc),
		.weak = probe_weak(controller, look->pc),
		.booted = memory->booted_at};
	look->times = (struct night_times){.wake = config->wake_timeout,
		.boot = config->host_boot_timeout,
		.back = config->return_timeout,
		.grace = config->grace,
		.lost = LOST_S};
	vms_done(&vms);
	return 0;
}

static void wake(struct look *look)
{
	struct pc_memory *memory = pc_memory(look->drive, look->pc->name);
	auto_error struct error *err = NULL;
	struct prefix4 lan = look->drive->controller->config.lan_address;
	struct ip4 broadcast = {lan.address.host | ~prefix4_mask(lan.len)};
	memory->wakes++;
	memory->waked_at = look->now;
	int r = wol_send(lan.address, broadcast, &look->pc->mac, &err);
	if (r < 0)
		log_warning("%s: no magic packet: %s", look->pc->name, error_text(err, r));
}

/* Two hundred PCs that wake in one second ask for their addresses, their loader and their script in one second: so
 * many packets a second as PCs may load at once, and who is left out is due again at the next look. */
static void wake_some(struct drive *drive, const struct looks *to_wake)
{
	struct admit_wakes due = {0};
	struct images wishes = {0};
	int64_t second = clock_wall();
	if (second != drive->wake_second)
		drive->wakes = 0;
	drive->wake_second = second;
	if (to_wake->n > 0 && preload_wishes(drive->controller, &wishes, NULL) < 0)
		wishes = (struct images){0};
	for (size_t i = 0; i < to_wake->n; i++) {
		const char *name = to_wake->at[i].pc->name;
		const struct pc_memory *memory = pc_memory(drive, name);
		vec_push(&due, ((struct admit_wake){.pc = i,
				       .wakes = memory->wakes,
				       .waked_at = memory->waked_at,
				       .holds = preload_kept(drive->controller, name, &wishes)}));
	}
	images_done(&wishes);
	size_t slots = drive->controller->config.boot_slots;
	plan_wakes(&due, slots > drive->wakes ? slots - drive->wakes : 0);
	vec_each (struct admit_wake, one, &due)
		wake(&to_wake->at[one->pc]);
	drive->wakes += due.n;
	vec_done(&due);
}

static int carry_out(struct look *look, struct night_step *step, struct error **err)
{
	struct controller *controller = look->drive->controller;
	struct pc *pc = look->pc;
	int r = 0;
	if (step->moves) {
		if (look->night && pc->night != look->night->id && step->state != PC_DESKTOP) {
			r = store_pc_set_night(controller->store, pc->name, look->night->id, err);
			pc->night = look->night->id;
		}
		if (r >= 0 && step->desktop_seen)
			r = store_pc_set_desktop_at(controller->store, pc->name, look->now, err);
		if (r >= 0)
			r = pc_move(controller, pc, step->state, step->deadline, step->reason, err);
	}
	if (r >= 0 && step->effect == EFFECT_WAKE && look->to_wake)
		vec_push(look->to_wake, *look);
	free(step->reason);
	return r;
}

/* Decides with what is known; asks the desktop when the plan wants to know whether it answers. */
static int step_pc(struct look *look, bool *ret_check, struct error **err)
{
	struct night_step step;
	int r = gather(look, err);
	if (r < 0)
		return r;
	plan_pc_step(look->pc, look->night, look->now, &look->seen, &look->times, &step);
	*ret_check = step.effect == EFFECT_CHECK_ADDRESS;
	if (step.effect == EFFECT_PROBE && probe_answers(look->drive, look->pc)) {
		look->seen.answers = true;
		plan_pc_step(look->pc, look->night, look->now, &look->seen, &look->times, &step);
	}
	return carry_out(look, &step, err);
}

/* What the address check said about this PC. */
static void conflict_of(const json_t *answer, struct look *look)
{
	size_t i;
	const json_t *row;
	char address[IP4_TEXT];
	ip4_format(look->pc->address, address);
	look->seen.conflict = CONFLICT_NONE;
	json_array_foreach (json_object_get(answer, "conflicts"), i, row) {
		const char *text = json_string_value(json_object_get(row, "address"));
		const char *mac = json_string_value(json_object_get(row, "mac"));
		if (text && mac && strcmp(text, address) == 0 && mac_parse(mac, &look->seen.other) == 0)
			look->seen.conflict = CONFLICT_FOUND;
	}
}

/* One answer serves for as long as the same PCs wait for it since the same time: a PC that was released is looked at
 * anew, since the other machine may be gone. */
static bool ask_conflicts(struct drive *drive, const struct looks *looks, struct task_result *ret_result)
{
	json_t *addresses = json_array(), *mine = json_array();
	auto_buf struct buf since = {0};
	vec_each (struct look, look, looks) {
		char address[IP4_TEXT], mac[MAC_TEXT];
		json_array_append_new(addresses, json_string(ip4_format(look->pc->address, address)));
		json_array_append_new(mine, json_string(mac_format(&look->pc->mac, mac)));
		buf_addf(&since, " %lld", (long long)look->pc->since);
	}
	json_t *request = json_pack("{s:s, s:o, s:o}", "op", "conflicts", "addresses", addresses, "mine", mine);
	auto_free char *text = json_text(request);
	auto_free char *identity = xasprintf("%lld%s %s", (long long)looks->at[0].night->id, since.text, text);
	return netd_want(drive, "conflicts", identity, 0, 0, request, ret_result);
}

static int check_addresses(struct drive *drive, struct looks *looks, struct error **err)
{
	struct task_result result;
	int r = 0;
	if (looks->n == 0 || !ask_conflicts(drive, looks, &result))
		return 0;
	if (result.code < 0)
		r = store_event(drive->controller->store, "night.unchecked", "night", NULL, err,
			"the PCs' addresses could not be checked before waking: %s", result.text);
	vec_each (struct look, look, looks) {
		struct night_step step;
		if (r < 0)
			break;
		conflict_of(result.code < 0 ? NULL : result.answer, look);
		plan_pc_step(look->pc, look->night, look->now, &look->seen, &look->times, &step);
		r = carry_out(look, &step, err);
		if (r >= 0 && look->seen.conflict == CONFLICT_FOUND) {
			auto_free char *subject = xasprintf("pc/%s", look->pc->name);
			r = store_event(drive->controller->store, "pc.conflict", subject, NULL, err, "%s",
				look->pc->reason);
		}
	}
	return r;
}

int think_pcs(struct drive *drive, struct error **err)
{
	struct store *store = drive->controller->store;
	struct night night = {0};
	struct pcs pcs = {0};
	struct looks to_check = {0}, to_wake = {0};
	int r = store_night_current(store, &night, NULL);
	bool have_night = r >= 0;
	if (r < 0 && r != -ENOENT)
		return error_make(err, r, "the current night cannot be read");
	r = store_pc_list(store, NULL, &pcs, err);
	vec_each (struct pc, pc, &pcs) {
		bool in = have_night && night_has(&night, pc->name);
		struct look look = {
			.drive = drive,
			.pc = pc,
			.night = in ? &night : NULL,
			.now = clock_wall(),
			.to_wake = &to_wake};
		bool check = false;
		if (r >= 0)
			r = step_pc(&look, &check, err);
		if (check)
			vec_push(&to_check, look);
	}
	if (r >= 0)
		r = check_addresses(drive, &to_check, err);
	wake_some(drive, &to_wake);
	vec_done(&to_wake);
	vec_done(&to_check);
	pcs_done(&pcs);
	night_done(&night);
	return r;
}
