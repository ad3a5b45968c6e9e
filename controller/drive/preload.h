/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What hosts fetch ahead, and what PCs keep over the day. */
#ifndef CONTROLLER_DRIVE_PRELOAD_H
#define CONTROLLER_DRIVE_PRELOAD_H

#include "controller/drive/state.h"

/* The images that the lab's key `preload` means now, in its order; names that are no image are left out. */
int preload_wishes(struct controller *controller, struct images *ret_wishes, struct error **err);
/* Adds to the goal of a host, behind the images of its VMs, what it shall fetch ahead. */
int preload_goal(
	struct controller *controller, const struct pc *pc, struct proto_goal *goal, struct error **err);
/* The host reported: what it keeps is remembered, and its goal is made anew when its scratch partition was not
 * known before. `before`: its last report of this session, or NULL. In a transaction. */
int preload_reported(struct controller *controller, const char *pc, const struct proto_report *before,
	const struct proto_report *report, struct error **err);
/* Does the PC keep one of these images? */
bool preload_kept(struct controller *controller, const char *pc, const struct images *wishes);

#endif
