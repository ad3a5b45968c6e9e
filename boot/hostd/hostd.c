/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The host's agent: one state, one loop, one question again and again.
 *
 * The order of its life: read what a former hostd of this boot left; gather facts; enrol (unless
 * that was done) and open the scratch partition, if the lab lends one; then ask for the goal, make
 * the PC match it, report. Everything that happens - a goal, a list of domains, the end of a step,
 * a word of a guest, a timer - changes the state and calls rethink(), which looks at all of it and
 * starts what is to be done. Blocking work is in workers; this thread never waits.
 *
 * The lease rules all: `keep.deadline_ms` is set by a goal and by nothing else, it is on disk (in
 * RAM) with the goal, and its timer does not care whether the controller, libvirt or the network
 * live. When it comes, or when the goal says desktop, the hand-back begins and is never taken back.
 * A host that never got a goal leaves too, after first_goal_s.
 */
#include "boot/hostd/hostd.h"

#include "boot/hostd/backoff.h"
#include "boot/hostd/base.h"
#include "boot/hostd/console.h"
#include "boot/hostd/domxml.h"
#include "boot/hostd/facts.h"
#include "boot/hostd/guestlink.h"
#include "boot/hostd/handback.h"
#include "boot/hostd/keep.h"
#include "boot/hostd/link.h"
#include "boot/hostd/lister.h"
#include "boot/hostd/report.h"
#include "boot/hostd/seen.h"
#include "boot/hostd/settle.h"
#include "boot/hostd/sharing.h"
#include "boot/hostd/trace.h"
#include "lib/clock.h"
#include "lib/file.h"

enum { REPORT_SOON_MS = 100 };

struct hostd {
	struct loop *loop;
	const struct hostd_options *options;
	struct vm_place place;
	bool stopping, running; /* running: enrolled, line to the controller made */
	bool warmed;		/* the hypervisor was seen and told to get ready */

	struct keep keep;
	struct proto_facts facts;
	struct identity identity;
	unsigned enrol_failures;
	char *enrol_trouble, *line_trouble, *hypervisor_trouble, *goal_trouble, *scratch_trouble;
	struct scratch scratch;
	bool enrolled, scratch_pending; /* both have to be settled before anything is done */

	struct host_seen seen;
	struct lister *lister;
	struct bases *bases;
	struct traces *traces;
	struct sharing *sharing; /* from when it is known where images lie */
	struct guestlinks guests;
	struct link *link;
	char *told, *shown; /* signature of the last report, text on the screen */

	enum handback_stage stage;
	struct handback_seen leave;

	struct loop_timer *enrol_timer, *report_timer, *lease_timer, *due_timer;
};

static void rethink(struct hostd *h);

static uint32_t random_number(void)
{
	auto_free char *hex = random_hex(4);
	return (uint32_t)strtoul(hex, NULL, 16);
}

static const struct proto_goal *goal_of(const struct hostd *h)
{
	return h->keep.has_goal ? &h->keep.goal : NULL;
}

static bool leaving(const struct hostd *h)
{
	return h->keep.leaving_ms >= 0;
}

static void set_text(char **text, const char *value)
{
	char *copy = xstrdup(value);
	free(*text);
	*text = copy;
}

static const char *problem(const struct hostd *h)
{
	const char *all[] = {
		h->enrol_trouble, h->goal_trouble, h->hypervisor_trouble, h->line_trouble};
	for (size_t i = 0; i < ARRAY_LEN(all); i++)
		if (all[i])
			return all[i];
	return NULL;
}

static void save(struct hostd *h)
{
	auto_error struct error *err = NULL;
	int r = keep_save(h->options->run_dir, &h->keep, &err);
	if (r < 0)
		log_error("host: cannot keep the goal over a restart: %s", error_text(err, r));
}

/* ---- telling: report and screen ---- */

static uint64_t load_permille(void)
{
	double load[1];
	return getloadavg(load, 1) == 1 && load[0] >= 0 ? (uint64_t)(load[0] * 1000) : 0;
}

static struct report_view view_of(const struct hostd *h)
{
	return (struct report_view){&h->facts, goal_of(h), &h->seen, leaving(h),
		h->enrol_trouble ? NULL : problem(h), load_permille(), h->scratch_trouble};
}

static void report_now(void *arg)
{
	struct hostd *h = arg;
	if (!h->link)
		return;
	seen_progress(&h->seen);
	const struct report_view view = view_of(h);
	auto_free char *text = report_text(&view);
	link_report(h->link, text);
	loop_timer_at(h->report_timer, clock_mono_ms() + h->options->report_s * 1000);
}

static void tell(struct hostd *h)
{
	unsigned running = 0;
	vec_each (struct vm_track, track, &h->seen.vms)
		running += track->domain;
	const struct console_view screen = {
		h->identity.pc, goal_of(h), leaving(h), running, problem(h), h->options->scratch};
	auto_free char *text = console_text(&screen);
	if (!h->shown || strcmp(text, h->shown) != 0) {
		console_show(h->options->console, text);
		set_text(&h->shown, text);
	}
	if (!h->running)
		return;
	const struct report_view view = view_of(h);
	auto_free char *signature = report_signature(&view);
	if (!h->told || strcmp(signature, h->told) != 0) {
		set_text(&h->told, signature);
		loop_timer_at(h->report_timer, clock_mono_ms() + REPORT_SOON_MS);
	}
}

/* ---- guests ---- */

static void guest_spoke(const char *id, const struct guest_line *line, void *arg)
{
	struct hostd *h = arg;
	auto_error struct error *err = NULL;
	const struct proto_vm *vm = goal_vm(goal_of(h), id);
	if (!line->ready || (vm && strcmp(vm->context.hostname, line->hostname) != 0))
		return;
	if (!seen_ready(&h->seen, id, clock_mono_ms()))
		return;
	uint64_t ready_ms = vm_track_find(&h->seen, id)->ready_ms;
	log_notice("VM %s: ready after %.1f s", id, (double)ready_ms / 1000);
	int r = vm_note_ready(h->place.vm_dir, id, ready_ms, &err);
	if (r < 0)
		log_warning("VM %s: %s", id, error_text(err, r));
	if (vm && bases_serves(h->bases, vm->image))
		traces_ready(h->traces, h->place.image_dir, vm->image);
	tell(h);
}

/* ---- what the hypervisor lists ---- */

static char *last_words(const char *id, void *arg)
{
	const struct hostd *h = arg;
	return vm_last_words(h->place.vm_dir, id);
}

static void listed(const struct domains_seen *domains, const char *why, void *arg)
{
	struct hostd *h = arg;
	if (!domains && !h->hypervisor_trouble)
		log_error("host: VMs cannot be seen: %s", why);
	if (domains && !h->warmed) {
		h->warmed = true;
		work_warm(h->loop, &h->place);
	}
	set_text(&h->hypervisor_trouble, why);
	h->seen.domains_known = domains != NULL;
	if (domains)
		seen_domains(&h->seen, domains, goal_of(h), clock_mono_ms(), random_number(),
			last_words, h);
	rethink(h);
}

/* ---- steps ---- */

static void step_ended(const struct work_end *end, void *arg)
{
	struct hostd *h = arg;
	struct image_track *image = image_track_find(&h->seen, end->subject);
	if (image && image->progress) {
		bases_note(h->bases, image);
		seen_progress(&h->seen);
		free(TAKE_PTR(image->progress));
	}
	if (end->kind == STEP_DROP_IMAGE)
		sharing_forget(h->sharing, end->subject);
	if (h->stopping)
		return;
	const char *what = step_names[end->kind];
	if (end->rc < 0)
		log_warning("%s %.24s: %s", what, end->subject, error_text(end->err, end->rc));
	else
		log_info("%s %.24s: done in %.1f s", what, end->subject,
			(double)(clock_mono_ms() - end->began_ms) / 1000);
	seen_step_ended(&h->seen, end, clock_mono_ms(), random_number());
	lister_changed(h->lister);
	rethink(h);
}

static void something_due(void *arg);

/* Without disk servers VMs need whole images, whatever room there is. */
static struct hold_progress *new_progress(struct hostd *h, struct image_track *image)
{
	image->room = h->bases ? image_share(&h->seen, goal_of(h), image->digest) : 0;
	struct hold_progress *progress = hold_progress_new(image->room, h->loop, something_due, h);
	progress->chain = sharing_chain(h->sharing);
	progress->serve_port = h->options->peer_port;
	return progress;
}

static void start_step(struct hostd *h, const struct step *step)
{
	struct hold_progress *progress = NULL;
	bool record = false;
	seen_step_begun(&h->seen, step, goal_of(h));
	lister_changed(h->lister);
	if (step->kind == STEP_FETCH_IMAGE) {
		struct image_track *image = image_track_find(&h->seen, step->subject);
		progress = image->progress = new_progress(h, image);
	}
	if (step->kind == STEP_DROP_IMAGE)
		bases_drop(h->bases, step->subject);
	if (step->kind == STEP_MAKE_VM) {
		const char *digest = goal_vm(goal_of(h), step->subject)->image;
		record = h->bases && goal_image_record(goal_of(h), digest) && !traces_know(h->traces, digest);
		if (record || !image_track_find(&h->seen, digest)->whole)
			bases_serve(h->bases, h->place.image_dir, digest, goal_of(h));
	}
	const struct work_wanted wanted = {step, progress, record};
	work_start(h->loop, &h->place, goal_of(h), &wanted, step_ended, h);
}

/* ---- leaving ---- */

static void begin_leaving(struct hostd *h, const char *why)
{
	if (leaving(h))
		return;
	log_notice("host: hand-back begins: %s", why);
	h->keep.leaving_ms = clock_mono_ms();
	save(h);
	seen_call_off(&h->seen, NULL);
}

static void reboot_now(struct hostd *h)
{
	auto_error struct error *err = NULL;
	log_notice("host: restarting as a desktop");
	/* whoever still reads images has to let go of the disk first */
	sharing_close(h->sharing);
	bases_stop(h->bases);
	scratch_close(&h->scratch);
	int r = handback_reboot(h->options->reboot_command, &err);
	if (r < 0) {
		log_error("host: %s; trying again", error_text(err, r));
		loop_timer_at(h->due_timer, clock_mono_ms() + 1000);
		return;
	}
	loop_quit(h->loop, EXIT_SUCCESS);
}

static void enter_stage(struct hostd *h, enum handback_stage stage)
{
	log_info("hand-back: %s -> %s", handback_names[h->stage], handback_names[stage]);
	h->stage = stage;
	if (stage == HANDBACK_REPORTING) {
		if (!seen_empty(&h->seen))
			log_warning("host: VMs are left, they end with the restart");
		h->leave.empty_ms = clock_mono_ms();
		h->leave.reported = !h->link;
		report_now(h);
	}
}

/* The time by which hand-back wants to be asked again, -1: none. */
static int64_t leave_on(struct hostd *h)
{
	int64_t next_ms = -1;
	for (;;) {
		h->leave.called = leaving(h);
		h->leave.began_ms = h->keep.leaving_ms;
		h->leave.grace_ms = goal_of(h) ? (int64_t)h->keep.goal.grace_s * 1000 : 0;
		h->leave.empty = seen_empty(&h->seen);
		h->leave.now_ms = clock_mono_ms();
		enum handback_stage stage = handback_next(h->stage, &h->leave, &next_ms);
		if (stage == h->stage)
			break;
		enter_stage(h, stage);
	}
	if (h->stage == HANDBACK_REBOOT)
		reboot_now(h);
	return next_ms;
}

static void lease_ended(void *arg)
{
	struct hostd *h = arg;
	begin_leaving(h, goal_of(h) ? "the lease has ended" : "no goal came in time");
	rethink(h);
}

/* ---- the one place where it is decided what to do ---- */

static void rethink(struct hostd *h)
{
	struct steps steps = {0};
	int64_t due_ms = -1, leave_ms;
	if (h->stopping || h->stage == HANDBACK_REBOOT)
		return;
	if (h->running || leaving(h)) {
		bases_follow(h->bases, h->place.image_dir, goal_of(h), &h->seen.images);
		seen_progress(&h->seen);
		h->seen.memory = h->seen.room ? 0 : hold_room(h->facts.memory_mib, goal_of(h));
		if (goal_of(h))
			seen_call_off(&h->seen, goal_of(h));
		hold_resize(h->loop, h->place.image_dir, goal_of(h), &h->seen);
		reconcile(goal_of(h), leaving(h), &h->seen, clock_mono_ms(), &steps, &due_ms);
		vec_each (struct step, step, &steps)
			start_step(h, step);
		steps_done(&steps);
		guestlinks_follow(
			&h->guests, &h->seen.vms, h->loop, h->place.vm_dir, guest_spoke, h);
	}
	leave_ms = leave_on(h);
	if (due_ms < 0 || (leave_ms >= 0 && leave_ms < due_ms))
		due_ms = leave_ms;
	if (h->stage != HANDBACK_REBOOT) {
		loop_timer_at(h->due_timer, due_ms);
		tell(h);
	}
}

static void something_due(void *arg)
{
	struct hostd *h = arg;
	if (h->stopping)
		return; /* a worker's last word */
	if (h->stage == HANDBACK_REBOOT)
		reboot_now(h);
	else
		rethink(h);
}

/* ---- the controller ---- */

static void goal_came(struct proto_goal *goal, void *arg)
{
	struct hostd *h = arg;
	if (leaving(h))
		return;
	if (strcmp(goal->pc, h->identity.pc) != 0) {
		log_error("controller: sent the goal of PC %s", goal->pc);
		set_text(&h->goal_trouble, "the controller sent another PC's goal");
		tell(h);
		return;
	}
	set_text(&h->goal_trouble, NULL);
	if (h->keep.has_goal)
		proto_goal_done(&h->keep.goal);
	h->keep.goal = *goal;
	h->keep.has_goal = true;
	memset(goal, 0, sizeof(*goal));
	h->keep.deadline_ms = clock_mono_ms() + (int64_t)h->keep.goal.lease_s * 1000;
	log_info("goal %llu: %zu VMs, lease %llu s", (unsigned long long)h->keep.goal.generation,
		h->keep.goal.vms.n, (unsigned long long)h->keep.goal.lease_s);
	if (h->keep.goal.role == ROLE_DESKTOP)
		begin_leaving(h, "the controller wants the desktop back");
	loop_timer_at(h->lease_timer, leaving(h) ? -1 : h->keep.deadline_ms);
	save(h);
	rethink(h);
}

static void line_trouble(const char *text, void *arg)
{
	struct hostd *h = arg;
	set_text(&h->line_trouble, text);
	tell(h);
}

static void reported(bool delivered, void *arg)
{
	struct hostd *h = arg;
	if (delivered && h->stage == HANDBACK_REPORTING) {
		h->leave.reported = true;
		rethink(h);
	}
}

/* ---- the beginning ---- */

static void begin(struct hostd *h)
{
	const struct link_events events = {goal_came, line_trouble, reported, h};
	h->running = true;
	h->place.kvm = h->facts.kvm;
	uint64_t known = goal_of(h) ? h->keep.goal.generation : 0;
	h->link = link_new(h->loop, &h->identity, h->options->poll_s, known, &events);
	log_notice("host: this is PC %s, %llu processors, %llu MiB, %s", h->identity.pc,
		(unsigned long long)h->facts.cpus, (unsigned long long)h->facts.memory_mib,
		h->facts.kvm ? "hardware virtualisation" : "software emulation");
	rethink(h);
}

static void begin_when_settled(struct hostd *h)
{
	if (!h->sharing && !h->scratch_pending && !h->stopping)
		h->sharing = sharing_start(h->place.image_dir, h->options->peer_port);
	if (h->enrolled && !h->scratch_pending && !h->stopping)
		begin(h);
}

/* ---- the scratch partition, beside the enrolment ---- */

static void scratch_ended(const struct scratch_end *end, void *arg)
{
	struct hostd *h = arg;
	h->scratch = end->scratch;
	h->scratch_pending = false;
	if (end->rc < 0) {
		log_warning("scratch: not used: %s", error_text(end->err, end->rc));
		set_text(&h->scratch_trouble, error_text(end->err, end->rc));
	} else {
		log_notice("scratch: %llu MiB for images, %zu there",
			(unsigned long long)(h->scratch.room >> 20), end->images.n);
		h->place.image_dir = h->scratch.image_dir;
		h->seen.room = h->scratch.room;
		image_tracks_done(&h->seen.images);
		h->seen.images = end->images;
	}
	begin_when_settled(h);
}

static void enrol_failed(struct hostd *h, const char *text)
{
	if (!h->enrol_trouble || strcmp(h->enrol_trouble, text) != 0)
		log_warning("enrolment: %s", text);
	set_text(&h->enrol_trouble, text);
	loop_timer_at(
		h->enrol_timer, clock_mono_ms() + backoff_ms(++h->enrol_failures, random_number()));
	tell(h);
}

static void enrol_ended(const struct enrol_end *end, void *arg)
{
	struct hostd *h = arg;
	h->facts = end->facts;
	if (end->rc == 0)
		h->identity = end->identity;
	if (!h->stopping && end->rc == 0) {
		set_text(&h->enrol_trouble, NULL);
		h->enrolled = true;
		begin_when_settled(h);
	} else if (!h->stopping) {
		enrol_failed(h, error_text(end->err, end->rc));
	}
}

static void enrol_now(void *arg)
{
	struct hostd *h = arg;
	enrol_start(h->loop, h->options, (uint64_t)h->keep.boot_ms, &h->facts, enrol_ended, h);
}

static int recall(struct hostd *h, struct error **err)
{
	auto_error struct error *why = NULL;
	auto_free char *boot_id = NULL;
	int r = facts_boot_id(h->options, &boot_id, err);
	if (r < 0)
		return r;
	r = keep_load(h->options->run_dir, boot_id, &h->keep, &why);
	if (r == 0) {
		log_notice("host: goes on after a restart of this program");
	} else {
		if (r != -ENOENT)
			log_warning("host: what was kept is lost: %s", error_text(why, r));
		int64_t now = clock_mono_ms();
		h->keep = (struct keep){.boot_id = TAKE_PTR(boot_id),
			.boot_ms = now,
			.deadline_ms = now + h->options->first_goal_s * 1000,
			.leaving_ms = -1};
		save(h);
	}
	r = vm_scan(h->place.vm_dir, &h->seen.vms, err);
	if (r >= 0)
		r = hold_scan(h->place.image_dir, &h->seen.images, err);
	scratch_measure(h->place.image_dir, &h->seen.images);
	return r;
}

int hostd_new(struct loop *loop, const struct hostd_options *options,
	const struct vm_backend *backend, struct hostd **ret_hostd, struct error **err)
{
	struct hostd *h = xnew(struct hostd);
	h->loop = loop;
	h->options = options;
	h->place = (struct vm_place){backend, options->libvirt_uri, options->vm_dir,
		options->image_dir, options->bridge, false};
	h->keep.leaving_ms = -1;
	int r = backend->init ? backend->init(err) : 0;
	if (r == 0)
		r = recall(h, err);
	if (r < 0) {
		hostd_free(h);
		return r;
	}
	h->enrol_timer = loop_timer_new(loop, enrol_now, h);
	h->report_timer = loop_timer_new(loop, report_now, h);
	h->lease_timer = loop_timer_new(loop, lease_ended, h);
	h->due_timer = loop_timer_new(loop, something_due, h);
	loop_timer_at(h->lease_timer, leaving(h) ? -1 : h->keep.deadline_ms);
	h->bases = bases_new(loop, options->base_plugin, options->vm_dir);
	h->traces = traces_new(loop, &h->identity);
	h->lister = lister_new(loop, &h->place, listed, h);
	h->scratch_pending = options->scratch != NULL;
	if (h->scratch_pending)
		scratch_start(loop, options, scratch_ended, h);
	enrol_now(h);
	rethink(h);
	*ret_hostd = h;
	return 0;
}

void hostd_stop(struct hostd *h)
{
	if (!h)
		return;
	h->stopping = true;
	link_stop(h->link);
	lister_stop(h->lister);
	bases_stop(h->bases);
	seen_call_off(&h->seen, NULL);
	guestlinks_done(&h->guests);
}

bool hostd_stuck(const struct hostd *h)
{
	return h && lister_stuck(h->lister);
}

void hostd_free(struct hostd *h)
{
	if (!h)
		return;
	bases_free(h->bases);
	traces_free(h->traces);
	sharing_free(h->sharing);
	link_free(h->link);
	lister_free(h->lister);
	host_seen_done(&h->seen);
	keep_done(&h->keep);
	facts_done(&h->facts);
	identity_done(&h->identity);
	free(h->enrol_trouble);
	free(h->line_trouble);
	free(h->hypervisor_trouble);
	free(h->goal_trouble);
	free(h->scratch_trouble);
	scratch_free(&h->scratch);
	free(h->told);
	free(h->shown);
	free(h);
}
