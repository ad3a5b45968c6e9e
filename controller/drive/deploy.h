/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A cluster from request to rows in the store. */
#ifndef CONTROLLER_DRIVE_DEPLOY_H
#define CONTROLLER_DRIVE_DEPLOY_H

#include "controller/drive/state.h"
#include "controller/model/request.h"

struct deployed {
	struct cluster cluster;
	struct vms vms;
	bool known; /* the same request had been taken before */
};
void deployed_done(struct deployed *deployed);

/* Plans, makes keys and contexts, and (unless dry) keeps all of it; the rethink does the rest. In a transaction.
 * -EEXIST: the name is used by another cluster; -EBUSY: does not fit, with the reason. */
int deploy_new(struct controller *controller, const struct request_cluster *request, const char *owner, bool dry,
	struct deployed *ret_deployed, struct error **err);
/* A lab refused its part: the whole cluster is planned anew without it. Nothing of it has started. On failure of
 * the plan the cluster is failed with the reason, and 0 is returned. */
int deploy_again(struct controller *controller, struct cluster *cluster, const char *lab, const char *why,
	struct error **err);
/* "NAME-001" and so on; the VM list as the hosts file. */
int deploy_fail(struct controller *controller, struct cluster *cluster, const char *reason, struct error **err);

#endif
