/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The words of the product: names of their states, and how each struct ends.
 *
 * The name tables are the one spelling of every state: the store, the API, events and the page use
 * them. They stand in the order of their enum, and NULL ends them. An element's _done frees what it
 * owns and zeroes it, so that a second call is harmless; a list's _done does so with each element
 * and then frees the array. */
#include "controller/model/model.h"

const char *const pc_state_names[] = {"desktop", "waking", "booting", "host", "hosting", "draining",
	"returning", "exception", NULL};
const char *const image_state_names[] = {"draft", "published", "former", NULL};
const char *const place_policy_names[] = {"spread", "pack", NULL};
const char *const night_state_names[] = {"planned", "running", "ending", "done", NULL};
const char *const join_state_names[] = {
	"proposed", "prepared", "committed", "failed", "withdrawn", NULL};
const char *const cluster_state_names[] = {
	"deploying", "ready", "partly", "closing", "closed", "failed", NULL};
const char *const run_state_names[] = {"staging", "running", "done", "failed", NULL};

int name_index(const char *const *names, const char *text)
{
	for (int i = 0; names[i]; i++)
		if (strcmp(names[i], text) == 0)
			return i;
	return -1;
}

enum place_policy place_policy_of(const char *text)
{
	return text && strcmp(text, place_policy_names[PLACE_PACK]) == 0 ? PLACE_PACK : PLACE_SPREAD;
}

void pc_done(struct pc *pc)
{
	free(pc->name);
	free(pc->seat);
	free(pc->probe);
	free(pc->reason);
	free(pc->boot_id);
	proto_facts_done(&pc->facts);
	*pc = (struct pc){0};
}

void image_done(struct image *image)
{
	free(image->name);
	free(image->digest);
	*image = (struct image){0};
}

void night_done(struct night *night)
{
	strings_done(&night->pcs);
	free(night->report);
	*night = (struct night){0};
}

void join_done(struct join *join)
{
	free(join->id);
	free(join->coordinator);
	free(join->reason);
	free(join->probes);
	vec_each (struct join_member, member, &join->members)
		free(member->lab);
	vec_done(&join->members);
	*join = (struct join){0};
}

void cluster_done(struct cluster *cluster)
{
	free(cluster->name);
	free(cluster->owner);
	free(cluster->home);
	free(cluster->image);
	free(cluster->image_name);
	free(cluster->policy);
	free(cluster->join);
	free(cluster->keys);
	free(cluster->reason);
	*cluster = (struct cluster){0};
}

void vm_done(struct vm *vm)
{
	free(vm->id);
	free(vm->cluster);
	free(vm->lab);
	free(vm->pc);
	free(vm->context);
	free(vm->reason);
	*vm = (struct vm){0};
}

void lab_done(struct lab *lab)
{
	free(lab->name);
	free(lab->url);
	free(lab->ca_pem);
	free(lab->token);
	free(lab->seen);
	*lab = (struct lab){0};
}

void run_done(struct run *run)
{
	free(run->cluster);
	free(run->owner);
	free(run->program);
	free(run->name);
	free(run->args);
	free(run->reason);
	*run = (struct run){0};
}

#define LIST_DONE(list, element)                                                                   \
	void list##_done(struct list *list)                                                        \
	{                                                                                          \
		vec_each (struct element, item, list)                                              \
			element##_done(item);                                                      \
		vec_done(list);                                                                    \
	}
LIST_DONE(pcs, pc)
LIST_DONE(images, image)
LIST_DONE(nights, night)
LIST_DONE(joins, join)
LIST_DONE(clusters, cluster)
LIST_DONE(vms, vm)
LIST_DONE(labs, lab)
LIST_DONE(runs, run)
