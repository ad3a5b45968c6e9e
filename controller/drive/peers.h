/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Calls to other labs' controllers, as wishes (task.h). */
#ifndef CONTROLLER_DRIVE_PEERS_H
#define CONTROLLER_DRIVE_PEERS_H

#include "controller/drive/state.h"

/* task_want() of one HTTPS exchange with a lab under the key "peer/NAME"; `name` must be unique among wishes. The
 * answer is the JSON body; an answer of 400 and above is an error with the peer's own text; 404 is -ENOENT.
 * Consumes `body` (NULL: none). A lab we do not know gives a result of -ENOENT at once. */
bool peer_want(struct drive *drive, const char *name, const char *lab, const char *method, const char *path,
	json_t *body, const char *identity, int64_t again_ms, int64_t retry_ms, struct task_result *ret_result);
/* Did the peer itself say no (as opposed to: could not be asked)? */
bool peer_refused(const struct task_result *result);

#endif
