/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What is on its way in: STATE_DIR/incoming with uploads (SHA.part, SHA.length, SHA), and
 * STATE_DIR/loading with downloads for imports (url-HASH and the like). */
#ifndef CONTROLLER_API_INCOMING_H
#define CONTROLLER_API_INCOMING_H

#include <stdbool.h>
#include <stdint.h>
#include "controller/controller.h"
#include "lib/error.h"

/* STATE_DIR/incoming/NAME and suffix; caller frees. */
char *incoming_path(const struct controller *controller, const char *name, const char *suffix);

/* Drops what nobody came back for in a week and no import that is still to run names, from both. */
void incoming_drop_old(struct controller *controller);

/* Does an import that is still to run name this upload? Yes, too, when that cannot be told. */
bool incoming_wanted(struct controller *controller, const char *sha256);

/* SHA.length: how long the file will be, and whose token began it. */
struct incoming_length {
	uint64_t length;
	int64_t token; /* 0: not known */
};
int incoming_length_read(
	struct controller *controller, const char *sha256, struct incoming_length *ret_length);
int incoming_length_write(struct controller *controller, const char *sha256,
	const struct incoming_length *length, struct error **err);

/* May this token begin one more upload? For that its oldest one may go, when nothing came for it in
 * an hour; else -EBUSY. */
int incoming_begin(struct controller *controller, int64_t token, struct error **err);

#endif
