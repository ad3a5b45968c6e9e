/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Imports of images: one jailed nightclass-import at a time, in the order they were asked for. */
#ifndef CONTROLLER_API_IMPORTER_H
#define CONTROLLER_API_IMPORTER_H

#include "controller/controller.h"
#include "lib/error.h"

struct importer;

/* Goes on with what a restart broke off: a download where it was, and of what was cut into chunks
 * nothing is written twice. */
int importer_new(struct controller *controller, struct importer **ret_importer, struct error **err);
void importer_free(struct importer *importer); /* ends the child; NULL is fine */
/* A row was added: starts it when none runs. */
void importer_kick(struct importer *importer);
/* What the import that runs does ("download", "check", "unpack", "convert", "cut") and with how
 * many bytes of how many (0: not known); "waiting" and zeros for any other. */
struct import_progress {
	const char *phase;
	uint64_t done, total;
};
struct import_progress importer_progress(const struct importer *importer, int64_t id);

#endif
