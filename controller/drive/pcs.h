/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The one way by which the moving part changes a PC's state. */
#ifndef CONTROLLER_DRIVE_PCS_H
#define CONTROLLER_DRIVE_PCS_H

#include "controller/drive/state.h"

/* Writes the new state, what follows from it for VMs, goal and night report, and updates the row in hand.
 * deadline 0: none; reason NULL: none. In a transaction. */
int pc_move(struct controller *controller, struct pc *pc, enum pc_state state, int64_t deadline, const char *reason,
	struct error **err);
/* All VMs wanted on the PC are failed, with this reason. */
int pc_fail_vms(struct controller *controller, const char *pc, const char *reason, struct error **err);
/* Is the PC one of the night's? */
bool night_has(const struct night *night, const char *pc);
/* The current night when it holds or should hold the PC: 1 (free by night_done), 0: none, or -errno. */
int night_of_pc(struct controller *controller, const struct pc *pc, struct night *ret_night, struct error **err);

#endif
