/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Telling the controller in which order the first VM of an image read its disk. */
#ifndef HOSTD_TRACE_H
#define HOSTD_TRACE_H

#include "boot/hostd/enrol.h"
#include "lib/loop.h"

/* Takes the order of first reads of what is held below image_dir and sends it, in a worker. Once;
 * a trace is advice, and the next host's is as good. Copies what it needs. */
void trace_send(struct loop *loop, const struct identity *identity, const char *image_dir,
	const char *digest);

#endif
