/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Which revision of an image is the one to use, and what the controller may put its signature to.
 */
#ifndef CONTROLLER_STORE_PUBLISH_H
#define CONTROLLER_STORE_PUBLISH_H

#include "controller/model/model.h"
#include "images/publication.h"
#include "lib/error.h"

struct store;

/* The published revision of a name; -ENOENT says whether there is no such image or none of it is
 * published, with what to do. */
int store_image_published(
	struct store *store, const char *name, struct image *ret_image, struct error **err);

/* Makes a revision the published one, under a new sequence number; does nothing when it is that
 * already. Event "image.published". -ENOENT: there is no such revision. */
int store_image_publish(
	struct store *store, const char *name, uint64_t revision, struct error **err);

/* The same, but with a new number also when it is the published one: for hosts that have seen a
 * higher one, of a database that was lost. */
int store_image_publish_again(
	struct store *store, const char *name, uint64_t revision, struct error **err);

/* Publishes an older revision again: `revision`, or (0) the newest below the published one that was
 * published before. -EINVAL: it is not older; -ENOENT: there is none. */
int store_image_rollback(
	struct store *store, const char *name, uint64_t revision, struct error **err);

/* What may be signed for the image with this digest: it is published, or a cluster that is not
 * closed is made of it. Its sequence is the newest of its name, so that a revision that is no
 * longer wanted can be told from one that is. -ENOENT for every other. `key` is left NULL. */
int store_publication(struct store *store, const char *digest, struct publication *ret_publication,
	struct error **err);

#endif
