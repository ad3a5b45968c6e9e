/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What held*.c share: the map's layout and the open image. Nobody else includes
 * this. */
#ifndef IMAGES_HELD_INSIDE_H
#define IMAGES_HELD_INSIDE_H

#include <pthread.h>
#include <stdatomic.h>

#include "images/held.h"

enum {
	HELD_BOOT_TEXT = 40,
	HELD_HEAD = 4096, /* the arrays begin here */
	HELD_GATES = 64,
};
#define HELD_MAGIC 0x3170616d2d636eULL /* "nc-map1" */

/* A chunk's word: two bits of state; above them a number that grows with every eviction, so that a
 * reader sees when the bytes it has just read were taken away under it. */
enum { HELD_ABSENT, HELD_WANTED, HELD_PRESENT, HELD_TAKEN, HELD_STATE = 3, HELD_LIFE = 4 };

struct held_head {
	uint64_t magic;
	uint64_t count;
	char boot[HELD_BOOT_TEXT]; /* the boot in which the states below are true */
	_Atomic uint64_t have; /* bytes of data in place; too few after a kill, never too many */
	_Atomic uint64_t limit;
	_Atomic uint32_t tick;	  /* grows with each put; `used` is told in it */
	_Atomic uint32_t wanted;  /* at least as many chunks are wanted */
	_Atomic uint32_t ordered; /* slots given out in `order` */
};

struct held {
	char *folder;
	struct manifest manifest;
	size_t first[PART_COUNT + 1]; /* number of each part's first chunk; then of all */
	uint64_t total;
	int files[PART_COUNT]; /* -1: no such part */
	int map;
	size_t map_len;
	struct held_head *head;
	_Atomic uint32_t *state, *used, *order; /* order: number + 1, 0 while it is being written */
	_Atomic uint8_t *seen;			/* the chunk has its place in `order` */
	pthread_mutex_t gates[HELD_GATES]; /* threads of one process share one lock of a file */
};

/* Bytes of the map that are locked; no data lies there. */
#define HELD_LOCK_OPENING (1LL << 40)
#define HELD_LOCK_CHUNKS (1LL << 41)

/* A record lock on one byte of the map: F_WRLCK or F_UNLCK. 0, or -errno (-EAGAIN: somebody else
 * has it, only without `wait`). */
int held_lock(const struct held *held, off_t at, short type, bool wait);

/* What the manifest does not name as a part (`kernel`, `initrd`) and another command line than the manifest's are
 * removed, whatever they are; then `cmdline` is written when it is not there. -errno: something cannot be removed. */
int held_check_names(struct held *held, struct error **err);

/* Compares every chunk that has data with its digest and sets all states anew: the map may be of
 * another boot, damaged or missing. Data where zeros belong is removed; when that cannot be done,
 * nothing may stand on these files: -errno. *ret_whole: all is in place. */
int held_check(struct held *held, bool *ret_whole, struct error **err);

/* Makes a hole, or writes zeros where the file system knows no holes. */
int held_punch(struct held *held, const struct held_chunk *chunk);

#endif
