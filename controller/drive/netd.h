/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Wishes to nightclass-netd, the privileged daemon. */
#ifndef CONTROLLER_DRIVE_NETD_H
#define CONTROLLER_DRIVE_NETD_H

#include "controller/drive/state.h"

/* task_want() of one netd request under the key "netd/NAME"; consumes the request. */
bool netd_want(struct drive *drive, const char *name, const char *identity, int64_t again_ms, int64_t retry_ms,
	json_t *request, struct task_result *ret_result);

#endif
