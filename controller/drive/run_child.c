/* SPDX-License-Identifier: GPL-2.0-or-later */
/* One run's ssh session on the loop.
 *
 * The loop thread must never wait: standard input is fed as the pipe takes it (first script and hostfile, then the
 * program from its file), output is appended to a file as it comes, up to a limit; what is beyond is dropped with
 * one line that says so, because a program that prints in a circle must not fill the lab server's disk; nor is the
 * reserve of that disk touched (lib/space). The end is told when the child is reaped and both pipes are empty, so that
 * the last line is never lost. When this daemon is killed the kernel ends the session, and with it ends the standard
 * input of its script, which ends the program (plan/run): after a restart the run is failed, and must not go on unseen.
 * ssh's options are all on its command line: no configuration of this machine
 * counts, no host key is ever taken on trust. */
#include "controller/drive/run_child.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include "controller/drive/runs.h"
#include "lib/file.h"
#include "lib/log.h"
#include "lib/space.h"
#include "lib/spawn.h"

enum { PIECE = 64 << 10, PIPES = 2 };

struct run_child {
	loop_fn *on_output;
	run_child_end_fn *on_end;
	void *arg;
	pid_t pid;
	int status;
	bool reaped;
	int open_pipes;
	sd_event_source *exit, *input, *outputs[PIPES];
	int in, out[PIPES];
	struct buf head; /* script and hostfile, then each piece of the program */
	size_t head_at;
	int program;
	size_t program_len;
	int output;
	size_t written;
};

static void close_fd(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

static void stop_feeding(struct run_child *child)
{
	child->input = sd_event_source_disable_unref(child->input);
	close_fd(&child->program);
	buf_done(&child->head);
}

/* Ends the run. */
static void stop_input(struct run_child *child)
{
	stop_feeding(child);
	close_fd(&child->in);
}

/* The next piece of the program; false at its end. */
static bool refill(struct run_child *child)
{
	char bytes[PIECE];
	ssize_t n = read(child->program, bytes, sizeof(bytes));
	if (n < 0)
		stop_input(child);
	if (n <= 0)
		return false;
	buf_done(&child->head);
	child->head_at = 0;
	buf_add(&child->head, bytes, (size_t)n);
	return true;
}

static int on_writable(sd_event_source *source, int fd, uint32_t events, void *arg)
{
	struct run_child *child = arg;
	(void)source;
	(void)events;
	if (child->head_at == child->head.len && !refill(child)) {
		stop_feeding(child);
		return 0;
	}
	ssize_t n = write(fd, child->head.text + child->head_at, child->head.len - child->head_at);
	if (n > 0)
		child->head_at += (size_t)n;
	else if (n < 0 && errno != EAGAIN && errno != EINTR)
		stop_input(child); /* ssh is gone; its exit says why */
	return 0;
}

static void keep_output(struct run_child *child, const char *bytes, size_t n)
{
	static const char cut[] = "\n[output cut here: the limit is 64 MiB]\n";
	static const char full[] = "\n[output cut here: the lab server's disk is full]\n";
	size_t room = RUN_OUTPUT_MAX - child->written;
	if (room == 0)
		return;
	if (space_check(child->output, n, NULL) < 0) {
		fd_write_all(child->output, full, strlen(full)); /* a line of it is what the reserve is for */
		child->written = RUN_OUTPUT_MAX;
		return;
	}
	fd_write_all(child->output, bytes, n < room ? n : room);
	child->written += n < room ? n : room;
	if (n >= room)
		fd_write_all(child->output, cut, strlen(cut));
}

/* May free the child: nothing may follow a call. */
static void maybe_end(struct run_child *child)
{
	if (child->reaped && child->open_pipes == 0)
		child->on_end(child->status, child->arg);
}

static int on_readable(sd_event_source *source, int fd, uint32_t events, void *arg)
{
	struct run_child *child = arg;
	char bytes[PIECE];
	(void)events;
	ssize_t n = read(fd, bytes, sizeof(bytes));
	if (n > 0) {
		keep_output(child, bytes, (size_t)n);
		child->on_output(child->arg);
		return 0;
	}
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return 0;
	int i = source == child->outputs[0] ? 0 : 1;
	child->outputs[i] = sd_event_source_disable_unref(child->outputs[i]);
	close_fd(&child->out[i]);
	child->open_pipes--;
	maybe_end(child);
	return 0;
}

static int on_exit_child(sd_event_source *source, const siginfo_t *info, void *arg)
{
	struct run_child *child = arg;
	(void)source;
	child->status = info->si_code == CLD_EXITED ? info->si_status : RUN_SIGNALED + info->si_status;
	child->reaped = true;
	stop_input(child);
	maybe_end(child);
	return 0;
}

static int watch(struct run_child *child, sd_event *event)
{
	int r = sd_event_add_child(event, &child->exit, child->pid, WEXITED, on_exit_child, child);
	for (int i = 0; r >= 0 && i < PIPES; i++) {
		fcntl(child->out[i], F_SETFL, O_NONBLOCK);
		r = sd_event_add_io(event, &child->outputs[i], child->out[i], EPOLLIN, on_readable, child);
	}
	fcntl(child->in, F_SETFL, O_NONBLOCK);
	if (r >= 0)
		r = sd_event_add_io(event, &child->input, child->in, EPOLLOUT, on_writable, child);
	child->open_pipes = PIPES;
	return r;
}

static int start_ssh(struct run_child *child, const struct run_plan *plan, const char *dir, const char *command,
	struct error **err)
{
	char address[IP4_TEXT];
	auto_free char *key = xasprintf("%s/key", dir);
	auto_free char *known = xasprintf("UserKnownHostsFile=%s/known_hosts", dir);
	auto_free char *to = xasprintf("night@%s", ip4_format(plan->vms->at[0].ip.address, address));
	const char *const argv[] = {"setpriv", "--pdeathsig", "KILL", "--",
		"ssh", "-T", "-F", "none", "-i", key, "-o", "IdentitiesOnly=yes", "-o", known,
		"-o", "GlobalKnownHostsFile=/dev/null", "-o", "StrictHostKeyChecking=yes", "-o", "BatchMode=yes",
		"-o", "ConnectTimeout=90", "-o", "ConnectionAttempts=3", "-o", "ServerAliveInterval=20", "-o",
		"ServerAliveCountMax=9", "-o", "LogLevel=ERROR", "-o", "ControlPath=none", to, command, NULL};
	int fds[3] = {-1, -1, -1};
	int r = spawn_start(argv, NULL, 7, fds, &child->pid, err);
	child->in = fds[0];
	child->out[0] = fds[1];
	child->out[1] = fds[2];
	return r;
}

static int open_files(struct run_child *child, const char *dir, const char *program, struct error **err)
{
	auto_free char *output = xasprintf("%s/output", dir);
	struct stat st;
	child->program = open(program, O_RDONLY | O_CLOEXEC);
	if (child->program < 0 || fstat(child->program, &st) < 0)
		return error_make(err, -ENOENT, "the program is not there any more; upload it again");
	child->program_len = (size_t)st.st_size;
	child->output = open(output, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (child->output < 0)
		return error_make(err, -errno, "%s: %s", output, strerror(errno));
	return space_check(child->output, 0, err);
}

int run_child_start(struct loop *loop, const struct run_plan *plan, const char *dir, const char *program,
	loop_fn *on_output, run_child_end_fn *on_end, void *arg, struct run_child **ret_child,
	struct error **err)
{
	struct run_child *child = xnew(struct run_child);
	*child = (struct run_child){.on_output = on_output,
		.on_end = on_end,
		.arg = arg,
		.in = -1,
		.out = {-1, -1},
		.program = -1,
		.output = -1};
	auto_free char *script = plan_run_script(plan);
	auto_free char *hostfile = plan_run_hostfile(plan);
	buf_adds(&child->head, script);
	buf_adds(&child->head, hostfile);
	int r = open_files(child, dir, program, err);
	auto_free char *command = plan_run_command(plan, strlen(script), strlen(hostfile), child->program_len);
	if (r >= 0)
		r = start_ssh(child, plan, dir, command, err);
	if (r >= 0) {
		r = watch(child, loop_event(loop));
		if (r < 0)
			error_make(err, r, "the child cannot be watched");
	}
	if (r < 0) {
		run_child_free(child);
		return r;
	}
	*ret_child = child;
	return 0;
}

void run_child_end(struct run_child *child)
{
	if (child && child->pid > 0 && !child->reaped)
		kill(child->pid, SIGTERM);
}

void run_child_free(struct run_child *child)
{
	if (!child)
		return;
	stop_input(child);
	for (int i = 0; i < PIPES; i++) {
		sd_event_source_disable_unref(child->outputs[i]);
		close_fd(&child->out[i]);
	}
	sd_event_source_disable_unref(child->exit);
	if (child->pid > 0 && !child->reaped) {
		kill(child->pid, SIGKILL);
		waitpid(child->pid, NULL, 0);
	}
	close_fd(&child->output);
	free(child);
}
