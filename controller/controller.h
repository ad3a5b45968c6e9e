/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The parts of one running controller, handed to handlers and to the moving part. Owned by the loop thread. */
#ifndef CONTROLLER_CONTROLLER_H
#define CONTROLLER_CONTROLLER_H

#include "controller/config.h"
#include "lib/loop.h"

struct store;
struct http;
struct pki;
struct drive;

struct controller {
	struct config config;
	struct loop *loop;
	struct store *store; /* controller/store/store.h */
	struct pki *pki;     /* controller/pki.h: CA, server certificate, certificates of the night */
	struct http *http;   /* controller/api/http.h: listeners, long polls, event streams */
	struct drive *drive; /* controller/drive/drive.h: rethink */
};

#endif
