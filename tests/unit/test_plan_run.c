/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A run's texts: who takes part, the Open MPI settings, and that a person's words stay words in the VM's shell. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <signal.h>
#include <sys/wait.h>

#include "controller/plan/run.h"
#include "lib/spawn.h"
#include "tests/unit/folder.h"

static struct vm three[] = {{.id = (char *)"a-001"}, {.id = (char *)"a-002"}, {.id = (char *)"a-003"}};
static const struct vms vms = {three, 3, 3};

static struct run_plan plan_of(uint64_t ranks, uint64_t cpus, const struct strings *args)
{
	struct run_plan plan = {
		.id = 7, .name = "matmul", .args = args, .ranks = ranks, .cpus = cpus, .vms = &vms};
	assert_int_equal(prefix4_parse("10.80.0.0/23", &plan.net), 0);
	return plan;
}

struct row {
	uint64_t ranks, cpus;
	const char *hostfile, *others;
	bool oversubscribe;
};
static const struct row rows[] = {
	{1, 1, "a-001 slots=1\n", "others=\"\"", false},
	{2, 1, "a-001 slots=1\na-002 slots=1\n", "others=\"a-002\"", false},
	{6, 2, "a-001 slots=2\na-002 slots=2\na-003 slots=2\n", "others=\"a-002 a-003\"", false},
	{7, 2, "a-001 slots=2\na-002 slots=2\na-003 slots=2\n", "others=\"a-002 a-003\"", true},
};

static void test_rows(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct run_plan plan = plan_of(rows[i].ranks, rows[i].cpus, NULL);
		auto_free char *hostfile = plan_run_hostfile(&plan);
		auto_free char *script = plan_run_script(&plan);
		assert_string_equal(hostfile, rows[i].hostfile);
		assert_non_null(strstr(script, rows[i].others));
		assert_int_equal(strstr(script, "--oversubscribe") != NULL, rows[i].oversubscribe);
		assert_non_null(strstr(script, "--mca btl_tcp_if_include 10.80.0.0/23"));
		assert_non_null(strstr(script, "--mca oob_tcp_if_include 10.80.0.0/23"));
	}
}

/* What a shell makes of the quoted words is what the person wrote. */
static void test_quote(void **state)
{
	(void)state;
	static const char *const words[] = {"", "plain", "two words", "it's", "$(touch /x)", "`id`", "a\"b", "*", "\\",
		"-n", "'; exit 3; '"};
	for (size_t i = 0; i < ARRAY_LEN(words); i++) {
		auto_buf struct buf line = {0};
		auto_error struct error *err = NULL;
		struct spawn_result result;
		buf_adds(&line, "printf %s ");
		shell_quote(&line, words[i]);
		const char *const argv[] = {"sh", "-c", line.text, NULL};
		struct spawn sh = {.argv = argv, .timeout_ms = 10000};
		assert_int_equal(spawn_run(&sh, &result, &err), 0);
		assert_int_equal(result.status, 0);
		assert_string_equal(result.out, words[i]);
		spawn_result_done(&result);
	}
}

static bool sh_accepts(const char *text)
{
	const char *const argv[] = {"sh", "-n", NULL};
	struct spawn sh = {.argv = argv, .input = text, .input_len = strlen(text), .timeout_ms = 10000};
	return spawn_check(&sh, NULL) == 0;
}

static void test_script_is_shell(void **state)
{
	(void)state;
	char *words[] = {(char *)"100", (char *)"it's $HOME"};
	struct strings args = {words, 2, 2};
	struct run_plan plan = plan_of(3, 1, &args);
	auto_free char *script = plan_run_script(&plan);
	auto_free char *command = plan_run_command(&plan, 10, 20, 30);
	assert_true(sh_accepts(script));
	assert_true(sh_accepts(command));
	assert_non_null(strstr(script, " '100' 'it'\\''s $HOME' </dev/null"));
	assert_non_null(strstr(command, "head -c 10 >run.sh && head -c 20 >hosts && head -c 30 >'matmul' &&"));
	assert_false(sh_accepts("if then"));
}

static void put_program(const char *home, const char *name, const char *text)
{
	auto_free char *path = xasprintf("%s/%s", home, name);
	assert_int_equal(file_write(path, text, strlen(text), 0700, NULL), 0);
}

/* The script in a process group of its own, as sshd has it, with the folder's mpirun and ssh; after its first words
 * (SAID_MAX bytes at ret_said) standard input ends, or stays open till all is over. Returns what waitpid says. */
enum { SAID_MAX = 256 };
static int run_script(const char *home, uint64_t ranks, bool cut, char *ret_said)
{
	struct run_plan plan = plan_of(ranks, 1, NULL);
	auto_free char *script = plan_run_script(&plan);
	auto_free char *command = xasprintf("export HOME=%s PATH=.:$PATH; cd && exec sh run.sh 2>&1", home);
	const char *const argv[] = {"sh", "-c", command, NULL};
	char byte;
	int fds[3], status;
	pid_t pid;
	put_program(home, "run.sh", script);
	alarm(120);
	assert_int_equal(spawn_start(argv, NULL, 3, fds, &pid, NULL), 0);
	ssize_t n = read(fds[1], ret_said, SAID_MAX - 1);
	assert_true(n > 0);
	ret_said[n] = 0;
	if (cut)
		close(fds[0]);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	while (read(fds[1], &byte, 1) > 0) /* until nobody is left who holds the output */
		;
	alarm(0);
	if (!cut)
		close(fds[0]);
	close(fds[1]);
	return status;
}

static void test_ends_with_its_session(void **state)
{
	char said[SAID_MAX];
	put_program(*state, "mpirun", "#!/bin/sh\necho here; sleep 60\n");
	int status = run_script(*state, 1, true, said);
	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGTERM);
	put_program(*state, "mpirun", "#!/bin/sh\ntrap '' TERM; echo here; sleep 60\n"); /* nor its child */
	status = run_script(*state, 1, true, said);
	assert_true(WIFSIGNALED(status));
	put_program(*state, "mpirun", "#!/bin/sh\necho here; exit 42\n");
	status = run_script(*state, 1, false, said);
	assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 42);
}

/* A program may end with the code of one that reached no VM: what is said first tells them apart. */
static void test_says_that_it_is_not_staged(void **state)
{
	char said[SAID_MAX];
	put_program(*state, "matmul", "");
	put_program(*state, "ssh", "#!/bin/sh\nexit 1\n");
	int status = run_script(*state, 2, false, said);
	assert_int_equal(WEXITSTATUS(status), RUN_EXIT_STAGING);
	assert_int_equal(strncmp(said, RUN_NOT_STAGED, strlen(RUN_NOT_STAGED)), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_rows),
		cmocka_unit_test(test_quote),
		cmocka_unit_test(test_script_is_shell),
		cmocka_unit_test_setup_teardown(test_ends_with_its_session, folder_make, folder_remove),
		cmocka_unit_test_setup_teardown(test_says_that_it_is_not_staged, folder_make, folder_remove),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
