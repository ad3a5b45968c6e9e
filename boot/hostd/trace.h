/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Telling the controller in which order the first VM of an image read its disk. */
#ifndef HOSTD_TRACE_H
#define HOSTD_TRACE_H

#include "boot/hostd/enrol.h"
#include "lib/loop.h"

struct traces;

/* `identity` says who we are and where the controller is; it must live as long, and be set by the time of
 * traces_ready. */
struct traces *traces_new(struct loop *loop, const struct identity *identity);
/* After loop_free. NULL is fine. */
void traces_free(struct traces *traces);

/* A guest of this image said ready. The first time, the order in which chunks of what is held below image_dir were
 * read so far is taken and sent, by a worker, and sent again for as long as the controller cannot be reached. */
void traces_ready(struct traces *traces, const char *image_dir, const char *digest);
/* Did one say so? */
bool traces_know(const struct traces *traces, const char *digest);

#endif
