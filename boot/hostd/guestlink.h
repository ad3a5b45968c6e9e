/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The line from a VM's guest agent to this host. */
#ifndef HOSTD_GUESTLINK_H
#define HOSTD_GUESTLINK_H

#include <stdbool.h>
#include "boot/hostd/reconcile.h"
#include "lib/loop.h"

enum { GUEST_LINE_MAX = 1024 };

/* One line of the guest agent. */
struct guest_line {
	bool ready;
	char *hostname;
	uint64_t boot_ms; /* kernel start to ready */
	uint64_t load_permille;
};
/* Reads one line (without newline); strict. Freed by guest_line_done. */
int guest_line_read(const char *bytes, size_t len, struct guest_line *ret_line, struct error **err);
void guest_line_done(struct guest_line *line);

struct guestlink;
/* Called on the loop thread for every good line. */
typedef void guestlink_fn(const char *id, const struct guest_line *line, void *arg);

/* Connects to the unix socket `path` of VM `id` and stays connected, trying again every second.
 * Freed by guestlink_free (not from fn). */
struct guestlink *guestlink_new(
	struct loop *loop, const char *id, const char *path, guestlink_fn *fn, void *arg);
void guestlink_free(struct guestlink *link);
VEC_OF(guestlinks, struct guestlink *);

/* A line to each VM that runs, none to the others. */
void guestlinks_follow(struct guestlinks *links, const struct vm_tracks *vms, struct loop *loop,
	const char *vm_dir, guestlink_fn *fn, void *arg);
void guestlinks_done(struct guestlinks *links);

#endif
