/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Clusters that span labs: the home lab's calls, and the other labs' side of them. */
#ifndef CONTROLLER_DRIVE_PARTS_H
#define CONTROLLER_DRIVE_PARTS_H

#include "controller/drive/state.h"
#include "controller/model/request.h"

/* Home lab: offers each lab its part; once all have accepted, everything is wanted. A refusal plans anew. */
int parts_offer(struct drive *drive, struct cluster *cluster, const struct vms *vms, struct error **err);
/* Home lab: tells the labs to start and keeps the states they report. */
int parts_follow(struct drive *drive, const struct cluster *cluster, const struct vms *vms, struct error **err);
/* Home lab: lets the labs' parts go; rows of those that are gone are deleted. */
int parts_close(struct drive *drive, const struct cluster *cluster, const struct vms *vms, bool give_up,
	struct error **err);

/* Other lab: takes, replaces or starts a part, or refuses it with the reason (the veto). In a transaction. */
int part_put(struct controller *controller, const char *name, const struct request_part *part, struct error **err);

#endif
