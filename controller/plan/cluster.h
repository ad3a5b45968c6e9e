/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A whole cluster: place, addresses and contexts of its VMs. Pure. */
#ifndef CONTROLLER_PLAN_CLUSTER_H
#define CONTROLLER_PLAN_CLUSTER_H

#include "controller/model/model.h"
#include "controller/plan/addr.h"
#include "controller/plan/place.h"

/* Fills in number, id, lab, pc, mac and ip of n VMs of the cluster (name, n, cpus, memory_mib, policy). `net` gives
 * each lab its subnet. Nothing is wanted yet, contexts are empty. Adds to taken. -EBUSY with the reason. */
int plan_cluster(const struct cluster *cluster, const struct join *net, const struct place_pcs *pcs,
	struct addr_taken *taken, struct vms *ret_vms, struct error **err);

/* The keys of the night for one cluster, all OpenSSH texts. */
struct cluster_key {
	char *secret, *public;
};
VEC_OF(cluster_key_list, struct cluster_key);
struct cluster_keys {
	struct cluster_key user;
	struct cluster_key_list hosts; /* one per VM, in order of number */
};
void cluster_keys_done(struct cluster_keys *keys);

/* Known-hosts lines of all VMs, by name and address; caller frees. */
char *plan_known_hosts(const struct vms *vms, const struct cluster_keys *keys);
/* Writes each VM's context (a proto_vm as JSON text): hosts file of the whole cluster, its keys. `nonce` makes the
 * instance ids new for each VM ever made. */
void plan_contexts(const struct cluster *cluster, const struct join *net, const struct cluster_keys *keys,
	const char *nonce, struct vms *vms);
/* The hosts file of the cluster as text; caller frees. */
char *plan_hosts_file(const struct vms *vms);

#endif
