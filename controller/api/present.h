/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Rows as the JSON that people and programs get. Times are UTC texts. Secrets are never in here. */
#ifndef CONTROLLER_API_PRESENT_H
#define CONTROLLER_API_PRESENT_H

#include "controller/controller.h"
#include "controller/model/model.h"
#include "lib/json.h"

json_t *present_time(int64_t wall); /* 0: null */
json_t *present_night(const struct night *night);
json_t *present_cluster(struct controller *controller, const struct cluster *cluster, const struct vms *vms);
json_t *present_vms(const struct vms *vms);
/* with_commands: what this lab's netd does for it, as commands. */
json_t *present_join(struct controller *controller, const struct join *join, bool with_commands);
json_t *present_run(const struct run *run);
/* {"items": array}; consumes the array. */
json_t *present_list(json_t *items);

#endif
