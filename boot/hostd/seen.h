/* SPDX-License-Identifier: GPL-2.0-or-later */
/* How observations and the outcome of steps change what the host knows. Pure. */
#ifndef HOSTD_SEEN_H
#define HOSTD_SEEN_H

#include "boot/hostd/vm.h"
#include "boot/hostd/work.h"

enum { GUEST_LATE_MS = 120000 };

/* The last line on the console of VM `id`, or NULL; the caller frees. */
typedef char *seen_words_fn(const char *id, void *arg);

/* The hypervisor's whole list. VMs with a step under way are left alone: the step's end tells more.
 * A VM of the goal that has ended by itself is to be made again; before it was ready, that counts
 * as a failure. One that runs for GUEST_LATE_MS without being ready is late. Either has what
 * `words` gives in its reason; for one that is late that is looked at again after twice the time,
 * and so on. `random` is for the pause. */
void seen_domains(struct host_seen *seen, const struct domains_seen *domains,
	const struct proto_goal *goal, int64_t now_ms, uint32_t random, seen_words_fn *words,
	void *arg);
/* A step begins: marks its VM or image (new ones get a track) as busy. */
void seen_step_begun(
	struct host_seen *seen, const struct step *step, const struct proto_goal *goal);
/* A step has ended, well or not. */
void seen_step_ended(
	struct host_seen *seen, const struct work_end *end, int64_t now_ms, uint32_t random);
/* Calls off the fetches of images that the goal does not name (any more); NULL: all. */
void seen_call_off(struct host_seen *seen, const struct proto_goal *goal);
/* Takes over how far the fetches under way are. */
void seen_progress(struct host_seen *seen);
/* The guest of VM `id` said it is ready. True when that is news. */
bool seen_ready(struct host_seen *seen, const char *id, int64_t now_ms);
/* Nothing of ours is left (as far as libvirt has told). */
bool seen_empty(const struct host_seen *seen);

#endif
