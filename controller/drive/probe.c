/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The question of every morning: is this PC a desktop again?
 *
 * tcp:PORT connects (a login service, a screen reader, anything the desktop system listens on and our host does
 * not: hosts listen on 8081 and 8082); ping sends one echo. The caller asks only when the host has been silent for a
 * while, and a ping later still (plan/night), because host and firmware answer one, too. agent waits to be told
 * instead: guest-agent/day/nightclass-day calls (drive_desktop), again every half minute, so that a restart of ours
 * forgets nothing for long.
 *
 * An answer belongs to the PC's state at the time: the identity of the task holds state, since, last report and boot,
 * so that an old answer is never taken for a new one. */
#include "controller/drive/probe.h"

#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include "lib/spawn.h"

enum { PROBE_MS = 2000, PAUSE_MS = 2000, PAUSE_DAY_MS = 60000 };

static const char *probe_of(struct controller *controller, const struct pc *pc)
{
	return pc->probe && *pc->probe ? pc->probe : controller->config.desktop_probe;
}

bool probe_known(struct controller *controller, const struct pc *pc)
{
	const char *probe = probe_of(controller, pc);
	return probe && *probe && strcmp(probe, "none") != 0;
}

bool probe_weak(struct controller *controller, const struct pc *pc)
{
	const char *probe = probe_of(controller, pc);
	return probe && strcmp(probe, "ping") == 0;
}

static int wait_connected(int fd, struct error **err)
{
	struct pollfd poll_fd = {.fd = fd, .events = POLLOUT};
	int code = 0;
	socklen_t len = sizeof(code);
	int r = poll(&poll_fd, 1, PROBE_MS);
	if (r <= 0)
		return error_make(err, -ETIMEDOUT, "no answer within 2 s");
	if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &code, &len) < 0 || code)
		return error_make(err, -ECONNREFUSED, "%s", strerror(code));
	return 0;
}

static int probe_tcp(struct ip4 address, uint16_t port, struct error **err)
{
	auto_close int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	struct sockaddr_in to = {.sin_family = AF_INET,
		.sin_port = htons(port),
		.sin_addr.s_addr = htonl(address.host)};
	if (fd < 0)
		return error_make(err, -errno, "no socket");
	if (connect(fd, (struct sockaddr *)&to, sizeof(to)) == 0)
		return 0;
	if (errno != EINPROGRESS)
		return error_make(err, -errno, "cannot connect");
	return wait_connected(fd, err);
}

static int probe_ping(const char *address, struct error **err)
{
	const char *const argv[] = {"ping", "-n", "-q", "-c", "1", "-W", "2", address, NULL};
	struct spawn ping = {.argv = argv, .timeout_ms = 2 * PROBE_MS};
	return spawn_check(&ping, err);
}

static int probe_work(json_t *input, json_t **ret_answer, struct error **err)
{
	const char *probe = json_string_value(json_object_get(input, "probe"));
	const char *text = json_string_value(json_object_get(input, "address"));
	struct ip4 address;
	uint64_t port;
	(void)ret_answer;
	if (ip4_parse(text, &address) < 0)
		return error_make(err, -EINVAL, "no address");
	if (strcmp(probe, "ping") == 0)
		return probe_ping(text, err);
	if (str_starts(probe, "tcp:") && uint_parse(probe + 4, 1, 65535, &port) == 0)
		return probe_tcp(address, (uint16_t)port, err);
	return error_make(err, -EINVAL, "the desktop probe \"%s\" is not known here", probe);
}

bool probe_answers(struct drive *drive, const struct pc *pc)
{
	char address[IP4_TEXT];
	struct task_result result;
	if (strcmp(probe_of(drive->controller, pc), "agent") == 0)
		return pc_memory(drive, pc->name)->desktop_at >= pc->since;
	int64_t pause = pc->state == PC_EXCEPTION ? PAUSE_DAY_MS : PAUSE_MS;
	auto_free char *key = xasprintf("probe/%s", pc->name);
	auto_free char *identity = xasprintf("%s %lld %lld %lld", pc_state_names[pc->state], (long long)pc->since,
		(long long)pc->reported_at, (long long)pc_memory(drive, pc->name)->booted_at);
	json_t *input = json_pack("{s:s, s:s}", "probe", probe_of(drive->controller, pc), "address",
		ip4_format(pc->address, address));
	return task_want(drive->tasks, key, identity, 0, pause, probe_work, input, &result) && result.code == 0;
}
