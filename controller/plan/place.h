/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Which VM runs on which PC. Pure. */
#ifndef CONTROLLER_PLAN_PLACE_H
#define CONTROLLER_PLAN_PLACE_H

#include <stdbool.h>
#include <stdint.h>
#include "controller/model/model.h"
#include "lib/error.h"

enum {
	PLACE_HOST_RESERVE_MIB = 512, /* of a PC's memory, for the host system and its image cache, */
	PLACE_IMAGES_MIB = 256,	      /* which has so much of it */
	PLACE_VM_OVERHEAD_MIB = 32,   /* of each VM, beside its own memory */
};

/* One host that may take VMs. Strings are borrowed. */
struct place_pc {
	const char *lab, *pc;
	uint64_t cpus, memory_mib; /* free now: reserve and what runs there are already off */
	bool holds;		   /* has the image already */
};
VEC_OF(place_pcs, struct place_pc);

struct place_request {
	uint64_t n, cpus, memory_mib;
	enum place_policy policy;
};

/* Memory and CPUs left on a host of that size with `n` VMs that take `vm_cpus` and `vm_memory_mib` in sum. */
uint64_t place_free_memory(uint64_t memory_mib, uint64_t vm_memory_mib, uint64_t n);
uint64_t place_free_cpus(uint64_t cpus, uint64_t vm_cpus);
/* How many VMs of this size the host can take. */
uint64_t place_fits(const struct place_pc *pc, const struct place_request *request);

/* ret_on gets, for each VM in the order of its serial number, the index of its PC in `pcs`; the VMs of one lab
 * and one PC have neighbouring numbers. Order of `pcs` matters: earlier ones win ties. The caller frees it.
 * -EBUSY: not all fit; the text says how many would and why. */
int plan_place(const struct place_request *request, const struct place_pcs *pcs, size_t **ret_on,
	struct error **err);

#endif
