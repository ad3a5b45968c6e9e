/* SPDX-License-Identifier: GPL-2.0-or-later */
/* PCs in the store. Every change of state goes through store_pc_set_state, which writes the event
 * "pc.state". */
#ifndef CONTROLLER_STORE_PC_H
#define CONTROLLER_STORE_PC_H

#include "controller/model/model.h"
#include "lib/error.h"

struct store;

struct pc_filter {
	bool by_night, by_state;
	int64_t night; /* with by_night: held by this one; 0: by none */
	enum pc_state state;
};

/* -ENOENT with a text for people when there is none. The caller frees by pc_done. */
int store_pc_get(struct store *store, const char *name, struct pc *ret_pc, struct error **err);
int store_pc_by_mac(
	struct store *store, const struct mac *mac, struct pc *ret_pc, struct error **err);
int store_pc_by_address(
	struct store *store, struct ip4 address, struct pc *ret_pc, struct error **err);
/* Ordered by name; filter NULL: all. */
int store_pc_list(struct store *store, const struct pc_filter *filter, struct pcs *ret_pcs,
	struct error **err);

/* Takes name, seat, mac, address, probe; the state is desktop. -EEXIST names the field that is
 * taken and by whom. Events "pc.added", "pc.changed", "pc.removed". */
int store_pc_insert(struct store *store, const struct pc *pc, struct error **err);
int store_pc_update(struct store *store, const struct pc *pc, struct error **err);
/* -EBUSY while a night holds it. */
int store_pc_delete(struct store *store, const char *name, struct error **err);

/* The one setter of the state. deadline: Unix seconds, 0: none; reason NULL: "". Writes since and
 * the event "pc.state" when state or reason differ; a deadline alone changes silently. A PC that is
 * at its desktop again has no session: boot id and enrolments are forgotten. */
int store_pc_set_state(struct store *store, const char *name, enum pc_state state, int64_t deadline,
	const char *reason, struct error **err);
/* 0: no night holds it. */
int store_pc_set_night(struct store *store, const char *name, int64_t night, struct error **err);
/* Its goal changed: the generation grows by one. ret_generation may be NULL. */
int store_pc_bump(
	struct store *store, const char *name, uint64_t *ret_generation, struct error **err);
/* The goals of all hosts changed. */
int store_pc_bump_hosts(struct store *store, struct error **err);
/* A host session was let in: its boot id and facts; the report of an earlier session is dropped. */
int store_pc_set_session(
	struct store *store, const char *name, const struct proto_facts *facts, struct error **err);
/* Keeps the report: applied, reported_at, facts and the document itself (without its load, which always differs).
 * 1 when it says something new; 0 when it repeats the last one: then reported_at follows within a second or so. */
int store_pc_set_report(struct store *store, const char *name, const struct proto_report *report,
	struct error **err);
/* The last report of the present session; -ENOENT when there is none. Free by proto_report_done. */
int store_pc_report(
	struct store *store, const char *name, struct proto_report *ret_report, struct error **err);
int store_pc_set_desktop_at(struct store *store, const char *name, int64_t at, struct error **err);

#endif
