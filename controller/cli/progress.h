/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Long things, told as they go: a line that is rewritten on a terminal, a line per change
 * elsewhere; waiting by the event stream; uploads in pieces that resume. All of it on standard
 * error: standard output is the result. */
#ifndef CONTROLLER_CLI_PROGRESS_H
#define CONTROLLER_CLI_PROGRESS_H

#include "controller/cli/client.h"
#include "lib/vec.h"

struct progress {
	const struct cli *cli;
	int64_t since_ms, said_ms;
	int64_t from_ms; /* when what is counted now began, and with how many bytes */
	uint64_t from;
	char *what; /* is counted now */
	char *last;
	bool open; /* the terminal's line is not ended */
};

void progress_begin(struct progress *p, const struct cli *cli);
/* Says `text` with the time since begin; the same text twice in a row is said once where lines are
 * kept. */
void progress_say(struct progress *p, const char *fmt, ...) PRINTF_LIKE(2, 3);
/* The same for bytes, with rate and time left, counted anew when `what` is another; elsewhere than
 * on a terminal every 10 s at most. total 0: not known. */
void progress_bytes(struct progress *p, const char *what, uint64_t done, uint64_t total);
void progress_end(struct progress *p);

/* Looks how it stands: says progress, sets *ret_done (and cli->exit) at the end. */
typedef int wait_look_fn(
	struct cli *cli, void *arg, struct progress *p, bool *ret_done, struct error **err);
/* Looks, and looks again after each event (and every few seconds, should one be missed), until look
 * says done: -ETIMEDOUT after cli->timeout_s. A controller that restarts meanwhile is waited for.
 */
int wait_until(struct cli *cli, wait_look_fn *look, void *arg, struct error **err);

/* A stretch of what is uploaded: the first `size` bytes of a file that stays open, or those in
 * memory; of neither (fd -1, bytes NULL): zeros. */
struct upload_part {
	int fd;
	const void *bytes;
	uint64_t size;
};
VEC_OF(upload_parts, struct upload_part);

/* Brings a file to the controller in pieces, from where an earlier try stopped. ret_digest: 65
 * bytes. */
int upload_file(struct cli *cli, const char *path, char *ret_digest, struct error **err);
/* The same for one that exists only as its parts; name: of it, for people. */
int upload_parts(struct cli *cli, const char *name, const struct upload_parts *parts,
	char *ret_digest, struct error **err);

#endif
