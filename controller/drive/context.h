/* SPDX-License-Identifier: GPL-2.0-or-later */
/* All that the planner of a cluster may know, gathered from the store. Read only. */
#ifndef CONTROLLER_DRIVE_CONTEXT_H
#define CONTROLLER_DRIVE_CONTEXT_H

#include "controller/drive/joins.h"
#include "controller/drive/labdoc.h"
#include "controller/plan/cluster.h"

struct cluster_context {
	struct night night;		/* that runs here now */
	struct join net;		/* what the VMs get their addresses from */
	struct lab_documents documents; /* of the labs in it that answer */
	struct place_pcs pcs;		/* borrows from documents */
	struct addr_taken taken;
	struct buf left_out;		/* why labs or PCs are not used, for people */
};

/* join: an id, or NULL: the live join if there is one, else the net of this lab alone (kept in the store when
 * `keep`). Labs in `but` ("CLUSTER/LAB") are not used. -EBUSY: no night runs. Free by cluster_context_done. */
int cluster_context(struct controller *controller, const struct cluster *cluster, const char *join,
	const struct strings *but, bool keep, struct cluster_context *ret_context, struct error **err);
void cluster_context_done(struct cluster_context *context);

/* The same for a join: its labs with uplinks and taken nets, and until when all their nights last. */
struct join_context {
	struct lab_documents documents;
	struct join_labs labs; /* borrows from documents */
	int64_t expires;
};
int join_context(struct controller *controller, const struct strings *labs, struct join_context *ret_context,
	struct error **err);
void join_context_done(struct join_context *context);

#endif
