/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Image revisions in the store, and the imports that make them. */
#ifndef CONTROLLER_STORE_IMAGE_H
#define CONTROLLER_STORE_IMAGE_H

#include "controller/model/model.h"
#include "lib/error.h"

struct store;

/* revision 0: the published one, or the newest where none is (store/publish.h has what is to be
 * used). -ENOENT with a text for people. */
int store_image_get(struct store *store, const char *name, uint64_t revision,
	struct image *ret_image, struct error **err);
int store_image_by_digest(
	struct store *store, const char *digest, struct image *ret_image, struct error **err);
/* By name, then newest revision first; name NULL: all. */
int store_image_list(
	struct store *store, const char *name, struct images *ret_images, struct error **err);
/* The revision of the next image of this name: 1 for the first, never one that was published. That
 * of a draft which was the newest and was deleted is given again: nobody was to use it. */
int store_image_next_revision(
	struct store *store, const char *name, uint64_t *ret_revision, struct error **err);
/* Has the database known any image, be it one that was deleted since? */
int store_image_ever(struct store *store, bool *ret_ever, struct error **err);
/* Events "image.added", "image.removed". Inserting the same name, revision and digest again is
 * success. */
int store_image_insert(struct store *store, const struct image *image, struct error **err);
/* revision 0: every revision. -EBUSY while a cluster that is not closed uses one, and, without
 * `force`, when the published one is among them. */
int store_image_delete(
	struct store *store, const char *name, uint64_t revision, bool force, struct error **err);

enum import_state { IMPORT_RUNNING, IMPORT_DONE, IMPORT_FAILED };
extern const char *const import_state_names[];
struct import {
	int64_t id;
	char *name;
	char *request; /* JSON text of the request, to begin anew after a restart */
	enum import_state state;
	char *reason;
	char *digest; /* when done; else "" */
	int64_t created;
};
VEC_OF(imports, struct import);
void import_done(struct import *import);
void imports_done(struct imports *imports);

int store_import_insert(struct store *store, const char *name, const char *request, int64_t *ret_id,
	struct error **err);
int store_import_get(
	struct store *store, int64_t id, struct import *ret_import, struct error **err);
int store_import_list(struct store *store, struct imports *ret_imports, struct error **err);
/* Events "import.done", "import.failed". */
int store_import_set_state(struct store *store, int64_t id, enum import_state state,
	const char *digest, const char *reason, struct error **err);

#endif
