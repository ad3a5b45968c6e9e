/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Imports of images: one jailed nightclass-import at a time, in the order they were asked for. */
#ifndef CONTROLLER_API_IMPORTER_H
#define CONTROLLER_API_IMPORTER_H

#include "controller/controller.h"
#include "lib/error.h"
#include "lib/json.h"

struct importer;

/* What POST /images asks for; read by importer_read, free by import_request_done. */
struct import_request {
	char *name, *upload, *path, *kernel, *initrd, *cmdline;
	int format;
	bool has_format;
	bool draft; /* not published when it is there */
};
int importer_read(const json_t *body, struct import_request *ret_request, struct error **err);
void import_request_done(struct import_request *request);

/* Goes on with what a restart broke off. */
int importer_new(struct controller *controller, struct importer **ret_importer, struct error **err);
void importer_free(struct importer *importer); /* ends the child; NULL is fine */
/* A row was added: starts it when none runs. */
void importer_kick(struct importer *importer);
/* Bytes done and to do of the import that runs; 0 and 0 for any other. */
void importer_progress(
	const struct importer *importer, int64_t id, uint64_t *ret_done, uint64_t *ret_total);

#endif
