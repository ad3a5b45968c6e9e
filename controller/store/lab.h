/* SPDX-License-Identifier: GPL-2.0-or-later */
/* This lab and its peers in the store. */
#ifndef CONTROLLER_STORE_LAB_H
#define CONTROLLER_STORE_LAB_H

#include "controller/model/model.h"
#include "lib/error.h"

struct store;

int store_lab_get(struct store *store, const char *name, struct lab *ret_lab, struct error **err);
/* Peers only, or with this lab first. Ordered by name. */
int store_lab_list(struct store *store, bool with_self, struct labs *ret_labs, struct error **err);
/* A peer: name, url, ca_pem, token. Events "lab.added", "lab.changed", "lab.removed". */
int store_lab_put(struct store *store, const struct lab *lab, struct error **err);
int store_lab_delete(struct store *store, const char *name, struct error **err);
/* At start: this lab's own row. */
int store_lab_set_self(struct store *store, const char *name, const char *url, struct error **err);
/* It answered: the document (JSON text), missed back to 0. Event "lab.reachable" when it had been
 * away. */
int store_lab_set_seen(struct store *store, const char *name, const char *document, int64_t at,
	struct error **err);
/* A beat was missed; ret_missed (may be NULL) in a row by now. Event "lab.unreachable" at the
 * third. */
int store_lab_missed(
	struct store *store, const char *name, uint64_t *ret_missed, struct error **err);

#endif
