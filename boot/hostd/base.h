/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The disk servers of this host: VMs read the disk of an image through them while it is still on
 * its way. */
#ifndef HOSTD_BASE_H
#define HOSTD_BASE_H

#include <stdbool.h>
#include "boot/hostd/reconcile.h"
#include "lib/error.h"
#include "lib/loop.h"

struct bases;

/* NULL when `plugin` is not there: then VMs start when their image is whole. All functions take
 * NULL. */
struct bases *bases_new(struct loop *loop, const char *plugin, const char *vm_dir);
/* No server is started again. Called before loop_free; bases_free after it ends those that run. */
void bases_stop(struct bases *bases);
void bases_free(struct bases *bases);

/* From now on there is a server of this image: it is started, and again when it dies. It asks those
 * whom the goal names at this moment. Does nothing when there is one. */
void bases_serve(
	struct bases *bases, const char *image_dir, const char *digest, const struct proto_goal *goal);
/* Takes over from the image's fetch, if one is under way, whether VMs may start on it. */
void bases_note(struct bases *bases, struct image_track *image);
/* Does so for all, and serves again what a former hostd of this boot served, whose VMs may still be
 * reading. `goal` NULL: no server of chunks is known. */
void bases_follow(struct bases *bases, const char *image_dir, const struct proto_goal *goal,
	struct image_tracks *images);
/* Is there one? */
bool bases_serves(const struct bases *bases, const char *digest);
/* The image goes: so does its server. */
void bases_drop(struct bases *bases, const char *digest);

/* The unix socket of an image's server; caller frees. */
char *base_socket(const char *vm_dir, const char *digest);
/* Waits until it answers: -ETIMEDOUT. Blocks; for worker threads. */
int base_wait(const char *path, unsigned timeout_ms, struct error **err);

#endif
