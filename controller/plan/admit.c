/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The boot storm: 200 PCs that start in one second would all pull 70 MB through the lab server's
 * one port, and each would be slow enough to look broken. So at most `slots` PCs load at once; the
 * others stand in a queue and ask again.
 *
 * A slot is a permission with an end, never a lock: it ends when the PC has what it needs (its host
 * enrolled, or its root image went out whole), and by itself after slot_s. A PC that crashed with a
 * slot costs the others that long and no more; a PC that is merely slow goes on loading without
 * one. A place in the queue ends when its PC has not asked for a while, so that a PC switched off
 * in the queue does not hold up those behind it.
 *
 * A free slot goes to the PC that asks, if no more waiting PCs stand before it than slots are free.
 * Those next in line ask each second and those behind less often: a slot is not idle for long, and
 * 200 PCs that wait are some 40 small requests a second.
 *
 * Not here: where times come from, and what a PC is told (controller/drive/boot, boot/ipxe). */
#include "controller/plan/admit.h"

#include <stdlib.h>
#include <string.h>
#include "lib/util.h"

static size_t index_of(const struct admit_pcs *pcs, const char *name)
{
	size_t i = 0;
	while (i < pcs->n && strcmp(pcs->at[i].name, name) != 0)
		i++;
	return i;
}

const struct admit_pc *admit_find(const struct admit_pcs *pcs, const char *name)
{
	size_t i = index_of(pcs, name);
	return i < pcs->n ? &pcs->at[i] : NULL;
}

unsigned admit_ahead(const struct admit_pcs *pcs, const struct admit_pc *pc)
{
	unsigned n = 0;
	for (const struct admit_pc *p = pcs->at; p < pc; p++)
		n += p->slot == 0;
	return n;
}

static bool taken(const struct admit_pcs *pcs, unsigned slot)
{
	vec_each (struct admit_pc, pc, pcs)
		if (pc->slot == slot)
			return true;
	return false;
}

/* How many slots are free; ret_first: the lowest of them. */
static unsigned free_slots(const struct admit_pcs *pcs, unsigned slots, unsigned *ret_first)
{
	unsigned n = 0;
	*ret_first = 0;
	for (unsigned slot = slots; slot > 0; slot--)
		if (!taken(pcs, slot)) {
			*ret_first = slot;
			n++;
		}
	return n;
}

/* A whole round of slots has to end before a PC so far behind can have its turn. */
static unsigned pause_of(unsigned ahead, unsigned slots)
{
	unsigned rounds = ahead / slots, pause = ADMIT_NEAR_S + 2 * rounds;
	return pause < ADMIT_FAR_S ? pause : ADMIT_FAR_S;
}

void plan_admit(struct admit_pcs *pcs, const struct admit_rules *rules, const char *name,
	int64_t now, struct admit_answer *ret_answer)
{
	size_t i = index_of(pcs, name);
	struct admit_answer answer = {.news = i == pcs->n};
	unsigned first;
	if (answer.news)
		vec_push(pcs, ((struct admit_pc){.name = xstrdup(name), .since = now}));
	struct admit_pc *pc = &pcs->at[i];
	pc->heard = now;
	if (pc->slot == 0) {
		answer.ahead = admit_ahead(pcs, pc);
		if (answer.ahead < free_slots(pcs, rules->slots, &first)) {
			answer.waited = now - pc->since;
			answer.ahead = 0;
			pc->slot = first;
			pc->since = now;
			answer.news = true;
		}
	}
	answer.slot = pc->slot;
	answer.wait_s = answer.slot ? 0 : pause_of(answer.ahead, rules->slots);
	*ret_answer = answer;
}

bool plan_admit_end(struct admit_pcs *pcs, const char *name)
{
	size_t i = index_of(pcs, name);
	if (i == pcs->n)
		return false;
	free(pcs->at[i].name);
	vec_remove(pcs, i);
	return true;
}

static bool lapsed(const struct admit_pc *pc, const struct admit_rules *rules, int64_t now)
{
	return pc->slot ? now >= pc->since + rules->slot_s : now >= pc->heard + ADMIT_SILENT_S;
}

void plan_admit_lapse(struct admit_pcs *pcs, const struct admit_rules *rules, int64_t now,
	struct admit_pcs *ret_gone)
{
	size_t kept = 0;
	*ret_gone = (struct admit_pcs){0};
	for (size_t i = 0; i < pcs->n; i++)
		if (lapsed(&pcs->at[i], rules, now))
			vec_push(ret_gone, pcs->at[i]);
		else
			pcs->at[kept++] = pcs->at[i];
	pcs->n = kept;
}

void admit_pcs_done(struct admit_pcs *pcs)
{
	vec_each (struct admit_pc, pc, pcs)
		free(pc->name);
	vec_done(pcs);
}

static int by_need(const void *a, const void *b)
{
	const struct admit_wake *x = a, *y = b;
	if (!x->wakes != !y->wakes)
		return x->wakes ? 1 : -1;
	if (x->waked_at != y->waked_at)
		return x->waked_at < y->waked_at ? -1 : 1;
	if (x->holds != y->holds)
		return x->holds ? -1 : 1;
	return x->pc < y->pc ? -1 : x->pc > y->pc;
}

void plan_wakes(struct admit_wakes *due, size_t budget)
{
	if (due->n > 1)
		qsort(due->at, due->n, sizeof(*due->at), by_need);
	if (due->n > budget)
		due->n = budget;
}
