/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A host that cannot get an image tries again by itself, and one that is sent wrong data by a neighbour asks the
 * next one; people have to hear of it all the same, above all when what was offered was not to be believed. Each
 * reason and each note is told once: a report repeats them for as long as they hold, and a host that fails in the
 * same way for hours is one line in the log and not thousands.
 *
 * Both come from a PC that students can touch. lib/proto has bounded them to one printable line,
 * and nothing here acts on what they say. */
#include "controller/drive/trouble.h"

#include "controller/store/image.h"
#include "controller/store/store.h"

static bool has_note(const struct proto_image_seen *seen, const char *text)
{
	if (seen)
		vec_each (char *, note, &seen->notes)
			if (strcmp(*note, text) == 0)
				return true;
	return false;
}

/* "mpi revision 3"; caller frees. */
static char *image_words(struct controller *controller, const char *digest)
{
	struct image image = {0};
	bool known = store_image_by_digest(controller->store, digest, &image, NULL) >= 0;
	char *words = known ? xasprintf("%s revision %d", image.name, (int)image.revision)
			    : xasprintf("%.12s", digest);
	image_done(&image);
	return words;
}

/* What is in `seen` and was not in `old`. */
static int tell(struct controller *controller, const char *pc, const struct proto_image_seen *old,
	const struct proto_image_seen *seen, struct error **err)
{
	auto_free char *subject = xasprintf("pc/%s", pc);
	bool fails = seen->reason && !(old && old->reason && strcmp(old->reason, seen->reason) == 0);
	auto_free char *image = fails || seen->notes.n ? image_words(controller, seen->digest) : NULL;
	int r = 0;
	if (fails)
		r = store_event(controller->store, "image.failed", subject, NULL, err,
			"PC %s does not get image %s: %s", pc, image, seen->reason);
	vec_each (char *, note, &seen->notes)
		if (r >= 0 && !has_note(old, *note))
			r = store_event(controller->store, "image.source", subject, NULL, err,
				"PC %s gets image %s another way: %s", pc, image, *note);
	return r;
}

int trouble_reported(struct controller *controller, const char *pc, const struct proto_report *before,
	const struct proto_report *report, struct error **err)
{
	int r = 0;
	vec_each (struct proto_image_seen, seen, &report->images)
		if (r >= 0)
			r = tell(controller, pc, before ? proto_report_image(before, seen->digest) : NULL, seen, err);
	return r;
}
