/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Cutting a file in parallel.
 *
 * Each thread takes the next number from a counter, reads that chunk, and writes only its own
 * element of the list of digests; nothing else is shared but the store, whose put may be called by
 * all. The calling thread is one of them, so progress is reported from it alone and the callback
 * needs no lock.
 *
 * Holes of a sparse file are asked for, not read: a 100 GiB disk with 2 GiB in it costs 2 GiB, and
 * progress counts these 2 GiB, else its rate and the time left would be those of holes. What is in
 * the store already is not compressed again, so the next revision of an image costs its
 * changed chunks and the digests of the rest.
 *
 * The first failure stops all threads; chunks that were put by then are left to the store's sweep.
 */
#include "images/cut.h"

#include <pthread.h>
#include <stdatomic.h>

#include "images/chunk.h"

enum { CUT_THREADS_MAX = 16 };

struct cut {
	struct chunkstore *store;
	int fd;
	uint64_t size;
	int level;
	bool doubt; /* what the store has is read before it is relied on */
	struct manifest_chunk *chunks;
	size_t n;
	uint64_t data; /* bytes of the chunks that are not holes, when it began */
	atomic_size_t next;
	atomic_uint_fast64_t done;
	atomic_bool failed;
};

struct cutter {
	struct cut *cut;
	cut_progress_fn *progress; /* of the calling thread only */
	void *arg;
	struct chunk_coder *coder;
	unsigned char *bytes, *again;
	int result;
	struct error *err;
};

/* Where the first byte that is stored lies, at `at` or behind; UINT64_MAX: nowhere. Of a file
 * system that cannot tell, every byte is. */
static uint64_t data_from(int fd, uint64_t at)
{
	off_t data = lseek(fd, (off_t)at, SEEK_DATA);

	return data >= 0 ? (uint64_t)data : errno == ENXIO ? UINT64_MAX : at;
}

uint64_t cut_bytes(int fd, uint64_t size)
{
	uint64_t bytes = 0, at = 0, data;

	while (at < size && (data = data_from(fd, at)) < size) {
		off_t hole = lseek(fd, (off_t)data, SEEK_HOLE);
		uint64_t begin = data / CHUNK_SIZE * CHUNK_SIZE,
			 end = hole <= (off_t)data || (uint64_t)hole > size ? size : (uint64_t)hole;

		/* whole chunks, each once: the next begins where this one's last ends */
		at = (end + CHUNK_SIZE - 1) / CHUNK_SIZE * CHUNK_SIZE;
		bytes += (at < size ? at : size) - begin;
	}
	return bytes;
}

static int read_whole(int fd, unsigned char *bytes, size_t len, uint64_t at, struct error **err)
{
	while (len > 0) {
		ssize_t n = pread(fd, bytes, len, (off_t)at);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return error_make(err, -errno, "reading the image: %s", strerror(errno));
		if (n == 0)
			return error_make(
				err, -EIO, "the image file became shorter while it was read");
		bytes += n;
		len -= (size_t)n;
		at += (uint64_t)n;
	}
	return 0;
}

/* ret_read: its bytes, none of a hole. */
static int cut_chunk(struct cutter *cutter, size_t index, size_t *ret_read)
{
	struct cut *cut = cutter->cut;
	struct manifest_chunk *chunk = &cut->chunks[index];
	uint64_t at = (uint64_t)index * CHUNK_SIZE;
	size_t len = chunk_len(cut->size, index), packed_len;
	const void *packed;
	int r;

	if (data_from(cut->fd, at) >= at + len) {
		chunk->zero = true;
		return 0;
	}
	*ret_read = len;
	r = read_whole(cut->fd, cutter->bytes, len, at, &cutter->err);
	if (r < 0)
		return r;
	if (chunk_is_zero(cutter->bytes, len)) {
		chunk->zero = true;
		return 0;
	}
	chunk->digest = sha256_of(cutter->bytes, len);
	r = cut->doubt
		    ? chunkstore_sound(cut->store, &chunk->digest, cutter->again, len, &cutter->err)
		    : chunkstore_has(cut->store, &chunk->digest);
	if (r != 0)
		return r < 0 ? r : 0;
	r = chunk_pack(
		cutter->coder, cut->level, cutter->bytes, len, &packed, &packed_len, &cutter->err);
	if (r < 0)
		return r;
	return chunkstore_put(cut->store, &chunk->digest, packed, packed_len, &cutter->err);
}

static void *cutter_run(void *arg)
{
	struct cutter *cutter = arg;
	struct cut *cut = cutter->cut;
	size_t index;

	while (!atomic_load(&cut->failed) && (index = atomic_fetch_add(&cut->next, 1)) < cut->n) {
		size_t read = 0;
		uint64_t done;

		cutter->result = cut_chunk(cutter, index, &read);
		if (cutter->result < 0) {
			atomic_store(&cut->failed, true);
			break;
		}
		done = atomic_fetch_add(&cut->done, read) + read;
		/* A file that is written meanwhile may have more. */
		if (cutter->progress && read > 0)
			cutter->progress(done < cut->data ? done : cut->data, cutter->arg);
	}
	return NULL;
}

static void cutter_init(struct cutter *cutter, struct cut *cut)
{
	*cutter = (struct cutter){.cut = cut, .coder = chunk_coder_new()};
	cutter->bytes = xcalloc(1, CHUNK_SIZE);
	cutter->again = xcalloc(1, CHUNK_SIZE);
}

static void cutter_done(struct cutter *cutter)
{
	chunk_coder_free(cutter->coder);
	free(cutter->bytes);
	free(cutter->again);
	error_free(cutter->err);
}

/* Runs all cutters, the first one here. The first error found is handed on. */
static int cutters_run(struct cutter *cutters, int n, struct error **err)
{
	pthread_t threads[CUT_THREADS_MAX];
	bool started[CUT_THREADS_MAX] = {false};
	int r = 0;

	for (int i = 1; i < n; i++)
		started[i] = pthread_create(&threads[i], NULL, cutter_run, &cutters[i]) == 0;
	cutter_run(&cutters[0]);
	for (int i = 1; i < n; i++)
		if (started[i])
			pthread_join(threads[i], NULL);
	for (int i = 0; i < n && r == 0; i++) {
		r = cutters[i].result;
		if (r < 0)
			error_make(err, r, "%s", error_text(cutters[i].err, r));
	}
	return r;
}

int cut_file(struct chunkstore *store, int fd, uint64_t size, int level, cut_progress_fn *progress,
	void *arg, struct manifest_part *ret_part, struct error **err)
{
	struct cut cut = {.store = store,
		.fd = fd,
		.size = size,
		.level = level,
		.doubt = chunkstore_doubtful(store),
		.n = chunk_count(size),
		.data = progress ? cut_bytes(fd, size) : 0};
	struct cutter cutters[CUT_THREADS_MAX];
	int n_cutters = (int)processors_usable(), r;

	if (n_cutters > CUT_THREADS_MAX)
		n_cutters = CUT_THREADS_MAX;

	cut.chunks = xcalloc(cut.n, sizeof(*cut.chunks));
	for (int i = 0; i < n_cutters; i++)
		cutter_init(&cutters[i], &cut);
	cutters[0].progress = progress;
	cutters[0].arg = arg;
	r = cutters_run(cutters, n_cutters, err);
	for (int i = 0; i < n_cutters; i++)
		cutter_done(&cutters[i]);
	if (r < 0) {
		free(cut.chunks);
		return r;
	}
	if (progress)
		progress(cut.data, arg);
	*ret_part = (struct manifest_part){.present = true, .size = size};
	ret_part->chunks.at = cut.chunks;
	ret_part->chunks.n = ret_part->chunks.cap = cut.n;
	return 0;
}
