/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Joins of labs as they go: coordinator's and member's side. */
#ifndef CONTROLLER_DRIVE_JOINS_H
#define CONTROLLER_DRIVE_JOINS_H

#include "controller/drive/state.h"
#include "controller/plan/join.h"

enum { PROBE_BYTES = 256 << 10 /* of GET /boot/probe: more than any first window, full-sized segments */ };

/* The member row of a lab, NULL: none. */
struct join_member *join_member_of(const struct join *join, const char *lab);
/* A join among several labs (not the net of one lab alone). */
bool join_is_shared(const struct join *join);
/* The shared join with the id; -ENOENT, for the net of one lab alone too. */
int join_get_shared(struct controller *controller, const char *id, struct join *ret_join, struct error **err);
/* The newest committed join this lab is a member of, or that with the id; -ENOENT. */
int join_live(struct controller *controller, const char *id, struct join *ret_join, struct error **err);
/* The net of this lab alone for the night, planned when there is none; kept with `keep`. In a transaction. */
int join_alone(struct controller *controller, const struct night *night, bool keep, struct join *ret_join,
	struct error **err);
/* The nets this lab must keep clear of: its LAN, and live joins but the one with the id (may be NULL). */
int join_taken(struct controller *controller, const char *but, struct prefixes *ret_taken, struct error **err);
/* A join that ends now, everywhere, for this reason. In a transaction. */
int join_withdraw(struct controller *controller, const struct join *join, const char *reason, struct error **err);

/* Probes, in a worker, the other lab's gateway from ours. True when the result is there: an answer
 * {"ok", "ms", "mss", "reason"?} also when it cannot be reached. */
bool join_probe(struct drive *drive, const struct join *join, const char *to, uint16_t port,
	struct task_result *ret_result);
/* The topic that is woken when that probe ends; caller frees. */
char *join_probe_topic(const struct join *join, const char *to);
/* What netd does for this join, as an administrator would type it, while it does; for GET /joins/{id}. */
json_t *join_commands(struct controller *controller, const struct join *join);

#endif
