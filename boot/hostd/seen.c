/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The host's knowledge of its own VMs and images, kept up to date.
 *
 * Two sources: what libvirt lists, every few seconds, and how our own steps ended. The list is the
 * truth about domains; the outcome of a step fills the time until the next list and carries the
 * reasons. Failures are counted per VM and forgotten when its guest was ready once or its track is
 * removed. A stop or destroy that failed is no reason to give up: it is tried again for as long as
 * the VM is not wanted.
 */
#include "boot/hostd/seen.h"

#include "boot/hostd/backoff.h"
#include "boot/hostd/hold.h"
#include "boot/hostd/report.h"

static struct vm_track *vm_of(struct host_seen *seen, const char *id)
{
	struct vm_track *track = vm_track_find(seen, id);
	if (track)
		return track;
	track = vec_add(&seen->vms);
	track->id = xstrdup(id);
	track->stop_since_ms = -1;
	return track;
}

static struct image_track *image_of(struct host_seen *seen, const char *digest)
{
	struct image_track *track = image_track_find(seen, digest);
	if (track)
		return track;
	track = vec_add(&seen->images);
	track->digest = xstrdup(digest);
	return track;
}

static void set_reason(char **reason, const char *text)
{
	free(*reason);
	*reason = text ? report_clip(text) : NULL;
}

static void forget_vm(struct host_seen *seen, struct vm_track *track)
{
	free(track->id);
	free(track->reason);
	vec_remove(&seen->vms, track - seen->vms.at);
}

/* Of a VM whose guest is not ready: what is the matter, and what it said of it itself. */
static void set_reason_words(
	struct vm_track *track, const char *what, seen_words_fn *words, void *arg)
{
	auto_free char *last = words(track->id, arg);
	auto_free char *text = last ? xasprintf("%s; its console ends with: %s", what, last)
				    : xasprintf("%s; its console is empty", what);
	set_reason(&track->reason, text);
}

/* It was listed before and is no longer, and nobody here ended it. */
static void ended_by_itself(struct vm_track *track, const struct proto_goal *goal, int64_t now_ms,
	uint32_t random, seen_words_fn *words, void *arg)
{
	bool was_ready = track->ready_ms > 0;
	track->domain = track->running = false;
	track->ready_ms = 0;
	if (!goal_vm(goal, track->id))
		return;
	if (was_ready) {
		track->failures = 0;
		set_reason(&track->reason, NULL);
		return;
	}
	track->failures++;
	track->retry_at_ms = now_ms + backoff_ms(track->failures, random);
	set_reason_words(track, "it ended before its guest was ready", words, arg);
}

/* It runs and its guest is not ready: from time to time its console tells how far it is. */
static void look_late(struct vm_track *track, const struct proto_goal *goal, int64_t now_ms,
	seen_words_fn *words, void *arg)
{
	int64_t took = now_ms - track->started_ms;
	if (!track->running || !track->files || track->busy || track->ready_ms ||
		!goal_vm(goal, track->id))
		return;
	if (took < (track->late_ms ? 2 * track->late_ms : GUEST_LATE_MS))
		return;
	track->late_ms = took;
	auto_free char *what = xasprintf(
		"its guest is not ready after %lld minutes", (long long)(took / 60000));
	set_reason_words(track, what, words, arg);
}

void seen_domains(struct host_seen *seen, const struct domains_seen *domains,
	const struct proto_goal *goal, int64_t now_ms, uint32_t random, seen_words_fn *words,
	void *arg)
{
	vec_each (struct domain_seen, domain, domains) {
		struct vm_track *track = vm_of(seen, domain->id);
		if (track->busy)
			continue;
		track->domain = true;
		track->running = domain->running;
		snprintf(track->uuid, sizeof(track->uuid), "%s", domain->uuid);
	}
	vec_each (struct vm_track, track, &seen->vms) {
		bool listed = false;
		vec_each (struct domain_seen, domain, domains)
			listed |= strcmp(domain->id, track->id) == 0;
		if (!listed && track->domain && !track->busy)
			ended_by_itself(track, goal, now_ms, random, words, arg);
		look_late(track, goal, now_ms, words, arg);
	}
	for (size_t i = seen->vms.n; i-- > 0;) {
		struct vm_track *track = &seen->vms.at[i];
		if (!track->domain && !track->files && !track->busy && !goal_vm(goal, track->id))
			forget_vm(seen, track);
	}
	seen->domains_known = true;
}

void seen_step_begun(struct host_seen *seen, const struct step *step, const struct proto_goal *goal)
{
	if (step->kind == STEP_FETCH_IMAGE || step->kind == STEP_DROP_IMAGE) {
		struct image_track *image = image_of(seen, step->subject);
		image->busy = true;
		image->full = false;
		if (step->kind == STEP_DROP_IMAGE) { /* one that fails may have removed half of it */
			image->whole = image->startable = image->limited = false;
			image->total = 0; /* nobody is sent here for it */
		}
		return;
	}
	struct vm_track *track = vm_of(seen, step->subject);
	track->busy = true;
	track->starting = step->kind == STEP_MAKE_VM;
	if (track->starting) {
		vm_uuid(goal_vm(goal, step->subject)->context.instance_id, track->uuid);
		track->files = true;
		track->late_ms = 0;
		track->ready_ms = 0;
	}
}

static void image_ended(
	struct host_seen *seen, const struct work_end *end, int64_t now_ms, uint32_t random)
{
	struct image_track *track = image_of(seen, end->subject);
	track->busy = false;
	track->progress = NULL;
	track->full = end->rc == -ENOSPC;
	if (end->rc < 0) {
		track->limited = false; /* not all is here that may be */
		track->failures++;
		track->retry_at_ms = now_ms + backoff_ms(track->failures, random);
		set_reason(&track->reason, end->rc == -ECANCELED ? NULL : error_text(end->err, end->rc));
	} else if (end->kind == STEP_FETCH_IMAGE) {
		track->whole = !track->limited;
		track->used = 0;
		track->failures = 0;
		set_reason(&track->reason, NULL);
	} else {
		free(track->digest);
		free(track->reason);
		strings_done(&track->notes);
		vec_remove(&seen->images, track - seen->images.at);
		vec_each (struct image_track, image, &seen->images)
			image->full = false; /* is it still? The next fetch finds out */
	}
}

void seen_step_ended(
	struct host_seen *seen, const struct work_end *end, int64_t now_ms, uint32_t random)
{
	if (end->kind == STEP_FETCH_IMAGE || end->kind == STEP_DROP_IMAGE) {
		image_ended(seen, end, now_ms, random);
		return;
	}
	struct vm_track *track = vm_of(seen, end->subject);
	track->busy = track->starting = false;
	if (end->kind == STEP_STOP_VM)
		track->stop_since_ms = now_ms; /* refused or not: the grace has begun */
	if (end->kind == STEP_MAKE_VM)
		track->started_ms = end->began_ms; /* what libvirt calls failed may yet run */
	if (end->rc < 0) {
		track->retry_at_ms = now_ms + backoff_ms(++track->failures, random);
		set_reason(&track->reason, error_text(end->err, end->rc));
	} else if (end->kind == STEP_MAKE_VM) {
		track->domain = track->running = true;
		track->stop_since_ms = -1;
	} else if (end->kind == STEP_DESTROY_VM || end->kind == STEP_CLEAN_VM) {
		forget_vm(seen, track);
	}
}

void seen_call_off(struct host_seen *seen, const struct proto_goal *goal)
{
	vec_each (struct image_track, image, &seen->images)
		if (image->progress && !goal_image_wanted(goal, image->digest))
			image->progress->cancel = true;
}

void seen_progress(struct host_seen *seen)
{
	vec_each (struct image_track, image, &seen->images)
		if (image->progress) {
			image->have = image->progress->have;
			image->total = image->progress->total;
			notes_take(&image->progress->notes, &image->notes);
		}
}

bool seen_ready(struct host_seen *seen, const char *id, int64_t now_ms)
{
	struct vm_track *track = vm_track_find(seen, id);
	if (!track || track->busy || !track->domain || track->ready_ms)
		return false;
	int64_t took = now_ms - track->started_ms;
	track->ready_ms = took > 0 ? (uint64_t)took : 1;
	track->late_ms = 0;
	track->failures = 0;
	set_reason(&track->reason, NULL);
	return true;
}

bool seen_empty(const struct host_seen *seen)
{
	if (!seen->domains_known)
		return false;
	vec_each (struct vm_track, track, &seen->vms)
		if (track->domain || track->files || track->busy)
			return false;
	return true;
}
