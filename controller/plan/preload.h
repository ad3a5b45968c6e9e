/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Which images a PC fetches before anybody asks for a VM of them. Pure. */
#ifndef CONTROLLER_PLAN_PRELOAD_H
#define CONTROLLER_PLAN_PRELOAD_H

#include "controller/model/model.h"

enum { PRELOAD_MAX = 8 }; /* images ahead on one PC */

/* Room for images on one PC, in bytes: its scratch share, or without one (0) a quarter of its memory, if its VMs leave
 * that much free. */
uint64_t preload_room(uint64_t memory_mib, uint64_t free_mib, uint64_t scratch_mib);
/* What an image will take there: an upper estimate. */
uint64_t preload_cost(const struct image *image);

/* Of the lab's wishes, in order, those that fit into `room` beside what the PC's VMs need anyway (`needed`), each
 * once and none that is needed. ret_picked: borrowed pointers into `wishes`, at most PRELOAD_MAX; returns how many. */
size_t plan_preload(const struct images *wishes, const struct images *needed, uint64_t room,
	const struct image *ret_picked[PRELOAD_MAX]);

/* The words of the key `preload`: image names and "recent"; none of them for "none". Freed by strings_done. */
void preload_words(const char *text, struct strings *ret_words);

#endif
