/* SPDX-License-Identifier: GPL-2.0-or-later */
/* PCs as rows.
 *
 * The state has one setter, so that each change of it is an event in the same transaction and
 * `since` is never forgotten. A PC back at its desktop loses its sessions there too: whatever
 * certificate it had in the night is worth nothing from that moment, whoever kept it.
 *
 * Reports come often and mostly say the same, so they write no event; what they change (VMs,
 * states) does. */
#include "controller/store/pc.h"

#include "controller/store/enrolment.h"
#include "controller/store/store.h"
#include "lib/clock.h"

#define COLUMNS                                                                                    \
	"name, seat, mac, address, probe, state, since, deadline, reason, night, boot_id, facts, " \
	"generation, applied, reported_at, desktop_at"

static int read_row(sqlite3_stmt *stmt, struct pc *ret_pc, struct error **err)
{
	struct pc pc = {0};
	const char *facts = (const char *)sqlite3_column_text(stmt, 11);
	int state = name_index(pc_state_names, (const char *)sqlite3_column_text(stmt, 5));
	if (state < 0 || mac_parse((const char *)sqlite3_column_text(stmt, 2), &pc.mac) < 0 ||
		ip4_parse((const char *)sqlite3_column_text(stmt, 3), &pc.address) < 0)
		return error_make(err, -EIO, "the row of PC %s cannot be read",
			(const char *)sqlite3_column_text(stmt, 0));
	if (facts) {
		auto_json json_t *object = NULL;
		int r = json_parse_object(facts, strlen(facts), &object, err);
		if (r >= 0)
			r = proto_facts_read(object, &pc.facts, err);
		if (r < 0)
			return error_wrap(err, r, "facts of PC %s",
				(const char *)sqlite3_column_text(stmt, 0));
		pc.has_facts = true;
	}
	pc.name = store_text(stmt, 0);
	pc.seat = store_text(stmt, 1);
	pc.probe = store_text(stmt, 4);
	pc.state = (enum pc_state)state;
	pc.since = sqlite3_column_int64(stmt, 6);
	pc.deadline = sqlite3_column_int64(stmt, 7);
	pc.reason = store_text(stmt, 8);
	pc.night = sqlite3_column_int64(stmt, 9);
	pc.boot_id = store_text(stmt, 10);
	pc.generation = (uint64_t)sqlite3_column_int64(stmt, 12);
	pc.applied = (uint64_t)sqlite3_column_int64(stmt, 13);
	pc.reported_at = sqlite3_column_int64(stmt, 14);
	pc.desktop_at = sqlite3_column_int64(stmt, 15);
	*ret_pc = pc;
	return 0;
}

/* Steps once, reads at most one row: 1 found, 0 not, -errno. */
static int read_one(struct store *store, sqlite3_stmt *stmt, struct pc *ret_pc, struct error **err)
{
	int r = store_step(store, stmt, err);
	if (r > 0) {
		int read = read_row(stmt, ret_pc, err);
		r = read < 0 ? read : 1;
	}
	store_finish(store, stmt);
	return r;
}

static int unknown(struct error **err, const char *name)
{
	return error_make(err, -ENOENT,
		"no PC is named \"%s\"; `nightclass pc list` shows those there are", name);
}

int store_pc_get(struct store *store, const char *name, struct pc *ret_pc, struct error **err)
{
	sqlite3_stmt *stmt = NULL;
	int r = store_query(
		store, &stmt, err, "SELECT " COLUMNS " FROM pc WHERE name = ?", "s", name);
	if (r >= 0)
		r = read_one(store, stmt, ret_pc, err);
	if (r == 0)
		return unknown(err, name);
	return r < 0 ? r : 0;
}

int store_pc_by_mac(
	struct store *store, const struct mac *mac, struct pc *ret_pc, struct error **err)
{
	char text[MAC_TEXT];
	sqlite3_stmt *stmt = NULL;
	int r = store_query(store, &stmt, err, "SELECT " COLUMNS " FROM pc WHERE mac = ?", "s",
		mac_format(mac, text));
	if (r >= 0)
		r = read_one(store, stmt, ret_pc, err);
	if (r == 0)
		return error_make(err, -ENOENT,
			"no PC has the MAC address %s; `nightclass pc add` makes one known", text);
	return r < 0 ? r : 0;
}

int store_pc_by_address(
	struct store *store, struct ip4 address, struct pc *ret_pc, struct error **err)
{
	char text[IP4_TEXT];
	sqlite3_stmt *stmt = NULL;
	int r = store_query(store, &stmt, err, "SELECT " COLUMNS " FROM pc WHERE address = ?", "s",
		ip4_format(address, text));
	if (r >= 0)
		r = read_one(store, stmt, ret_pc, err);
	if (r == 0)
		return error_make(err, -ENOENT, "no PC has the address %s", text);
	return r < 0 ? r : 0;
}

int store_pc_list(struct store *store, const struct pc_filter *filter, struct pcs *ret_pcs,
	struct error **err)
{
	static const struct pc_filter all = {0};
	const struct pc_filter *f = filter ? filter : &all;
	struct pcs pcs = {0};
	sqlite3_stmt *stmt = NULL;
	int r = store_query(store, &stmt, err,
		"SELECT " COLUMNS " FROM pc WHERE (?1 < 0 OR ifnull(night, 0) = ?1)"
		" AND (?2 IS NULL OR state = ?2) ORDER BY name",
		"is", f->by_night ? f->night : (int64_t)-1,
		f->by_state ? pc_state_names[f->state] : NULL);
	if (r < 0)
		return r;
	while ((r = store_step(store, stmt, err)) > 0) {
		struct pc pc;
		r = read_row(stmt, &pc, err);
		if (r < 0)
			break;
		vec_push(&pcs, pc);
	}
	store_finish(store, stmt);
	if (r < 0) {
		pcs_done(&pcs);
		return r;
	}
	*ret_pcs = pcs;
	return 0;
}

/* Who already has the name, MAC or address that `pc` wants (other than `pc` itself when it is
 * there). */
static int check_free(struct store *store, const struct pc *pc, bool is_new, struct error **err)
{
	struct pc other = {0};
	int r = is_new ? store_pc_get(store, pc->name, &other, NULL) : -ENOENT;
	if (r == 0) {
		pc_done(&other);
		return error_field(err, -EEXIST, "name", "there is a PC %s already", pc->name);
	}
	r = store_pc_by_mac(store, &pc->mac, &other, NULL);
	if (r == 0 && strcmp(other.name, pc->name) != 0)
		r = error_field(
			err, -EEXIST, "mac", "PC %s has this MAC address already", other.name);
	pc_done(&other);
	if (r == -EEXIST)
		return r;
	r = store_pc_by_address(store, pc->address, &other, NULL);
	if (r == 0 && strcmp(other.name, pc->name) != 0)
		r = error_field(
			err, -EEXIST, "address", "PC %s has this address already", other.name);
	pc_done(&other);
	return r == -EEXIST ? r : 0;
}

/* Runs one change and its event in one transaction; -ENOENT when the change met no row. */
static int finish(struct store *store, int r, int changes, const char *name, struct error **err)
{
	if (r >= 0 && changes == 0)
		r = unknown(err, name);
	return store_end(store, r, err);
}

static int event(struct store *store, const char *kind, const char *name, const char *what,
	struct error **err)
{
	auto_free char *subject = xasprintf("pc/%s", name);
	return store_event(store, kind, subject, NULL, err, "PC %s %s", name, what);
}

static int write_pc(struct store *store, const struct pc *pc, bool is_new, struct error **err)
{
	char mac[MAC_TEXT], address[IP4_TEXT];
	int changes = 0;
	int r = store_begin(store, err);
	if (r < 0)
		return r;
	r = check_free(store, pc, is_new, err);
	mac_format(&pc->mac, mac);
	ip4_format(pc->address, address);
	if (r >= 0 && is_new)
		r = store_exec(store, &changes, err,
			"INSERT INTO pc(name, seat, mac, address, probe, since) "
			"VALUES(?,?,?,?,?,?)",
			"sssssi", pc->name, pc->seat ? pc->seat : "", mac, address,
			pc->probe ? pc->probe : "", clock_wall());
	else if (r >= 0)
		r = store_exec(store, &changes, err,
			"UPDATE pc SET seat = ?, mac = ?, address = ?, probe = ? WHERE name = ?",
			"sssss", pc->seat ? pc->seat : "", mac, address, pc->probe ? pc->probe : "",
			pc->name);
	if (r >= 0 && changes > 0)
		r = event(store, is_new ? "pc.added" : "pc.changed", pc->name,
			is_new ? "was added" : "was changed", err);
	return finish(store, r, changes, pc->name, err);
}

int store_pc_insert(struct store *store, const struct pc *pc, struct error **err)
{
	return write_pc(store, pc, true, err);
}

int store_pc_update(struct store *store, const struct pc *pc, struct error **err)
{
	return write_pc(store, pc, false, err);
}

int store_pc_delete(struct store *store, const char *name, struct error **err)
{
	struct pc pc = {0};
	int changes = 0;
	int r = store_pc_get(store, name, &pc, err);
	if (r < 0)
		return r;
	int64_t night = pc.night;
	pc_done(&pc);
	if (night != 0)
		return error_make(err, -EBUSY,
			"PC %s is held by night %d; it can be removed after its end", name,
			(int)night);
	r = store_begin(store, err);
	if (r < 0)
		return r;
	r = store_exec(store, &changes, err, "DELETE FROM pc WHERE name = ?", "s", name);
	if (r >= 0)
		r = event(store, "pc.removed", name, "was removed", err);
	return finish(store, r, changes, name, err);
}

static int write_state(struct store *store, const struct pc *pc, enum pc_state state,
	int64_t deadline, const char *reason, struct error **err)
{
	bool told = state != pc->state || strcmp(reason, pc->reason) != 0;
	int r = store_exec(store, NULL, err,
		"UPDATE pc SET state = ?, since = ?, deadline = nullif(?, 0), reason = ? WHERE "
		"name = ?",
		"siiss", pc_state_names[state], state == pc->state ? pc->since : clock_wall(),
		deadline, reason, pc->name);
	if (r >= 0 && state == PC_DESKTOP && pc->state != PC_DESKTOP) {
		r = store_enrolment_forget(store, pc->name, err);
		if (r >= 0)
			r = store_exec(store, NULL, err,
				"UPDATE pc SET boot_id = '', report = NULL WHERE name = ?", "s",
				pc->name);
	}
	if (r < 0 || !told)
		return r;
	auto_json json_t *data =
		json_pack("{s:s, s:s, s:s, s:I}", "from", pc_state_names[pc->state], "to",
			pc_state_names[state], "reason", reason, "deadline", (json_int_t)deadline);
	auto_free char *subject = xasprintf("pc/%s", pc->name);
	return store_event(store, "pc.state", subject, data, err, "PC %s: %s -> %s%s%s", pc->name,
		pc_state_names[pc->state], pc_state_names[state], reason[0] ? ": " : "", reason);
}

int store_pc_set_state(struct store *store, const char *name, enum pc_state state, int64_t deadline,
	const char *reason, struct error **err)
{
	struct pc pc = {0};
	int r = store_pc_get(store, name, &pc, err);
	if (r < 0)
		return r;
	r = store_begin(store, err);
	if (r >= 0) {
		r = write_state(store, &pc, state, deadline, reason ? reason : "", err);
		r = finish(store, r, 1, name, err);
	}
	pc_done(&pc);
	return r;
}

int store_pc_set_night(struct store *store, const char *name, int64_t night, struct error **err)
{
	int changes = 0;
	int r = store_exec(store, &changes, err,
		"UPDATE pc SET night = nullif(?, 0) WHERE name = ?", "is", night, name);
	return r >= 0 && changes == 0 ? unknown(err, name) : r;
}

int store_pc_bump_hosts(struct store *store, struct error **err)
{
	return store_exec(store, NULL, err,
		"UPDATE pc SET generation = generation + 1 WHERE state IN ('host', 'hosting')", "");
}

int store_pc_bump(
	struct store *store, const char *name, uint64_t *ret_generation, struct error **err)
{
	sqlite3_stmt *stmt = NULL;
	int r = store_query(store, &stmt, err,
		"UPDATE pc SET generation = generation + 1 WHERE name = ? RETURNING generation",
		"s", name);
	if (r < 0)
		return r;
	r = store_step(store, stmt, err);
	uint64_t generation = r > 0 ? (uint64_t)sqlite3_column_int64(stmt, 0) : 0;
	if (r > 0) {
		int end = store_step(store, stmt, err);
		r = end < 0 ? end : 1;
	}
	store_finish(store, stmt);
	if (r == 0)
		return unknown(err, name);
	if (r < 0)
		return r;
	if (ret_generation)
		*ret_generation = generation;
	return 0;
}

int store_pc_set_session(
	struct store *store, const char *name, const struct proto_facts *facts, struct error **err)
{
	int changes = 0;
	auto_json json_t *object = proto_facts_write(facts);
	auto_free char *text = json_text(object);
	int r = store_exec(store, &changes, err,
		"UPDATE pc SET boot_id = ?, facts = ?, report = NULL, applied = 0, reported_at = ? "
		"WHERE name = ?",
		"ssis", facts->boot_id, text, clock_wall(), name);
	return r >= 0 && changes == 0 ? unknown(err, name) : r;
}

/* Is this the text of the last report? */
static bool repeats(struct store *store, const char *name, const char *text)
{
	sqlite3_stmt *stmt = NULL;
	if (store_query(store, &stmt, NULL, "SELECT 1 FROM pc WHERE name = ? AND report = ?", "ss",
		    name, text) < 0)
		return false;
	bool same = store_step(store, stmt, NULL) > 0;
	store_finish(store, stmt);
	return same;
}

int store_pc_set_report(struct store *store, const char *name, const struct proto_report *report,
	struct error **err)
{
	int changes = 0;
	struct proto_report kept = *report;
	kept.load_permille = 0;
	auto_free char *text = proto_report_write(&kept);
	if (repeats(store, name, text)) {
		store_later(
			store, "UPDATE pc SET reported_at = ? WHERE name = ?", clock_wall(), name);
		return 0;
	}
	auto_json json_t *object = proto_facts_write(&report->facts);
	auto_free char *facts = json_text(object);
	int r = store_exec(store, &changes, err,
		"UPDATE pc SET applied = ?, reported_at = ?, facts = ?, report = ? WHERE name = ?",
		"iisss", (int64_t)report->generation, clock_wall(), facts, text, name);
	if (r < 0)
		return r;
	return changes ? 1 : unknown(err, name);
}

int store_pc_report(
	struct store *store, const char *name, struct proto_report *ret_report, struct error **err)
{
	sqlite3_stmt *stmt = NULL;
	int r = store_query(store, &stmt, err,
		"SELECT report FROM pc WHERE name = ? AND report IS NOT NULL", "s", name);
	if (r < 0)
		return r;
	r = store_step(store, stmt, err);
	auto_free char *text = r > 0 ? store_text(stmt, 0) : NULL;
	store_finish(store, stmt);
	if (r < 0)
		return r;
	if (!text)
		return error_make(err, -ENOENT, "PC %s has not reported", name);
	return proto_report_read(text, strlen(text), ret_report, err);
}

int store_pc_set_desktop_at(struct store *store, const char *name, int64_t at, struct error **err)
{
	int changes = 0;
	int r = store_exec(store, &changes, err, "UPDATE pc SET desktop_at = ? WHERE name = ?",
		"is", at, name);
	return r >= 0 && changes == 0 ? unknown(err, name) : r;
}
