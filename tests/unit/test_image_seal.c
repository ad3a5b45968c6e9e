/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The seal of the reader: a child that took it tries what a taken-over parser would try, and says
 * by its exit status what still worked. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <fcntl.h>
#include <signal.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include "images/seal.h"

enum { SEALED = 40, FILE_MAX = 1 << 20 };

typedef int attempt_fn(int fd);

static const struct seal tight = {.memory = 64 << 20, .file_size = FILE_MAX, .cpu_s = 1};
/* where time is not what is tried: a seal ends a child that stands still, too */
static const struct seal patient = {.memory = 64 << 20, .file_size = FILE_MAX, .cpu_s = 60};

static int opens_a_file(int fd)
{
	(void)fd;
	return open("/etc/passwd", O_RDONLY) >= 0;
}

static int opens_a_device(int fd)
{
	(void)fd;
	return open("/dev/null", O_RDWR) >= 0;
}

static int opens_a_socket(int fd)
{
	(void)fd;
	return socket(AF_INET, SOCK_STREAM, 0) >= 0 || socket(AF_UNIX, SOCK_STREAM, 0) >= 0;
}

static int signals_its_parent(int fd)
{
	(void)fd;
	return kill(getppid(), 0) == 0;
}

static int starts_a_process(int fd)
{
	pid_t pid = fork();

	(void)fd;
	if (pid == 0)
		_exit(0);
	return pid > 0;
}

static int starts_a_program(int fd)
{
	char *const argv[] = {"true", NULL};

	(void)fd;
	execv("/bin/true", argv); /* would exit with 0 */
	return 0;
}

static int makes_a_file(int fd)
{
	(void)fd;
	return open("/tmp", O_RDWR | O_TMPFILE, 0600) >= 0;
}

static int writes_beyond_the_limit(int fd)
{
	signal(SIGXFSZ, SIG_IGN);
	return pwrite(fd, "x", 1, FILE_MAX) == 1;
}

static int writes_within_the_limit(int fd)
{
	return pwrite(fd, "x", 1, FILE_MAX - 1) != 1;
}

static int sealed_run(attempt_fn *attempt, const struct seal *seal)
{
	auto_close int fd = memfd_create("scratch", MFD_CLOEXEC);
	int status = 0;
	pid_t pid = fork();

	assert_true(pid >= 0 && fd >= 0);
	if (pid == 0)
		_exit(seal_enter(seal, NULL, NULL) < 0 ? 99 : SEALED + attempt(fd));
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return status;
}

static void nothing_is_left_to_a_sealed_process(void **state)
{
	static const struct {
		const char *what;
		attempt_fn *attempt;
	} attempts[] = {{"open a file", opens_a_file}, {"open a device", opens_a_device},
		{"open a socket", opens_a_socket}, {"signal its parent", signals_its_parent},
		{"fork", starts_a_process}, {"exec", starts_a_program},
		{"make a file", makes_a_file}, {"write beyond the limit", writes_beyond_the_limit},
		{"(fail to) write within it", writes_within_the_limit}};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(attempts); i++) {
		int status = sealed_run(attempts[i].attempt, &patient);

		if (!WIFEXITED(status) || WEXITSTATUS(status) != SEALED)
			fail_msg("it could %s (status %d)", attempts[i].what, status);
	}
}

#ifndef __SANITIZE_ADDRESS__ /* its own memory would be counted, so there it is not limited */
static int takes_memory(int fd)
{
	(void)fd;
	return mmap(NULL, 128 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) !=
	       MAP_FAILED;
}

static int takes_shared_memory(int fd)
{
	(void)fd;
	return mmap(NULL, 128 << 20, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0) !=
	       MAP_FAILED;
}

static int takes_less_memory(int fd)
{
	(void)fd;
	return mmap(NULL, 32 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) ==
	       MAP_FAILED;
}

static void memory_ends_at_the_limit(void **state)
{
	attempt_fn *const attempts[] = {takes_memory, takes_shared_memory, takes_less_memory};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(attempts); i++) {
		int status = sealed_run(attempts[i], &patient);

		assert_true(WIFEXITED(status));
		assert_int_equal(WEXITSTATUS(status), SEALED);
	}
}
#endif

static int works_for_ever(int fd)
{
	(void)fd;
	for (volatile unsigned i = 0;; i++)
		;
	return 0;
}

static void time_ends_at_the_limit(void **state)
{
	int status;

	(void)state;
	status = sealed_run(works_for_ever, &tight);
	assert_true(WIFSIGNALED(status));
	assert_true(WTERMSIG(status) == SIGKILL || WTERMSIG(status) == SIGXCPU ||
		    WTERMSIG(status) == SIGALRM);
}

static int waits(int fd)
{
	char byte;

	return read(fd, &byte, 1) < 0;
}

static const struct seal roots = {
	.uid = 64321, .memory = 64 << 20, .file_size = FILE_MAX, .cpu_s = 20};

/* A child with both ends of a pipe, for tests of what only root can give a reader. */
static pid_t fork_with_pipe(int ends[2])
{
	pid_t pid;

	if (geteuid() != 0)
		skip();
	assert_int_equal(pipe(ends), 0);
	pid = fork();
	assert_true(pid >= 0);
	return pid;
}

/* From outside: root's reader has another uid, and a network namespace of its own. */
static void a_reader_of_root_is_somebody_else(void **state)
{
	int status, ends[2];
	char path[64], text[4096] = "", link[2][64] = {"", ""};
	pid_t pid;

	(void)state;
	pid = fork_with_pipe(ends);
	if (pid == 0)
		_exit(seal_enter(&roots, NULL, NULL) < 0 ? 99 : waits(ends[0]));
	snprintf(path, sizeof(path), "/proc/%d/status", pid);
	for (int i = 0; i < 30000 && !strstr(text, "Seccomp:\t2"); i++) {
		auto_close int fd = open(path, O_RDONLY);
		ssize_t n = read(fd, text, sizeof(text) - 1);

		text[n > 0 ? n : 0] = '\0';
		usleep(1000);
	}
	assert_non_null(strstr(text, "Uid:\t64321\t64321\t64321\t64321"));
	assert_non_null(strstr(text, "NoNewPrivs:\t1"));
	assert_non_null(strstr(text, "Seccomp:\t2"));
	snprintf(path, sizeof(path), "/proc/%d/ns/net", pid);
	assert_true(readlink(path, link[0], sizeof(link[0]) - 1) > 0);
	assert_true(readlink("/proc/self/ns/net", link[1], sizeof(link[1]) - 1) > 0);
	assert_string_not_equal(link[0], link[1]);
	kill(pid, SIGKILL);
	waitpid(pid, &status, 0);
	close(ends[0]);
	close(ends[1]);
}

/* The one that started it is killed: root's reader, with its other uid, goes too. */
static void a_reader_of_root_ends_with_its_parent(void **state)
{
	int ends[2], status;
	struct pollfd waits;
	char byte;
	pid_t pid;

	(void)state;
	pid = fork_with_pipe(ends);
	if (pid == 0) {
		if (fork() == 0) {
			prctl(PR_SET_PDEATHSIG, SIGKILL);
			if (seal_enter(&roots, NULL, NULL) == 0 && write(ends[1], "r", 1) == 1)
				works_for_ever(0);
			_exit(99);
		}
		for (;;)
			pause();
	}
	close(ends[1]);
	assert_int_equal(read(ends[0], &byte, 1), 1);
	kill(pid, SIGKILL);
	waitpid(pid, &status, 0);
	waits = (struct pollfd){.fd = ends[0], .events = POLLIN};
	assert_int_equal(poll(&waits, 1, 10000), 1); /* nobody has the other end any more */
	assert_int_equal(read(ends[0], &byte, 1), 0);
	close(ends[0]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(nothing_is_left_to_a_sealed_process),
#ifndef __SANITIZE_ADDRESS__
		cmocka_unit_test(memory_ends_at_the_limit),
#endif
		cmocka_unit_test(time_ends_at_the_limit),
		cmocka_unit_test(a_reader_of_root_is_somebody_else),
		cmocka_unit_test(a_reader_of_root_ends_with_its_parent),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
