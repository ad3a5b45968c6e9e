/* SPDX-License-Identifier: GPL-2.0-or-later */
/* One lab's own share of a join: what its netd holds, and the probes towards the others. */
#ifndef CONTROLLER_DRIVE_SHARE_H
#define CONTROLLER_DRIVE_SHARE_H

#include "controller/drive/state.h"

/* Makes this lab's netd hold what the join's state asks for, and writes the state of its own member row.
 * May fail the join. */
int share_step(struct drive *drive, struct join *join, struct join_member *self, struct error **err);
/* Coordinator: probes every ordered pair. True when all are done and fine; when one is not, the join is failed
 * with the reason. *ret_r gets 0 or -errno. */
bool share_probed(struct drive *drive, struct join *join, int *ret_r, struct error **err);
/* Does the matrix hold a good probe for every ordered pair? */
bool share_all_ok(const struct join *join);

#endif
