/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The frames that have just come in along a chain, while and after they come: written by the one
 * thread that receives, read by the threads that send them on and by the one that verifies. The
 * last 64 chunks (16 MiB) are kept; a reader that falls behind further has to look elsewhere. */
#ifndef IMAGES_CHAIN_LOG_H
#define IMAGES_CHAIN_LOG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { CHAIN_LOG_ENTRIES = 64 };

struct chain_log;

enum chain_log_state { LOG_OPEN, LOG_WHOLE, LOG_ABORTED };

struct chain_log_view {
	uint32_t number, source; /* the chunk, and the writer's word of where it came from */
	size_t len;		 /* bytes of the frame so far */
	enum chain_log_state state;
};

/* Freed when as many chain_log_unref as references were called. */
struct chain_log *chain_log_new(void);
struct chain_log *chain_log_ref(struct chain_log *log);
void chain_log_unref(struct chain_log *log);

/* The writer: begin, add (at most CHUNK_PACKED_MAX bytes in all), end, and close when no more will
 * come. begin waits while the oldest frame is not verified yet. */
void chain_log_begin(struct chain_log *log, uint32_t number, uint32_t source);
void chain_log_add(struct chain_log *log, const void *bytes, size_t len);
void chain_log_end(struct chain_log *log, bool whole);
void chain_log_close(struct chain_log *log);

/* Entry `seq` (they count from 0): 0; -EAGAIN not there yet; -ENODATA it will never be; -ESTALE not
 * there any more. */
int chain_log_look(struct chain_log *log, uint64_t seq, struct chain_log_view *ret_view);
/* Bytes of the frame from `from` on, at most `max`; 0 when there are none (any more). */
size_t chain_log_copy(
	struct chain_log *log, uint64_t seq, size_t from, void *ret_bytes, size_t max);
/* The oldest entry that is there. */
uint64_t chain_log_oldest(struct chain_log *log);
/* Waits until anything has changed since `version`, at most for that long; returns the version
 * there is then. To miss nothing: take the version (a wait of 0 ms), look, then wait with it. */
uint32_t chain_log_wait(struct chain_log *log, uint32_t version, unsigned timeout_ms);
/* The same for those who care only for frames that have ended, and for the end of all. */
uint32_t chain_log_wait_end(struct chain_log *log, uint32_t ends, unsigned timeout_ms);

/* The verifier has done with entry `seq`, the lowest it has not said this of. */
void chain_log_verified(struct chain_log *log, uint64_t seq, bool good);
/* Is the verifier done with all that has begun? */
bool chain_log_drained(struct chain_log *log);
/* Numbers of chunks that were found wrong: the n-th of all, false when there are not that many. */
bool chain_log_bad(struct chain_log *log, size_t n, uint32_t *ret_number);

#endif
