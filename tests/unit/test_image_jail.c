/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the jail leaves to a program with the daemon's own uid. Each attempt is made by a child that
 * has entered it, with a file it may read, a file of somebody else's and a folder it may write. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <fcntl.h>
#include <linux/landlock.h>
#include <netinet/in.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <sys/xattr.h>

#include "images/jail.h"
#include "tests/unit/folder.h"

enum { JAILED = 40, ABI_TRUNCATE = 3, CHMOD_NEW = 452 /* fchmodat2 */ };

/* 1: it could. */
typedef int attempt_fn(void);

static int truncates_what_it_reads(void)
{
	return truncate("read", 1) == 0;
}

static int truncates_what_is_not_its_own(void)
{
	return truncate("other", 1) == 0;
}

static int opens_what_is_not_its_own(void)
{
	return open("other", O_RDONLY) >= 0;
}

static int changes_a_mode(void)
{
	return chmod("other", 0666) == 0 || fchmodat(AT_FDCWD, "other", 0666, 0) == 0;
}

static int changes_an_owner(void)
{
	return chown("other", getuid(), getgid()) == 0;
}

static int changes_an_attribute(void)
{
	return setxattr("other", "user.a", "b", 1, 0) == 0;
}

static int changes_a_time(void)
{
	return utimensat(AT_FDCWD, "other", NULL, 0) == 0;
}

static int speaks_to_local_services(void)
{
	return socket(AF_UNIX, SOCK_STREAM, 0) >= 0;
}

static int starts_a_program(void)
{
	char *const argv[] = {"true", NULL};

	execv("/bin/true", argv);
	return 0; /* else it would be the status of true, which is no JAILED */
}

static int signals_its_parent(void)
{
	return kill(getppid(), 0) == 0 || kill(-1, 0) == 0;
}

static int calls_what_is_newer(void)
{
	return syscall(CHMOD_NEW, AT_FDCWD, "other", 0666, 0) == 0 || errno != ENOSYS;
}

static int cannot_write_in_its_folder(void)
{
	int fd = open("folder/part", O_RDWR | O_CREAT | O_TRUNC, 0600);

	return fd < 0 || write(fd, "abc", 3) != 3 || ftruncate(fd, 1) < 0 ||
	       rename("folder/part", "folder/file") < 0 || unlink("folder/file") < 0;
}

static int cannot_call_out(void)
{
	int pair[2];

	return socket(AF_INET, SOCK_STREAM, 0) < 0 || socket(AF_INET6, SOCK_DGRAM, 0) < 0 ||
	       socketpair(AF_UNIX, SOCK_STREAM, 0, pair) < 0;
}

static int cannot_signal_itself(void)
{
	return kill(getpid(), 0) < 0;
}

static int run(const char *dir, attempt_fn *attempt, bool online)
{
	int status = 0;
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (pid > 0) {
		assert_int_equal(waitpid(pid, &status, 0), pid);
		return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
	}
	const struct jail_path paths[] = {{"read", false}, {"folder", true}};

	if (chdir(dir) < 0 || (online ? jail_enter_online(paths, 2, NULL, NULL)
				      : jail_enter(paths, 2, NULL, NULL)) < 0)
		_exit(99);
	_exit(JAILED + attempt());
}

static long landlock_abi(void)
{
	return syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);
}

static void make_files(const char *dir)
{
	static const char *const names[] = {"read", "other"};
	auto_free char *folder = xasprintf("%s/folder", dir);

	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		auto_free char *path = xasprintf("%s/%s", dir, names[i]);

		assert_int_equal(file_write(path, "a key", 5, 0600, NULL), 0);
	}
	assert_int_equal(mkdir(folder, 0700), 0);
}

static void one_who_stays_online_touches_nothing_else(void **state)
{
	static const struct {
		const char *what;
		attempt_fn *attempt;
	} attempts[] = {{"truncate a file it reads", truncates_what_it_reads},
		{"truncate another", truncates_what_is_not_its_own},
		{"change a mode", changes_a_mode}, {"change an owner", changes_an_owner},
		{"change an attribute", changes_an_attribute}, {"change a time", changes_a_time},
		{"speak to local services", speaks_to_local_services}, {"exec", starts_a_program},
		{"signal others", signals_its_parent},
		{"make a call that is newer than the list", calls_what_is_newer},
		{"(not) write in its folder", cannot_write_in_its_folder},
		{"(not) call out", cannot_call_out}, {"(not) signal itself", cannot_signal_itself}};

	make_files(*state);
	for (size_t i = 0; i < ARRAY_LEN(attempts); i++) {
		int status = run(*state, attempts[i].attempt, true);

		if (status != JAILED)
			fail_msg("it could %s (status %d)", attempts[i].what, status);
	}
}

static void landlock_holds_what_it_can(void **state)
{
	if (landlock_abi() < ABI_TRUNCATE)
		skip();
	make_files(*state);
	for (int online = 0; online < 2; online++) {
		assert_int_equal(run(*state, opens_what_is_not_its_own, online), JAILED);
		assert_int_equal(run(*state, cannot_write_in_its_folder, online), JAILED);
	}
	assert_int_equal(run(*state, truncates_what_it_reads, false), JAILED);
	assert_int_equal(run(*state, truncates_what_is_not_its_own, false), JAILED);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(
			one_who_stays_online_touches_nothing_else, folder_make, folder_remove),
		cmocka_unit_test_setup_teardown(
			landlock_holds_what_it_can, folder_make, folder_remove),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
