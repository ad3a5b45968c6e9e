/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Clusters in the store; their VMs are in store/vm.h. */
#ifndef CONTROLLER_STORE_CLUSTER_H
#define CONTROLLER_STORE_CLUSTER_H

#include "controller/model/model.h"
#include "lib/error.h"

struct store;

struct cluster_filter {
	bool by_night; /* of this night only */
	int64_t night;
	bool open_only;	  /* without closed and failed ones */
	const char *join; /* NULL: any */
};

int store_cluster_get(
	struct store *store, const char *name, struct cluster *ret_cluster, struct error **err);
/* Ordered by creation, then name; filter NULL: all. */
int store_cluster_list(struct store *store, const struct cluster_filter *filter,
	struct clusters *ret_clusters, struct error **err);
/* -EEXIST when the name is taken. Event "cluster.added". */
int store_cluster_insert(struct store *store, const struct cluster *cluster, struct error **err);
/* The one setter; reason NULL: "". Event "cluster.state" when state or reason differ. */
int store_cluster_set_state(struct store *store, const char *name, enum cluster_state state,
	const char *reason, struct error **err);
/* keys: JSON text, NULL empties. */
int store_cluster_set_keys(
	struct store *store, const char *name, const char *keys, struct error **err);
/* With its VMs. Absent is success. */
int store_cluster_delete(struct store *store, const char *name, struct error **err);

#endif
