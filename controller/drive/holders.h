/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Who holds which image now, for the peers that a goal names. */
#ifndef CONTROLLER_DRIVE_HOLDERS_H
#define CONTROLLER_DRIVE_HOLDERS_H

#include "controller/controller.h"
#include "controller/model/model.h"
#include "controller/plan/peers.h"
#include "lib/proto.h"

struct holders_of {
	char *digest;
	struct addresses at;
};

VEC_OF(holders_list, struct holders_of);

/* A look at all reports, kept for a moment. Zeroed: never looked. */
struct holders {
	int64_t looked_ms;
	struct holders_list images;
};
void holders_done(struct holders *holders);

/* Names for each image of the goal the peers that this PC may ask for it. */
int holders_goal(struct controller *controller, const struct pc *pc, struct proto_goal *goal, struct error **err);

#endif
