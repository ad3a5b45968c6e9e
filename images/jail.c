/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Landlock, namespaces and a filter, all that an unprivileged program can take from itself.
 *
 * The import runs with the controller's own uid, and that uid can read the lab's keys and its
 * database. So what matters most is that a program that was taken over cannot open them: Landlock
 * allows the system's programs and libraries, the file to import and the store, nothing else. A
 * network namespace of its own with not even loopback up keeps what it reads inside the machine.
 * What interprets foreign bytes is shut in more tightly still (images/seal.c).
 *
 * Who stays online gets a filter of system calls instead of a network namespace: against what the
 * daemon's uid may do to the daemon's files and processes without opening anything. What is left to
 * one who was taken over: any address that this machine reaches, without a word to lib/address.c;
 * what is below the folder it may write; and everybody's /usr.
 *
 * All are asked for and not insisted on. Older kernels lack Landlock (its first version cannot
 * allow a link from one folder to another, which the store needs, and the second does not hold
 * truncate()), some systems forbid user namespaces. The checks of images/header.c stand without
 * them; the caller logs what was missing.
 */
#include "images/jail.h"

#include <fcntl.h>
#include <linux/landlock.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "images/calls.h"

#ifndef LANDLOCK_ACCESS_FS_TRUNCATE
#define LANDLOCK_ACCESS_FS_TRUNCATE (1ULL << 14)
#endif

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

enum { LANDLOCK_ABI_NEEDED = 2, LANDLOCK_ABI_TRUNCATE = 3 };

/* What a program needs to start; absent ones do not matter. */
static const struct jail_path system_paths[] = {
	{"/usr", false}, {"/bin", false}, {"/sbin", false}, {"/lib", false}, {"/lib64", false},
	{"/etc/ld.so.cache", false}, {"/dev/null", true}, {"/dev/urandom", false},
#ifdef __SANITIZE_ADDRESS__
	{"/proc", false}, /* the sanitizer's leak check reads its own maps */
#endif
};

/* truncate: LANDLOCK_ACCESS_FS_TRUNCATE where the kernel has it, else 0. */
static int path_allow(int ruleset, const struct jail_path *path, uint64_t truncate)
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
	if (path->write)
		rule.allowed_access |= truncate;
	rule.parent_fd = fd;
	return syscall(SYS_landlock_add_rule, ruleset, LANDLOCK_RULE_PATH_BENEATH, &rule, 0) < 0
		       ? -errno
		       : 0;
}

/* -EOPNOTSUPP when the kernel has no (or too old a) Landlock. */
static int files_close(const struct jail_path *paths, size_t n, struct error **err)
{
	long abi = syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);
	uint64_t truncate = abi >= LANDLOCK_ABI_TRUNCATE ? LANDLOCK_ACCESS_FS_TRUNCATE : 0;
	const struct landlock_ruleset_attr attr = {.handled_access_fs = EVERYTHING | truncate};
	auto_close int ruleset = -1;

	if (abi < LANDLOCK_ABI_NEEDED)
		return -EOPNOTSUPP;
	ruleset = (int)syscall(SYS_landlock_create_ruleset, &attr, sizeof(attr), 0);
	if (ruleset < 0)
		return -EOPNOTSUPP;
	for (size_t i = 0; i < ARRAY_LEN(system_paths); i++)
		path_allow(ruleset, &system_paths[i], truncate);
	for (size_t i = 0; i < n; i++) {
		int r = paths[i].path ? path_allow(ruleset, &paths[i], truncate) : 0;

		if (r < 0)
			return error_make(err, r, "%s: %s", paths[i].path, strerror(-r));
	}
	return syscall(SYS_landlock_restrict_self, ruleset, 0) < 0 ? -EOPNOTSUPP : 0;
}

/* Calls that this list does not know yet are as absent as on an older kernel. */
enum { CALLS_KNOWN = 452 };

/* Files by their name, which Landlock does not hold (it holds what may be had a descriptor of);
 * other processes, other programs, local services; and io_uring, which would go around all of it.
 * Signals to itself are abort()'s. */
static int calls_deny(void)
{
	struct sock_filter program[] = {
		CALLS_BEGIN,
		BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, CALLS_KNOWN, 0, 1),
		ANSWER(ENOSYS),
#ifdef SYS_chmod /* the old names of calls, where the architecture has them */
		DENY(chmod),
		DENY(chown),
		DENY(lchown),
		DENY(utime),
		DENY(utimes),
		DENY(futimesat),
#endif
		DENY(truncate),
		DENY(fchmodat),
		DENY(fchown),
		DENY(fchownat),
		DENY(utimensat),
		DENY(setxattr),
		DENY(lsetxattr),
		DENY(fsetxattr),
		DENY(removexattr),
		DENY(lremovexattr),
		DENY(fremovexattr),
		DENY(execve),
		DENY(execveat),
#ifndef __SANITIZE_ADDRESS__ /* the sanitizer's leak check traces its own threads */
		DENY(ptrace),
#endif
		DENY(process_vm_readv),
		DENY(process_vm_writev),
		DENY(process_madvise),
		DENY(pidfd_open),
		DENY(pidfd_getfd),
		DENY(pidfd_send_signal),
		DENY(tkill),
		DENY(rt_sigqueueinfo),
		DENY(rt_tgsigqueueinfo),
		DENY(unshare),
		DENY(setns),
		DENY(io_uring_setup),
		DENY(bpf),
		DENY(perf_event_open),
		DENY(keyctl),
		IS(SYS_socket, 0, 4),
		LOAD(args[0]),
		IS(AF_UNIX, 0, 1),
		ANSWER(EAFNOSUPPORT),
		PASS,
		IS(SYS_kill, 1, 0),
		IS(SYS_tgkill, 0, 4),
		LOAD(args[0]),
		IS((uint32_t)getpid(), 0, 1),
		PASS,
		ANSWER(EPERM),
		PASS,
	};
	const struct sock_fprog filter = {.len = ARRAY_LEN(program), .filter = program};

	return prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter) < 0 ? -errno : 0;
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
	if (online && calls_deny() < 0)
		missing = "a filter of system calls";
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
