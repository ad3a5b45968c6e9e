/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Running dnsmasq. A change goes render -> `dnsmasq --test` -> write -> swap -> verify: the old one
 * keeps serving until the new text has passed the check, the swap takes some tens of milliseconds
 * (DHCP clients repeat their question after a second), and if the new one does not come up the old
 * text is put back. Leases are in dnsmasq's lease file, which a restart keeps.
 *
 * A restart rather than SIGHUP for every change: one way, all of it checked by --test, and SIGHUP
 * would not re-read the boot lines anyway. The child is watched by its pidfd (no SIGCHLD handling,
 * no race with other children's waits). It is up when it has written its pid file: dnsmasq does
 * that after it has bound its sockets.
 *
 * Must not touch any dnsmasq but its own: after a crash of ours the old child is found by our pid
 * file and recognised by our configuration's path in its command line.
 */
#include <poll.h>
#include <signal.h>
#include <sys/pidfd.h>
#include <sys/wait.h>

#include "lib/clock.h"
#include "lib/file.h"
#include "lib/log.h"
#include "lib/spawn.h"
#include "netconf/dnsmasq.h"
#include "netconf/dnsmasq_child.h"
#include "netconf/loaders.h"

enum {
	TEST_MS = 10000,
	STOP_MS = 2000,
	START_MS = 5000,
	STEP_MS = 5,
	BACKOFF_MIN_MS = 100,
	BACKOFF_MAX_MS = 10000,
	STEADY_MS = 10000, /* ran that long: the next death starts again with the short pause */
	TEXT_MAX = 4 << 20,
};

struct dnsmasq {
	struct loop *loop;
	const struct net_site *site;
	char *text, *names; /* what the child runs with; NULL: no child wanted */
	pid_t pid;	    /* 0: none */
	int pidfd;
	sd_event_source *exit;
	struct loop_timer *again;
	int64_t started_ms, backoff_ms;
	uint64_t starts;
	bool boots; /* the text has boot answers, and the loaders were copied for them */
};

static int write_files(const struct dnsmasq *d, struct error **err)
{
	auto_free char *conf = dnsmasq_conf_path(d->site), *names = dnsmasq_names_path(d->site);
	int r = file_write(conf, d->text, strlen(d->text), 0644, err);

	return r < 0 ? r : file_write(names, d->names, strlen(d->names), 0644, err);
}

static int check_text(const struct dnsmasq *d, const char *text, struct error **err)
{
	auto_free char *path = xasprintf("%s/dnsmasq.check", d->site->state_dir);
	auto_free char *option = xasprintf("--conf-file=%s", path);
	const char *const argv[] = {"dnsmasq", "--test", option, NULL};
	struct spawn spawn = {.argv = argv, .timeout_ms = TEST_MS};
	int r = file_write(path, text, strlen(text), 0644, err);

	if (r == 0)
		r = spawn_check(&spawn, err);
	unlink(path);
	if (r < 0)
		return error_wrap(err, r, "dnsmasq does not accept its new configuration");
	return 0;
}

static bool ended_within(int pidfd, int ms)
{
	struct pollfd p = {.fd = pidfd, .events = POLLIN};

	return poll(&p, 1, ms) > 0;
}

static void forget_child(struct dnsmasq *d)
{
	d->exit = sd_event_source_disable_unref(d->exit);
	if (d->pidfd >= 0)
		close(d->pidfd);
	d->pidfd = -1;
	d->pid = 0;
}

static void stop_child(struct dnsmasq *d)
{
	if (!d->pid)
		return;
	pidfd_send_signal(d->pidfd, SIGTERM, NULL, 0);
	if (!ended_within(d->pidfd, STOP_MS)) {
		pidfd_send_signal(d->pidfd, SIGKILL, NULL, 0);
		ended_within(d->pidfd, STOP_MS);
	}
	waitpid(d->pid, NULL, WNOHANG);
	forget_child(d);
}

static int on_exit_of_child(sd_event_source *source, int fd, uint32_t events, void *arg)
{
	struct dnsmasq *d = arg;
	int64_t ran_ms = clock_mono_ms() - d->started_ms;
	int status = 0;

	(void)source, (void)fd, (void)events;
	waitpid(d->pid, &status, WNOHANG);
	if (ran_ms >= STEADY_MS)
		d->backoff_ms = BACKOFF_MIN_MS;
	log_warning("dnsmasq: ended by itself (%s %d); started again in %jd ms",
		WIFSIGNALED(status) ? "signal" : "exit code",
		WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status),
		(intmax_t)d->backoff_ms);
	forget_child(d);
	loop_timer_at(d->again, clock_mono_ms() + d->backoff_ms);
	d->backoff_ms = d->backoff_ms * 2 > BACKOFF_MAX_MS ? BACKOFF_MAX_MS : d->backoff_ms * 2;
	return 0;
}

static pid_t pid_in(const char *path)
{
	auto_free char *text = NULL;
	uint64_t pid = 0;

	if (file_read(path, 32, &text, NULL, NULL) < 0)
		return 0;
	text[strcspn(text, "\n")] = '\0';
	return uint_parse(text, 2, INT32_MAX, &pid) < 0 ? 0 : (pid_t)pid;
}

static int wait_until_up(struct dnsmasq *d, const char *pid_path, struct error **err)
{
	for (int waited = 0; waited < START_MS; waited += STEP_MS) {
		if (pid_in(pid_path) == d->pid)
			return 0;
		if (ended_within(d->pidfd, STEP_MS)) {
			int status = 0;

			waitpid(d->pid, &status, WNOHANG);
			forget_child(d);
			return error_make(err, -EIO,
				"dnsmasq ended at its start with exit code %d; its own message "
				"stands in the log.",
				WEXITSTATUS(status));
		}
	}
	stop_child(d);
	return error_make(err, -EIO, "dnsmasq did not come up within %d s.", START_MS / 1000);
}

/* As root dnsmasq would change to another user, which could not read our files; it keeps netd's
 * instead. */
static int start_child(struct dnsmasq *d, struct error **err)
{
	auto_free char *conf = dnsmasq_conf_path(d->site), *pid_path = dnsmasq_pid_path(d->site);
	auto_free char *option = xasprintf("--conf-file=%s", conf);
	const char *const argv[] = {"dnsmasq", "--keep-in-foreground", "--log-facility=-", option,
		geteuid() == 0 ? "--user=root" : NULL, "--group=root", NULL};
	int r = 0;

	unlink(pid_path);
	r = spawn_start(argv, NULL, 0, NULL, &d->pid, err);
	if (r < 0) {
		d->pid = 0;
		return error_wrap(err, r, "dnsmasq cannot be started");
	}
	d->started_ms = clock_mono_ms();
	d->starts++;
	d->pidfd = pidfd_open(d->pid, 0);
	if (d->pidfd < 0) {
		r = error_make(err, -errno, "dnsmasq cannot be watched: %s", strerror(errno));
		kill(d->pid, SIGKILL);
		waitpid(d->pid, NULL, 0);
		d->pid = 0;
		return r;
	}
	r = wait_until_up(d, pid_path, err);
	if (r < 0)
		return r;
	r = sd_event_add_io(loop_event(d->loop), &d->exit, d->pidfd, EPOLLIN, on_exit_of_child, d);
	if (r < 0)
		stop_child(d);
	return r < 0 ? error_make(err, r, "dnsmasq cannot be watched: %s", strerror(-r)) : 0;
}

static void start_again(void *arg)
{
	auto_error struct error *err = NULL;
	struct dnsmasq *d = arg;
	int r = 0;

	if (!d->text || d->pid)
		return;
	r = start_child(d, &err);
	if (r == 0) {
		log_notice("dnsmasq: runs again");
		return;
	}
	log_error("dnsmasq: %s Next try in %jd ms.", error_text(err, r), (intmax_t)d->backoff_ms);
	loop_timer_at(d->again, clock_mono_ms() + d->backoff_ms);
	d->backoff_ms = d->backoff_ms * 2 > BACKOFF_MAX_MS ? BACKOFF_MAX_MS : d->backoff_ms * 2;
}

/* An orphan of a netd that was killed. */
static void end_orphan(const struct net_site *site)
{
	auto_free char *pid_path = dnsmasq_pid_path(site), *conf = dnsmasq_conf_path(site);
	auto_free char *cmdline_path = NULL, *cmdline = NULL;
	pid_t pid = pid_in(pid_path);
	auto_close int pidfd = pid ? pidfd_open(pid, 0) : -1;
	size_t len = 0;

	if (pidfd < 0)
		return;
	cmdline_path = xasprintf("/proc/%d/cmdline", pid);
	if (file_read(cmdline_path, 65536, &cmdline, &len, NULL) < 0 ||
		!memmem(cmdline, len, conf, strlen(conf)))
		return;
	pidfd_send_signal(pidfd, SIGTERM, NULL, 0);
	if (!ended_within(pidfd, STOP_MS)) {
		pidfd_send_signal(pidfd, SIGKILL, NULL, 0);
		ended_within(pidfd, STOP_MS);
	}
	log_notice("dnsmasq: ended process %d, left behind by an earlier netd", pid);
}

/* By day nobody needs them, so it is no reason not to give addresses; and the administrator hears of it
 * before the night. */
static void try_loaders(const struct net_site *site)
{
	auto_error struct error *err = NULL;
	int r = loaders_copy(site, &err);

	if (r < 0)
		log_error("netd: %s", error_text(err, r));
}

struct dnsmasq *dnsmasq_new(struct loop *loop, const struct net_site *site)
{
	struct dnsmasq *d = xnew(struct dnsmasq);

	d->loop = loop;
	d->site = site;
	d->pidfd = -1;
	d->backoff_ms = BACKOFF_MIN_MS;
	d->again = loop_timer_new(loop, start_again, d);
	end_orphan(site);
	if (site->mode != NET_MODE_NONE)
		try_loaders(site);
	return d;
}

static int swap(struct dnsmasq *d, struct error **err)
{
	int r = write_files(d, err);

	if (r < 0)
		return r;
	loop_timer_at(d->again, -1);
	stop_child(d);
	return start_child(d, err);
}

static bool same(const char *a, const char *b)
{
	return a && b && strcmp(a, b) == 0;
}

int dnsmasq_set(struct dnsmasq *d, const struct net_goal *goal, struct error **err)
{
	auto_free char *text = dnsmasq_render(d->site, goal), *names = dnsmasq_render_names(goal);
	char *old_text = d->text, *old_names = d->names;
	int r = 0;

	if (!text || (d->pid && same(text, d->text) && same(names, d->names)))
		return 0;
	/* anew for each night: the package may have been upgraded since */
	if (goal->boot_url && !d->boots)
		r = loaders_copy(d->site, err);
	if (r == 0 && !same(text, d->text))
		r = check_text(d, text, err);
	if (r < 0)
		return r;
	d->text = TAKE_PTR(text);
	d->names = TAKE_PTR(names);
	r = swap(d, err);
	if (r < 0 && old_text) {
		free(d->text);
		free(d->names);
		d->text = old_text;
		d->names = old_names;
		if (swap(d, NULL) < 0)
			loop_timer_at(d->again, clock_mono_ms() + d->backoff_ms);
		return r;
	}
	d->boots = goal->boot_url != NULL;
	if (r < 0) /* the first one: keep trying, the interface may come yet */
		loop_timer_at(d->again, clock_mono_ms() + d->backoff_ms);
	free(old_text);
	free(old_names);
	return r;
}

json_t *dnsmasq_show(const struct dnsmasq *d)
{
	return json_pack("{s:s, s:b, s:i, s:I}", "mode", net_mode_names[d->site->mode], "running",
		d->pid != 0, "pid", (int)d->pid, "starts", (json_int_t)d->starts);
}

void dnsmasq_free(struct dnsmasq *d)
{
	if (!d)
		return;
	loop_timer_free(d->again);
	stop_child(d);
	free(d->text);
	free(d->names);
	free(d);
}
