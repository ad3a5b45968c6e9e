/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Goal x seen -> steps for VMs, as tables; and how observations and ended steps change what is seen.
 * Images are in test_hostd_images.c. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include "boot/hostd/report.h"
#include "boot/hostd/seen.h"
#include "tests/unit/hostd_sample.h"

enum { ABSENT, FILES, DOMAIN, PAUSED };

struct vm_case {
	const char *name;
	bool wanted, leaving, unknown, no_image;
	bool coming, startable, limited; /* of the image; none of them: it is whole */
	/* seen */
	int what;
	const char *instance; /* of what is here; NULL: "x", as the goal */
	bool busy;
	unsigned failures;
	int64_t retry_at_ms;
	int64_t stopped_ago_ms; /* 0: not asked to stop */
	/* then */
	const char *steps; /* "make VM a-001" joined by "; " */
	int64_t next_ms;
};

static const struct vm_case vm_cases[] = {
	{.name = "wanted, nothing here", .wanted = true, .steps = "make VM a-001", .next_ms = -1},
	{.name = "wanted, libvirt silent", .wanted = true, .unknown = true, .next_ms = -1},
	{.name = "wanted, image missing",
		.wanted = true,
		.no_image = true,
		.steps = "fetch image aaaa",
		.next_ms = -1},
	{.name = "wanted, image on its way, too little here",
		.wanted = true,
		.coming = true,
		.next_ms = -1},
	{.name = "wanted, image on its way, enough here",
		.wanted = true,
		.coming = true,
		.startable = true,
		.steps = "make VM a-001",
		.next_ms = -1},
	{.name = "wanted, image startable, its fetch has failed",
		.wanted = true,
		.startable = true,
		.steps = "make VM a-001; fetch image aaaa",
		.next_ms = -1},
	{.name = "wanted, image here in part and no room for more",
		.wanted = true,
		.startable = true,
		.limited = true,
		.steps = "make VM a-001",
		.next_ms = -1},
	{.name = "wanted, runs", .wanted = true, .what = DOMAIN, .next_ms = -1},
	{.name = "wanted, paused: kept", .wanted = true, .what = PAUSED, .next_ms = -1},
	{.name = "wanted, being made", .wanted = true, .busy = true, .next_ms = -1},
	{.name = "wanted, only files: made again with them",
		.wanted = true,
		.what = FILES,
		.steps = "make VM a-001",
		.next_ms = -1},
	{.name = "wanted, failed, pause not over",
		.wanted = true,
		.what = FILES,
		.failures = 1,
		.retry_at_ms = NOW + 500,
		.next_ms = NOW + 500},
	{.name = "wanted, failed, pause over",
		.wanted = true,
		.what = FILES,
		.failures = 2,
		.retry_at_ms = NOW,
		.steps = "make VM a-001",
		.next_ms = -1},
	{.name = "wanted, failed three times",
		.wanted = true,
		.what = FILES,
		.failures = VM_TRIES,
		.next_ms = -1},
	{.name = "another instance runs",
		.wanted = true,
		.what = DOMAIN,
		.instance = "old",
		.steps = "destroy VM a-001",
		.next_ms = -1},
	{.name = "files of another instance, also after failures",
		.wanted = true,
		.what = FILES,
		.instance = "old",
		.failures = VM_TRIES,
		.steps = "clean up VM a-001",
		.next_ms = -1},
	{.name = "unwanted, runs", .what = DOMAIN, .steps = "stop VM a-001", .next_ms = -1},
	{.name = "unwanted, libvirt silent", .what = DOMAIN, .unknown = true, .next_ms = -1},
	{.name = "unwanted, asked to stop",
		.what = DOMAIN,
		.stopped_ago_ms = 59999,
		.next_ms = NOW + 1},
	{.name = "unwanted, grace over",
		.what = DOMAIN,
		.stopped_ago_ms = 60000,
		.steps = "destroy VM a-001",
		.next_ms = -1},
	{.name = "unwanted, destroy failed just now",
		.what = DOMAIN,
		.stopped_ago_ms = 60000,
		.failures = 1,
		.retry_at_ms = NOW + 700,
		.next_ms = NOW + 700},
	{.name = "unwanted, destroy failed often: never given up",
		.what = DOMAIN,
		.stopped_ago_ms = 90000,
		.failures = 9,
		.retry_at_ms = NOW,
		.steps = "destroy VM a-001",
		.next_ms = -1},
	{.name = "unwanted, files only",
		.what = FILES,
		.steps = "clean up VM a-001",
		.next_ms = -1},
	{.name = "unwanted, step under way", .what = DOMAIN, .busy = true, .next_ms = -1},
	{.name = "leaving takes wanted ones too",
		.wanted = true,
		.leaving = true,
		.what = DOMAIN,
		.steps = "stop VM a-001",
		.next_ms = -1},
	{.name = "leaving makes nothing and fetches nothing",
		.wanted = true,
		.leaving = true,
		.no_image = true,
		.next_ms = -1},
};

static void add_track(struct host_seen *seen, const struct vm_case *c)
{
	auto_free char *instance = xasprintf("a-001-%s", c->instance ? c->instance : "x");
	if (c->what == ABSENT && !c->busy && !c->failures)
		return;
	struct vm_track *track = vec_add(&seen->vms);
	track->id = xstrdup("a-001");
	vm_uuid(instance, track->uuid);
	track->domain = c->what == DOMAIN || c->what == PAUSED;
	track->running = c->what == DOMAIN;
	track->files = c->what != ABSENT;
	track->busy = c->busy;
	track->failures = c->failures;
	track->retry_at_ms = c->retry_at_ms;
	track->stop_since_ms = c->stopped_ago_ms ? NOW - c->stopped_ago_ms : -1;
}

static void check_vm_case(const struct vm_case *c)
{
	struct proto_goal goal = goal_of(c->wanted ? 1 : 0, "x");
	struct host_seen seen = {.domains_known = !c->unknown};
	struct steps steps;
	int64_t next_ms;
	add_track(&seen, c);
	/* the image stays wanted in all cases, so that only the VM's steps are seen */
	vec_push(&goal.images,
		((struct proto_image){.name = xstrdup("mpi"), .digest = xstrdup(IMAGE)}));
	if (!c->no_image && !c->leaving)
		vec_push(&seen.images,
			((struct image_track){.digest = xstrdup(IMAGE),
				.whole = !c->coming && !c->startable,
				.busy = c->coming,
				.startable = c->startable,
				.limited = c->limited}));
	reconcile(&goal, c->leaving, &seen, NOW, &steps, &next_ms);
	auto_free char *text = steps_text(&steps);
	if (strcmp(text, c->steps ? c->steps : "") != 0 || next_ms != c->next_ms)
		fail_msg("%s: steps \"%s\", next %lld; wanted \"%s\", %lld", c->name, text,
			(long long)next_ms, c->steps ? c->steps : "", (long long)c->next_ms);
	steps_done(&steps);
	host_seen_done(&seen);
	proto_goal_done(&goal);
}

static void test_one_vm(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(vm_cases); i++)
		check_vm_case(&vm_cases[i]);
}

static void test_no_goal_no_step(void **state)
{
	struct host_seen seen = {.domains_known = true};
	struct steps steps;
	int64_t next_ms;
	(void)state;
	add_track(&seen, &(const struct vm_case){.what = DOMAIN});
	vec_push(&seen.images, ((struct image_track){.digest = xstrdup(IMAGE), .whole = true}));
	reconcile(NULL, false, &seen, NOW, &steps, &next_ms);
	assert_int_equal(steps.n, 0);
	steps_done(&steps);
	/* leaving without ever having had a goal: no grace was promised, the VM is ended */
	reconcile(NULL, true, &seen, NOW, &steps, &next_ms);
	assert_int_equal(steps.n, 1);
	assert_int_equal(steps.at[0].kind, STEP_DESTROY_VM);
	steps_done(&steps);
	host_seen_done(&seen);
}

static void test_one_step_each(void **state)
{
	struct proto_goal goal = goal_of(3, "x");
	struct host_seen seen = {.domains_known = true};
	struct steps steps;
	int64_t next_ms;
	(void)state;
	reconcile(&goal, false, &seen, NOW, &steps, &next_ms);
	assert_int_equal(steps.n, 1); /* one image for three VMs, fetched once */
	assert_int_equal(steps.at[0].kind, STEP_FETCH_IMAGE);
	seen_step_begun(&seen, &steps.at[0], &goal);
	steps_done(&steps);
	reconcile(&goal, false, &seen, NOW, &steps, &next_ms);
	assert_int_equal(steps.n, 0);
	const struct work_end fetched = {.kind = STEP_FETCH_IMAGE, .subject = IMAGE};
	seen_step_ended(&seen, &fetched, NOW, 0);
	steps_done(&steps);
	reconcile(&goal, false, &seen, NOW, &steps, &next_ms);
	auto_free char *text = steps_text(&steps);
	assert_string_equal(text, "make VM a-001; make VM a-002; make VM a-003");
	steps_done(&steps);
	host_seen_done(&seen);
	proto_goal_done(&goal);
}

static void test_images_dropped_last(void **state)
{
	struct proto_goal goal = goal_of(0, "x");
	struct host_seen seen = {.domains_known = true};
	struct steps steps;
	int64_t next_ms;
	(void)state;
	vec_push(&seen.images, ((struct image_track){.digest = xstrdup(OTHER), .whole = true}));
	add_track(&seen, &(const struct vm_case){.what = DOMAIN});
	reconcile(&goal, false, &seen, NOW, &steps, &next_ms);
	auto_free char *first = steps_text(&steps);
	assert_string_equal(first, "stop VM a-001");
	steps_done(&steps);
	const struct work_end gone = {.kind = STEP_DESTROY_VM, .subject = "a-001"};
	seen_step_ended(&seen, &gone, NOW, 0);
	reconcile(&goal, false, &seen, NOW, &steps, &next_ms);
	auto_free char *then = steps_text(&steps);
	assert_string_equal(then, "drop image bbbb");
	steps_done(&steps);
	host_seen_done(&seen);
	proto_goal_done(&goal);
}

static char *words(const char *id, void *arg)
{
	(void)arg;
	assert_string_equal(id, "a-001");
	return xstrdup("Kernel\tpanic");
}

static char *no_words(const char *id, void *arg)
{
	(void)id;
	(void)arg;
	return NULL;
}

static void list_at(struct host_seen *seen, const struct proto_goal *goal, const char *id,
	const char *instance, int64_t now_ms, seen_words_fn *fn)
{
	struct domains_seen domains = {0};
	if (id) {
		struct domain_seen *domain = vec_add(&domains);
		domain->id = xstrdup(id);
		domain->running = true;
		vm_uuid(instance, domain->uuid);
	}
	seen_domains(seen, &domains, goal, now_ms, 0, fn, NULL);
	domains_seen_done(&domains);
}

static void list(
	struct host_seen *seen, const struct proto_goal *goal, const char *id, const char *instance)
{
	list_at(seen, goal, id, instance, NOW, words);
}

static void make(struct host_seen *seen, const struct proto_goal *goal, int rc)
{
	struct error *err = NULL;
	const struct step step = {.kind = STEP_MAKE_VM, .subject = (char[]){"a-001"}};
	seen_step_begun(seen, &step, goal);
	if (rc < 0)
		error_make(&err, rc, "no\nmemory");
	const struct work_end end = {.kind = STEP_MAKE_VM,
		.subject = "a-001",
		.rc = rc,
		.err = err,
		.began_ms = NOW - 50};
	seen_step_ended(seen, &end, NOW, 0);
	error_free(err);
}

static void test_life_of_a_vm(void **state)
{
	struct proto_goal goal = goal_of(1, "x");
	struct host_seen seen = {0};
	(void)state;
	list(&seen, &goal, NULL, NULL);
	assert_true(seen.domains_known && seen_empty(&seen));
	make(&seen, &goal, 0);
	struct vm_track *track = vm_track_find(&seen, "a-001");
	assert_true(track->domain && track->running && track->files && !track->busy);
	assert_false(seen_empty(&seen));
	assert_true(seen_ready(&seen, "a-001", NOW + 100));
	assert_int_equal(track->ready_ms, 150);
	assert_false(seen_ready(&seen, "a-001", NOW + 200)); /* no news */
	/* powered off from inside after it was ready: made again, no failure */
	list(&seen, &goal, NULL, NULL);
	assert_true(!track->domain && track->files && track->failures == 0 && track->ready_ms == 0);
	/* ends before it is ready: a failure with a reason and a pause */
	make(&seen, &goal, 0);
	list(&seen, &goal, NULL, NULL);
	assert_int_equal(track->failures, 1);
	assert_true(track->retry_at_ms > NOW);
	assert_string_equal(track->reason,
		"it ended before its guest was ready; its console ends with: Kernel panic");
	make(&seen, &goal, -EIO);
	assert_int_equal(track->failures, 2);
	assert_string_equal(track->reason, "no memory"); /* one line */
	host_seen_done(&seen);
	proto_goal_done(&goal);
}

/* What the report says of a-001, which has to be in state `wanted`. */
static const char *reason_of(const struct proto_goal *goal, const struct host_seen *seen, int wanted)
{
	static char buffer[REASON_MAX];
	const char *reason;
	assert_int_equal(report_vm_state(&goal->vms.at[0], seen, buffer, &reason), wanted);
	return reason;
}

static void test_a_late_guest(void **state)
{
	enum { T = GUEST_LATE_MS, BEGUN = NOW - 50 };
	struct proto_goal goal = goal_of(1, "x");
	struct host_seen seen = {0};
	(void)state;
	make(&seen, &goal, 0);
	list_at(&seen, &goal, "a-001", "a-001-x", BEGUN + T - 1, words);
	assert_null(reason_of(&goal, &seen, VM_RUNNING));
	list_at(&seen, &goal, "a-001", "a-001-x", BEGUN + T, no_words);
	assert_string_equal(reason_of(&goal, &seen, VM_RUNNING),
		"its guest is not ready after 2 minutes; its console is empty");
	/* asked again after twice the time, not before */
	list_at(&seen, &goal, "a-001", "a-001-x", BEGUN + 2 * T - 1, words);
	assert_non_null(strstr(reason_of(&goal, &seen, VM_RUNNING), "is empty"));
	list_at(&seen, &goal, "a-001", "a-001-x", BEGUN + 2 * T, words);
	assert_string_equal(reason_of(&goal, &seen, VM_RUNNING),
		"its guest is not ready after 4 minutes; its console ends with: Kernel panic");
	/* it ends and is made again: it has its two minutes again */
	list_at(&seen, &goal, NULL, NULL, BEGUN + 3 * T, words);
	make(&seen, &goal, 0);
	list_at(&seen, &goal, "a-001", "a-001-x", NOW, words);
	assert_null(reason_of(&goal, &seen, VM_RUNNING));
	list_at(&seen, &goal, "a-001", "a-001-x", BEGUN + T, words);
	assert_non_null(strstr(reason_of(&goal, &seen, VM_RUNNING), "after 2 minutes"));
	assert_true(seen_ready(&seen, "a-001", NOW + 2 * T));
	assert_null(reason_of(&goal, &seen, VM_READY));
	list_at(&seen, &goal, "a-001", "a-001-x", NOW + 9 * T, words);
	assert_null(reason_of(&goal, &seen, VM_READY));
	host_seen_done(&seen);
	proto_goal_done(&goal);
}

/* Who is not late, however long it takes. */
static void test_not_late(void **state)
{
	struct proto_goal goal = goal_of(1, "x"), none = goal_of(0, "x");
	struct host_seen seen = {0};
	(void)state;
	make(&seen, &goal, -EIO); /* libvirt says no, and runs it all the same: since NOW - 50 */
	list_at(&seen, &goal, "a-001", "a-001-x", NOW, words);
	assert_null(reason_of(&goal, &seen, VM_RUNNING));
	struct vm_track *track = vm_track_find(&seen, "a-001");
	assert_string_equal(track->reason, "no memory");
	list_at(&seen, &none, "a-001", "a-001-x", NOW + GUEST_LATE_MS, words); /* not wanted */
	track->busy = true;
	list_at(&seen, &goal, "a-001", "a-001-x", NOW + GUEST_LATE_MS, words);
	track->busy = track->files = false; /* nobody knows since when it runs */
	list_at(&seen, &goal, "a-001", "a-001-x", NOW + GUEST_LATE_MS, words);
	assert_string_equal(track->reason, "no memory");
	host_seen_done(&seen);
	proto_goal_done(&goal);
	proto_goal_done(&none);
}

static void test_list_during_step_is_not_taken(void **state)
{
	struct proto_goal goal = goal_of(1, "x");
	struct host_seen seen = {.domains_known = true};
	const struct step step = {.kind = STEP_MAKE_VM, .subject = (char[]){"a-001"}};
	(void)state;
	seen_step_begun(&seen, &step, &goal);
	list(&seen, &goal, NULL, NULL);
	assert_true(vm_track_find(&seen, "a-001")->busy);
	assert_int_equal(vm_track_find(&seen, "a-001")->failures, 0);
	host_seen_done(&seen);
	proto_goal_done(&goal);
}

static void test_found_after_restart(void **state)
{
	struct proto_goal goal = goal_of(1, "x");
	struct host_seen seen = {0};
	struct steps steps;
	int64_t next_ms;
	(void)state;
	list(&seen, &goal, "a-001", "a-001-x"); /* a former hostd made it */
	reconcile(&goal, false, &seen, NOW, &steps, &next_ms);
	assert_int_equal(steps.n, 1); /* the image is looked for, the VM is left alone */
	assert_int_equal(steps.at[0].kind, STEP_FETCH_IMAGE);
	steps_done(&steps);
	host_seen_done(&seen);
	proto_goal_done(&goal);
}

static void test_uuid(void **state)
{
	char a[UUID_TEXT], b[UUID_TEXT];
	(void)state;
	vm_uuid("alice-3-5f0c", a);
	vm_uuid("alice-3-5f0d", b);
	assert_int_equal(strlen(a), 36);
	assert_string_not_equal(a, b);
	assert_int_equal(a[14], '8');
	assert_non_null(strchr("89ab", a[19]));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_one_vm),
		cmocka_unit_test(test_no_goal_no_step),
		cmocka_unit_test(test_one_step_each),
		cmocka_unit_test(test_images_dropped_last),
		cmocka_unit_test(test_life_of_a_vm),
		cmocka_unit_test(test_a_late_guest),
		cmocka_unit_test(test_not_late),
		cmocka_unit_test(test_list_during_step_is_not_taken),
		cmocka_unit_test(test_found_after_restart),
		cmocka_unit_test(test_uuid),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
