/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the PC's own screen says to somebody standing in front of it. */
#ifndef HOSTD_CONSOLE_H
#define HOSTD_CONSOLE_H

#include <stdbool.h>
#include "lib/proto.h"

struct console_view {
	const char *pc;		       /* NULL: not enrolled yet */
	const struct proto_goal *goal; /* NULL: none yet */
	bool leaving;
	unsigned vms_running;
	const char *problem; /* NULL: none */
	const char *scratch; /* label of the partition that the lab lends, NULL: none */
};

/* The text, at most four lines without control characters; caller frees. Pure. */
char *console_text(const struct console_view *view);
/* Clears the screen at `path` and writes the text; a screen that is not there is no error. */
void console_show(const char *path, const char *text);

#endif
