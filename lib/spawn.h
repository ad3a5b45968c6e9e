/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Child processes by argv and posix_spawn: no shell, ever. Descriptors are close-on-exec, signals reset. */
#ifndef LIB_SPAWN_H
#define LIB_SPAWN_H

#include <sys/types.h>
#include "lib/error.h"

struct spawn {
	const char *const *argv;  /* NULL-terminated; argv[0] is looked up in PATH */
	const char *const *env;	  /* NULL: ours */
	const void *input;	  /* fed to standard input, then closed; NULL: /dev/null */
	size_t input_len;
	int timeout_ms;		  /* 0: none. SIGTERM at the deadline, SIGKILL 2 s later */
	size_t max_output;	  /* of stdout and stderr each; 0: 1 MiB; what is beyond is dropped */
};

struct spawn_result {
	int status;	/* exit code, or 128 + signal */
	int timed_out;	/* 1 when the deadline ended it */
	char *out, *err; /* NUL-terminated, never NULL after success of spawn_run */
	size_t out_len;
};

/* Runs to the end. 0 when the child ran (whatever its status), -errno when it could not start. */
int spawn_run(const struct spawn *spawn, struct spawn_result *ret_result, struct error **err);
/* Runs and wants exit code 0; else -EIO (or -ETIMEDOUT) with the program's last lines of stderr in the text. */
int spawn_check(const struct spawn *spawn, struct error **err);
void spawn_result_done(struct spawn_result *result);

/* Starts a long-lived child. ret_fds (may be NULL) gets our ends of its stdin, stdout, stderr when the
 * corresponding want bit (1, 2, 4) is set; others: stdin /dev/null, stdout/stderr ours. The caller reaps
 * by waitpid or sd_event_add_child. */
int spawn_start(const char *const *argv, const char *const *env, int want, int ret_fds[3], pid_t *ret_pid,
	struct error **err);

/* Programs of ours lie together. The folder of the one that runs: NULL when that cannot be told. The path
 * of the one called `name` in it: NULL when there is none that can be run. What to start for `name`: that
 * path, else the name alone, for PATH. Caller frees. */
char *spawn_folder(void);
char *spawn_beside(const char *name);
char *spawn_program(const char *name);

#endif
