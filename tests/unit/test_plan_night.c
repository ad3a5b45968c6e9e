/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The night's next steps. A row is one situation of one PC and the step that must follow. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "controller/plan/night.h"

enum { NOW = 100000, NIGHT = 7, NOT_MOVED = -1 };
static const struct night_times times = {
	.wake = 300, .boot = 600, .back = 600, .grace = 60, .lost = 30};

enum phase { DAY, RUNNING, ENDING, OVERDUE /* running in the store, but its end has passed */ };

struct row {
	const char *what;
	enum phase phase;
	struct pc pc; /* times relative to NOW are added below */
	struct night_seen seen;
	int moves_to; /* enum pc_state or NOT_MOVED */
	enum night_effect effect;
	int64_t deadline; /* from NOW; 0: none */
	const char *reason;
	bool desktop_seen;
};

#define PC(...)                                                                                    \
	{                                                                                          \
		.name = (char *)"pc1", __VA_ARGS__                                                 \
	}
#define HELD .night = NIGHT

static const struct row rows[] = {
	{"desktop by day stays", DAY, PC(.state = PC_DESKTOP), {0}, NOT_MOVED, EFFECT_NONE, 0, NULL,
		0},
	{"its address is checked first", RUNNING, PC(.state = PC_DESKTOP), {0}, NOT_MOVED,
		EFFECT_CHECK_ADDRESS, 0, NULL, 0},
	{"then it is woken", RUNNING, PC(.state = PC_DESKTOP), {.conflict = CONFLICT_NONE},
		PC_WAKING, EFFECT_NONE, 300, NULL, 0},
	{"a taken address: not woken, both named", RUNNING, PC(.state = PC_DESKTOP),
		{.conflict = CONFLICT_FOUND, .other = {{2, 0, 0, 0, 0, 9}}}, PC_EXCEPTION,
		EFFECT_NONE, 0, "02:00:00:00:00:09", 0},
	{"first magic packet at once", RUNNING, PC(.state = PC_WAKING, HELD, .deadline = 300), {0},
		NOT_MOVED, EFFECT_WAKE, 0, NULL, 0},
	{"not again too soon", RUNNING, PC(.state = PC_WAKING, HELD, .deadline = 300),
		{.wakes = 1, .waked_at = NOW - 4}, NOT_MOVED, EFFECT_NONE, 0, NULL, 0},
	{"again after five seconds", RUNNING, PC(.state = PC_WAKING, HELD, .deadline = 300),
		{.wakes = 1, .waked_at = NOW - 5}, NOT_MOVED, EFFECT_WAKE, 0, NULL, 0},
	{"never heard of", RUNNING, PC(.state = PC_WAKING, HELD, .deadline = 0), {.wakes = 8},
		PC_EXCEPTION, EFFECT_NONE, 0, "8 magic packets", 0},
	{"booting has time", RUNNING, PC(.state = PC_BOOTING, HELD, .deadline = 1), {0}, NOT_MOVED,
		EFFECT_NONE, 0, NULL, 0},
	{"booting hangs", RUNNING, PC(.state = PC_BOOTING, HELD, .deadline = 0), {0}, PC_EXCEPTION,
		EFFECT_NONE, 0, "did not enrol", 0},
	{"host gets VMs", RUNNING, PC(.state = PC_HOST, HELD, .reported_at = -3), {.vms = 2},
		PC_HOSTING, EFFECT_NONE, 0, NULL, 0},
	{"hosting loses them", RUNNING, PC(.state = PC_HOSTING, HELD, .reported_at = -3), {0},
		PC_HOST, EFFECT_NONE, 0, NULL, 0},
	{"host stays", RUNNING, PC(.state = PC_HOST, HELD, .reported_at = -29), {0}, NOT_MOVED,
		EFFECT_NONE, 0, NULL, 0},
	{"host is lost", RUNNING, PC(.state = PC_HOSTING, HELD, .since = -500, .reported_at = -30),
		{.vms = 1}, PC_EXCEPTION, EFFECT_NONE, 0, "no report for 30 s", 0},
	{"nobody is silent while nobody listens", RUNNING,
		PC(.state = PC_HOSTING, HELD, .since = -500, .reported_at = -400),
		{.vms = 1, .listens = NOW - 29}, NOT_MOVED, EFFECT_NONE, 0, NULL, 0},
	{"but from our start on", RUNNING,
		PC(.state = PC_HOSTING, HELD, .since = -500, .reported_at = -400),
		{.vms = 1, .listens = NOW - 30}, PC_EXCEPTION, EFFECT_NONE, 0, "no report for 30 s",
		0},
	{"draining, too", ENDING,
		PC(.state = PC_DRAINING, HELD, .since = -60, .deadline = 100, .reported_at = -31),
		{.listens = NOW - 2}, NOT_MOVED, EFFECT_NONE, 0, NULL, 0},
	{"a new host may be silent at first", RUNNING,
		PC(.state = PC_HOST, HELD, .since = -10, .reported_at = -5000), {0}, NOT_MOVED,
		EFFECT_NONE, 0, NULL, 0},
	{"an exception stays one in its night", RUNNING, PC(.state = PC_EXCEPTION, HELD),
		{.conflict = CONFLICT_NONE, .probed = 1}, NOT_MOVED, EFFECT_NONE, 0, NULL, 0},
	{"yesterday's exception is tried again", RUNNING, PC(.state = PC_EXCEPTION),
		{.conflict = CONFLICT_NONE}, PC_WAKING, EFFECT_NONE, 300, NULL, 0},
	{"hosts drain at the end", ENDING, PC(.state = PC_HOSTING, HELD, .reported_at = -1),
		{.vms = 1}, PC_DRAINING, EFFECT_NONE, 150, NULL, 0},
	{"the end counts, not its entry in the store", OVERDUE, PC(.state = PC_HOST, HELD), {0},
		PC_DRAINING, EFFECT_NONE, 150, NULL, 0},
	{"a lost host is not lost at the end, it drains", ENDING,
		PC(.state = PC_HOST, HELD, .reported_at = -500), {0}, PC_DRAINING, EFFECT_NONE, 150,
		NULL, 0},
	{"waking at the end", ENDING, PC(.state = PC_WAKING, HELD, .deadline = 100), {.probed = 1},
		PC_RETURNING, EFFECT_NONE, 600, "before the night ended", 0},
	{"booting at the end is waited for", ENDING, PC(.state = PC_BOOTING, HELD, .deadline = 5),
		{0}, NOT_MOVED, EFFECT_NONE, 0, NULL, 0},
	{"draining goes on while it reports", ENDING,
		PC(.state = PC_DRAINING, HELD, .deadline = 100, .reported_at = -2), {0}, NOT_MOVED,
		EFFECT_NONE, 0, NULL, 0},
	{"the host said it leaves", ENDING,
		PC(.state = PC_DRAINING, HELD, .deadline = 100, .reported_at = -2), {.leaving = 1},
		PC_RETURNING, EFFECT_NONE, 600, NULL, 0},
	{"draining went silent", ENDING,
		PC(.state = PC_DRAINING, HELD, .since = -60, .deadline = 100, .reported_at = -31),
		{0}, PC_RETURNING, EFFECT_NONE, 600, NULL, 0},
	{"draining too long", ENDING,
		PC(.state = PC_DRAINING, HELD, .deadline = 0, .reported_at = -2), {0}, PC_RETURNING,
		EFFECT_NONE, 600, NULL, 0},
	{"an answer beside a live host is not the desktop's", ENDING,
		PC(.state = PC_RETURNING, HELD, .deadline = 99, .reported_at = -3),
		{.probed = 1, .answers = 1}, NOT_MOVED, EFFECT_NONE, 0, NULL, 0},
	{"once it is quiet, it is asked", ENDING,
		PC(.state = PC_RETURNING, HELD, .deadline = 99, .reported_at = -15), {.probed = 1},
		NOT_MOVED, EFFECT_PROBE, 0, NULL, 0},
	{"it answers", ENDING, PC(.state = PC_RETURNING, HELD, .deadline = 99, .reported_at = -15),
		{.probed = 1, .answers = 1}, PC_DESKTOP, EFFECT_NONE, 0, NULL, 1},
	{"a ping may still be the host's, whose reports are refused", ENDING,
		PC(.state = PC_RETURNING, HELD, .since = -104, .deadline = 99, .reported_at = -900),
		{.probed = 1, .weak = 1, .answers = 1}, NOT_MOVED, EFFECT_NONE, 0, NULL, 0},
	{"or the firmware's", ENDING,
		PC(.state = PC_RETURNING, HELD, .since = -200, .deadline = 99, .reported_at = -220),
		{.probed = 1, .weak = 1, .answers = 1, .booted = NOW - 89}, NOT_MOVED, EFFECT_NONE,
		0, NULL, 0},
	{"by day, too", DAY, PC(.state = PC_EXCEPTION, .since = -9000),
		{.probed = 1, .weak = 1, .answers = 1, .booted = NOW - 89}, NOT_MOVED, EFFECT_NONE,
		0, NULL, 0},
	{"then it is the desktop's", ENDING,
		PC(.state = PC_RETURNING, HELD, .since = -200, .deadline = 99, .reported_at = -220),
		{.probed = 1, .weak = 1, .answers = 1, .booted = NOW - 90}, PC_DESKTOP, EFFECT_NONE,
		0, NULL, 1},
	{"which has its time, however little people wait", ENDING,
		PC(.state = PC_RETURNING, HELD, .since = -200, .deadline = -89, .reported_at = -220),
		{.probed = 1, .weak = 1, .booted = NOW - 90}, NOT_MOVED, EFFECT_PROBE, 0, NULL, 0},
	{"without a probe quiet is enough, and proves nothing", ENDING,
		PC(.state = PC_RETURNING, HELD, .deadline = 99), {0}, PC_DESKTOP, EFFECT_NONE, 0,
		NULL, 0},
	{"it never answers", ENDING, PC(.state = PC_RETURNING, HELD, .deadline = 0), {.probed = 1},
		PC_EXCEPTION, EFFECT_NONE, 0, "did not answer within 600 s", 0},
	{"and keeps its first reason", ENDING,
		PC(.state = PC_RETURNING, HELD, .deadline = 0, .reason = (char *)"lost"),
		{.probed = 1}, PC_EXCEPTION, EFFECT_NONE, 0, "lost; its desktop", 0},
	{"lost in the night, home in the morning?", ENDING,
		PC(.state = PC_EXCEPTION, HELD, .since = -4000, .boot_id = (char *)"b",
			.reason = (char *)"lost"),
		{.probed = 1}, PC_RETURNING, EFFECT_NONE, 600, "lost", 0},
	{"after the hand-back an exception stays, and is asked", ENDING,
		PC(.state = PC_EXCEPTION, HELD, .since = -1, .boot_id = (char *)"b"), {.probed = 1},
		NOT_MOVED, EFFECT_PROBE, 0, NULL, 0},
	{"by day the desktop is seen after all", DAY, PC(.state = PC_EXCEPTION, .since = -9000),
		{.probed = 1, .answers = 1}, PC_DESKTOP, EFFECT_NONE, 0, NULL, 1},
	{"a host by day has to leave", DAY, PC(.state = PC_HOST, .reported_at = -1), {0},
		PC_DRAINING, EFFECT_NONE, 150, NULL, 0},
};

static struct night night_of(enum phase phase)
{
	return (struct night){.id = NIGHT,
		.begins = NOW - 8000,
		.ends = phase == RUNNING   ? NOW + 8000
			: phase == OVERDUE ? NOW
					   : NOW - 10,
		.state = phase == ENDING ? NIGHT_ENDING : NIGHT_RUNNING};
}

static void test_rows(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		const struct row *row = &rows[i];
		struct night night = night_of(row->phase);
		struct pc pc = row->pc;
		struct night_step step;
		pc.since += NOW;
		pc.deadline += NOW;
		pc.boot_id = pc.boot_id ? pc.boot_id : (char *)"";
		pc.reason = pc.reason ? pc.reason : (char *)"";
		pc.reported_at = row->pc.reported_at ? NOW + row->pc.reported_at : 0;
		print_message("%s\n", row->what);
		plan_pc_step(
			&pc, row->phase == DAY ? NULL : &night, NOW, &row->seen, &times, &step);
		assert_int_equal(step.moves ? (int)step.state : NOT_MOVED, row->moves_to);
		assert_int_equal(step.effect, row->effect);
		if (step.moves)
			assert_int_equal(step.deadline, row->deadline ? NOW + row->deadline : 0);
		if (row->reason)
			assert_non_null(strstr(step.reason, row->reason));
		assert_int_equal(step.desktop_seen, row->desktop_seen);
		free(step.reason);
	}
}

static void test_hearing(void **state)
{
	(void)state;
	static const struct {
		const char *what;
		int64_t wall_ms, mono_ms, real_ms, since;
	} looks[] = {
		{"its start", 1000000, 5000, 5000, 1000},
		{"a second later", 1001000, 6000, 6000, 1000},
		{"a slow one", 1006000, 11000, 11000, 1000},
		{"a pause", 1012000, 17000, 17000, 1012},
		{"a test's clock moves", 1113000, 118000, 18000, 1012},
		{"slewed a little", 1115000, 119000, 19000, 1012},
		{"set forward", 1176000, 120000, 20000, 1176},
		{"set back", 1117000, 121000, 21000, 1117},
	};
	struct night_hearing hearing = {0};
	for (size_t i = 0; i < ARRAY_LEN(looks); i++) {
		print_message("%s\n", looks[i].what);
		plan_hearing(&hearing, looks[i].wall_ms, looks[i].mono_ms, looks[i].real_ms);
		assert_int_equal(hearing.since, looks[i].since);
	}
}

static void test_night(void **state)
{
	(void)state;
	struct night night = {.begins = 100, .ends = 200, .state = NIGHT_PLANNED};
	assert_int_equal(plan_night_state(&night, 99, false), NIGHT_PLANNED);
	assert_int_equal(plan_night_state(&night, 100, false), NIGHT_RUNNING);
	assert_int_equal(plan_night_state(&night, 200, false), NIGHT_DONE);
	night.state = NIGHT_RUNNING;
	assert_int_equal(plan_night_state(&night, 199, true), NIGHT_RUNNING);
	assert_int_equal(plan_night_state(&night, 200, true), NIGHT_ENDING);
	night.state = NIGHT_ENDING;
	assert_int_equal(plan_night_state(&night, 500, false), NIGHT_ENDING);
	assert_int_equal(plan_night_state(&night, 500, true), NIGHT_DONE);
	night.state = NIGHT_DONE;
	assert_int_equal(plan_night_state(&night, 0, false), NIGHT_DONE);
}

/* No passing state without an end: from any state, with nothing ever seen, a PC comes to desktop or
 * exception. */
static void test_always_ends(void **state)
{
	(void)state;
	for (int from = PC_DESKTOP; from <= PC_EXCEPTION; from++)
		for (int probed = 0; probed < 2; probed++) {
			struct night night = night_of(RUNNING);
			struct pc pc = PC(.state = (enum pc_state)from, HELD, .since = NOW,
				.deadline = NOW + 600);
			auto_free char *kept = NULL;
			int64_t now = NOW;
			for (; now < NOW + 20000; now += 10) {
				struct night_seen seen = {.conflict = CONFLICT_NONE,
					.probed = probed,
					.wakes = 1,
					.waked_at = now};
				struct night_step step;
				if (now >= night.ends)
					night.state = NIGHT_ENDING;
				plan_pc_step(&pc, &night, now, &seen, &times, &step);
				free(kept);
				kept = step.reason;
				if (!step.moves)
					continue;
				pc.state = step.state;
				pc.since = now;
				pc.deadline = step.deadline;
				bool passing = pc.state == PC_WAKING || pc.state == PC_BOOTING ||
					       pc.state == PC_DRAINING || pc.state == PC_RETURNING;
				assert_int_equal(passing, step.deadline != 0);
			}
			assert_true(pc.state == PC_DESKTOP || pc.state == PC_EXCEPTION);
		}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_rows),
		cmocka_unit_test(test_hearing),
		cmocka_unit_test(test_night),
		cmocka_unit_test(test_always_ends),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
