/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The NoCloud disc that makes one VM itself: read by nightclass-guest and by cloud-init alike. */
#ifndef HOSTD_SEED_H
#define HOSTD_SEED_H

#include "lib/error.h"
#include "lib/proto.h"

/* The three texts of the disc. Pure; each caller-freed. */
char *seed_meta_data(const struct proto_context *context);
char *seed_user_data(const struct proto_context *context);
char *seed_network_config(const struct proto_context *context);

/* Writes the disc (ISO 9660 with Rock Ridge, label "cidata", mode 0600: it holds the night's keys)
 * to `path`, replacing what is there. Blocks; for worker threads. */
int seed_write(const struct proto_context *context, const char *path, struct error **err);

#endif
