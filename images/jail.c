/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Landlock and namespaces, all that an unprivileged program can take from itself.
 *
 * The import runs with the controller's own uid, and that uid can read the lab's keys and its
 * database. So what matters most is that a program that was taken over cannot open them: Landlock
 * allows the system's programs and libraries, the file to import and the store, nothing else. A
 * network namespace of its own with not even loopback up keeps what it reads inside the machine.
 * What interprets foreign bytes is shut in more tightly still (images/seal.c).
 *
 * Both are asked for and not insisted on. Older kernels lack Landlock (and its first version cannot
 * allow a link from one folder to another, which the store needs), some systems forbid user
 * namespaces. The checks of images/header.c stand without them; the caller logs what was missing.
 */
#include "images/jail.h"

#include <fcntl.h>
#include <linux/landlock.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#define READ_FILE (LANDLOCK_ACCESS_FS_EXECUTE | LANDLOCK_ACCESS_FS_READ_FILE)
#define READ_TREE (READ_FILE | LANDLOCK_ACCESS_FS_READ_DIR)
#define WRITE_FILE (READ_FILE | LANDLOCK_ACCESS_FS_WRITE_FILE)
#define WRITE_TREE                                                                                 \
	(READ_TREE | LANDLOCK_ACCESS_FS_WRITE_FILE | LANDLOCK_ACCESS_FS_REMOVE_FILE |              \
		LANDLOCK_ACCESS_FS_REMOVE_DIR | LANDLOCK_ACCESS_FS_MAKE_REG |                      \
		LANDLOCK_ACCESS_FS_MAKE_DIR | LANDLOCK_ACCESS_FS_REFER)
#define EVERYTHING                                                                                 \
	(WRITE_TREE | LANDLOCK_ACCESS_FS_MAKE_CHAR | LANDLOCK_ACCESS_FS_MAKE_SOCK |                \
		LANDLOCK_ACCESS_FS_MAKE_FIFO | LANDLOCK_ACCESS_FS_MAKE_BLOCK |                     \
		LANDLOCK_ACCESS_FS_MAKE_SYM)

enum { LANDLOCK_ABI_NEEDED = 2 };

/* What a program needs to start; absent ones do not matter. */
static const struct jail_path system_paths[] = {
	{"/usr", false}, {"/bin", false}, {"/sbin", false}, {"/lib", false}, {"/lib64", false},
	{"/etc/ld.so.cache", false}, {"/dev/null", true}, {"/dev/urandom", false},
#ifdef __SANITIZE_ADDRESS__
	{"/proc", false}, /* the sanitizer's leak check reads its own maps */
#endif
};

static int path_allow(int ruleset, const struct jail_path *path)
{
	struct landlock_path_beneath_attr rule = {0};
	auto_close int fd = open(path->path, O_PATH | O_CLOEXEC);
	struct stat st;

	if (fd < 0 || fstat(fd, &st) < 0)
		return -errno;
	if (S_ISDIR(st.st_mode))
		rule.allowed_access = path->write ? WRITE_TREE : READ_TREE;
	else
		rule.allowed_access = path->write ? WRITE_FILE : READ_FILE;
	rule.parent_fd = fd;
	return syscall(SYS_landlock_add_rule, ruleset, LANDLOCK_RULE_PATH_BENEATH, &rule, 0) < 0
		       ? -errno
		       : 0;
}

/* -EOPNOTSUPP when the kernel has no (or too old a) Landlock. */
static int files_close(const struct jail_path *paths, size_t n, struct error **err)
{
	const struct landlock_ruleset_attr attr = {.handled_access_fs = EVERYTHING};
	auto_close int ruleset = -1;

	if (syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION) <
		LANDLOCK_ABI_NEEDED)
		return -EOPNOTSUPP;
	ruleset = (int)syscall(SYS_landlock_create_ruleset, &attr, sizeof(attr), 0);
	if (ruleset < 0)
		return -EOPNOTSUPP;
	for (size_t i = 0; i < ARRAY_LEN(system_paths); i++)
		path_allow(ruleset, &system_paths[i]);
	for (size_t i = 0; i < n; i++) {
		int r = paths[i].path ? path_allow(ruleset, &paths[i]) : 0;

		if (r < 0)
			return error_make(err, r, "%s: %s", paths[i].path, strerror(-r));
	}
	return syscall(SYS_landlock_restrict_self, ruleset, 0) < 0 ? -EOPNOTSUPP : 0;
}

static int enter(const struct jail_path *paths, size_t n, bool online, const char **ret_missing,
	struct error **err)
{
	const char *missing = NULL;
	struct error *fault = NULL;
	int r;

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		missing = "no_new_privs";
	if (!online && unshare(CLONE_NEWUSER | CLONE_NEWNET) < 0 && unshare(CLONE_NEWNET) < 0)
		missing = "a network namespace of its own";
	r = files_close(paths, n, &fault);
	if (fault)
		return error_make(err, r, "%s", fault->text), error_free(fault), r;
	if (r < 0)
		missing = "Landlock";
	if (ret_missing)
		*ret_missing = missing;
	return 0;
}

int jail_enter(
	const struct jail_path *paths, size_t n, const char **ret_missing, struct error **err)
{
	return enter(paths, n, false, ret_missing, err);
}

int jail_enter_online(
	const struct jail_path *paths, size_t n, const char **ret_missing, struct error **err)
{
	return enter(paths, n, true, ret_missing, err);
}

void jail_follow_parent(void)
{
	pid_t parent = getppid();
	struct stat st;

	if (fstat(STDOUT_FILENO, &st) < 0 || !S_ISFIFO(st.st_mode))
		return;
	/* It may have ended before we asked. */
	if (prctl(PR_SET_PDEATHSIG, SIGKILL) == 0 && getppid() != parent)
		raise(SIGKILL);
}
