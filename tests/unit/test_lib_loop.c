/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The loop: signals end it, timers follow the shifted clock, workers run beside it and hand
 * everything back, also what still waits when the loop is freed.
 */
#include <pthread.h>
#include <semaphore.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <cmocka.h>

#include "lib/clock.h"
#include "lib/file.h"
#include "lib/loop.h"

static char clock_path[] = "/tmp/test-loop-XXXXXX/clock";
static struct loop *loop;

static void shift(const char *seconds)
{
	assert_int_equal(file_write(clock_path, seconds, strlen(seconds), 0644, NULL), 0);
}

static int make_clock(void **state)
{
	char *slash = strrchr(clock_path, '/');

	(void)state;
	*slash = '\0';
	if (!mkdtemp(clock_path))
		return -1;
	*slash = '/';
	shift("0");
	setenv("NIGHTCLASS_CLOCK", clock_path, 1);
	clock_init();
	return 0;
}

static int remove_clock(void **state)
{
	(void)state;
	*strrchr(clock_path, '/') = '\0';
	return file_remove_tree(clock_path, NULL);
}

static int make_loop(void **state)
{
	(void)state;
	return loop_new(&loop, NULL);
}

static int free_loop(void **state)
{
	(void)state;
	loop_free(loop);
	return 0;
}

static void quit(void *arg)
{
	loop_quit(loop, *(int *)arg);
}

static void raise_signal(void *arg)
{
	kill(getpid(), *(int *)arg);
}

static void test_signals_end_it(void **state)
{
	int term = SIGTERM;

	(void)state;
	loop_post(loop, raise_signal, &term);
	assert_int_equal(loop_run(loop), 0);
}

static void test_quit(void **state)
{
	int code = 7;

	(void)state;
	loop_post(loop, quit, &code);
	assert_int_equal(loop_run(loop), 7);
}

/* Timers note their letter, and start the next one: those that are late together ring in any order. */
struct note {
	char letter;
	struct loop_timer *timer;
	struct note *next;
};
static char order[16];

static void note(void *arg)
{
	struct note *n = arg;
	size_t len = strlen(order);

	order[len] = n->letter;
	order[len + 1] = '\0';
	if (n->letter == 'z')
		loop_quit(loop, 0);
	if (n->next)
		loop_timer_at(n->next->timer, clock_mono_ms() + 40);
	loop_timer_free(n->timer); /* from its own callback */
}

static void test_timers(void **state)
{
	struct note idle = {'i', NULL, NULL}, z = {'z', NULL, NULL}, b = {'b', NULL, &z}, a = {'a', NULL, NULL};
	int64_t now = clock_mono_ms();

	(void)state;
	order[0] = '\0';
	a.timer = loop_timer_new(loop, note, &a);
	b.timer = loop_timer_new(loop, note, &b);
	z.timer = loop_timer_new(loop, note, &z);
	idle.timer = loop_timer_new(loop, note, &idle);
	loop_timer_at(idle.timer, now);
	loop_timer_at(idle.timer, -1);
	loop_timer_at(b.timer, now + 40);
	loop_timer_at(a.timer, now - 1000);
	assert_int_equal(loop_run(loop), 0);
	assert_string_equal(order, "abz");
	assert_true(clock_mono_ms() >= now + 80);
	/* idle.timer is freed with the loop */
}

static void shift_two_hours(void *arg)
{
	(void)arg;
	shift("7200");
}

static void test_shifted_clock(void **state)
{
	struct note b = {'b', NULL, NULL}, z = {'z', NULL, NULL};
	int64_t now = clock_mono_ms(), real = clock_real_ms();

	(void)state;
	order[0] = '\0';
	b.timer = loop_timer_new(loop, note, &b);
	z.timer = loop_timer_new(loop, note, &z);
	loop_timer_at(z.timer, now + 7200 * 1000 + 20);
	loop_timer_at(b.timer, now + 3600 * 1000);
	loop_post(loop, shift_two_hours, NULL);
	assert_int_equal(loop_run(loop), 0);
	assert_string_equal(order, "bz");
	assert_true(clock_real_ms() - real < 60000);
	shift("0");
	clock_reread();
}

struct job {
	pthread_t worker, done_on;
	int value;
};
enum { JOBS = 200 };
static struct job jobs[JOBS];
static int n_done;
static _Atomic int running, most_running;

static void job_work(void *arg)
{
	struct job *job = arg;
	int now = atomic_fetch_add(&running, 1) + 1, most = atomic_load(&most_running);

	while (now > most && !atomic_compare_exchange_weak(&most_running, &most, now))
		;
	job->worker = pthread_self();
	job->value *= 2;
	usleep(200);
	atomic_fetch_sub(&running, 1);
}

static void job_done(void *arg)
{
	struct job *job = arg;

	job->done_on = pthread_self();
	if (++n_done == JOBS)
		loop_quit(loop, 0);
}

static void test_workers(void **state)
{
	(void)state;
	n_done = 0;
	for (int i = 0; i < JOBS; i++) {
		jobs[i] = (struct job){.value = i};
		loop_work(loop, job_work, job_done, &jobs[i]);
	}
	assert_int_equal(loop_run(loop), 0);
	assert_int_equal(n_done, JOBS);
	for (int i = 0; i < JOBS; i++) {
		assert_int_equal(jobs[i].value, 2 * i);
		assert_true(pthread_equal(jobs[i].done_on, pthread_self()));
		assert_false(pthread_equal(jobs[i].worker, pthread_self()));
	}
	assert_in_range(most_running, 1, 8);
}

/* Two jobs of which each waits for the other. The time is for a failure only: together they need none. */
static sem_t came[2];
static _Atomic int met;

static void meet(void *arg)
{
	int mine = *(int *)arg;
	struct timespec end;

	clock_gettime(CLOCK_REALTIME, &end);
	end.tv_sec += 20;
	sem_post(&came[mine]);
	if (sem_timedwait(&came[!mine], &end) == 0)
		atomic_fetch_add(&met, 1);
}

static void met_done(void *arg)
{
	(void)arg;
	if (++n_done == 2)
		loop_quit(loop, 0);
}

static void queue_two(void *arg)
{
	static int numbers[2] = {0, 1};

	(void)arg;
	loop_work(loop, meet, met_done, &numbers[0]);
	loop_work(loop, meet, met_done, &numbers[1]);
}

/* The only thread has nothing to do when two jobs come at once. */
static void test_none_waits_while_a_thread_may_be_had(void **state)
{
	struct job first = {.value = 1};
	struct loop_timer *later = loop_timer_new(loop, queue_two, NULL);

	(void)state;
	n_done = 0;
	met = 0;
	for (int i = 0; i < 2; i++)
		assert_int_equal(sem_init(&came[i], 0, 0), 0);
	/* later, so that the thread sleeps: one that is still awake may be too quick to show anything */
	loop_work(loop, job_work, NULL, &first);
	loop_timer_at(later, clock_mono_ms() + 40);
	assert_int_equal(loop_run(loop), 0);
	assert_int_equal(atomic_load(&met), 2);
	loop_timer_free(later);
	for (int i = 0; i < 2; i++)
		sem_destroy(&came[i]);
}

static void count_done(void *arg)
{
	(void)arg;
	n_done++;
}

static void test_free_hands_all_back(void **state)
{
	(void)state;
	n_done = 0;
	for (int i = 0; i < JOBS; i++)
		loop_work(loop, job_work, count_done, &jobs[i]);
	loop_post(loop, count_done, NULL);
	loop_free(loop);
	assert_int_equal(n_done, JOBS + 1);
	assert_int_equal(atomic_load(&running), 0);
	assert_int_equal(make_loop(NULL), 0);
}

#define LOOP_TEST(f) cmocka_unit_test_setup_teardown(f, make_loop, free_loop)
int main(void)
{
	const struct CMUnitTest tests[] = {
		LOOP_TEST(test_signals_end_it),
		LOOP_TEST(test_quit),
		LOOP_TEST(test_timers),
		LOOP_TEST(test_shifted_clock),
		LOOP_TEST(test_workers),
		LOOP_TEST(test_none_waits_while_a_thread_may_be_had),
		LOOP_TEST(test_free_hands_all_back),
	};

	return cmocka_run_group_tests(tests, make_clock, remove_clock);
}
