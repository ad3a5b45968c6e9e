/* SPDX-License-Identifier: GPL-2.0-or-later */
/* VMs as rows: on one side what is wanted (place, context, wanted), on the other what was seen.
 *
 * What was seen is written by the host's report alone, and only a difference makes an event; a
 * report that repeats itself changes nothing. A VM's context holds the night's keys, so it is
 * emptied as soon as nobody needs it any more. */
#include "controller/store/vm.h"

#include "controller/store/store.h"
#include "lib/clock.h"

#define COLUMNS                                                                                    \
	"id, cluster, number, lab, pc, mac, ip, context, wanted, state, reason, ready_at, "        \
	"ready_ms"

static int read_row(sqlite3_stmt *stmt, struct vm *ret_vm, struct error **err)
{
	struct vm vm = {0};
	vm.state = name_index(proto_vm_state_names, (const char *)sqlite3_column_text(stmt, 9));
	if (vm.state < 0 || mac_parse((const char *)sqlite3_column_text(stmt, 5), &vm.mac) < 0 ||
		prefix4_parse((const char *)sqlite3_column_text(stmt, 6), &vm.ip) < 0)
		return error_make(err, -EIO, "the row of VM %s cannot be read",
			(const char *)sqlite3_column_text(stmt, 0));
	vm.id = store_text(stmt, 0);
	vm.cluster = store_text(stmt, 1);
	vm.number = (uint64_t)sqlite3_column_int64(stmt, 2);
	vm.lab = store_text(stmt, 3);
	vm.pc = store_text(stmt, 4);
	vm.context = store_text(stmt, 7);
	vm.wanted = sqlite3_column_int64(stmt, 8) != 0;
	vm.reason = store_text(stmt, 10);
	vm.ready_at = sqlite3_column_int64(stmt, 11);
	vm.ready_ms = (uint64_t)sqlite3_column_int64(stmt, 12);
	*ret_vm = vm;
	return 0;
}

int store_vm_get(struct store *store, const char *id, struct vm *ret_vm, struct error **err)
{
	sqlite3_stmt *stmt = NULL;
	int r = store_query(store, &stmt, err, "SELECT " COLUMNS " FROM vm WHERE id = ?", "s", id);
	if (r < 0)
		return r;
	r = store_step(store, stmt, err);
	if (r > 0) {
		int read = read_row(stmt, ret_vm, err);
		r = read < 0 ? read : 1;
	}
	store_finish(store, stmt);
	if (r == 0)
		return error_make(err, -ENOENT, "there is no VM %s", id);
	return r < 0 ? r : 0;
}

int store_vm_list(struct store *store, const struct vm_filter *filter, struct vms *ret_vms,
	struct error **err)
{
	static const struct vm_filter all = {0};
	const struct vm_filter *f = filter ? filter : &all;
	struct vms vms = {0};
	sqlite3_stmt *stmt = NULL;
	int r = store_query(store, &stmt, err,
		"SELECT " COLUMNS
		" FROM vm WHERE (?1 IS NULL OR cluster = ?1) AND (?2 IS NULL OR lab = ?2)"
		" AND (?3 IS NULL OR pc = ?3) AND wanted >= ?4 ORDER BY cluster, number",
		"sssi", f->cluster, f->lab, f->pc, (int64_t)f->wanted_only);
	if (r < 0)
		return r;
	while ((r = store_step(store, stmt, err)) > 0) {
		struct vm vm;
		r = read_row(stmt, &vm, err);
		if (r < 0)
			break;
		vec_push(&vms, vm);
	}
	store_finish(store, stmt);
	if (r < 0) {
		vms_done(&vms);
		return r;
	}
	*ret_vms = vms;
	return 0;
}

static int finish(struct store *store, int r, int changes, const char *id, struct error **err)
{
	if (r >= 0 && changes == 0)
		r = error_make(err, -ENOENT, "there is no VM %s", id);
	return store_end(store, r, err);
}

int store_vm_insert(struct store *store, const struct vm *vm, struct error **err)
{
	char mac[MAC_TEXT], ip[PREFIX4_TEXT];
	int r = store_begin(store, err);
	if (r < 0)
		return r;
	r = store_exec(store, NULL, err,
		"INSERT INTO vm(id, cluster, number, lab, pc, mac, ip, context, wanted, state, "
		"reason)"
		" VALUES(?,?,?,?,?,?,?,?,?,?,?)",
		"ssisssssiss", vm->id, vm->cluster, (int64_t)vm->number, vm->lab, vm->pc,
		mac_format(&vm->mac, mac), prefix4_format(vm->ip, ip),
		vm->context ? vm->context : "", (int64_t)vm->wanted,
		proto_vm_state_names[vm->state], vm->reason ? vm->reason : "");
	if (r == -EEXIST)
		error_wrap(err, r, "VM %s (%s, %s) meets another one", vm->id, mac, ip);
	if (r >= 0) {
		auto_free char *subject = xasprintf("vm/%s", vm->id);
		auto_json json_t *data = json_pack("{s:s, s:s, s:s, s:s, s:s}", "cluster",
			vm->cluster, "lab", vm->lab, "pc", vm->pc, "mac", mac, "ip", ip);
		r = store_event(store, "vm.added", subject, data, err,
			"VM %s is to run on PC %s of lab %s", vm->id, vm->pc, vm->lab);
	}
	return finish(store, r, 1, vm->id, err);
}

static int missing(struct error **err, int r, int changes, const char *id)
{
	return r >= 0 && changes == 0 ? error_make(err, -ENOENT, "there is no VM %s", id) : r;
}

int store_vm_set_wanted(struct store *store, const char *id, bool wanted, struct error **err)
{
	int changes = 0;
	int r = store_exec(store, &changes, err, "UPDATE vm SET wanted = ? WHERE id = ?", "is",
		(int64_t)wanted, id);
	return missing(err, r, changes, id);
}

int store_vm_set_seen(struct store *store, const char *id, enum proto_vm_state state,
	const char *reason, uint64_t ready_ms, struct error **err)
{
	const char *why = reason ? reason : "";
	struct vm vm = {0};
	int r = store_vm_get(store, id, &vm, err);
	if (r < 0)
		return r;
	int before = vm.state;
	bool same = before == (int)state && strcmp(vm.reason, why) == 0 &&
		    (ready_ms == 0 || vm.ready_ms == ready_ms);
	bool told = before != (int)state || strcmp(vm.reason, why) != 0;
	vm_done(&vm);
	if (same)
		return 0;
	r = store_begin(store, err);
	if (r < 0)
		return r;
	r = store_exec(store, NULL, err,
		"UPDATE vm SET state = ?1, reason = ?2, ready_at = CASE WHEN ?1 <> 'ready' THEN "
		"NULL"
		" WHEN ready_at IS NULL THEN ?3 ELSE ready_at END,"
		" ready_ms = CASE WHEN ?1 <> 'ready' THEN NULL ELSE ?4 END WHERE id = ?5",
		"ssiis", proto_vm_state_names[state], why, clock_wall(), (int64_t)ready_ms, id);
	if (r >= 0 && told) {
		auto_free char *subject = xasprintf("vm/%s", id);
		auto_json json_t *data =
			json_pack("{s:s, s:s, s:s}", "from", proto_vm_state_names[before], "to",
				proto_vm_state_names[state], "reason", why);
		const char *now = proto_vm_state_names[state];
		auto_free char *change = before == (int)state
			? xstrdup(now)
			: xasprintf("%s -> %s", proto_vm_state_names[before], now);
		r = store_event(store, "vm.state", subject, data, err, "VM %s: %s%s%s", id, change,
			*why ? ": " : "", why);
	}
	return finish(store, r, 1, id, err);
}

int store_vm_delete(struct store *store, const char *id, struct error **err)
{
	return store_exec(store, NULL, err, "DELETE FROM vm WHERE id = ?", "s", id);
}
