/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The log: one line, one write(2), to standard error, and nothing else: no files, no rotation, no
 * network. The service manager keeps it. Under journald (JOURNAL_STREAM is set) a line begins with
 * "<N>", the priority it understands; otherwise with the program's name.
 *
 * Texts often carry words from outside (a host name in a report, the reason in an answer of another
 * controller), so bytes that could begin a new line or steer a terminal are replaced: one call is
 * one line, whatever it is given. A line is cut at 4 KiB. Must not allocate (it is what speaks when
 * things fail) and must not be called by lib or the renderers, which return errors instead.
 */
#include <stdarg.h>
#include <stdbool.h>

#include "lib/log.h"

#include <errno.h>
#include <fcntl.h>

enum { LINE_MAX_BYTES = 4096 };

static const char *const level_names[] = {"error", "warning", "notice", "info", "debug"};
static const char *log_program = "nightclass";
static enum log_level log_most = LOG_LEVEL_INFO;
static bool log_journal;

void log_init(const char *program, enum log_level level)
{
	log_program = program;
	log_most = level;
	log_journal = getenv("JOURNAL_STREAM") != NULL;
}

int log_level_parse(const char *text, enum log_level *ret_level)
{
	for (size_t i = 0; i < ARRAY_LEN(level_names); i++) {
		if (strcmp(text, level_names[i]) == 0) {
			*ret_level = LOG_LEVEL_ERROR + (enum log_level)i;
			return 0;
		}
	}
	return -EINVAL;
}

int log_never_wait(void)
{
	auto_close int fd = -1;

	if (!isatty(STDERR_FILENO))
		return 0;
	/* not fcntl(): the flag would be everybody's who got the terminal from the same open() */
	fd = open("/proc/self/fd/2", O_WRONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	return fd < 0 || dup2(fd, STDERR_FILENO) < 0 ? -errno : 0;
}

void log_line(enum log_level level, const char *fmt, ...)
{
	char line[LINE_MAX_BYTES];
	int saved = errno, n = 0, start = 0;
	va_list args;

	if (level > log_most)
		return;
	if (log_journal)
		start = snprintf(line, sizeof(line), "<%d>", (int)level);
	else
		start = snprintf(line, sizeof(line), "%.64s: ", log_program);
	va_start(args, fmt);
	n = vsnprintf(line + start, sizeof(line) - (size_t)start - 1, fmt, args);
	va_end(args);
	if (n < 0)
		n = 0;
	n += start;
	if (n > (int)sizeof(line) - 2)
		n = (int)sizeof(line) - 2;
	for (int i = start; i < n; i++)
		if ((unsigned char)line[i] < 0x20 || line[i] == 0x7f)
			line[i] = ' ';
	line[n++] = '\n';
	if (write(STDERR_FILENO, line, (size_t)n) < 0) {
		/* nobody is left to tell, or the terminal is held */
	}
	errno = saved;
}
