/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The one partition of the PC's own disk that the lab lends for keeping images. */
#ifndef HOSTD_SCRATCH_H
#define HOSTD_SCRATCH_H

#include "boot/hostd/reconcile.h"
#include "lib/error.h"

struct scratch_place {
	const char *label;     /* of the file system */
	const char *sys, *dev; /* "/sys/class/block", "/dev" */
	const char
		*load; /* program that loads the drivers of the PC's disks; NULL: they are there */
	const char *mount; /* where it is mounted */
	int64_t wait_ms;   /* how long disks may take to show themselves */
};

struct scratch {
	bool mounted;
	char *mount;
	char *image_dir; /* the folder for images there */
	uint64_t room;	 /* bytes that may be used for them */
};

/* Finds the partition by its label, checks it, mounts it and prepares the folder; one that this
 * boot has mounted already is taken as it is. -ENOENT: no partition has the label; else why it
 * cannot be used. Blocks for wait_ms and more. Freed by scratch_free, which leaves it mounted. */
int scratch_open(
	const struct scratch_place *place, struct scratch *ret_scratch, struct error **err);
/* The second half of it: takes what is mounted at `mount` into use (folder, foreign things removed,
 * room). Sets image_dir and room. */
int scratch_prepare(struct scratch *scratch, struct error **err);
/* Writes everything out and unmounts. Blocks, for a few seconds at most. Fine when nothing is
 * mounted. */
void scratch_close(struct scratch *scratch);
void scratch_free(struct scratch *scratch);

/* How much each image takes on the disk and when it was last wanted: `bytes` and `used` of the
 * tracks. */
void scratch_measure(const char *image_dir, struct image_tracks *tracks);

#endif
