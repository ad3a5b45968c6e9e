/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Clusters as they go. */
#ifndef CONTROLLER_DRIVE_CLUSTERS_H
#define CONTROLLER_DRIVE_CLUSTERS_H

#include "controller/drive/state.h"

/* The cluster shall close; again is fine. In a transaction. */
int cluster_close(struct controller *controller, const struct cluster *cluster, const char *reason,
	struct error **err);

#endif
