/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Goal x seen -> steps for images, as tables: what is fetched and when, who goes for whose room. And
 * what a host that was started again finds. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include "boot/hostd/hold.h"
#include "boot/hostd/seen.h"
#include "images/chunk.h"
#include "images/held.h"
#include "tests/unit/folder.h"
#include "tests/unit/hostd_sample.h"

static void run_vm(struct host_seen *seen)
{
	struct vm_track *track = vec_add(&seen->vms);
	track->id = xstrdup("a-001");
	vm_uuid("a-001-x", track->uuid);
	track->domain = track->running = track->files = true;
	track->stop_since_ms = -1;
}

/* Images on a scratch partition of room for 100: who goes, and when. a.. is wanted by a VM, b.. by the
 * goal's list, c.. and d.. by nobody. */
static const struct {
	const char *name, *steps;
	struct image_track images[4];
	size_t n;
	bool leaving, no_vm;
} room_cases[] = {
	{"what fits stays, wanted or not", "", {{.digest = (char *)"a", .whole = true, .bytes = 50},
		{.digest = (char *)"b", .whole = true}, {.digest = (char *)"c", .bytes = 50, .used = 5}}, 3,
		false, false},
	{"the one wanted longest ago goes, one at a time", "drop image cccc",
		{{.digest = (char *)"a", .whole = true, .bytes = 50}, {.digest = (char *)"b", .whole = true},
			{.digest = (char *)"d", .bytes = 40, .used = 9},
			{.digest = (char *)"c", .bytes = 40, .used = 5}}, 4, false, false},
	{"what this boot has used goes last", "drop image dddd",
		{{.digest = (char *)"a", .whole = true, .bytes = 50}, {.digest = (char *)"b", .whole = true},
			{.digest = (char *)"c", .bytes = 40, .used = 0},
			{.digest = (char *)"d", .bytes = 40, .used = 5}}, 4, false, false},
	{"a running fetch needs its total", "drop image cccc",
		{{.digest = (char *)"a", .busy = true, .have = 1, .total = 90},
			{.digest = (char *)"c", .bytes = 20, .used = 5}}, 2, false, false},
	{"one that is too large takes what it was given", "",
		{{.digest = (char *)"a", .busy = true, .have = 1, .total = 900, .room = 80},
			{.digest = (char *)"c", .bytes = 20, .used = 5}}, 2, false, false},
	{"a drop that is under way is waited for", "",
		{{.digest = (char *)"a", .whole = true, .bytes = 90}, {.digest = (char *)"b", .whole = true},
			{.digest = (char *)"c", .bytes = 20, .used = 5, .busy = true},
			{.digest = (char *)"d", .bytes = 20, .used = 6}}, 4, false, false},
	{"a full disk is believed", "fetch image aaaa; drop image cccc",
		{{.digest = (char *)"a", .failures = 1, .full = true},
			{.digest = (char *)"c", .bytes = 20, .used = 5}}, 2, false, false},
	{"another failure is not", "fetch image aaaa",
		{{.digest = (char *)"a", .failures = 1}, {.digest = (char *)"c", .bytes = 20, .used = 5}}, 2,
		false, false},
	{"nothing is dropped on the way home", "", {{.digest = (char *)"c", .bytes = 500, .used = 5}}, 1, true,
		true},
	{"what waits for the idle host waits", "fetch image aaaa", {{0}}, 0, false, false},
	{"and is fetched when nothing is missing", "fetch image bbbb", {{.digest = (char *)"a", .whole = true}},
		1, false, false},
	{"or when there is no VM at all", "fetch image bbbb", {{0}}, 0, false, true},
};

static void test_room(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(room_cases); i++) {
		struct proto_goal goal = goal_of(room_cases[i].no_vm ? 0 : 1, "x");
		struct host_seen seen = {.domains_known = true, .room = 100};
		struct steps steps;
		int64_t next_ms;
		if (!room_cases[i].no_vm)
			run_vm(&seen);
		vec_push(&goal.images,
			((struct proto_image){.name = xstrdup("next"), .digest = digest_of('b')}));
		for (size_t k = 0; k < room_cases[i].n; k++) {
			struct image_track track = room_cases[i].images[k];
			track.digest = digest_of(*track.digest);
			vec_push(&seen.images, track);
		}
		reconcile(&goal, room_cases[i].leaving, &seen, NOW, &steps, &next_ms);
		auto_free char *text = steps_text(&steps);
		if (strcmp(text, room_cases[i].steps) != 0)
			fail_msg("%s: \"%s\", wanted \"%s\"", room_cases[i].name, text,
				room_cases[i].steps);
		steps_done(&steps);
		host_seen_done(&seen);
		proto_goal_done(&goal);
	}
}

/* In memory of room for 100: b.. is wanted by the goal's list, a.. by a VM, c.. by nobody. */
static void test_memory(void **state)
{
	static const struct {
		const char *name, *steps;
		struct image_track image, former;
		bool fetched;
	} rows[] = {
		{"kept while the next may copy from it", "", {.total = 60}, {.have = 40}, true},
		{"also before the next has begun", "fetch image aaaa", {.busy = false},
			{.have = 40}, false},
		{"not when memory is short", "drop image cccc", {.total = 61}, {.have = 40}, true},
		{"what was found there counts", "drop image cccc", {.total = 61}, {.bytes = 40},
			true},
		{"not when all is here", "drop image cccc", {.whole = true, .total = 20},
			{.have = 40}, false},
		{"or all that may be", "drop image cccc", {.startable = true, .limited = true},
			{.have = 40}, false},
		{"or what is wanted cannot be had", "fetch image aaaa; drop image cccc",
			{.failures = 1}, {.have = 40}, false},
		{"a limited one takes no more than its room", "", {.total = 900, .room = 50},
			{.have = 40}, true},
	};
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct proto_goal goal = goal_of(1, "x");
		struct host_seen seen = {.domains_known = true, .memory = 100};
		struct hold_progress progress = {0};
		struct image_track image = rows[i].image, former = rows[i].former;
		run_vm(&seen);
		image.digest = digest_of('a');
		image.busy = rows[i].fetched;
		image.progress = rows[i].fetched ? &progress : NULL;
		former.digest = digest_of('c');
		vec_push(&seen.images, image);
		vec_push(&seen.images, former);
		check_steps(rows[i].name, &goal, &seen, rows[i].steps);
		host_seen_done(&seen);
		proto_goal_done(&goal);
	}
}

/* Two images of VMs in memory of 1000 MiB are not promised the same. */
static void test_memory_is_promised_once(void **state)
{
	const uint64_t mib = 1 << 20;
	struct proto_goal goal = goal_of(2, "x");
	struct host_seen seen = {.domains_known = true, .memory = 1000 * mib};
	struct hold_progress progress = {0};
	(void)state;
	free(goal.vms.at[1].image);
	goal.vms.at[1].image = digest_of('b');
	check_steps("one at a time", &goal, &seen, "fetch image aaaa");
	vec_push(&seen.images,
		((struct image_track){.digest = digest_of('a'), .busy = true, .progress = &progress}));
	check_steps("its size is not known", &goal, &seen, "");
	seen.images.at[0].total = 600 * mib;
	check_steps("now it is", &goal, &seen, "fetch image bbbb");
	assert_int_equal(image_share(&seen, &goal, goal.vms.at[1].image), 400 * mib);
	assert_int_equal(image_share(&seen, &goal, goal.vms.at[0].image), 1000 * mib);
	vec_push(&seen.images,
		((struct image_track){.digest = digest_of('b'), .total = 5000 * mib, .room = 400 * mib}));
	assert_int_equal(image_share(&seen, &goal, goal.vms.at[0].image), 600 * mib);
	vec_push(&seen.images, ((struct image_track){.digest = digest_of('c'), .bytes = 900 * mib}));
	assert_int_equal(image_share(&seen, &goal, goal.vms.at[0].image), 600 * mib);
	vec_push(&goal.images, ((struct proto_image){.digest = digest_of('c')}));
	assert_int_equal(image_share(&seen, &goal, goal.vms.at[0].image), 600 * mib); /* no VM is made of it */
	seen.images.at[1].room = 5000 * mib;
	assert_int_equal(image_share(&seen, &goal, goal.vms.at[0].image), 256 * mib);
	seen.memory = 0;
	assert_int_equal(image_share(&seen, &goal, goal.vms.at[0].image), 0);
	seen.room = 9000 * mib; /* a scratch partition's is promised likewise */
	assert_int_equal(image_share(&seen, &goal, goal.vms.at[0].image), 4000 * mib);
	seen.room = 1000 * mib;
	assert_int_equal(image_share(&seen, &goal, goal.vms.at[0].image), 256 * mib);
	host_seen_done(&seen);
	proto_goal_done(&goal);
}

/* What came whole when there was more memory goes and comes again in part, unless a VM reads its file. */
static void test_vms_that_came_since_take_memory(void **state)
{
	const uint64_t mib = 1 << 20;
	struct proto_goal goal = goal_of(2, "x");
	struct host_seen seen = {.domains_known = true, .memory = 1000 * mib};
	struct image_track *image = vec_add(&seen.images);
	(void)state;
	*image = (struct image_track){
		.digest = digest_of('a'), .whole = true, .total = 600 * mib, .room = 1000 * mib};
	check_steps("it fits", &goal, &seen, "make VM a-001; make VM a-002");
	seen.memory = 500 * mib;
	check_steps("it does not, for two VMs", &goal, &seen, "drop image aaaa");
	image->busy = true;
	check_steps("it is going", &goal, &seen, "");
	image->busy = false;
	image->room = 0;
	check_steps("nothing can serve a part", &goal, &seen, "make VM a-001; make VM a-002");
	image->room = seen.room = 1000 * mib;
	check_steps("it lies on a disk", &goal, &seen, "make VM a-001; make VM a-002");
	seen.room = 0;
	run_vm(&seen);
	check_steps("a VM reads it", &goal, &seen, "make VM a-002");
	host_seen_done(&seen);
	proto_goal_done(&goal);
}

static void end_image(struct host_seen *seen, enum step_kind kind, char letter, int rc)
{
	auto_free char *digest = digest_of(letter);
	const struct work_end end = {.kind = kind, .subject = digest, .rc = rc};
	seen_step_ended(seen, &end, NOW, 0);
}

static void fetch_begun(struct host_seen *seen, char letter, struct hold_progress *progress)
{
	vec_push(&seen->images,
		((struct image_track){
			.digest = digest_of(letter), .busy = true, .progress = progress}));
}

static void add_image(struct proto_goal *goal, char letter)
{
	vec_push(&goal->images,
		((struct proto_image){.name = xstrdup("next"), .digest = digest_of(letter)}));
}

/* What workers say of an image's way: the newest, none twice, for as long as the image is known. */
static void test_notes_of_the_way(void **state)
{
	struct host_seen seen = {.domains_known = true};
	struct hold_progress first = {0}, second = {0};
	(void)state;
	fetch_begun(&seen, 'a', &first);
	notes_add(&first.notes, "a neighbour\nlies");
	notes_add(&first.notes, "a neighbour\nlies");
	seen_progress(&seen);
	const struct strings *notes = &seen.images.at[0].notes;
	assert_int_equal(notes->n, 1);
	assert_string_equal(notes->at[0], "a neighbour lies");
	end_image(&seen, STEP_FETCH_IMAGE, 'a', -EIO);
	seen.images.at[0].progress = &second;
	notes_add(&second.notes, "a neighbour lies");
	for (int i = 0; i < PROTO_NOTES_MAX + 1; i++) {
		auto_free char *text = xasprintf("number %d", i);
		notes_add(&second.notes, text);
		seen_progress(&seen);
	}
	assert_int_equal(notes->n, PROTO_NOTES_MAX);
	assert_string_equal(notes->at[0], "number 1");
	assert_string_equal(notes->at[PROTO_NOTES_MAX - 1], "number 8");
	for (int i = 0; i < 3 * PROTO_NOTES_MAX; i++) { /* more than it holds, at once */
		auto_free char *text = xasprintf("again %d", i);
		notes_add(&second.notes, text);
	}
	seen_progress(&seen);
	assert_string_equal(notes->at[0], "again 16");
	assert_string_equal(notes->at[PROTO_NOTES_MAX - 1], "again 23");
	host_seen_done(&seen);
}

/* Each takes a worker, and others need workers, too. a.. to d.. are wanted by VMs, e.. to g.. by the list. */
static void test_few_fetches_at_a_time(void **state)
{
	struct proto_goal goal = goal_of(4, "x"), ahead = goal_of(0, "x");
	struct host_seen seen = {.domains_known = true, .room = 1000}, idle = seen;
	struct hold_progress progress = {0};
	(void)state;
	for (size_t i = 1; i < goal.vms.n; i++) {
		free(goal.vms.at[i].image);
		goal.vms.at[i].image = digest_of((char)('a' + i));
	}
	add_image(&goal, 'e');
	check_steps("three at once, the first VMs first", &goal, &seen,
		"fetch image aaaa; fetch image bbbb; fetch image cccc");
	fetch_begun(&seen, 'a', &progress);
	fetch_begun(&seen, 'c', &progress);
	check_steps("those under way count", &goal, &seen, "fetch image bbbb");
	fetch_begun(&seen, 'b', &progress);
	check_steps("the fourth waits", &goal, &seen, "");
	end_image(&seen, STEP_FETCH_IMAGE, 'c', 0);
	check_steps("until one is here", &goal, &seen, "make VM a-003; fetch image dddd");
	for (char letter = 'e'; letter <= 'g'; letter++)
		add_image(&ahead, letter);
	check_steps("ahead: two", &ahead, &idle, "fetch image eeee; fetch image ffff");
	fetch_begun(&idle, 'e', &progress);
	fetch_begun(&idle, 'f', &progress);
	check_steps("ahead: the third waits", &ahead, &idle, "");
	check_steps("a VM's finds a place", &goal, &idle, "fetch image aaaa");
	host_seen_done(&seen);
	host_seen_done(&idle);
	proto_goal_done(&goal);
	proto_goal_done(&ahead);
}

/* One fetch that found no room takes one image away, not all. */
static void test_a_full_disk_costs_one_image_a_try(void **state)
{
	struct proto_goal goal = goal_of(1, "x");
	struct host_seen seen = {.domains_known = true, .room = 1000};
	struct step fetch = {STEP_FETCH_IMAGE, (char[]){IMAGE}};
	(void)state;
	for (char letter = 'c'; letter <= 'e'; letter++)
		vec_push(&seen.images,
			((struct image_track){
				.digest = digest_of(letter), .bytes = 20, .used = letter}));
	seen_step_begun(&seen, &fetch, &goal);
	end_image(&seen, STEP_FETCH_IMAGE, 'a', -ENOSPC);
	check_steps("it is full", &goal, &seen, "drop image cccc");
	end_image(&seen, STEP_DROP_IMAGE, 'c', 0);
	check_steps("it may have room now", &goal, &seen, "");
	image_track_find(&seen, IMAGE)->retry_at_ms = NOW;
	check_steps("it is tried", &goal, &seen, "fetch image aaaa");
	image_track_find(&seen, IMAGE)->full = true;
	seen_step_begun(&seen, &fetch, &goal);
	check_steps("nobody knows yet", &goal, &seen, "");
	host_seen_done(&seen);
	proto_goal_done(&goal);
}

/* More images than can be told are not kept, whatever the room. */
static void test_many_small_images(void **state)
{
	struct proto_goal goal = goal_of(1, "x");
	struct host_seen seen = {.domains_known = true, .room = 1000};
	(void)state;
	run_vm(&seen);
	vec_push(&seen.images,
		((struct image_track){.digest = digest_of('a'), .whole = true, .bytes = 1, .used = 1}));
	for (int i = 2; i <= 48; i++)
		vec_push(&seen.images,
			((struct image_track){.digest = digest_of(i == 30 ? 'd' : 'c'),
				.bytes = 1,
				.used = i == 30 ? 2 : 100 + i}));
	check_steps("48 stay", &goal, &seen, "");
	vec_push(&seen.images,
		((struct image_track){.digest = digest_of('e'), .bytes = 1, .used = 999}));
	check_steps("of 49 the unwanted one of longest ago goes", &goal, &seen, "drop image dddd");
	host_seen_done(&seen);
	proto_goal_done(&goal);
}

/* Half of it may be gone: it is fetched again when it is wanted, and no VM starts on it before. */
static void test_a_drop_that_failed_leaves_nothing_whole(void **state)
{
	struct proto_goal none = goal_of(0, "x"), goal = goal_of(1, "x");
	struct host_seen seen = {.domains_known = true, .room = 1000};
	struct step drop = {STEP_DROP_IMAGE, (char[]){IMAGE}};
	(void)state;
	vec_push(&seen.images,
		((struct image_track){
			.digest = xstrdup(IMAGE), .total = 9, .whole = true, .startable = true, .limited = true}));
	seen_step_begun(&seen, &drop, &none);
	check_steps("it is waited for", &goal, &seen, "");
	end_image(&seen, STEP_DROP_IMAGE, 'a', -EBUSY);
	check_steps("not at once", &goal, &seen, "");
	assert_int_equal(image_track_find(&seen, IMAGE)->total, 0);
	image_track_find(&seen, IMAGE)->retry_at_ms = NOW;
	check_steps("wanted again", &goal, &seen, "fetch image aaaa");
	host_seen_done(&seen);
	proto_goal_done(&none);
	proto_goal_done(&goal);
}

static void test_fetches_nobody_wants_are_called_off(void **state)
{
	struct proto_goal goal = goal_of(1, "x");
	struct host_seen seen = {0};
	struct hold_progress needed = {0}, ahead = {0}, former = {0};
	(void)state;
	vec_push(&goal.images,
		((struct proto_image){.name = xstrdup("next"), .digest = digest_of('b')}));
	vec_push(&seen.images,
		((struct image_track){.digest = xstrdup(IMAGE), .progress = &needed}));
	vec_push(&seen.images,
		((struct image_track){.digest = digest_of('b'), .progress = &ahead}));
	vec_push(&seen.images,
		((struct image_track){.digest = digest_of('c'), .progress = &former}));
	vec_push(&seen.images, ((struct image_track){.digest = digest_of('d')}));
	seen_call_off(&seen, &goal);
	assert_false(needed.cancel || ahead.cancel);
	assert_true(former.cancel);
	seen_call_off(&seen, NULL);
	assert_true(needed.cancel && ahead.cancel);
	host_seen_done(&seen);
	proto_goal_done(&goal);
}

static void test_room_for_an_image(void **state)
{
	struct proto_goal goal = goal_of(2, "x");
	const uint64_t mib = 1 << 20;
	(void)state;
	vec_each (struct proto_vm, vm, &goal.vms)
		vm->memory_mib = 1024;
	assert_int_equal(hold_room(16384, NULL), (16384 - 2048) * mib); /* an eighth is kept free */
	assert_int_equal(hold_room(16384, &goal), (16384 - 2048 - 2048) * mib);
	assert_int_equal(hold_room(4096, &goal), (4096 - 512 - 2048) * mib); /* or 512 MiB */
	assert_int_equal(hold_room(2560, &goal), 256 * mib);
	assert_int_equal(hold_room(0, &goal), 0);
	proto_goal_done(&goal);
}

/* A disk of two chunks of data and a hole; the first `n` are put. */
static char *hold_image(const char *dir, uint64_t revision, size_t n)
{
	auto_manifest struct manifest manifest = {.name = xstrdup("mpi"), .revision = revision};
	struct manifest_part *disk = &manifest.parts[PART_DISK];
	auto_free unsigned char *bytes = xcalloc(1, CHUNK_SIZE);
	auto_held struct held *held = NULL;
	char hex[SHA256_TEXT];
	memset(bytes, 'x', CHUNK_SIZE);
	*disk = (struct manifest_part){.present = true, .size = 3 * CHUNK_SIZE};
	for (int i = 0; i < 2; i++)
		vec_push(&disk->chunks,
			((struct manifest_chunk){.digest = sha256_of(bytes, CHUNK_SIZE)}));
	vec_push(&disk->chunks, ((struct manifest_chunk){.zero = true}));
	auto_free char *text = manifest_write(&manifest);
	struct sha256 digest = sha256_of(text, strlen(text));
	sha256_format(&digest, hex);
	assert_int_equal(held_create(dir, hex, text, strlen(text), &held, NULL), 0);
	for (size_t i = 0; i < n; i++)
		assert_int_equal(held_put(held, i, bytes, NULL), 0);
	assert_int_equal(held_finish(held, NULL), n == 2 ? 0 : -EAGAIN);
	return xstrdup(hex);
}

/* Who reports all of an image is named to others as one that has it. */
static void test_a_scan_tells_how_much_is_here(void **state)
{
	auto_free char *whole = hold_image(*state, 1, 2), *part = hold_image(*state, 2, 1);
	auto_free char *manifest = xasprintf("%s/%s/manifest", (char *)*state, whole);
	struct host_seen seen = {0};
	assert_int_equal(hold_scan(*state, &seen.images, NULL), 0);
	assert_int_equal(seen.images.n, 2);
	assert_true(image_track_find(&seen, whole)->whole);
	assert_int_equal(image_track_find(&seen, whole)->have, 2 * CHUNK_SIZE);
	assert_int_equal(image_track_find(&seen, whole)->total, 2 * CHUNK_SIZE);
	assert_false(image_track_find(&seen, part)->whole);
	assert_int_equal(image_track_find(&seen, part)->total, 0);
	host_seen_done(&seen);
	assert_int_equal(file_write(manifest, "{}", 2, 0644, NULL), 0);
	assert_int_equal(hold_scan(*state, &seen.images, NULL), 0);
	assert_false(image_track_find(&seen, whole)->whole);
	host_seen_done(&seen);
}

static void nothing(void *arg)
{
	(void)arg;
}

static void quit(void *arg)
{
	loop_quit(arg, 0);
}

static void test_what_is_held_in_part_makes_room(void **state)
{
	const uint64_t mib = 1 << 20;
	auto_free char *digest = hold_image(*state, 3, 1);
	struct hold_progress progress = {0};
	struct proto_goal goal = goal_of(2, "x");
	struct host_seen seen = {.domains_known = true, .memory = 400 * mib};
	auto_held struct held *held = NULL;
	struct loop *loop;
	for (unsigned i = 0; i < 2; i++) {
		free(goal.vms.at[i].image);
		goal.vms.at[i].image = i ? digest_of('b') : xstrdup(digest);
	}
	const struct work_end called_off = {
		.kind = STEP_FETCH_IMAGE, .subject = goal.vms.at[1].image, .rc = -ECANCELED};
	assert_int_equal(loop_new(&loop, NULL), 0);
	assert_int_equal(held_open(*state, digest, &held, NULL), 0);
	held_set_limit(held, 500 * mib);
	vec_push(&seen.images, ((struct image_track){.digest = xstrdup(digest), .limited = true, .total = 900 * mib,
				       .room = 500 * mib}));
	vec_push(&seen.images, ((struct image_track){.digest = digest_of('b'), .busy = true, .limited = true,
				       .total = 450 * mib, .room = 500 * mib, .progress = &progress}));
	hold_resize(loop, *state, &goal, &seen);
	loop_work(loop, nothing, quit, loop); /* it is begun after the other, and the loop waits for both */
	loop_run(loop);
	loop_free(loop);
	assert_int_equal(seen.images.at[0].room, 256 * mib);
	assert_int_equal(held_limit(held), 256 * mib);
	assert_true(progress.cancel);
	seen_step_ended(&seen, &called_off, NOW - 3600000, 0);
	assert_null(seen.images.at[1].reason); /* nothing that anybody has to be told */
	check_steps("with less", &goal, &seen, "fetch image bbbb");
	seen.images.at[1].total = 300 * mib;
	hold_resize(NULL, *state, &goal, &seen); /* all have what they need */
	assert_true(seen.images.at[0].limited);
	seen.memory = 1200 * mib;
	hold_resize(NULL, *state, &goal, &seen);
	assert_false(seen.images.at[0].limited); /* it would fit */
	host_seen_done(&seen);
	proto_goal_done(&goal);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_room),
		cmocka_unit_test(test_memory),
		cmocka_unit_test(test_memory_is_promised_once),
		cmocka_unit_test(test_vms_that_came_since_take_memory),
		cmocka_unit_test(test_notes_of_the_way),
		cmocka_unit_test(test_few_fetches_at_a_time),
		cmocka_unit_test(test_a_full_disk_costs_one_image_a_try),
		cmocka_unit_test(test_many_small_images),
		cmocka_unit_test(test_a_drop_that_failed_leaves_nothing_whole),
		cmocka_unit_test(test_fetches_nobody_wants_are_called_off),
		cmocka_unit_test(test_room_for_an_image),
		cmocka_unit_test_setup_teardown(
			test_a_scan_tells_how_much_is_here, folder_make, folder_remove),
		cmocka_unit_test_setup_teardown(
			test_what_is_held_in_part_makes_room, folder_make, folder_remove),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
