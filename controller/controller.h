/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The parts of one running controller, handed to handlers and to the moving part. Owned by the loop
 * thread. */
#ifndef CONTROLLER_CONTROLLER_H
#define CONTROLLER_CONTROLLER_H

#include "controller/config.h"
#include "lib/error.h"
#include "lib/loop.h"

struct store;
struct http;
struct pki;
struct drive;
struct bootfiles;
struct uploads;
struct importer;
struct checks;
struct publisher;

struct controller {
	struct config config;
	struct loop *loop;
	struct store *store; /* controller/store/store.h */
	struct pki *pki;   /* controller/pki.h: CA, server certificate, certificates of the night */
	struct http *http; /* controller/api/http.h: listeners, long polls, event streams */
	struct drive *drive;	     /* controller/drive/drive.h: rethink */
	struct bootfiles *bootfiles; /* controller/api/bootfiles.h: host image files and digests */
	struct uploads *uploads;     /* controller/api/uploads.h: files on their way in */
	struct publisher *publisher; /* images/publication.h: the key that signs images */
	struct checks *checks;	     /* controller/api/checks.h: work over the chunk store */
	struct importer *importer;   /* controller/api/importer.h: images being made */
};

/* Opens all parts in order: loop, store, pki, listeners, drive. On failure nothing stays open. */
int controller_init(struct controller *controller, const char *config_path, struct error **err);
/* The mirror of it. */
void controller_done(struct controller *controller);

#endif
