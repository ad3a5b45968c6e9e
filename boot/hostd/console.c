/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The PC's screen at night: who uses it, and until when.
 *
 * A person who finds the room at night must see at once that the PC is not broken, that its disk is
 * not touched (or which partition of it) and when it is a desktop again. The screen is written as a
 * whole whenever something changed, and opened anew each time: a keyboard-video switch or a missing
 * card must not matter. Opened non-blocking, because a terminal that is stopped (Ctrl-S) must not
 * stop the host. No secret is ever shown.
 */
#include "boot/hostd/console.h"

#include <fcntl.h>
#include "lib/file.h"

char *console_text(const struct console_view *v)
{
	struct buf b = {0};
	if (v->leaving)
		buf_addf(&b,
			"Nightclass: this PC%s%s is being given back and restarts as a desktop "
			"in a moment.\n",
			v->pc ? " " : "", v->pc ? v->pc : "");
	else if (!v->pc)
		buf_adds(&b, "Nightclass: this PC is asking the lab server for work.\n");
	else if (!v->goal)
		buf_addf(&b, "Nightclass: PC %s waits for work from the lab server.\n", v->pc);
	else
		buf_addf(&b,
			"Nightclass: PC %s computes for the lab until %s (%u of %zu virtual "
			"machines "
			"run).\n",
			v->pc, v->goal->until ? v->goal->until : "it is called back",
			v->vms_running, v->goal->vms.n);
	if (!v->leaving && v->scratch)
		buf_addf(&b, "Of its own disk only the partition %s is touched.", v->scratch);
	else if (!v->leaving)
		buf_adds(&b, "Its own disk is not touched.");
	if (!v->leaving)
		buf_adds(&b, " Switching it off does no harm: it starts as a desktop by day.\n");
	if (v->problem)
		buf_addf(&b, "Trouble: %s\n", v->problem);
	return buf_take(&b);
}

void console_show(const char *path, const char *text)
{
	if (!path || !path[0])
		return;
	auto_close int fd = open(path, O_WRONLY | O_NOCTTY | O_NONBLOCK | O_CLOEXEC);
	if (fd < 0)
		return;
	static const char clear[] = "\033[2J\033[H";
	auto_free char *page = xasprintf("%s%s", isatty(fd) ? clear : "", text);
	if (write(fd, page, strlen(page)) < 0)
		return; /* nobody can read it then, and nothing else is harmed */
}
