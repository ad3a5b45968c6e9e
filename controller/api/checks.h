/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Work over the chunk store that takes longer than a request: verify, compare, sweep. */
#ifndef CONTROLLER_API_CHECKS_H
#define CONTROLLER_API_CHECKS_H

#include "controller/controller.h"
#include "controller/model/model.h"
#include "lib/hash.h"
#include "lib/json.h"

struct checks;

struct checks *checks_new(struct controller *controller);
/* Two halves of the end, around loop_free: what runs is called off, then all is freed. NULL is
 * fine. */
void checks_stop(struct checks *checks);
void checks_free(struct checks *checks);

/* Reads every chunk of the image in a worker. Damaged ones are put aside, event "image.damaged".
 * *ret_id: what checks_present knows it by; that of a check of the same image that runs already.
 * -EBUSY: too many run. */
int checks_verify(
	struct checks *checks, const struct image *image, int64_t *ret_id, struct error **err);

/* Removes (`dry`: counts) what no image and no open cluster names. -EBUSY while an import runs or
 * anything else writes to the store. */
int checks_gc(struct checks *checks, bool dry, int64_t *ret_id, struct error **err);

/* What `to` changes of `from`. *ret_id as above; a comparison that was made before is kept. */
int checks_diff(struct checks *checks, const struct image *from, const struct image *to,
	int64_t *ret_id, struct error **err);

/* {"id","kind","state": running|done|failed,"done","total","reason","result"}; a new reference.
 * -ENOENT: there is none, or it is long over, or the controller was restarted since. The topic
 * "check/ID" wakes when it has changed. */
int checks_present(struct checks *checks, int64_t id, json_t **ret_document, struct error **err);

/* Is this chunk file, open at `fd`, undamaged? Each is read once for as long as it does not change.
 * A damaged one is put aside: -EBADMSG. */
int checks_chunk(struct checks *checks, const struct sha256 *digest, int fd, struct error **err);

#endif
