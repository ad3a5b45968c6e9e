/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The report of a night: per PC when it was woken, booted, host, told to hand back, seen as a desktop; and what
 * went wrong, by name. Kept in night.report as it goes, so that a restart loses nothing of it. */
#ifndef CONTROLLER_DRIVE_REPORT_H
#define CONTROLLER_DRIVE_REPORT_H

#include "controller/controller.h"
#include "controller/model/model.h"

/* The PC entered this state now. Nothing happens for a PC that no open night holds. In a transaction. */
int report_note(struct controller *controller, const struct pc *pc, enum pc_state state, const char *reason,
	struct error **err);
/* The night is done: totals, and the PCs that are not back with their reasons. */
int report_close(struct controller *controller, const struct night *night, const struct pcs *pcs,
	struct error **err);

#endif
