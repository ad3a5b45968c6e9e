/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The lab's cast: one nightclass-cast that sends what hosts lack, by multicast or along a chain. */
#ifndef CONTROLLER_DRIVE_CAST_H
#define CONTROLLER_DRIVE_CAST_H

#include "controller/controller.h"
#include "lib/proto.h"

struct cast;

/* Has the images that this PC lacks of its goal cast, and says in the goal where. Without a cast
 * (the program cannot be started) the goal stays as it is: hosts have other ways. With
 * cast_group = none it sends no multicast, but begins the chain along which all hosts get it. */
void cast_goal(struct controller *controller, const char *pc, struct proto_goal *goal);
/* Has the root image of hosts with this manifest cast; false: it is not. */
bool cast_root(struct controller *controller, const char *digest);
/* Did the last PC of which that is known get its root image by the cast? True before any. */
bool cast_root_works(const struct cast *cast);
/* One was told of it and asks for the image by HTTP, for whatever reason. NULL is fine. */
void cast_root_failed(struct cast *cast);
/* Ends it. NULL is fine. */
void cast_free(struct cast *cast);

#endif
