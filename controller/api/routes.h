/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Looking up the table of routes. */
#ifndef CONTROLLER_API_ROUTES_H
#define CONTROLLER_API_ROUTES_H

#include "controller/api/route.h"

enum { ROUTE_PARAMS = 2 };

struct route_match {
	const struct route *route; /* NULL: none for this method */
	char *params[ROUTE_PARAMS];
	struct buf allow; /* methods the path knows, "GET, POST"; empty: no such path */
};
/* `boot`: the rows of the plain listener, else those of the HTTPS one. HEAD is GET. Free by
 * route_match_done. */
void routes_match(bool boot, const char *method, const char *path, struct route_match *ret_match);
void route_match_done(struct route_match *match);
/* Every row in turn, for tests and documentation: NULL after the last. */
const struct route *routes_at(size_t i);
/* May an identity of `role` call a row that wants `wanted`? Pure; denies what it does not know. */
bool role_may(enum role role, enum role wanted);
/* "viewer", ..., NULL-terminated, in the order of enum role. */
extern const char *const role_names[];

#endif
