/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Fetching an image.
 *
 * The goal names the image by digest over an authenticated channel; everything else, manifest and
 * chunks, comes over plain HTTP from a segment where anybody may answer, and is believed only when
 * its digest matches. Wrong chunks are asked for again; a source that sends three is given up with
 * that reason, because a source that lies once in a while would otherwise cost the night.
 *
 * Every chunk goes straight to its place in a sparse file, so no second copy is made. Resuming
 * keeps no list of what was done: each chunk that has data in the file is verified by its digest,
 * in parallel, and only what fails is fetched. SHA-256 runs faster than any classroom's wire, and a
 * list could lie after a power cut.
 *
 * The file `complete` is written after all data was synced. Until then the folder is nobody's base:
 * a VM never starts from half an image. A lock on the folder keeps two fetches of one image apart.
 *
 * The calling thread works too and reports progress. Memory: two buffers of a chunk per connection.
 */
#include "images/fetch.h"

#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sys/file.h>
#include <sys/stat.h>

#include "images/chunk.h"
#include "images/manifest.h"
#include "lib/file.h"
#include "lib/str.h"

enum {
	CONNECTIONS = 4,
	CONNECTIONS_MAX = 64,
	SILENCE_MS = 20000,
	TRIES = 3,	/* per chunk, for faults of the transport */
	WRONG_MAX = 3,	/* per source, for data that fails verification */
	PAUSE_MS = 200, /* before the second try; then twice that */
};

struct fetching {
	const struct fetch *job;
	char *folder;
	int lock;
	struct manifest manifest;
	int files[PART_COUNT]; /* -1: no such part */
	size_t n_chunks;       /* of all parts together */
	uint64_t total;
	atomic_size_t next;
	atomic_uint_fast64_t have, reused, received;
	atomic_uint wrong;
	atomic_bool stop;
};

struct fetcher {
	struct fetching *all;
	bool reports; /* the calling thread's */
	struct httpc *client;
	struct chunk_coder *coder;
	unsigned char *packed, *bytes;
	size_t packed_len;
	int result;
	struct error *err;
};

char *fetch_path(const char *dir, const char *digest, const char *file)
{
	return xasprintf("%s/%s/%s", dir, digest, file);
}

bool fetch_is_complete(const char *dir, const char *digest)
{
	auto_free char *path = NULL;

	if (!sha256_hex_ok(digest))
		return false;
	path = fetch_path(dir, digest, "complete");
	return access(path, F_OK) == 0;
}

static bool stopping(const struct fetching *all)
{
	return atomic_load(&all->stop) || (all->job->cancel && atomic_load(all->job->cancel));
}

static void report(const struct fetching *all)
{
	if (all->job->progress)
		all->job->progress(atomic_load(&all->have), all->total, all->job->arg);
}

static int receive(const void *bytes, size_t len, void *arg)
{
	struct fetcher *fetcher = arg;

	if (stopping(fetcher->all))
		return -ECANCELED;
	if (len > CHUNK_PACKED_MAX - fetcher->packed_len)
		return -E2BIG;
	memcpy(fetcher->packed + fetcher->packed_len, bytes, len);
	fetcher->packed_len += len;
	return 0;
}

/* One GET of one chunk. -EBADMSG: what came is not the chunk. */
static int chunk_get(
	struct fetcher *fetcher, const struct sha256 *digest, size_t len, struct error **err)
{
	struct fetching *all = fetcher->all;
	struct httpc_response response = {0};
	char hex[SHA256_TEXT];
	auto_free char *url = xasprintf("%s/chunks/%s", all->job->base, sha256_format(digest, hex));
	struct httpc_request request = {.method = "GET",
		.url = url,
		.timeout_ms = all->job->silence_ms ? (int)all->job->silence_ms : SILENCE_MS,
		.max_body = CHUNK_PACKED_MAX,
		.on_body = receive,
		.arg = fetcher};
	int r;

	fetcher->packed_len = 0;
	r = httpc_do(fetcher->client, &request, &response, err);
	if (r == 0 && response.status != 200)
		r = error_make(err, response.status == 404 ? -ENOENT : -EIO,
			"%s answered %d instead of a chunk", all->job->base, response.status);
	httpc_response_done(&response);
	if (r == -E2BIG)
		r = -EBADMSG;
	if (r < 0)
		return r;
	atomic_fetch_add(&all->received, fetcher->packed_len);
	return chunk_unpack(fetcher->coder, fetcher->packed, fetcher->packed_len, digest,
		fetcher->bytes, len, err);
}

/* Gets a verified chunk into fetcher->bytes, with patience. */
static int chunk_fetch(struct fetcher *fetcher, const struct sha256 *digest, size_t len)
{
	struct fetching *all = fetcher->all;
	int tries = 0;

	for (;;) {
		auto_error struct error *err = NULL;
		int r = chunk_get(fetcher, digest, len, &err);

		if (r == 0)
			return 0;
		if (stopping(all))
			return error_make(&fetcher->err, -ECANCELED, "the fetch was cancelled");
		if (r == -EBADMSG && atomic_fetch_add(&all->wrong, 1) + 1 >= WRONG_MAX)
			return error_make(&fetcher->err, r,
				"%s sent wrong data %d times and is given up (%s)", all->job->base,
				WRONG_MAX, error_text(err, r));
		if (r != -EBADMSG && ++tries == TRIES)
			return error_make(&fetcher->err, r, "%s", error_text(err, r));
		if (r != -EBADMSG)
			poll(NULL, 0, PAUSE_MS * tries);
	}
}

/* Is the right data at its place already? A place without data is not read. */
static bool chunk_in_place(
	struct fetcher *fetcher, int fd, uint64_t at, size_t len, const struct sha256 *digest)
{
	off_t data = lseek(fd, (off_t)at, SEEK_DATA);
	struct sha256 seen;
	size_t got = 0;

	if (data < 0 ? errno == ENXIO : (uint64_t)data >= at + len)
		return false;
	while (got < len) {
		ssize_t n = pread(fd, fetcher->bytes + got, len - got, (off_t)(at + got));

		if (n <= 0)
			return false;
		got += (size_t)n;
	}
	seen = sha256_of(fetcher->bytes, len);
	return memcmp(seen.b, digest->b, SHA256_LEN) == 0;
}

static int chunk_write(struct fetcher *fetcher, int fd, uint64_t at, size_t len)
{
	for (size_t done = 0; done < len;) {
		ssize_t n = pwrite(fd, fetcher->bytes + done, len - done, (off_t)(at + done));

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return error_make(&fetcher->err, -errno, "writing the image to %s: %s",
				fetcher->all->folder, strerror(errno));
		done += (size_t)n;
	}
	return 0;
}

/* Data where zeros belong can only stem from a file that was tampered with; a hole is put in its
 * place. */
static int chunk_clear(struct fetcher *fetcher, int fd, uint64_t at, size_t len)
{
	off_t data = lseek(fd, (off_t)at, SEEK_DATA);

	if (data < 0 || (uint64_t)data >= at + len)
		return 0;
	if (fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)at, (off_t)len) == 0)
		return 0;
	memset(fetcher->bytes, 0, len);
	return chunk_write(fetcher, fd, at, len);
}

/* Chunk number `number`, counted through all parts. */
static int chunk_bring(struct fetcher *fetcher, size_t number)
{
	struct fetching *all = fetcher->all;
	const struct manifest_part *part = all->manifest.parts;
	const struct manifest_chunk *chunk;
	size_t len;
	uint64_t at;
	int fd, r;

	for (; number >= part->chunks.n; part++)
		number -= part->chunks.n;
	fd = all->files[part - all->manifest.parts];
	chunk = &part->chunks.at[number];
	len = chunk_len(part->size, number);
	at = (uint64_t)number * CHUNK_SIZE;
	if (chunk->zero)
		return chunk_clear(fetcher, fd, at, len);
	if (chunk_in_place(fetcher, fd, at, len, &chunk->digest)) {
		atomic_fetch_add(&all->reused, len);
	} else {
		r = chunk_fetch(fetcher, &chunk->digest, len);
		if (r == 0)
			r = chunk_write(fetcher, fd, at, len);
		if (r < 0)
			return r;
	}
	atomic_fetch_add(&all->have, len);
	if (fetcher->reports)
		report(all);
	return 0;
}

static void *fetcher_run(void *arg)
{
	struct fetcher *fetcher = arg;
	struct fetching *all = fetcher->all;
	size_t number;

	while (!stopping(all) && (number = atomic_fetch_add(&all->next, 1)) < all->n_chunks) {
		fetcher->result = chunk_bring(fetcher, number);
		if (fetcher->result < 0) {
			atomic_store(&all->stop, true);
			break;
		}
	}
	return NULL;
}

static void fetcher_init(struct fetcher *fetcher, struct fetching *all)
{
	static const struct httpc_trust none;

	*fetcher = (struct fetcher){.all = all, .coder = chunk_coder_new()};
	fetcher->client = httpc_new(all->job->trust ? all->job->trust : &none);
	fetcher->packed = xcalloc(1, CHUNK_PACKED_MAX);
	fetcher->bytes = xcalloc(1, CHUNK_SIZE);
}

static void fetcher_done(struct fetcher *fetcher)
{
	httpc_free(fetcher->client);
	chunk_coder_free(fetcher->coder);
	free(fetcher->packed);
	free(fetcher->bytes);
	error_free(fetcher->err);
}

/* The reason of the first that failed by itself, rather than of one that was stopped by it. */
static int fetchers_result(const struct fetcher *fetchers, unsigned n, struct error **err)
{
	const struct fetcher *failed = NULL;

	for (unsigned i = 0; i < n; i++)
		if (fetchers[i].result < 0 && (!failed || failed->result == -ECANCELED))
			failed = &fetchers[i];
	if (!failed)
		return stopping(fetchers[0].all)
			       ? error_make(err, -ECANCELED, "the fetch was cancelled")
			       : 0;
	return error_make(err, failed->result, "%s", error_text(failed->err, failed->result));
}

static int chunks_fetch(struct fetching *all, struct error **err)
{
	unsigned n = all->job->connections ? all->job->connections : CONNECTIONS;
	struct fetcher fetchers[CONNECTIONS_MAX];
	pthread_t threads[CONNECTIONS_MAX];
	bool started[CONNECTIONS_MAX] = {false};
	int r;

	if (n > CONNECTIONS_MAX)
		n = CONNECTIONS_MAX;
	for (unsigned i = 0; i < n; i++)
		fetcher_init(&fetchers[i], all);
	fetchers[0].reports = true;
	for (unsigned i = 1; i < n; i++)
		started[i] = pthread_create(&threads[i], NULL, fetcher_run, &fetchers[i]) == 0;
	fetcher_run(&fetchers[0]);
	for (unsigned i = 1; i < n; i++)
		if (started[i])
			pthread_join(threads[i], NULL);
	r = fetchers_result(fetchers, n, err);
	for (unsigned i = 0; i < n; i++)
		fetcher_done(&fetchers[i]);
	report(all);
	return r;
}

static int manifest_get(struct fetching *all, char **ret_text, size_t *ret_len, struct error **err)
{
	static const struct httpc_trust none;
	const struct fetch *job = all->job;
	struct httpc *client = httpc_new(job->trust ? job->trust : &none);
	auto_free char *url = xasprintf("%s/manifests/%s", job->base, job->digest);
	struct httpc_request request = {.method = "GET",
		.url = url,
		.timeout_ms = job->silence_ms ? (int)job->silence_ms : SILENCE_MS,
		.max_body = MANIFEST_MAX_BYTES};
	struct httpc_response response = {0};
	int r = httpc_do(client, &request, &response, err);

	if (r == 0 && response.status != 200)
		r = error_make(err, response.status == 404 ? -ENOENT : -EIO,
			"%s answered %d instead of the manifest", job->base, response.status);
	if (r == 0) {
		*ret_text = TAKE_PTR(response.body);
		*ret_len = response.len;
	}
	httpc_response_done(&response);
	httpc_free(client);
	return r;
}

static bool digest_matches(const char *text, size_t len, const char *hex)
{
	struct sha256 digest = sha256_of(text, len);
	char seen[SHA256_TEXT];

	return strcmp(sha256_format(&digest, seen), hex) == 0;
}

/* The manifest of an earlier try, or a new one. */
static int manifest_load(struct fetching *all, struct error **err)
{
	auto_free char *path = xasprintf("%s/manifest", all->folder), *text = NULL;
	size_t len = 0;
	bool held = file_read(path, MANIFEST_MAX_BYTES, &text, &len, NULL) == 0 &&
		    digest_matches(text, len, all->job->digest);
	int r;

	if (!held) {
		free(TAKE_PTR(text));
		r = manifest_get(all, &text, &len, err);
		if (r < 0)
			return r;
		if (!digest_matches(text, len, all->job->digest))
			return error_make(err, -EBADMSG,
				"%s sent a manifest whose digest does not match", all->job->base);
	}
	r = manifest_read(text, len, &all->manifest, err);
	if (r == 0 && !held)
		r = file_write(path, text, len, 0644, err);
	return r;
}

static int part_open(struct fetching *all, enum manifest_part_kind kind, struct error **err)
{
	const struct manifest_part *part = &all->manifest.parts[kind];
	auto_free char *path = xasprintf(
		"%s/%s%s", all->folder, manifest_part_names[kind], kind == PART_DISK ? ".raw" : "");

	all->files[kind] = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (all->files[kind] < 0 || ftruncate(all->files[kind], (off_t)part->size) < 0)
		return error_make(err, -errno, "%s: %s", path, strerror(errno));
	return 0;
}

static int parts_open(struct fetching *all, struct error **err)
{
	int r = 0;

	for (int i = 0; i < PART_COUNT && r == 0; i++) {
		if (!all->manifest.parts[i].present)
			continue;
		r = part_open(all, i, err);
		all->n_chunks += all->manifest.parts[i].chunks.n;
	}
	return r;
}

/* All data is in place: make it last, then say so. */
static int finish(struct fetching *all, struct error **err)
{
	auto_free char *cmdline = xasprintf("%s/cmdline", all->folder);
	auto_free char *complete = xasprintf("%s/complete", all->folder);
	int r = 0;

	for (int i = 0; i < PART_COUNT; i++)
		if (all->files[i] >= 0 &&
			(fchmod(all->files[i], 0444) < 0 || fsync(all->files[i]) < 0))
			return error_make(err, -errno, "%s: %s", all->folder, strerror(errno));
	if (all->manifest.cmdline)
		r = file_write(
			cmdline, all->manifest.cmdline, strlen(all->manifest.cmdline), 0644, err);
	return r == 0 ? file_write(complete, "", 0, 0644, err) : r;
}

static int folder_lock(struct fetching *all, struct error **err)
{
	int r = file_mkdirs(all->folder, 0755, err);

	if (r < 0)
		return r;
	all->lock = open(all->folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (all->lock < 0)
		return error_make(err, -errno, "%s: %s", all->folder, strerror(errno));
	if (flock(all->lock, LOCK_EX | LOCK_NB) < 0)
		return error_make(err, -EBUSY, "this image is being fetched already");
	return 0;
}

static int fetch_run(struct fetching *all, struct error **err)
{
	int r = folder_lock(all, err);

	if (r == 0)
		r = manifest_load(all, err);
	if (r < 0)
		return r;
	all->total = manifest_data_bytes(&all->manifest);
	if (fetch_is_complete(all->job->dir, all->job->digest)) {
		atomic_store(&all->have, all->total);
		atomic_store(&all->reused, all->total);
		report(all);
		return 0;
	}
	report(all);
	r = parts_open(all, err);
	if (r == 0)
		r = chunks_fetch(all, err);
	return r == 0 ? finish(all, err) : r;
}

int fetch_image(const struct fetch *job, struct fetch_result *ret_result, struct error **err)
{
	struct fetching all = {.job = job, .lock = -1, .files = {-1, -1, -1}};
	int r;

	if (!sha256_hex_ok(job->digest))
		return error_field(
			err, -EINVAL, "digest", "an image digest has 64 lower-case hex digits");
	all.folder = xasprintf("%s/%s", job->dir, job->digest);
	r = fetch_run(&all, err);
	for (int i = 0; i < PART_COUNT; i++)
		if (all.files[i] >= 0)
			close(all.files[i]);
	if (all.lock >= 0)
		close(all.lock);
	if (r == 0 && ret_result)
		*ret_result = (struct fetch_result){.total = all.total,
			.reused = all.reused,
			.received = all.received,
			.wrong = all.wrong};
	manifest_done(&all.manifest);
	free(all.folder);
	return r < 0 ? error_wrap(err, r, "image %.12s", job->digest) : 0;
}
