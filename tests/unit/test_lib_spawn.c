/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Child processes: exit codes, signals, bounded output, input, time-outs that take the whole group,
 * no inherited descriptors, and that no shell reads the arguments.
 */
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/wait.h>
#include <cmocka.h>

#include "lib/clock.h"
#include "lib/spawn.h"

#define ARGV(...) ((const char *const[]){__VA_ARGS__, NULL})

static void test_status(void **state)
{
	static const struct {
		const char *script;
		int status;
		const char *out, *err;
	} rows[] = {{"echo a; echo b >&2", 0, "a\n", "b\n"}, {"exit 7", 7, "", ""},
		{"kill -9 $$", 128 + SIGKILL, "", ""}, {"printf 'a\\nb'", 0, "a\nb", ""}};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct spawn spawn = {.argv = ARGV("sh", "-c", rows[i].script)};
		struct spawn_result result;

		assert_int_equal(spawn_run(&spawn, &result, NULL), 0);
		assert_int_equal(result.status, rows[i].status);
		assert_string_equal(result.out, rows[i].out);
		assert_string_equal(result.err, rows[i].err);
		assert_int_equal(result.out_len, strlen(rows[i].out));
		assert_false(result.timed_out);
		spawn_result_done(&result);
	}
}

static void test_no_shell(void **state)
{
	struct spawn spawn = {.argv = ARGV("echo", "$(id); `id` > x & *", "")};
	struct spawn_result result;

	(void)state;
	assert_int_equal(spawn_run(&spawn, &result, NULL), 0);
	assert_string_equal(result.out, "$(id); `id` > x & * \n");
	spawn_result_done(&result);
}

static void test_cannot_start(void **state)
{
	auto_error struct error *err = NULL;
	struct spawn spawn = {.argv = ARGV("no-such-program")};
	struct spawn_result result;

	(void)state;
	assert_int_equal(spawn_run(&spawn, &result, &err), -ENOENT);
	assert_non_null(strstr(err->text, "no-such-program"));
}

static void test_input_and_output(void **state)
{
	enum { BIG = 3 << 20 };
	auto_free char *big = xcalloc(1, BIG);
	struct spawn spawn = {
		.argv = ARGV("cat"), .input = big, .input_len = BIG, .max_output = BIG};
	struct spawn_result result;

	(void)state;
	memset(big, 'x', BIG);
	assert_int_equal(spawn_run(&spawn, &result, NULL), 0);
	assert_int_equal(result.out_len, BIG);
	assert_memory_equal(result.out, big, BIG);
	spawn_result_done(&result);
	spawn.max_output = 1000;
	assert_int_equal(spawn_run(&spawn, &result, NULL), 0);
	assert_int_equal(result.status, 0);
	assert_int_equal(result.out_len, 1000);
	spawn_result_done(&result);
	spawn.argv = ARGV("cat", "/dev/stdin");
	assert_int_equal(spawn_run(&spawn, &result, NULL), 0);
	assert_int_equal(result.out_len, 1000);
	spawn_result_done(&result);
	/* without input it is /dev/null; a child that does not read its input hurts nobody */
	spawn = (struct spawn){.argv = ARGV("cat")};
	assert_int_equal(spawn_run(&spawn, &result, NULL), 0);
	assert_string_equal(result.out, "");
	spawn_result_done(&result);
	spawn = (struct spawn){.argv = ARGV("true"), .input = big, .input_len = BIG};
	assert_int_equal(spawn_check(&spawn, NULL), 0);
}

/* Whether the child came as far as the test needs it before its time was up. */
typedef bool begun_fn(const struct spawn_result *result);

static bool has_said_something(const struct spawn_result *result)
{
	return result->out_len > 0;
}

static bool has_set_its_trap(const struct spawn_result *result)
{
	return result->status != 128 + SIGTERM;
}

/* One that times out, with a second first, and with more where the machine stood still. */
static void time_out(struct spawn *spawn, begun_fn *begun, struct spawn_result *ret_result)
{
	for (spawn->timeout_ms = 1000;; spawn->timeout_ms *= 4) {
		int64_t start = clock_real_ms();

		assert_int_equal(spawn_run(spawn, ret_result, NULL), 0);
		assert_true(ret_result->timed_out);
		assert_true(clock_real_ms() - start < spawn->timeout_ms + 60000);
		if (begun(ret_result) || spawn->timeout_ms > 60000)
			return;
		spawn_result_done(ret_result);
	}
}

static void test_timeout_takes_the_group(void **state)
{
	/* the grandchild ignores SIGTERM and keeps the pipe open */
	const char *script = "(trap '' TERM; exec sleep 97) & echo $!; wait";
	struct spawn spawn = {.argv = ARGV("sh", "-c", script)};
	auto_error struct error *err = NULL;
	struct spawn_result result;
	pid_t grandchild = 0;

	(void)state;
	time_out(&spawn, has_said_something, &result);
	assert_int_equal(result.status, 128 + SIGTERM);
	grandchild = atoi(result.out);
	assert_true(grandchild > 0);
	spawn_result_done(&result);
	/* it is a zombie of init or gone; it no longer runs "sleep" */
	for (int i = 0; i < 500; i++) {
		auto_free char *path = xasprintf("/proc/%d/exe", grandchild);
		char exe[256];

		if (readlink(path, exe, sizeof(exe)) < 0)
			break;
		assert_true(i < 499);
		poll(NULL, 0, 10);
	}
	assert_int_equal(spawn_check(&spawn, &err), -ETIMEDOUT);
}

static void test_deaf_child(void **state)
{
	struct spawn spawn = {.argv = ARGV("sh", "-c", "trap '' TERM; while :; do sleep 0.1; done")};
	struct spawn_result result;

	(void)state;
	time_out(&spawn, has_set_its_trap, &result);
	assert_int_equal(result.status, 128 + SIGKILL);
	spawn_result_done(&result);
}

static void test_background_does_not_hold(void **state)
{
	struct spawn spawn = {.argv = ARGV("sh", "-c", "sleep 60 & echo done"), .timeout_ms = 60000};
	int64_t start = clock_real_ms();
	struct spawn_result result;

	(void)state;
	assert_int_equal(spawn_run(&spawn, &result, NULL), 0);
	assert_string_equal(result.out, "done\n");
	assert_true(clock_real_ms() - start < 40000);
	spawn_result_done(&result);
}

/* Not by sh, which clears the signal mask that it was given. */
static void test_clean_start(void **state)
{
	/* the lower 28 signals: glibc ignores its own two in every child of posix_spawn */
	const char *script = "/Sig[BI]/s/:.*\\(.......\\)$/ \\1/p";
	auto_close int leak = open("/dev/null", O_RDONLY); /* not close-on-exec */
	struct spawn list = {.argv = ARGV("ls", "/proc/self/fd")};
	struct spawn signals = {.argv = ARGV("sed", "-n", script, "/proc/self/status")};
	struct spawn_result fds, masks;
	sigset_t set;

	(void)state;
	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigprocmask(SIG_BLOCK, &set, NULL);
	signal(SIGPIPE, SIG_IGN);
	assert_int_equal(spawn_run(&list, &fds, NULL), 0);
	assert_int_equal(spawn_run(&signals, &masks, NULL), 0);
	signal(SIGPIPE, SIG_DFL);
	sigprocmask(SIG_UNBLOCK, &set, NULL);
	/* 3 is the folder that ls reads */
	assert_string_equal(fds.out, "0\n1\n2\n3\n");
	assert_string_equal(masks.out, "SigBlk 0000000\nSigIgn 0000000\n");
	spawn_result_done(&fds);
	spawn_result_done(&masks);
}

static void test_check(void **state)
{
	struct spawn spawn = {
		.argv = ARGV("sh", "-c", "for i in 1 2 3 4 5; do echo line $i >&2; done; exit 3")};
	auto_error struct error *err = NULL;

	(void)state;
	assert_int_equal(spawn_check(&spawn, &err), -EIO);
	assert_string_equal(err->text, "sh failed with status 3: line 3 line 4 line 5");
}

static void test_start(void **state)
{
	char answer[16] = "";
	int fds[3] = {-1, -1, -1}, status = 0;
	pid_t pid = 0;

	(void)state;
	assert_int_equal(spawn_start(ARGV("cat"), NULL, 1 | 2, fds, &pid, NULL), 0);
	assert_int_equal(fds[2], -1);
	assert_int_equal(write(fds[0], "hello", 5), 5);
	assert_int_equal(read(fds[1], answer, sizeof(answer)), 5);
	assert_string_equal(answer, "hello");
	close(fds[0]);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	close(fds[1]);
	assert_int_equal(spawn_start(ARGV("true"), ARGV("A=b"), 0, NULL, &pid, NULL), 0);
	assert_int_equal(waitpid(pid, &status, 0), pid);
}

/* The test itself is the program that runs. */
static void test_programs_lie_together(void **state)
{
	auto_free char *folder = spawn_folder();
	auto_free char *own = spawn_beside("test_lib_spawn"),
		       *none = spawn_beside("no-such-program");
	auto_free char *no_program = spawn_beside("test_lib_spawn.d");
	auto_free char *first = spawn_program("test_lib_spawn"), *other = spawn_program("sh");
	auto_free char *expected = xasprintf("%s/test_lib_spawn", folder ? folder : "");

	(void)state;
	assert_int_equal(expected[0], '/');
	assert_null(strstr(expected, "//"));
	assert_string_equal(own, expected);
	assert_string_equal(first, expected);
	assert_null(none);
	assert_null(no_program);
	assert_string_equal(other, "sh");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_status),
		cmocka_unit_test(test_no_shell),
		cmocka_unit_test(test_cannot_start),
		cmocka_unit_test(test_input_and_output),
		cmocka_unit_test(test_timeout_takes_the_group),
		cmocka_unit_test(test_deaf_child),
		cmocka_unit_test(test_background_does_not_hold),
		cmocka_unit_test(test_clean_start),
		cmocka_unit_test(test_check),
		cmocka_unit_test(test_start),
		cmocka_unit_test(test_programs_lie_together),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
