/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A ring of frames between one writer and many readers.
 *
 * It is what makes cut-through cheap: the receiving thread lays bytes down once, and each
 * successor's thread takes them from there as they appear, at its own pace. No reader can hold the
 * writer up, for a slow PC must not slow those in front of it; only the verifier can, since what
 * was not verified is nowhere else. Readers copy under the lock, some 64 KiB at a time, so an entry
 * may be taken for a new frame at any moment without anybody holding on to it; a reader sees that
 * by -ESTALE.
 *
 * Memory: 64 frames of at most 258 KiB, taken when first used. Nothing here knows of sockets.
 */
#include "images/chain_log.h"

#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/syscall.h>
#include <time.h>

#include "images/chunk.h"
#include "lib/util.h"

enum { BAD_KEPT = 1024, FULL_MS = 1000 };

struct entry {
	struct chain_log_view view;
	unsigned char *bytes;
};

struct chain_log {
	pthread_mutex_t lock;
	_Atomic uint32_t version; /* a futex: grows with every change */
	_Atomic uint32_t ends;	  /* the same, with every end of a frame */
	unsigned refs;
	struct entry entries[CHAIN_LOG_ENTRIES];
	uint64_t next;	   /* seq of the entry that begins next */
	uint64_t verified; /* all below are done with */
	bool closed;
	uint32_t bad[BAD_KEPT];
	size_t n_bad;
};

static struct entry *entry_of(struct chain_log *log, uint64_t seq)
{
	return &log->entries[seq % CHAIN_LOG_ENTRIES];
}

static uint64_t oldest(const struct chain_log *log)
{
	return log->next > CHAIN_LOG_ENTRIES ? log->next - CHAIN_LOG_ENTRIES : 0;
}

static void wake(_Atomic uint32_t *futex)
{
	atomic_fetch_add(futex, 1);
	syscall(SYS_futex, futex, FUTEX_WAKE_PRIVATE, INT_MAX, NULL, NULL, 0);
}

static void changed(struct chain_log *log)
{
	wake(&log->version);
}

struct chain_log *chain_log_new(void)
{
	struct chain_log *log = xnew(struct chain_log);

	pthread_mutex_init(&log->lock, NULL);
	log->refs = 1;
	atomic_store(&log->version, 1);
	return log;
}

struct chain_log *chain_log_ref(struct chain_log *log)
{
	pthread_mutex_lock(&log->lock);
	log->refs++;
	pthread_mutex_unlock(&log->lock);
	return log;
}

void chain_log_unref(struct chain_log *log)
{
	bool last;

	if (!log)
		return;
	pthread_mutex_lock(&log->lock);
	last = --log->refs == 0;
	pthread_mutex_unlock(&log->lock);
	if (!last)
		return;
	for (size_t i = 0; i < CHAIN_LOG_ENTRIES; i++)
		free(log->entries[i].bytes);
	pthread_mutex_destroy(&log->lock);
	free(log);
}

void chain_log_begin(struct chain_log *log, uint32_t number, uint32_t source)
{
	struct entry *entry;

	pthread_mutex_lock(&log->lock);
	while (log->next - log->verified >= CHAIN_LOG_ENTRIES) {
		uint32_t version = atomic_load(&log->version);

		pthread_mutex_unlock(&log->lock);
		chain_log_wait(log, version, FULL_MS);
		pthread_mutex_lock(&log->lock);
	}
	entry = entry_of(log, log->next++);
	if (!entry->bytes)
		entry->bytes = xcalloc(1, CHUNK_PACKED_MAX);
	entry->view =
		(struct chain_log_view){.number = number, .source = source, .state = LOG_OPEN};
	changed(log);
	pthread_mutex_unlock(&log->lock);
}

void chain_log_add(struct chain_log *log, const void *bytes, size_t len)
{
	struct entry *entry;

	pthread_mutex_lock(&log->lock);
	entry = entry_of(log, log->next - 1);
	memcpy(entry->bytes + entry->view.len, bytes, len);
	entry->view.len += len;
	changed(log);
	pthread_mutex_unlock(&log->lock);
}

void chain_log_end(struct chain_log *log, bool whole)
{
	pthread_mutex_lock(&log->lock);
	entry_of(log, log->next - 1)->view.state = whole ? LOG_WHOLE : LOG_ABORTED;
	changed(log);
	wake(&log->ends);
	pthread_mutex_unlock(&log->lock);
}

void chain_log_close(struct chain_log *log)
{
	pthread_mutex_lock(&log->lock);
	log->closed = true;
	changed(log);
	wake(&log->ends);
	pthread_mutex_unlock(&log->lock);
}

static int look(const struct chain_log *log, uint64_t seq)
{
	if (seq >= log->next)
		return log->closed ? -ENODATA : -EAGAIN;
	return seq < oldest(log) ? -ESTALE : 0;
}

int chain_log_look(struct chain_log *log, uint64_t seq, struct chain_log_view *ret_view)
{
	int r;

	pthread_mutex_lock(&log->lock);
	r = look(log, seq);
	if (r == 0)
		*ret_view = entry_of(log, seq)->view;
	pthread_mutex_unlock(&log->lock);
	return r;
}

size_t chain_log_copy(struct chain_log *log, uint64_t seq, size_t from, void *ret_bytes, size_t max)
{
	size_t n = 0;

	pthread_mutex_lock(&log->lock);
	if (look(log, seq) == 0) {
		const struct entry *entry = entry_of(log, seq);

		n = entry->view.len > from ? entry->view.len - from : 0;
		n = n < max ? n : max;
		memcpy(ret_bytes, entry->bytes + from, n);
	}
	pthread_mutex_unlock(&log->lock);
	return n;
}

uint64_t chain_log_oldest(struct chain_log *log)
{
	uint64_t seq;

	pthread_mutex_lock(&log->lock);
	seq = oldest(log);
	pthread_mutex_unlock(&log->lock);
	return seq;
}

static uint32_t futex_wait(_Atomic uint32_t *futex, uint32_t seen, unsigned timeout_ms)
{
	struct timespec wait = {
		.tv_sec = timeout_ms / 1000, .tv_nsec = (long)(timeout_ms % 1000) * 1000000};

	if (timeout_ms)
		syscall(SYS_futex, futex, FUTEX_WAIT_PRIVATE, seen, &wait, NULL, 0);
	return atomic_load(futex);
}

uint32_t chain_log_wait(struct chain_log *log, uint32_t version, unsigned timeout_ms)
{
	return futex_wait(&log->version, version, timeout_ms);
}

uint32_t chain_log_wait_end(struct chain_log *log, uint32_t ends, unsigned timeout_ms)
{
	return futex_wait(&log->ends, ends, timeout_ms);
}

void chain_log_verified(struct chain_log *log, uint64_t seq, bool good)
{
	pthread_mutex_lock(&log->lock);
	if (!good && log->n_bad < BAD_KEPT)
		log->bad[log->n_bad++] = entry_of(log, seq)->view.number;
	log->verified = seq + 1;
	changed(log);
	pthread_mutex_unlock(&log->lock);
}

bool chain_log_drained(struct chain_log *log)
{
	bool drained;

	pthread_mutex_lock(&log->lock);
	drained = log->verified == log->next;
	pthread_mutex_unlock(&log->lock);
	return drained;
}

bool chain_log_bad(struct chain_log *log, size_t n, uint32_t *ret_number)
{
	bool there;

	pthread_mutex_lock(&log->lock);
	there = n < log->n_bad;
	if (there)
		*ret_number = log->bad[n];
	pthread_mutex_unlock(&log->lock);
	return there;
}
