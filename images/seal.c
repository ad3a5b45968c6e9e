/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Shutting the door behind a parser.
 *
 * The readers of foreign formats (qcow2, VMDK, tar, XML, the decompressors) are where a bug could
 * be made to run somebody else's code. So they run in a process that was given its few descriptors
 * and then gave up everything else:
 *
 *   - limits on memory, processor time and the size of files, so that a bomb ends itself;
 *   - another uid where that can be had: root takes it here, an unprivileged controller has its
 *     reader started by the service manager (nightclass-reader@.service) under a user of its own;
 *   - a user and a network namespace with nothing in them;
 *   - Landlock without a single rule: no file of the machine can be opened;
 *   - a filter that knows the system calls of reading, writing, memory and ending, and answers
 * EPERM to all others: no open, no socket, no fork, no exec, no signal, no ptrace.
 *
 * The last one alone would do. The others stand behind it, because they cost nothing.
 */
#include "images/seal.h"

#include <grp.h>
#include <limits.h>
#include <linux/landlock.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <sys/prctl.h>
#include <sys/resource.h>

#include "images/calls.h"
#include "lib/file.h"

enum { NOBODY = 65534, DESCRIPTORS_MAX = 32, WALL_PER_CPU = 4 };

#define ALL_FILE_RIGHTS ((LANDLOCK_ACCESS_FS_REFER << 1) - 1) /* of Landlock's second version */

static int limit(int what, uint64_t value)
{
	struct rlimit now, wanted = {value, value};

	if (getrlimit(what, &now) == 0 && now.rlim_max < value)
		wanted.rlim_cur = wanted.rlim_max = now.rlim_max;
	return setrlimit(what, &wanted) < 0 ? -errno : 0;
}

#ifndef __SANITIZE_ADDRESS__ /* its shadow is counted as data */
/* The address space that is in use, in bytes (proc(5), statm); UINT64_MAX: nobody says. */
static uint64_t space_used(void)
{
	auto_free char *text = NULL;

	if (file_read("/proc/self/statm", 256, &text, NULL, NULL) < 0)
		return UINT64_MAX;
	return strtoull(text, NULL, 10) * (uint64_t)sysconf(_SC_PAGESIZE);
}

/* Memory that is mapped shared is no data: only the address space bounds it. */
static int memory_limit(uint64_t bytes)
{
	uint64_t used = space_used();
	int r = limit(RLIMIT_DATA, bytes);

	return r < 0 || used > UINT64_MAX - bytes ? r : limit(RLIMIT_AS, used + bytes);
}
#endif

static int limits_set(const struct seal *seal, struct error **err)
{
	int r = limit(RLIMIT_CORE, 0);

#ifndef __SANITIZE_ADDRESS__
	if (r == 0)
		r = memory_limit(seal->memory);
#endif
	if (r == 0)
		r = limit(RLIMIT_FSIZE, seal->file_size);
	if (r == 0)
		r = limit(RLIMIT_CPU, seal->cpu_s);
	if (r == 0)
		r = limit(RLIMIT_NOFILE, DESCRIPTORS_MAX);
	return r < 0 ? error_make(err, r, "limits cannot be set: %s", strerror(-r)) : 0;
}

static int uid_change(uid_t uid, struct error **err)
{
	if (geteuid() != 0)
		return 0;
	if (setgroups(0, NULL) < 0 || setresgid(uid, uid, uid) < 0 || setresuid(uid, uid, uid) < 0)
		return error_make(
			err, -errno, "the uid %u cannot be taken: %s", uid, strerror(errno));
	return 0;
}

/* No rule: nothing can be opened any more. */
static int files_close(void)
{
	const struct landlock_ruleset_attr attr = {.handled_access_fs = ALL_FILE_RIGHTS};
	auto_close int ruleset = -1;

	if (syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION) < 2)
		return -EOPNOTSUPP;
	ruleset = (int)syscall(SYS_landlock_create_ruleset, &attr, sizeof(attr), 0);
	if (ruleset < 0 || syscall(SYS_landlock_restrict_self, ruleset, 0) < 0)
		return -EOPNOTSUPP;
	return 0;
}

static int calls_filter(struct error **err)
{
	struct sock_filter program[] = {
		CALLS_BEGIN,
		ALLOW(read),
		ALLOW(write),
		ALLOW(pread64),
		ALLOW(pwrite64),
		ALLOW(lseek),
		ALLOW(ftruncate),
		ALLOW(fstat),
		ALLOW(newfstatat),
		ALLOW(close),
		ALLOW(sendto),
		ALLOW(mmap),
		ALLOW(munmap),
		ALLOW(mremap),
		ALLOW(madvise),
		ALLOW(mprotect),
		ALLOW(brk),
		ALLOW(futex),
		ALLOW(getrandom),
		ALLOW(clock_gettime),
		ALLOW(rt_sigaction),
		ALLOW(rt_sigprocmask),
		ALLOW(rt_sigreturn),
		ALLOW(sched_yield),
		ALLOW(getpid),
		ALLOW(gettid),
		ALLOW(exit),
		ALLOW(exit_group),
#ifdef __SANITIZE_ADDRESS__
		ALLOW(sigaltstack), /* when a function does not return */
#endif
		ANSWER(EPERM),
	};
	const struct sock_fprog filter = {.len = ARRAY_LEN(program), .filter = program};

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ||
		prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter) < 0)
		return error_make(err, -errno,
			"this kernel cannot filter system calls (%s), and a foreign file is not "
			"read without",
			strerror(errno));
	return 0;
}

int seal_enter(const struct seal *seal, const char **ret_missing, struct error **err)
{
	const char *missing = NULL;
	int r = limits_set(seal, err), follows = 0;
	pid_t parent = getppid();
	bool alone;

	/* By the clock it ends itself: under another uid nobody else may be allowed to end it. */
	signal(SIGALRM, SIG_DFL);
	alarm(seal->cpu_s > UINT_MAX / WALL_PER_CPU ? UINT_MAX
						    : (unsigned)(seal->cpu_s * WALL_PER_CPU));
	/* Root needs no user namespace for it, and there may be none to have: in a chroot, or where
	 * the system keeps them from other users. */
	alone = unshare(CLONE_NEWNET | CLONE_NEWIPC) == 0;
	prctl(PR_GET_PDEATHSIG, &follows);
	if (r == 0)
		r = uid_change(seal->uid ? seal->uid : NOBODY, err);
	if (r < 0)
		return r;
	/* With its uid a process loses the wish to end with its parent, which may have ended. */
	if (follows && prctl(PR_SET_PDEATHSIG, follows) == 0 && getppid() != parent)
		raise(follows);
	prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
	prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
	if (!alone && unshare(CLONE_NEWUSER | CLONE_NEWNET | CLONE_NEWIPC) < 0)
		missing = "a network namespace of its own";
	if (files_close() < 0)
		missing = "Landlock";
	r = calls_filter(err);
	if (r == 0 && ret_missing)
		*ret_missing = missing;
	return r;
}
