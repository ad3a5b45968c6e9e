/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Goal and seen as the report the controller wants.
 *
 * Observations only: what is here, what is under way, why something is not. A VM of the goal always
 * has a line, also when nothing of it exists yet; a VM that is here but no longer wanted is
 * "stopping". Reasons come from libvirt, from the network or from files and are made one short line
 * of plain text before they travel. A scratch partition may hold more images than a report may name:
 * the wanted ones go first, and what no longer fits is left out, for a report that is refused would
 * make the host look dead. The load is left out of the signature, so that a host reports
 * at once when something happened and every ten seconds otherwise.
 */
#include "boot/hostd/report.h"

#include "boot/hostd/hold.h"

char *report_clip(const char *text)
{
	char *copy = xstrndup(text, REASON_MAX - 1);
	size_t n = strlen(copy);
	for (size_t i = 0; i < n; i++)
		if ((unsigned char)copy[i] < ' ' || copy[i] == 0x7f)
			copy[i] = ' ';
	/* A character cut in half, or bytes that never were UTF-8, would make the report
	 * unreadable. */
	while (n > 0 && !text_ok(copy, REASON_MAX) && strlen(text) >= REASON_MAX &&
		n > REASON_MAX - 8)
		copy[--n] = '\0';
	if (!text_ok(copy, REASON_MAX))
		for (size_t i = 0; i < n; i++)
			if ((unsigned char)copy[i] >= 0x80)
				copy[i] = '?';
	return copy;
}

static bool can_start(const struct image_track *image)
{
	return image && (image->whole || image->startable);
}

static enum proto_vm_state waiting(const struct proto_vm *vm, const struct host_seen *seen,
	char buffer[REASON_MAX], const char **ret_reason)
{
	const struct image_track *image = image_track_find(seen, vm->image);
	*ret_reason = buffer;
	if (image && !can_start(image) && image->failures > 0 && image->reason)
		snprintf(buffer, REASON_MAX, "its image is not here yet, last try: %s", image->reason);
	else if (!can_start(image))
		snprintf(buffer, REASON_MAX, "its image is being fetched");
	else if (!seen->domains_known)
		snprintf(buffer, REASON_MAX, "the host's libvirt does not answer");
	else
		*ret_reason = NULL;
	return VM_WAITING;
}

enum proto_vm_state report_vm_state(const struct proto_vm *vm, const struct host_seen *seen,
	char buffer[REASON_MAX], const char **ret_reason)
{
	const struct vm_track *track = vm_track_find(seen, vm->id);
	char uuid[UUID_TEXT];
	vm_uuid(vm->context.instance_id, uuid);
	*ret_reason = NULL;
	if (!track)
		return waiting(vm, seen, buffer, ret_reason);
	if ((track->domain || track->files) && strcmp(uuid, track->uuid) != 0) {
		*ret_reason = "an earlier VM of this name is being removed";
		return VM_WAITING;
	}
	if (track->busy && track->starting)
		return VM_STARTING;
	if (track->domain && !track->running) {
		*ret_reason = "paused by the hypervisor: is the host's memory full?";
		return VM_FAILED;
	}
	if (track->domain) {
		*ret_reason = track->late_ms ? track->reason : NULL;
		return track->ready_ms ? VM_READY : VM_RUNNING;
	}
	/* "failed" makes a partly cluster, and a partly one is not waited for: not while tries are
	 * left. */
	if (track->failures > 0) {
		*ret_reason = track->reason;
		return track->failures >= VM_TRIES ? VM_FAILED : VM_STARTING;
	}
	return waiting(vm, seen, buffer, ret_reason);
}

static void add_wanted(
	struct proto_report *report, const struct proto_vm *vm, const struct host_seen *seen)
{
	char buffer[REASON_MAX];
	const char *reason;
	struct proto_vm_seen *line = vec_add(&report->vms);
	const struct vm_track *track = vm_track_find(seen, vm->id);
	line->id = xstrdup(vm->id);
	line->state = (int)report_vm_state(vm, seen, buffer, &reason);
	line->reason = reason ? report_clip(reason) : NULL;
	line->ready_ms = line->state == VM_READY ? track->ready_ms : 0;
}

static void add_images(struct proto_report *report, const struct report_view *view, bool wanted)
{
	vec_each (struct image_track, image, &view->seen->images) {
		if (report->images.n == PROTO_IMAGES_MAX)
			return;
		if (goal_image_wanted(view->goal, image->digest) != wanted)
			continue;
		struct proto_image_seen *line = vec_add(&report->images);
		line->digest = xstrdup(image->digest);
		line->have = image->have;
		line->total = image->total;
		line->reason = image->failures && image->reason ? report_clip(image->reason) : NULL;
		vec_each (char *, note, &image->notes)
			vec_push(&line->notes, xstrdup(*note));
	}
}

static struct proto_report build(const struct report_view *view)
{
	struct proto_report report = {
		.version = PROTO_VERSION,
		.generation = view->goal ? view->goal->generation : 0,
		.role = view->leaving ? ROLE_DESKTOP : ROLE_HOST,
		.facts = *view->facts,
		.problem = view->problem ? report_clip(view->problem) : NULL,
		.load_permille = view->load_permille,
		.scratch_mib = view->seen->room >> 20,
		.scratch = view->scratch ? report_clip(view->scratch) : NULL,
	};
	if (view->goal && !view->leaving)
		vec_each (struct proto_vm, vm, &view->goal->vms)
			add_wanted(&report, vm, view->seen);
	vec_each (struct vm_track, track, &view->seen->vms) {
		if (!track->domain || (!view->leaving && goal_vm(view->goal, track->id)))
			continue;
		struct proto_vm_seen *line = vec_add(&report.vms);
		line->id = xstrdup(track->id);
		line->state = VM_STOPPING;
	}
	add_images(&report, view, true);
	add_images(&report, view, false);
	return report;
}

/* The facts are the view's own. */
static void build_done(struct proto_report *report)
{
	memset(&report->facts, 0, sizeof(report->facts));
	proto_report_done(report);
}

char *report_text(const struct report_view *view)
{
	struct proto_report report = build(view);
	char *text = proto_report_write(&report);
	build_done(&report);
	return text;
}

char *report_signature(const struct report_view *view)
{
	struct proto_report report = build(view);
	report.load_permille = 0;
	vec_each (struct proto_image_seen, image, &report.images)
		image->have = image->have == image->total;
	char *text = proto_report_write(&report);
	build_done(&report);
	return text;
}
