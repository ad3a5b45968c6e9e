/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The agent's order of work: seed, files, network, services, ready, heartbeat.
 *
 * Services (sshd) start only when keys and names are in place, and "ready" is said only after they
 * started: who reads it may log in. A VM whose seed cannot be applied never says it; why stands on
 * its console. After that the agent is a heartbeat; the power button is the init's business. It
 * links nothing but jansson and runs no shell: in a guest that is emulated twice each program start
 * costs a second.
 */
#include "guest-agent/guest.h"

#include <sys/wait.h>
#include "guest-agent/apply.h"
#include "guest-agent/port.h"
#include "guest-agent/seed_find.h"
#include "lib/clock.h"
#include "lib/log.h"
#include "lib/spawn.h"

enum { DISC_MS = 60000, CARD_MS = 30000, BEAT_MS = 10000, NOBODY_MS = 500 };
static const char port_name[] = "org.nightclass.guest.0";

static int read_seed(const struct guest_options *o, struct seed *ret_seed, struct error **err)
{
	if (o->seed_dir)
		return seed_read(o->seed_dir, ret_seed, err);
	auto_free char *device = NULL, *dir = NULL;
	int r = seed_find(DISC_MS, &device, err);
	if (r == 0)
		r = seed_mount(device, &dir, err);
	if (r < 0)
		return r;
	r = seed_read(dir, ret_seed, err);
	seed_unmount(dir);
	return r;
}

static int start_services(const char *program, struct error **err)
{
	const char *const argv[] = {program, NULL};
	pid_t pid;
	int status, r = spawn_start(argv, NULL, 0, NULL, &pid, err);
	if (r < 0)
		return r;
	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			return error_make(err, -errno, "%s: %s", program, strerror(errno));
	if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
		return error_make(err, -EIO, "%s failed (%d)", program,
			WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status));
	return 0;
}

static int become(const struct guest_options *o, char **ret_hostname, struct error **err)
{
	struct seed seed = {0};
	int r = read_seed(o, &seed, err);
	if (r < 0)
		return r;
	r = apply_files(&seed, o->root, err);
	if (r == 0 && o->network)
		r = apply_network(&seed, CARD_MS, err);
	if (r == 0 && o->services)
		r = start_services(o->services, err);
	if (r == 0)
		*ret_hostname = TAKE_PTR(seed.hostname);
	seed_done(&seed);
	return r;
}

static uint64_t load_permille(void)
{
	double load[1];
	return getloadavg(load, 1) == 1 && load[0] >= 0 ? (uint64_t)(load[0] * 1000) : 0;
}

/* One line out of the port; *fd is opened when it is not yet, closed when it broke. */
static int beat(const struct guest_options *o, int *fd, const char *hostname, uint64_t boot_ms)
{
	if (*fd < 0) {
		auto_free char *device = o->port ? xstrdup(o->port) : port_find(port_name);
		*fd = device ? port_open(device) : -ENOENT;
	}
	if (*fd < 0)
		return *fd;
	auto_free char *line = port_line(hostname, boot_ms, load_permille());
	port_drain(*fd);
	int r = port_say(*fd, line);
	if (r < 0 && r != -EAGAIN) {
		close(*fd);
		*fd = -1;
	}
	return r;
}

static void live(const struct guest_options *o, const char *hostname, uint64_t boot_ms)
{
	auto_close int port = -1;
	for (;;) {
		int r = beat(o, &port, hostname, boot_ms);
		if (r == 0 && o->once)
			return;
		usleep((r == 0 ? BEAT_MS : NOBODY_MS) * 1000);
	}
}

int guest_run(const struct guest_options *o, struct error **err)
{
	auto_free char *hostname = NULL;
	int r = become(o, &hostname, err);
	if (r < 0)
		return r;
	uint64_t boot_ms = (uint64_t)clock_mono_ms();
	log_notice("guest: %s is ready after %.1f s", hostname, (double)boot_ms / 1000);
	live(o, hostname, boot_ms);
	return 0;
}
