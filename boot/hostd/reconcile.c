/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What is to be done next: the difference between the goal and what was seen.
 *
 * Called after every change and every observation, it looks at all VMs and images afresh and
 * answers with at most one step for each; a lost message or a restart of this program costs time,
 * never correctness. Rules it holds:
 *   - unknown is not absent: while libvirt has not answered, no VM is made, stopped or cleaned;
 *   - only what is tracked is ours; a domain that is not in `seen` does not exist here;
 *   - a VM goes by ACPI first, by force after the goal's grace;
 *   - a VM that does not start is tried VM_TRIES times, with growing pauses, then left as failed
 * until the goal changes its instance;
 *   - an image is dropped only when neither the goal nor a VM that is still here needs it; on a
 *     scratch partition only when its room is needed or many are kept, and never while the host
 *     leaves; in memory not while a wanted one, perhaps another revision of it, may copy from it
 *     and there is room;
 *   - no VM is made on an image that is whole and takes memory which VMs were promised since: that
 *     is dropped, and fetched again in part;
 *   - in memory, the next image is fetched when it is known how large those on their way are;
 *   - few images are fetched at a time, those of VMs first: each takes a worker for as long as it
 *     comes, and polls, reports and VMs need workers, too.
 */
#include "boot/hostd/reconcile.h"

#include "lib/hash.h"

enum {
	FETCHES_MAX = 3,
	FETCHES_AHEAD_MAX = 2, /* for what no VM waits for: the next VM's image finds a place */
	KEPT_MAX = 48,	       /* images on a scratch partition; a report names PROTO_IMAGES_MAX */
};

const char *const step_names[] = {
	"fetch image", "drop image", "make VM", "stop VM", "destroy VM", "clean up VM", NULL};

void vm_uuid(const char *instance_id, char ret_uuid[UUID_TEXT])
{
	auto_free char *text = xasprintf("nightclass-vm:%s", instance_id);
	struct sha256 d = sha256_of(text, strlen(text));
	d.b[6] = (uint8_t)((d.b[6] & 0x0f) | 0x80); /* RFC 9562: version 8, made by us */
	d.b[8] = (uint8_t)((d.b[8] & 0x3f) | 0x80);
	char *at = ret_uuid;
	for (int i = 0; i < 16; i++) {
		if (i == 4 || i == 6 || i == 8 || i == 10)
			*at++ = '-';
		at += sprintf(at, "%02x", d.b[i]);
	}
}

const struct proto_vm *goal_vm(const struct proto_goal *goal, const char *id)
{
	if (goal)
		vec_each (struct proto_vm, vm, &goal->vms)
			if (strcmp(vm->id, id) == 0)
				return vm;
	return NULL;
}

static bool goal_image_of_vm(const struct proto_goal *goal, const char *digest)
{
	if (goal)
		vec_each (struct proto_vm, vm, &goal->vms)
			if (strcmp(vm->image, digest) == 0)
				return true;
	return false;
}

bool goal_image_wanted(const struct proto_goal *goal, const char *digest)
{
	if (!goal)
		return false;
	vec_each (struct proto_image, image, &goal->images)
		if (strcmp(image->digest, digest) == 0)
			return true;
	return goal_image_of_vm(goal, digest);
}

bool goal_image_record(const struct proto_goal *goal, const char *digest)
{
	if (goal)
		vec_each (struct proto_image, image, &goal->images)
			if (strcmp(image->digest, digest) == 0)
				return image->record;
	return false;
}

struct vm_track *vm_track_find(const struct host_seen *seen, const char *id)
{
	vec_each (struct vm_track, vm, &seen->vms)
		if (strcmp(vm->id, id) == 0)
			return vm;
	return NULL;
}

struct image_track *image_track_find(const struct host_seen *seen, const char *digest)
{
	vec_each (struct image_track, image, &seen->images)
		if (strcmp(image->digest, digest) == 0)
			return image;
	return NULL;
}

struct round {
	const struct proto_goal *goal;
	bool leaving;
	const struct host_seen *seen;
	int64_t now_ms;
	struct steps *steps;
	int64_t next_ms;
};

static void add(struct round *r, enum step_kind kind, const char *subject)
{
	vec_push(r->steps, ((struct step){.kind = kind, .subject = xstrdup(subject)}));
}

/* True when `at_ms` has come; else it is remembered as the time to look again. */
static bool due(struct round *r, int64_t at_ms)
{
	if (at_ms <= r->now_ms)
		return true;
	if (r->next_ms < 0 || at_ms < r->next_ms)
		r->next_ms = at_ms;
	return false;
}

static bool has_step(const struct round *r, enum step_kind kind, const char *subject)
{
	vec_each (struct step, step, r->steps)
		if (step->kind == kind && strcmp(step->subject, subject) == 0)
			return true;
	return false;
}

/* Is it whole in memory, since it was given more than VMs leave of that now? While none of them reads its
 * file it can go, and come again in part. */
static bool outgrown(const struct round *r, const struct image_track *image)
{
	uint64_t share = image_share(r->seen, r->goal, image->digest);
	if (r->seen->room || !image->whole || image->room <= share || image_need(image, true) <= share)
		return false;
	vec_each (struct vm_track, track, &r->seen->vms) {
		const struct proto_vm *vm = goal_vm(r->goal, track->id);
		if ((track->domain || track->files || track->busy) &&
			(!vm || strcmp(vm->image, image->digest) == 0))
			return false;
	}
	return true;
}

static void wanted_vm(struct round *r, const struct proto_vm *vm, const struct vm_track *track)
{
	char uuid[UUID_TEXT];
	vm_uuid(vm->context.instance_id, uuid);
	bool other = track && track->uuid[0] && strcmp(track->uuid, uuid) != 0;
	if (track && track->busy)
		return;
	if (track && track->domain) {
		if (other)
			add(r, STEP_DESTROY_VM, vm->id);
		return;
	}
	if (other) {
		add(r, STEP_CLEAN_VM, vm->id);
		return;
	}
	const struct image_track *image = image_track_find(r->seen, vm->image);
	if (!image || !(image->whole || image->startable))
		return;
	if (track && (track->failures >= VM_TRIES || !due(r, track->retry_at_ms)))
		return;
	if (!outgrown(r, image))
		add(r, STEP_MAKE_VM, vm->id);
	else if (!image->busy && !has_step(r, STEP_DROP_IMAGE, vm->image))
		add(r, STEP_DROP_IMAGE, vm->image);
}

static void unwanted_vm(struct round *r, const struct vm_track *track)
{
	if (track->busy)
		return;
	if (!track->domain) {
		if (track->files && due(r, track->retry_at_ms))
			add(r, STEP_CLEAN_VM, track->id);
		return;
	}
	int64_t grace_ms = r->goal ? (int64_t)r->goal->grace_s * 1000 : 0;
	if (track->stop_since_ms < 0) {
		add(r, grace_ms ? STEP_STOP_VM : STEP_DESTROY_VM, track->id);
		return;
	}
	if (due(r, track->stop_since_ms + grace_ms) && due(r, track->retry_at_ms))
		add(r, STEP_DESTROY_VM, track->id);
}

static bool image_wanted(const struct round *r, const char *digest)
{
	return !r->leaving && goal_image_wanted(r->goal, digest);
}

/* Is one on its way of which nobody knows how much memory it leaves to others? */
static bool size_pending(const struct round *r)
{
	if (r->seen->room || !r->seen->memory)
		return false;
	vec_each (struct step, step, r->steps)
		if (step->kind == STEP_FETCH_IMAGE)
			return true;
	vec_each (struct image_track, track, &r->seen->images)
		if (track->progress && !track->total)
			return true;
	return false;
}

/* How many are under way, or will be with this round. */
static unsigned fetches(const struct round *r)
{
	unsigned n = 0;
	vec_each (struct step, step, r->steps)
		n += step->kind == STEP_FETCH_IMAGE;
	vec_each (struct image_track, track, &r->seen->images)
		n += track->progress != NULL;
	return n;
}

static void wanted_image(struct round *r, const char *digest, unsigned most_fetches)
{
	const struct image_track *track = image_track_find(r->seen, digest);
	if (track && (track->whole || track->limited || track->busy || !due(r, track->retry_at_ms)))
		return;
	if (has_step(r, STEP_FETCH_IMAGE, digest) || size_pending(r) || fetches(r) >= most_fetches)
		return;
	add(r, STEP_FETCH_IMAGE, digest);
}

/* Images that VMs need; those that are to be at hand only when nothing is missing. */
static void wanted_images(struct round *r)
{
	bool whole = true;
	vec_each (struct proto_vm, vm, &r->goal->vms) {
		const struct image_track *track = image_track_find(r->seen, vm->image);
		whole = whole && track && track->whole;
		wanted_image(r, vm->image, FETCHES_MAX);
	}
	if (whole)
		vec_each (struct proto_image, image, &r->goal->images)
			wanted_image(r, image->digest, FETCHES_AHEAD_MAX);
}

static uint64_t most(uint64_t a, uint64_t b)
{
	return a > b ? a : b;
}

uint64_t image_need(const struct image_track *track, bool wanted)
{
	uint64_t need = most(track->bytes, wanted ? track->total : track->have);
	return track->room && track->room < need && !track->whole ? track->room : need;
}

uint64_t image_share(const struct host_seen *seen, const struct proto_goal *goal, const char *digest)
{
	const uint64_t least = (uint64_t)IMAGE_LEAST_MIB << 20;
	uint64_t left = seen->room ? seen->room : seen->memory;
	bool of_vm = goal_image_of_vm(goal, digest);
	if (left == 0)
		return 0;
	vec_each (struct image_track, track, &seen->images) {
		bool wanted = of_vm ? goal_image_of_vm(goal, track->digest)
				    : goal_image_wanted(goal, track->digest);
		bool counts = wanted && strcmp(track->digest, digest) != 0;
		uint64_t need = counts ? image_need(track, true) : 0;
		left = left > need ? left - need : 0;
	}
	return left > least ? left : least;
}

/* Was a wanted longer ago than b? */
static bool older(const struct image_track *a, const struct image_track *b)
{
	return a->used != 0 && (b->used == 0 || a->used < b->used);
}

/* On a scratch partition images stay until others need their room or there are too many to be told:
 * the one that was wanted longest ago goes, one at a time. A fetch may find the disk full before its
 * own size is known. */
static void evict(struct round *r)
{
	const struct image_track *oldest = NULL;
	uint64_t need = 0;
	bool full = false;
	vec_each (struct image_track, track, &r->seen->images) {
		bool wanted = image_wanted(r, track->digest);
		need += image_need(track, wanted);
		full |= wanted && track->full;
		if (track->busy && !wanted)
			return; /* one is going already */
		if (!wanted && due(r, track->retry_at_ms) && (!oldest || older(track, oldest)))
			oldest = track;
	}
	if (oldest && (need > r->seen->room || full || r->seen->images.n > KEPT_MAX))
		add(r, STEP_DROP_IMAGE, oldest->digest);
}

/* Is there a wanted image that is neither here nor has failed? */
static bool image_coming(const struct round *r, const char *digest)
{
	const struct image_track *track = image_track_find(r->seen, digest);
	return !track || !(track->whole || track->limited || track->failures);
}

/* In memory, what is not wanted goes at once, unless what is wanted may copy from it first. */
static void drop_unwanted(struct round *r)
{
	uint64_t need = 0;
	bool coming = false;
	if (!r->leaving) {
		vec_each (struct proto_vm, vm, &r->goal->vms)
			coming |= image_coming(r, vm->image);
		vec_each (struct proto_image, image, &r->goal->images)
			coming |= image_coming(r, image->digest);
	}
	vec_each (struct image_track, track, &r->seen->images)
		need += image_need(track, image_wanted(r, track->digest));
	if (coming && need <= r->seen->memory)
		return;
	vec_each (struct image_track, track, &r->seen->images)
		if (!track->busy && !image_wanted(r, track->digest) && due(r, track->retry_at_ms))
			add(r, STEP_DROP_IMAGE, track->digest);
}

static void images(struct round *r)
{
	if (!r->leaving)
		wanted_images(r);
	/* Which VM stands on which image is not tracked: nothing is dropped while one is going. */
	bool going = !r->seen->domains_known;
	vec_each (struct vm_track, vm, &r->seen->vms)
		going |= (vm->domain || vm->files || vm->busy) &&
			 (r->leaving || !goal_vm(r->goal, vm->id));
	if (!going && r->seen->room && !r->leaving)
		evict(r);
	if (!going && !r->seen->room)
		drop_unwanted(r);
}

void reconcile(const struct proto_goal *goal, bool leaving, const struct host_seen *seen,
	int64_t now_ms, struct steps *ret_steps, int64_t *ret_next_ms)
{
	struct steps steps = {0};
	struct round r = {goal, leaving, seen, now_ms, &steps, -1};
	if (goal || leaving) {
		if (seen->domains_known) {
			if (!leaving)
				vec_each (struct proto_vm, vm, &goal->vms)
					wanted_vm(&r, vm, vm_track_find(seen, vm->id));
			vec_each (struct vm_track, track, &seen->vms)
				if (leaving || !goal_vm(goal, track->id))
					unwanted_vm(&r, track);
		}
		images(&r);
	}
	*ret_steps = steps;
	*ret_next_ms = r.next_ms;
}

void steps_done(struct steps *steps)
{
	vec_each (struct step, step, steps)
		free(step->subject);
	vec_done(steps);
}

void host_seen_done(struct host_seen *seen)
{
	vec_each (struct vm_track, vm, &seen->vms) {
		free(vm->id);
		free(vm->reason);
	}
	vec_done(&seen->vms);
	image_tracks_done(&seen->images);
}

void image_tracks_done(struct image_tracks *images)
{
	vec_each (struct image_track, image, images) {
		free(image->digest);
		free(image->reason);
		strings_done(&image->notes);
	}
	vec_done(images);
}
