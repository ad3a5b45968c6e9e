/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Whatever people bring as a disk image -> a raw disk, worked out by a process of its own that has
 * nothing but the descriptors it was handed (images/seal.h). */
#ifndef IMAGES_READER_H
#define IMAGES_READER_H

#include <stdbool.h>
#include <sys/types.h>
#include "images/header.h"
#include "lib/error.h"

enum reader_phase { READER_CHECK, READER_UNPACK, READER_CONVERT };
extern const char *const reader_phase_names[];

/* What the reader gets: the file, and two empty files to work in, all open. */
enum { READER_SOURCE, READER_SCRATCH_A, READER_SCRATCH_B, READER_FILES };

struct reader_result {
	int disk;      /* which of the files is now the raw disk: READER_SOURCE when it was one */
	uint64_t size; /* its bytes, a multiple of 512 */
	enum image_format format; /* of what was found */
};

struct reader {
	int socket; /* -1: none */
	pid_t pid;  /* 0: not our child */
	bool began; /* it has said a word, so it is sealed and at the file */
	/* It may take in all; 0: by the size of the file. */
	int64_t limit_ms;
};

/* Called now and then; total 0 is unknown. */
typedef void reader_progress_fn(enum reader_phase phase, uint64_t done, uint64_t total, void *arg);

/* Forks the reader, which waits for its files; to be called while there is one thread, before the
 * caller's own jail. uid: see seal.h. */
int reader_fork(uid_t uid, struct reader *ret_reader, struct error **err);
/* Takes the service's reader, which listens at that unix socket under a uid of its own. */
int reader_connect(const char *path, struct reader *ret_reader, struct error **err);

/* One image. Blocks; a reader that is silent for minutes, or takes longer than its processor time
 * could explain, is ended. What it says is checked, not believed. -EINVAL, -E2BIG and -EPROTO
 * are the refusals, with the reason; a reader that is gone before it began at the file is -EIO. */
int reader_run(struct reader *reader, enum image_format format, const int files[READER_FILES],
	reader_progress_fn *progress, void *arg, struct reader_result *ret_result,
	struct error **err);
void reader_done(struct reader *reader); /* ends and reaps it; again is fine */

/* The reader itself: serves one request on the socket and returns an exit status. */
int reader_serve(int socket, uid_t uid);

/* The work alone, in this process and without a jail: for fuzzing. */
int reader_work(enum image_format format, const int files[READER_FILES],
	reader_progress_fn *progress, void *arg, struct reader_result *ret_result,
	struct error **err);

#endif
