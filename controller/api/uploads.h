/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Files on their way in, named by their SHA-256: STATE_DIR/incoming/{SHA.part, SHA.length, SHA}. */
#ifndef CONTROLLER_API_UPLOADS_H
#define CONTROLLER_API_UPLOADS_H

#include <stdbool.h>
#include "controller/controller.h"
#include "lib/error.h"

struct uploads;

struct uploads *uploads_new(struct controller *controller);
void uploads_stop(struct uploads *uploads); /* before the loop goes; NULL is fine */
void uploads_free(struct uploads *uploads); /* NULL is fine */
/* The path of a whole and verified upload, or -ENOENT that names `field`; caller frees. */
int upload_path(struct controller *controller, const char *sha256, const char *field,
	char **ret_path, struct error **err);
/* It was used up (an image was made of it) or refused: it goes, unless another import is to use it too. What is
 * no digest (NULL, a path) or absent is fine. */
void upload_remove(struct controller *controller, const char *sha256);

#endif
