/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the PCs keep on their scratch partitions from one night to the next. */
#ifndef CONTROLLER_STORE_KEPT_H
#define CONTROLLER_STORE_KEPT_H

#include "controller/model/model.h"
#include "lib/error.h"

struct store;

/* Takes over what the report says: whole images of a PC with a scratch partition are remembered, what it does not
 * list any more is forgotten, and so is everything of a PC that has none. In a transaction. */
int store_kept_set(struct store *store, const char *pc, const struct proto_report *report, struct error **err);
/* The digests kept by the PC, ordered; freed by strings_done. */
int store_kept_list(struct store *store, const char *pc, struct strings *ret_digests, struct error **err);

#endif
