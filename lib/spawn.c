/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Child processes: an argument vector, never a shell, so no text from outside is ever parsed as
 * commands. posix_spawn (no fork of a process with threads), default signals, every descriptor
 * above 2 closed, and a process group of its own, so that a time-out ends a program together with
 * what it started.
 *
 * spawn_run waits by poll on a pidfd and the output pipes. It ends when the child ended, not when
 * the pipes close: a grandchild that keeps them open does not hold us up. Input is handed over as a
 * memory file, which needs no writer, raises no SIGPIPE and can be reopened as /dev/stdin. Output
 * is bounded and the excess is read and dropped, so a chatty program neither blocks nor grows us.
 *
 * Blocking: to be called by workers, CLI and tests, not on a daemon's loop thread unless it is
 * brief.
 */
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdbool.h>
#include <sys/mman.h>
#include <sys/pidfd.h>
#include <sys/wait.h>

#include "lib/clock.h"
#include "lib/file.h"
#include "lib/spawn.h"
#include "lib/str.h"

enum { KILL_AFTER_MS = 2000, OUTPUT_MAX = 1 << 20 };

extern char **environ;

/* What becomes the child's 0, 1 and 2; -1: left as ours. */
struct stdio {
	int fd[3];
};

static void stdio_close(struct stdio *stdio)
{
	for (int i = 0; i < 3; i++)
		cleanup_close(&stdio->fd[i]);
}
#define auto_stdio __attribute__((cleanup(stdio_close)))

/* Moves a descriptor above the standard three: dup2 in the child must not overwrite one it still
 * needs. */
static int lift(int fd)
{
	int high = -1;

	if (fd < 0 || fd > 2)
		return fd;
	high = fcntl(fd, F_DUPFD_CLOEXEC, 3);
	close(fd);
	return high;
}

static int prepare(
	posix_spawn_file_actions_t *actions, posix_spawnattr_t *attr, const struct stdio *stdio)
{
	sigset_t none, all;
	int r = 0;

	sigemptyset(&none);
	sigfillset(&all);
	for (int i = 0; i < 3 && r == 0; i++)
		if (stdio->fd[i] >= 0)
			r = posix_spawn_file_actions_adddup2(actions, stdio->fd[i], i);
	if (r == 0)
		r = posix_spawn_file_actions_addclosefrom_np(actions, 3);
	if (r == 0)
		r = posix_spawnattr_setsigmask(attr, &none);
	if (r == 0)
		r = posix_spawnattr_setsigdefault(attr, &all);
	if (r == 0)
		r = posix_spawnattr_setpgroup(attr, 0);
	if (r == 0)
		r = posix_spawnattr_setflags(attr,
			POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETPGROUP);
	return r;
}

static int start(const char *const *argv, const char *const *env, const struct stdio *stdio,
	pid_t *ret_pid, struct error **err)
{
	posix_spawn_file_actions_t actions;
	posix_spawnattr_t attr;
	int r = 0;

	posix_spawn_file_actions_init(&actions);
	posix_spawnattr_init(&attr);
	r = prepare(&actions, &attr, stdio);
	if (r == 0)
		r = posix_spawnp(ret_pid, argv[0], &actions, &attr, (char *const *)argv,
			env ? (char *const *)env : environ);
	posix_spawnattr_destroy(&attr);
	posix_spawn_file_actions_destroy(&actions);
	if (r != 0)
		return error_make(
			err, -r, "%s cannot be started: %s.", argv[0], error_text(NULL, -r));
	return 0;
}

static int open_null(int flags)
{
	return lift(open("/dev/null", flags | O_CLOEXEC));
}

/* A pipe whose end `theirs` (0: read, 1: write) goes to the child. */
static int open_pipe(int theirs, int *ret_theirs, int *ret_ours)
{
	int fds[2] = {-1, -1};

	if (pipe2(fds, O_CLOEXEC) < 0)
		return -errno;
	*ret_theirs = lift(fds[theirs]);
	*ret_ours = lift(fds[!theirs]);
	return *ret_theirs < 0 || *ret_ours < 0 ? -EMFILE : 0;
}

/* The input as a memory file, read from its start. */
static int open_input(const void *input, size_t len)
{
	auto_close int fd = -1;
	int r = 0;

	if (!input)
		return open_null(O_RDONLY);
	fd = lift(memfd_create("input", MFD_CLOEXEC));
	if (fd < 0)
		return -1;
	r = fd_write_all(fd, input, len);
	if (r < 0 || lseek(fd, 0, SEEK_SET) < 0)
		return -1;
	return TAKE_FD(fd);
}

/* One running child of spawn_run. */
struct run {
	pid_t pid;
	int pidfd, out, err;
	struct buf out_text, err_text;
	size_t max;
	int64_t deadline; /* next kill, -1: none */
	int kills;	  /* 0, then 1 after SIGTERM, 2 after SIGKILL */
	bool ended;
	int status;
};

/* Reads what is there. Closes the descriptor at its end. */
static void drain(int *fd, struct buf *text, size_t max)
{
	char piece[16384];

	while (*fd >= 0) {
		ssize_t n = read(*fd, piece, sizeof(piece));

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN)
			return;
		if (n <= 0) {
			close(*fd);
			*fd = -1;
			return;
		}
		if (text->len < max)
			buf_add(text, piece,
				(size_t)n < max - text->len ? (size_t)n : max - text->len);
	}
}

static void kill_step(struct run *run)
{
	int64_t now = clock_real_ms();

	if (run->deadline < 0 || now < run->deadline)
		return;
	kill(-run->pid, run->kills ? SIGKILL : SIGTERM);
	run->kills++;
	run->deadline = run->kills < 2 ? now + KILL_AFTER_MS : -1;
}

static void wait_for_more(struct run *run)
{
	struct pollfd fds[] = {{.fd = run->pidfd, .events = POLLIN},
		{.fd = run->out, .events = POLLIN}, {.fd = run->err, .events = POLLIN}};
	int64_t left = run->deadline < 0 ? -1 : run->deadline - clock_real_ms();

	if (run->deadline >= 0 && left < 0)
		left = 0;
	if (poll(fds, 3, left > INT32_MAX ? INT32_MAX : (int)left) < 0)
		return;
	if (fds[1].revents)
		drain(&run->out, &run->out_text, run->max);
	if (fds[2].revents)
		drain(&run->err, &run->err_text, run->max);
	if (!fds[0].revents)
		return;
	/* not reaped yet, so the group's number is still ours: what outlived a time-out goes too */
	if (run->kills)
		kill(-run->pid, SIGKILL);
	run->ended = waitpid(run->pid, &run->status, WNOHANG) != 0;
}

static void finish(struct run *run, struct spawn_result *ret_result)
{
	struct spawn_result result = {0};

	while (!run->ended) {
		wait_for_more(run);
		if (!run->ended)
			kill_step(run);
	}
	drain(&run->out, &run->out_text, run->max);
	drain(&run->err, &run->err_text, run->max);
	result.status =
		WIFSIGNALED(run->status) ? 128 + WTERMSIG(run->status) : WEXITSTATUS(run->status);
	result.timed_out = run->kills > 0;
	result.out_len = run->out_text.len;
	result.out = buf_take(&run->out_text);
	result.err = buf_take(&run->err_text);
	*ret_result = result;
}

static int set_nonblocking(int fd)
{
	return fcntl(fd, F_SETFL, O_NONBLOCK) < 0 ? -errno : 0;
}

int spawn_run(const struct spawn *spawn, struct spawn_result *ret_result, struct error **err)
{
	auto_stdio struct stdio theirs = {{-1, -1, -1}};
	auto_close int out = -1, errs = -1, pidfd = -1;
	struct run run = {
		.max = spawn->max_output ? spawn->max_output : OUTPUT_MAX, .deadline = -1};
	int r = 0;

	theirs.fd[0] = open_input(spawn->input, spawn->input_len);
	if (theirs.fd[0] < 0)
		return error_make(
			err, -errno, "The input of %s cannot be made: %m.", spawn->argv[0]);
	r = open_pipe(1, &theirs.fd[1], &out);
	if (r == 0)
		r = open_pipe(1, &theirs.fd[2], &errs);
	if (r == 0)
		r = set_nonblocking(out);
	if (r == 0)
		r = set_nonblocking(errs);
	if (r < 0)
		return error_make(err, r, "A pipe to %s cannot be made: %s.", spawn->argv[0],
			error_text(NULL, r));
	r = start(spawn->argv, spawn->env, &theirs, &run.pid, err);
	if (r < 0)
		return r;
	stdio_close(&theirs);
	theirs = (struct stdio){{-1, -1, -1}};
	pidfd = pidfd_open(run.pid, 0);
	if (pidfd < 0) {
		r = -errno;
		kill(-run.pid, SIGKILL);
		waitpid(run.pid, NULL, 0);
		return error_make(
			err, r, "%s cannot be watched: %s.", spawn->argv[0], error_text(NULL, r));
	}
	run.pidfd = pidfd;
	run.out = TAKE_FD(out);
	run.err = TAKE_FD(errs);
	if (spawn->timeout_ms > 0)
		run.deadline = clock_real_ms() + spawn->timeout_ms;
	finish(&run, ret_result);
	cleanup_close(&run.out);
	cleanup_close(&run.err);
	return 0;
}

/* The last three lines of what a program said, on one line. */
static char *last_words(const char *text)
{
	size_t end = strlen(text), start = 0;
	char *words = NULL;
	int lines = 0;

	while (end > 0 && text[end - 1] == '\n')
		end--;
	for (start = end; start > 0 && end - start < 600; start--)
		if (text[start - 1] == '\n' && ++lines == 3)
			break;
	words = xstrndup(text + start, end - start);
	for (char *p = words; *p; p++)
		if (*p == '\n')
			*p = ' ';
	return words;
}

int spawn_check(const struct spawn *spawn, struct error **err)
{
	struct spawn_result result;
	auto_free char *words = NULL;
	int r = spawn_run(spawn, &result, err);

	if (r < 0)
		return r;
	words = last_words(*result.err ? result.err : result.out);
	if (result.timed_out)
		r = error_make(err, -ETIMEDOUT, "%s did not end within %d ms. %s", spawn->argv[0],
			spawn->timeout_ms, words);
	else if (result.status != 0)
		r = error_make(err, -EIO, "%s failed with status %d: %s", spawn->argv[0],
			result.status, *words ? words : "it gave no reason");
	spawn_result_done(&result);
	return r;
}

void spawn_result_done(struct spawn_result *result)
{
	free(result->out);
	free(result->err);
	*result = (struct spawn_result){0};
}

int spawn_start(const char *const *argv, const char *const *env, int want, int ret_fds[3],
	pid_t *ret_pid, struct error **err)
{
	auto_stdio struct stdio theirs = {{-1, -1, -1}}, ours = {{-1, -1, -1}};
	int r = 0;

	for (int i = 0; i < 3 && r == 0; i++)
		if (ret_fds && (want & 1 << i))
			r = open_pipe(i != 0, &theirs.fd[i], &ours.fd[i]);
	if (r == 0 && theirs.fd[0] < 0) {
		theirs.fd[0] = open_null(O_RDONLY);
		r = theirs.fd[0] < 0 ? -errno : 0;
	}
	if (r < 0)
		return error_make(
			err, r, "%s cannot be started: %s.", argv[0], error_text(NULL, r));
	r = start(argv, env, &theirs, ret_pid, err);
	if (r < 0 || !ret_fds)
		return r;
	for (int i = 0; i < 3; i++)
		ret_fds[i] = TAKE_FD(ours.fd[i]);
	return 0;
}

char *spawn_folder(void)
{
	char self[4096];
	ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);
	char *slash = NULL;

	if (n <= 0)
		return NULL;
	self[n] = '\0';
	slash = strrchr(self, '/');
	return slash ? xstrndup(self, (size_t)(slash - self)) : NULL;
}

char *spawn_beside(const char *name)
{
	auto_free char *folder = spawn_folder();
	auto_free char *path = folder ? xasprintf("%s/%s", folder, name) : NULL;

	return path && access(path, X_OK) == 0 ? TAKE_PTR(path) : NULL;
}

char *spawn_program(const char *name)
{
	char *beside = spawn_beside(name);

	return beside ? beside : xstrdup(name);
}
