/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What hosts say of images they cannot get, or not as they should, as events. */
#ifndef DRIVE_TROUBLE_H
#define DRIVE_TROUBLE_H

#include "controller/controller.h"
#include "lib/proto.h"

/* An event "image.failed" for each image of the report whose reason was not in `before` (NULL: the
 * first report of this host), and "image.source" for each note that was not. */
int trouble_reported(struct controller *controller, const char *pc,
	const struct proto_report *before, const struct proto_report *report, struct error **err);

#endif
