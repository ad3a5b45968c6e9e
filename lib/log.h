/* SPDX-License-Identifier: GPL-2.0-or-later */
/* One line per event to standard error, "subject: what happened", with the priority prefix <N> that
 * journald understands when standard error is the journal. lib and renderers never log; a failure
 * is logged once, where it is handled; secrets never. */
#ifndef LIB_LOG_H
#define LIB_LOG_H

#include "lib/util.h"

enum log_level { LOG_LEVEL_ERROR = 3, LOG_LEVEL_WARNING, LOG_LEVEL_NOTICE, LOG_LEVEL_INFO, LOG_LEVEL_DEBUG };

/* Lines less urgent than `level` are dropped; `program` stands in front when stderr is a terminal or file. */
void log_init(const char *program, enum log_level level);
/* A terminal as standard error is opened anew so that it is never waited for: a line that it does
 * not take at once (Ctrl-S, Scroll Lock) is lost. Whoever else writes to it is not affected. 0, also
 * when there is no terminal; or -errno. */
int log_never_wait(void);
/* "error", "warning", "notice", "info", "debug" -> level; -EINVAL otherwise. */
int log_level_parse(const char *text, enum log_level *ret_level);
void log_line(enum log_level level, const char *fmt, ...) PRINTF_LIKE(2, 3);

#define log_error(...) log_line(LOG_LEVEL_ERROR, __VA_ARGS__)
#define log_warning(...) log_line(LOG_LEVEL_WARNING, __VA_ARGS__)
#define log_notice(...) log_line(LOG_LEVEL_NOTICE, __VA_ARGS__)
#define log_info(...) log_line(LOG_LEVEL_INFO, __VA_ARGS__)
#define log_debug(...) log_line(LOG_LEVEL_DEBUG, __VA_ARGS__)

#endif
