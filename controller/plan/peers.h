/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Which PCs another one asks for the chunks of an image. Pure. */
#ifndef CONTROLLER_PLAN_PEERS_H
#define CONTROLLER_PLAN_PEERS_H

#include "lib/str.h"
#include "lib/vec.h"

enum { PEERS_NAMED = 4 };

VEC_OF(addresses, struct ip4);

/* Of the holders of an image, in any order but always the same, at most PEERS_NAMED for the PC at `asker`, never
 * itself; neighbours in the row of PCs get other ones, so that no holder is asked by all. Returns how many. */
size_t plan_peers(const struct addresses *holders, struct ip4 asker, struct ip4 ret_peers[PEERS_NAMED]);

#endif
