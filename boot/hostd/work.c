/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Carries a step from the loop thread to a worker and its outcome back.
 *
 * A step may take seconds (libvirt) or minutes (an image); meanwhile the goal may change. So the
 * worker gets its own copy of all it needs, touches nothing of the loop thread's, and only says how
 * it went; what that means is decided by whoever asked, by looking at goal and seen again.
 */
#include "boot/hostd/work.h"

#include "boot/hostd/publication.h"
#include "images/reuse.h"
#include "lib/clock.h"

struct work {
	enum step_kind kind;
	char *subject;
	const struct vm_place *place;
	struct proto_vm vm; /* MAKE, with record */
	bool record;
	char *url;	    /* FETCH, with key, name, revision and peers of the image */
	char *pc, *cast, *key, *name;
	uint64_t revision;
	struct strings peers;
	struct hold_progress *progress;
	work_fn *fn;
	void *arg;
	int64_t began_ms;
	int rc;
	struct error *err;
};

/* No byte of an image is asked for before the controller's word for it was read. */
static int fetch(struct work *w)
{
	const struct publication_wanted wanted = {.image_dir = w->place->image_dir,
		.url = w->url,
		.key = w->key,
		.name = w->name,
		.digest = w->subject,
		.revision = w->revision};
	int r = publication_check(&wanted, &w->err);
	if (r == 0)
		held_prepare(w->place->image_dir, w->subject, w->url, w->progress->room,
			&w->progress->cancel);
	w->progress->peers = &w->peers;
	w->progress->pc = w->pc;
	w->progress->cast = w->cast;
	if (r == 0)
		r = hold_fetch(w->place->image_dir, w->url, w->subject, w->progress, &w->err);
	w->progress->peers = NULL;
	w->progress->pc = w->progress->cast = NULL;
	return r;
}

static void run(void *arg)
{
	struct work *w = arg;
	w->began_ms = clock_mono_ms();
	switch (w->kind) {
	case STEP_FETCH_IMAGE:
		w->rc = fetch(w);
		break;
	case STEP_DROP_IMAGE:
		w->rc = hold_drop(w->place->image_dir, w->subject, &w->err);
		break;
	case STEP_MAKE_VM:
		w->rc = vm_make(w->place, &w->vm, w->record, w->began_ms, &w->err);
		break;
	case STEP_STOP_VM:
		w->rc = vm_stop(w->place, w->subject, &w->err);
		break;
	case STEP_DESTROY_VM:
		w->rc = vm_destroy(w->place, w->subject, &w->err);
		break;
	case STEP_CLEAN_VM:
		w->rc = vm_clean(w->place, w->subject, &w->err);
		break;
	}
}

static void free_vm(struct proto_vm *vm)
{
	struct proto_vms one = {0};
	if (!vm->id)
		return;
	vec_push(&one, *vm);
	proto_vms_done(&one);
}

static void done(void *arg)
{
	struct work *w = arg;
	const struct work_end end = {w->kind, w->subject, w->rc, w->err, w->began_ms};
	w->fn(&end, w->arg);
	free_vm(&w->vm);
	free(w->subject);
	free(w->url);
	free(w->pc);
	free(w->cast);
	free(w->key);
	free(w->name);
	strings_done(&w->peers);
	error_free(w->err);
	free(w);
}

static void copy_vm(struct proto_vm *to, const struct proto_vm *from)
{
	*to = *from;
	to->id = xstrdup(from->id);
	to->image = xstrdup(from->image);
	proto_context_copy(&to->context, &from->context);
}

static void copy_image(struct work *w, const struct proto_goal *goal)
{
	w->url = xstrdup(goal->chunk_url);
	w->pc = xstrdup(goal->pc);
	w->cast = xstrdup(goal->cast);
	w->key = xstrdup(goal->image_key);
	vec_each (const struct proto_image, image, &goal->images) {
		if (strcmp(image->digest, w->subject) != 0)
			continue;
		w->name = xstrdup(image->name);
		w->revision = image->revision;
		vec_each (char *, peer, &image->peers)
			vec_push(&w->peers, xstrdup(*peer));
	}
}

void work_start(struct loop *loop, const struct vm_place *place, const struct proto_goal *goal,
	const struct work_wanted *wanted, work_fn *fn, void *arg)
{
	const struct step *step = wanted->step;
	struct work *w = xnew(struct work);
	w->kind = step->kind;
	w->subject = xstrdup(step->subject);
	w->place = place;
	w->progress = wanted->progress;
	w->record = wanted->record;
	w->fn = fn;
	w->arg = arg;
	w->rc = -ECANCELED;
	if (step->kind == STEP_MAKE_VM)
		copy_vm(&w->vm, goal_vm(goal, step->subject));
	if (step->kind == STEP_FETCH_IMAGE)
		copy_image(w, goal);
	loop_work(loop, run, done, w);
}

static void run_warm(void *arg)
{
	const struct vm_place *place = arg;
	place->backend->warm(place->uri);
}

static void done_warm(void *arg)
{
	(void)arg;
}

void work_warm(struct loop *loop, struct vm_place *place)
{
	if (place->backend->warm)
		loop_work(loop, run_warm, done_warm, place);
}
