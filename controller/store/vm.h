/* SPDX-License-Identifier: GPL-2.0-or-later */
/* VMs in the store: what is wanted (context, wanted) and what was seen (state, reason, ready). */
#ifndef CONTROLLER_STORE_VM_H
#define CONTROLLER_STORE_VM_H

#include "controller/model/model.h"
#include "lib/error.h"

struct store;

struct vm_filter { /* NULL: any; several together: all must hold */
	const char *cluster, *lab, *pc;
	bool wanted_only;
};

int store_vm_get(struct store *store, const char *id, struct vm *ret_vm, struct error **err);
/* Ordered by cluster and number; filter NULL: all. */
int store_vm_list(struct store *store, const struct vm_filter *filter, struct vms *ret_vms,
	struct error **err);
/* -EEXIST names mac, ip or id. Event "vm.added". */
int store_vm_insert(struct store *store, const struct vm *vm, struct error **err);
int store_vm_set_wanted(struct store *store, const char *id, bool wanted, struct error **err);
/* What was seen; reason NULL: "". On a change writes the event "vm.state"; ready_at when it becomes
 * READY. */
int store_vm_set_seen(struct store *store, const char *id, enum proto_vm_state state,
	const char *reason, uint64_t ready_ms, struct error **err);
int store_vm_delete(struct store *store, const char *id, struct error **err);

#endif
