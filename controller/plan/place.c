/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Placement: VMs onto the PCs that are hosts now, over one lab or several.
 *
 * A PC's capacity is its CPUs (never promised twice: an MPI rank that shares a CPU holds up all others) and
 * its memory less what the host system itself lives on. VMs are set one by one onto the best PC left:
 *   spread  the lab with the fewest VMs so far, in it the PC with the fewest; more machines, more memory
 *           bandwidth, less lost with one PC;
 *   pack    a PC in use before a fresh one, a lab in use before a fresh one; less traffic between labs.
 * Under both, a PC that holds the image already wins a tie. With n VMs on m PCs this is n*m steps: 512 VMs
 * on 1,000 PCs are half a million comparisons. At the end serial numbers follow labs and PCs, so that
 * neighbouring ranks of a program are neighbours on the wire.
 *
 * Reaches no store and no clock; when it says no, it says how many would fit, because that is what the
 * person at the other end needs next. */
#include "controller/plan/place.h"

uint64_t place_free_memory(uint64_t memory_mib, uint64_t vm_memory_mib, uint64_t n)
{
	uint64_t used = PLACE_HOST_RESERVE_MIB + vm_memory_mib + n * PLACE_VM_OVERHEAD_MIB;
	return memory_mib > used ? memory_mib - used : 0;
}

uint64_t place_free_cpus(uint64_t cpus, uint64_t vm_cpus)
{
	return cpus > vm_cpus ? cpus - vm_cpus : 0;
}

uint64_t place_fits(const struct place_pc *pc, const struct place_request *request)
{
	uint64_t by_cpu = pc->cpus / request->cpus;
	uint64_t by_memory = pc->memory_mib / (request->memory_mib + PLACE_VM_OVERHEAD_MIB);
	return by_cpu < by_memory ? by_cpu : by_memory;
}

struct slot {
	uint64_t room, placed; /* VMs */
	size_t lab;	       /* index of the first PC of the same lab */
	uint64_t lab_placed;   /* kept at that first PC */
};

static struct slot *slots_new(const struct place_request *request, const struct place_pcs *pcs,
	uint64_t *ret_room)
{
	struct slot *slots = xcalloc(pcs->n ? pcs->n : 1, sizeof(*slots));
	*ret_room = 0;
	for (size_t i = 0; i < pcs->n; i++) {
		slots[i].room = place_fits(&pcs->at[i], request);
		*ret_room += slots[i].room;
		while (strcmp(pcs->at[slots[i].lab].lab, pcs->at[i].lab) != 0)
			slots[i].lab++;
	}
	return slots;
}

/* Is PC a better than PC b for the next VM? Equal: the earlier one stays. */
static bool better(const struct place_pcs *pcs, const struct slot *slots, enum place_policy policy,
	size_t a, size_t b)
{
	uint64_t lab_a = slots[slots[a].lab].lab_placed, lab_b = slots[slots[b].lab].lab_placed;
	uint64_t on_a = slots[a].placed, on_b = slots[b].placed;
	if (policy == PLACE_PACK) {
		if (lab_a != lab_b)
			return lab_a > lab_b;
		if (on_a != on_b)
			return on_a > on_b;
		return pcs->at[a].holds && !pcs->at[b].holds;
	}
	if (lab_a != lab_b)
		return lab_a < lab_b;
	if (on_a != on_b)
		return on_a < on_b;
	if (pcs->at[a].holds != pcs->at[b].holds)
		return pcs->at[a].holds;
	return slots[a].room - on_a > slots[b].room - on_b;
}

static size_t best(const struct place_pcs *pcs, const struct slot *slots, enum place_policy policy)
{
	size_t found = pcs->n;
	for (size_t i = 0; i < pcs->n; i++)
		if (slots[i].placed < slots[i].room &&
			(found == pcs->n || better(pcs, slots, policy, i, found)))
			found = i;
	return found;
}

static int too_many(const struct place_request *request, const struct place_pcs *pcs, uint64_t room,
	struct error **err)
{
	if (pcs->n == 0)
		return error_field(err, -EBUSY, "n",
			"no PC is a host now: start a night and wait until its PCs are hosts");
	return error_field(err, -EBUSY, "n",
		"%llu VMs of %llu CPUs and %llu MiB do not fit: the %zu hosts have room for %llu; "
		"ask for fewer or smaller VMs, or wait for more hosts",
		(unsigned long long)request->n, (unsigned long long)request->cpus,
		(unsigned long long)request->memory_mib, pcs->n, (unsigned long long)room);
}

int plan_place(const struct place_request *request, const struct place_pcs *pcs, size_t **ret_on,
	struct error **err)
{
	uint64_t room;
	auto_free struct slot *slots = slots_new(request, pcs, &room);
	if (room < request->n)
		return too_many(request, pcs, room, err);
	for (uint64_t i = 0; i < request->n; i++) {
		size_t at = best(pcs, slots, request->policy);
		slots[at].placed++;
		slots[slots[at].lab].lab_placed++;
	}
	size_t *on = xcalloc(request->n, sizeof(*on)), k = 0;
	for (size_t first = 0; first < pcs->n; first++)
		for (size_t i = first; slots[first].lab == first && i < pcs->n; i++)
			for (uint64_t j = 0; slots[i].lab == first && j < slots[i].placed; j++)
				on[k++] = i;
	*ret_on = on;
	return 0;
}
