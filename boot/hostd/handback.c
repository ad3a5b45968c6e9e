/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Hand-back: empty the host, tell the controller, reboot.
 *
 * It begins when the goal says desktop or when the lease ends by itself, and is never taken back: a
 * PC that has begun to leave is a desktop soon, whatever arrives meanwhile. Each stage has its own
 * end: VMs get the goal's grace plus HANDBACK_SLACK_MS, the last report HANDBACK_REPORT_MS. So with
 * libvirt hung and the controller dead the PC still reboots in time; whatever VM is left then ends
 * with the RAM it lives in. The decision is a pure function of what was seen; only handback_reboot
 * touches the machine.
 */
#include "boot/hostd/handback.h"

#include <sys/reboot.h>
#include "lib/spawn.h"

enum { COMMAND_MS = 10000 };

const char *const handback_names[] = {"none", "emptying", "reporting", "reboot", NULL};

enum handback_stage handback_next(
	enum handback_stage stage, const struct handback_seen *s, int64_t *ret_next_ms)
{
	*ret_next_ms = -1;
	switch (stage) {
	case HANDBACK_NONE:
		return s->called ? HANDBACK_EMPTYING : HANDBACK_NONE;
	case HANDBACK_EMPTYING:
		*ret_next_ms = s->began_ms + s->grace_ms + HANDBACK_SLACK_MS;
		return s->empty || s->now_ms >= *ret_next_ms ? HANDBACK_REPORTING
							     : HANDBACK_EMPTYING;
	case HANDBACK_REPORTING:
		*ret_next_ms = s->empty_ms + HANDBACK_REPORT_MS;
		return s->reported || s->now_ms >= *ret_next_ms ? HANDBACK_REBOOT
								: HANDBACK_REPORTING;
	case HANDBACK_REBOOT:
		return HANDBACK_REBOOT;
	}
	return HANDBACK_REBOOT;
}

int handback_reboot(const char *command, struct error **err)
{
	if (command) {
		const char *const argv[] = {command, NULL};
		const struct spawn spawn = {.argv = argv, .timeout_ms = COMMAND_MS};
		return spawn_check(&spawn, err);
	}
	sync();
	if (reboot(RB_AUTOBOOT) < 0)
		return error_make(err, -errno, "reboot: %s", strerror(errno));
	return 0;
}
