/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A host that cannot get an image tries again by itself; people have to hear of it all the same,
 * above all when what it was offered was not to be believed. Each reason is told once: a report
 * repeats it for as long as it holds, and a host that fails in the same way for hours is one line
 * in the log and not thousands.
 *
 * Reasons come from a PC that students can touch. lib/proto has bounded them to one printable line,
 * and nothing here acts on what they say. */
#include "controller/drive/trouble.h"

#include "controller/store/image.h"
#include "controller/store/store.h"

static bool told(const struct proto_report *before, const struct proto_image_seen *seen)
{
	if (!before)
		return false;
	vec_each (struct proto_image_seen, old, &before->images)
		if (strcmp(old->digest, seen->digest) == 0)
			return old->reason && strcmp(old->reason, seen->reason) == 0;
	return false;
}

int trouble_reported(struct controller *controller, const char *pc,
	const struct proto_report *before, const struct proto_report *report, struct error **err)
{
	auto_free char *subject = xasprintf("pc/%s", pc);
	int r = 0;
	vec_each (struct proto_image_seen, seen, &report->images) {
		struct image image = {0};
		if (r < 0 || !seen->reason || told(before, seen))
			continue;
		bool known =
			store_image_by_digest(controller->store, seen->digest, &image, NULL) >= 0;
		r = store_event(controller->store, "image.failed", subject, NULL, err,
			"PC %s does not get image %s revision %d: %s", pc,
			known ? image.name : "(unknown)", known ? (int)image.revision : 0,
			seen->reason);
		image_done(&image);
	}
	return r;
}
