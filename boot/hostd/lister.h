/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Looks at the hypervisor's domains again and again. */
#ifndef HOSTD_LISTER_H
#define HOSTD_LISTER_H

#include <stdbool.h>
#include "boot/hostd/vm.h"
#include "lib/loop.h"

struct lister;

/* Called on the loop thread with a fresh list, or with NULL and the reason why there is none. */
typedef void lister_fn(const struct domains_seen *domains, const char *why, void *arg);

/* Lists at once and then every few seconds. `place` must outlive it. */
struct lister *lister_new(
	struct loop *loop, const struct vm_place *place, lister_fn *fn, void *arg);
/* Something was begun or ended: a list under way is stale and not delivered, a new one is made
 * soon. */
void lister_changed(struct lister *lister);
/* No call of fn from here on; before loop_free. lister_free comes after it. */
void lister_stop(struct lister *lister);
void lister_free(struct lister *lister);
/* A list did not come back in time and still has not. */
bool lister_stuck(const struct lister *lister);

#endif
