/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Fetching an image by HTTP: the last lane, which brings whatever nobody else has brought, from
 * peers that hold it and from the controller (fetch_sources.c chooses).
 *
 * The goal names the image by digest over an authenticated channel; everything else, manifest and
 * chunks, comes over plain HTTP from a segment where anybody may answer, and is believed only when
 * its digest matches. Wrong chunks are asked for again, elsewhere when there is another; a source
 * that sends three is given up with that reason.
 *
 * Chunks are put where all programs of the host share them (images/held.h): what another transport
 * has put meanwhile is not asked for, and what a VM waits for comes before all else. Then come
 * kernel and initrd, without which nothing starts, the chunks that a boot reads, and the rest.
 *
 * A lock on the folder keeps two fetches of one image apart. The calling thread works too and
 * reports progress. Memory: two buffers of a chunk per connection.
 */
#include "images/fetch.h"

#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sys/file.h>

#include "images/chunk.h"
#include "images/fetch_sources.h"
#include "images/held.h"
#include "images/lane.h"
#include "images/reuse.h"
#include "images/trace.h"
#include "lib/clock.h"
#include "lib/file.h"
#include "lib/str.h"

enum {
	CONNECTIONS = 4,
	CONNECTIONS_MAX = 64,
	TRIES = 3,	 /* per chunk, for faults of the transport */
	PEER_MS = 4000,	 /* a peer that sends nothing for that long has failed */
	PEER_TOTAL_MS = 15000, /* and so has one whose answer takes longer: bytes may drip */
	PAUSE_MS = 200,	 /* before the second try; then twice that */
	TAKEN_MS = 2000, /* a chunk that another is bringing should be here by then */
	MISSING_MAX = 64, /* chunks; a controller that lacks more of an image has lost it */
	URGENT_MS = 250, /* the bulk waits that long for a chunk that somebody waits for */
};

struct fetching {
	const struct fetch *job;
	char *folder;
	int lock;
	struct fetch_sources sources;
	struct held *held;
	size_t n_chunks;
	uint32_t *order; /* n_order numbers, in the order in which they are asked for */
	size_t n_order;
	_Atomic uint8_t *claimed; /* by number: a thread sees to it, or has done so */
	atomic_size_t next;	  /* in order; beyond it once more, for what others were bringing */
	atomic_size_t urgent;	  /* the wanted chunk that was asked for last */
	uint64_t reused;
	atomic_uint_fast64_t received;
	atomic_uint wrong;
	atomic_uint missing; /* chunks that nobody has */
	atomic_bool stop;
};

struct fetcher {
	struct fetching *all;
	bool reports;			   /* the calling thread's */
	struct lane *lanes[FETCH_SOURCES]; /* each opened when it is first needed */
	unsigned char *bytes;
	bool lacks; /* the controller, the chunk that was asked for last */
	int result;
	struct error *err, *missing; /* of the first chunk that nobody has */
};

char *fetch_path(const char *dir, const char *digest, const char *file)
{
	return xasprintf("%s/%s/%s", dir, digest, file);
}

bool fetch_is_complete(const char *dir, const char *digest)
{
	return held_is_complete(dir, digest);
}

static bool stopping(void *arg)
{
	const struct fetching *all = arg;

	return atomic_load(&all->stop) || (all->job->cancel && atomic_load(all->job->cancel));
}

static void report(const struct fetching *all)
{
	if (all->job->progress)
		all->job->progress(all->held ? held_have(all->held) : 0,
			all->held ? held_total(all->held) : 0, all->job->arg);
}

static struct lane *lane_for(struct fetching *all, int source)
{
	const struct fetch_source *from = &all->sources.at[source];
	unsigned silence_ms = all->job->silence_ms;

	if (!from->is_controller && (!silence_ms || silence_ms > PEER_MS))
		silence_ms = PEER_MS;
	const struct lane_options options = {.base = from->base,
		.trust = from->is_controller ? all->job->trust : NULL,
		.silence_ms = silence_ms,
		.total_ms = from->is_controller ? 0 : PEER_TOTAL_MS,
		.stopping = stopping,
		.arg = all};

	return lane_new(&options);
}

static void note_dropped(const struct fetching *all, int source)
{
	auto_free char *text = xasprintf("%s sent wrong data %d times and is not asked again",
		all->sources.at[source].base, FETCH_WRONG_MAX);

	if (all->job->note)
		all->job->note(text, all->job->arg);
}

static enum fetch_outcome outcome_of(int r)
{
	return r == 0	       ? FETCH_GOT
	       : r == -ENOENT  ? FETCH_LACKS
	       : r == -EBADMSG ? FETCH_WRONG
			       : FETCH_FAULT;
}

/* Asks one source, and says how that went. */
static int chunk_ask(
	struct fetcher *fetcher, int source, const struct held_chunk *chunk, struct error **err)
{
	struct fetching *all = fetcher->all;
	int64_t begin = clock_real_ms(), end;
	uint64_t received;
	int r;

	if (!fetcher->lanes[source])
		fetcher->lanes[source] = lane_for(all, source);
	r = lane_chunk(fetcher->lanes[source], chunk, fetcher->bytes, &received, err);
	end = clock_real_ms();
	atomic_fetch_add(&all->received, received);
	if (r == -EBADMSG)
		atomic_fetch_add(&all->wrong, 1);
	if (all->sources.at[source].is_controller)
		fetcher->lacks = r == -ENOENT;
	if (fetch_sources_end(&all->sources, source, outcome_of(r), received, end - begin, end))
		note_dropped(all, source);
	return r;
}

/* The controller knows best, whatever the peer said that was asked after it. */
static int lost(struct fetcher *fetcher, const struct held_chunk *chunk)
{
	char hex[SHA256_TEXT];

	return error_make(&fetcher->err, -ENOENT, "%s does not have chunk %s", fetcher->all->job->base,
		sha256_format(&chunk->digest, hex));
}

/* Gets a verified chunk into fetcher->bytes, with patience: every source is asked once, then all of
 * them again. */
static int chunk_fetch(struct fetcher *fetcher, const struct held_chunk *chunk)
{
	struct fetching *all = fetcher->all;
	auto_error struct error *last = NULL;
	unsigned tried = 0, tries = 0;
	bool faulty = false;
	int r = -EBADMSG;

	for (;;) {
		int source = fetch_sources_pick(&all->sources, tried, clock_real_ms());

		if (source >= 0) {
			error_free(TAKE_PTR(last));
			r = chunk_ask(fetcher, source, chunk, &last);
			tried |= 1u << source;
			faulty |= r != -EBADMSG;
		} else if (!fetch_sources_left(&all->sources)) {
			/* Who never asked, or was stopped, knows no reason; the one who was
			 * answered last tells it. */
			return error_make(&fetcher->err,
				last && r == -EBADMSG ? -EBADMSG : -ECANCELED,
				"%s sent wrong data %d times and is given up (%s)",
				all->sources.n > 1 ? "everybody" : all->job->base, FETCH_WRONG_MAX,
				error_text(last, r));
		} else {
			if (faulty && ++tries == TRIES)
				return fetcher->lacks
					       ? lost(fetcher, chunk)
					       : error_make(&fetcher->err, r, "%s", error_text(last, r));
			if (faulty)
				poll(NULL, 0, PAUSE_MS * (int)tries);
			tried = 0;
			faulty = false;
		}
		if (r == 0)
			return 0;
		/* Another may have stopped all because nobody is left; who asked knows why. */
		if (stopping(all) && fetch_sources_left(&all->sources))
			return error_make(&fetcher->err, -ECANCELED, "the fetch was cancelled");
	}
}

static int chunk_bring(struct fetcher *fetcher, size_t number)
{
	struct held *held = fetcher->all->held;
	struct held_chunk chunk;
	int r = 0;

	if (!held_take(held, number) && held_wait(held, number, TAKEN_MS) == 0)
		return 0;
	held_chunk_at(held, number, &chunk);
	fetcher->lacks = false;
	r = chunk_fetch(fetcher, &chunk);
	if (r == 0)
		r = held_put(held, number, fetcher->bytes, &fetcher->err);
	if (r < 0)
		held_untake(held, number);
	else if (fetcher->reports)
		report(fetcher->all);
	return r;
}

static bool claim(struct fetching *all, size_t number)
{
	return atomic_exchange(&all->claimed[number], 1) == 0;
}

static bool limited(const struct fetching *all)
{
	uint64_t limit = held_limit(all->held);

	return limit && limit < held_total(all->held);
}

/* Room for what of the disk nobody waits for. Kernel and initrd need none: what a cast brought of
 * the disk makes room for them. */
static bool has_room(const struct fetching *all)
{
	return !limited(all) || held_have(all->held) + CHUNK_SIZE <= held_limit(all->held);
}

/* A chunk that a reader waits for, n_chunks: none. */
static size_t chunk_wanted(struct fetching *all)
{
	size_t number = held_next_wanted(all->held, 0);

	while (number < all->n_chunks && !claim(all, number))
		number = held_next_wanted(all->held, number + 1);
	if (number < all->n_chunks)
		atomic_store(&all->urgent, number);
	return number;
}

/* The next in order. The first time round, what another is bringing is passed over. */
static size_t chunk_in_order(struct fetching *all)
{
	size_t disk_end = held_number(all->held, PART_KERNEL, 0), place, number;

	while ((place = atomic_fetch_add(&all->next, 1)) < 2 * all->n_order) {
		number = all->order[place % all->n_order];
		if (number < disk_end && !has_room(all))
			break;
		if (place < all->n_order && held_is_taken(all->held, number))
			continue;
		if (!held_has(all->held, number) && claim(all, number))
			return number;
	}
	return all->n_chunks;
}

/* The chunk to bring next, n_chunks: none. While a wanted chunk is on its way it has the wire for
 * itself. */
static size_t chunk_next(struct fetching *all)
{
	size_t number = chunk_wanted(all), urgent;

	if (number < all->n_chunks)
		return number;
	urgent = atomic_load(&all->urgent);
	if (urgent < all->n_chunks && held_wait(all->held, urgent, URGENT_MS) == 0)
		atomic_compare_exchange_strong(&all->urgent, &urgent, all->n_chunks);
	number = chunk_wanted(all);
	return number < all->n_chunks ? number : chunk_in_order(all);
}

/* After this result of bringing a chunk. A controller that does not answer, or that lies, will not
 * do better at the next chunk; one that lacks a single chunk will. */
static bool goes_on(struct fetcher *fetcher, size_t number, int r)
{
	struct fetching *all = fetcher->all;

	if (r == 0)
		return true;
	if (r != -ENOENT || !fetcher->lacks || atomic_fetch_add(&all->missing, 1) >= MISSING_MAX)
		return false;
	/* Nobody leaves the wire to it any longer. */
	atomic_compare_exchange_strong(&all->urgent, &number, all->n_chunks);
	if (fetcher->missing)
		error_free(TAKE_PTR(fetcher->err));
	else
		fetcher->missing = TAKE_PTR(fetcher->err);
	return true;
}

static void *fetcher_run(void *arg)
{
	struct fetcher *fetcher = arg;
	struct fetching *all = fetcher->all;
	size_t number;

	while (!stopping(all) && (number = chunk_next(all)) < all->n_chunks) {
		int r = chunk_bring(fetcher, number);

		if (!goes_on(fetcher, number, r)) {
			fetcher->result = r;
			atomic_store(&all->stop, true);
			break;
		}
	}
	return NULL;
}

static void fetcher_init(struct fetcher *fetcher, struct fetching *all)
{
	*fetcher = (struct fetcher){.all = all};
	fetcher->bytes = xcalloc(1, CHUNK_SIZE);
}

static void fetcher_done(struct fetcher *fetcher)
{
	for (int i = 0; i < FETCH_SOURCES; i++)
		lane_free(fetcher->lanes[i]);
	free(fetcher->bytes);
	error_free(fetcher->err);
	error_free(fetcher->missing);
}

static int missing_result(const struct fetcher *fetchers, unsigned n, struct error **err)
{
	unsigned missing = atomic_load(&fetchers->all->missing);

	for (unsigned i = 0; i < n; i++)
		if (fetchers[i].missing)
			return error_make(err, -ENOENT,
				"nobody has %u of its chunks: %s; importing the same files again brings "
				"back what is missing",
				missing, fetchers[i].missing->text);
	return 0;
}

/* The reason of the first that failed by itself, rather than of one that was stopped by it. */
static int fetchers_result(const struct fetcher *fetchers, unsigned n, struct error **err)
{
	const struct fetcher *failed = NULL;

	for (unsigned i = 0; i < n; i++)
		if (fetchers[i].result < 0 && (!failed || failed->result == -ECANCELED))
			failed = &fetchers[i];
	if (!failed && stopping(fetchers[0].all))
		return error_make(err, -ECANCELED, "the fetch was cancelled");
	if (!failed)
		return missing_result(fetchers, n, err);
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

/* From whoever has it: it is believed by its digest. Nothing else can begin before it is here, so
 * the controller is asked as soon as one peer has failed, and the others only if it fails too. */
static int manifest_get(struct fetching *all, char **ret_text, size_t *ret_len, struct error **err)
{
	const unsigned controller = all->sources.n - 1;
	auto_error struct error *reason = NULL;
	int r = -ENOENT, failed = -ECANCELED;

	for (unsigned i = 0; i <= controller && r < 0 && !stopping(all); i++) {
		unsigned source = i == 0 ? 0 : i == 1 ? controller : i - 1;
		bool last_word = source == controller;
		auto_lane struct lane *lane = lane_for(all, (int)source);

		r = lane_manifest(lane, all->job->digest, ret_text, ret_len,
			last_word ? &reason : NULL);
		if (last_word)
			failed = r;
	}
	return r < 0 ? error_make(err, failed, "%s", error_text(reason, failed)) : 0;
}

/* What is held of an earlier try, or an empty image. */
static int image_open(struct fetching *all, struct error **err)
{
	const struct fetch *job = all->job;
	auto_free char *text = NULL;
	size_t len = 0;
	int r;

	if (held_open(job->dir, job->digest, &all->held, NULL) == 0)
		return 0;
	r = manifest_get(all, &text, &len, err);
	return r < 0 ? r : held_create(job->dir, job->digest, text, len, &all->held, err);
}

/* A source without a trace, or with one that is none, is no reason to fail. */
static void trace_get(struct fetching *all, struct trace *ret_trace)
{
	auto_lane struct lane *lane = lane_for(all, (int)all->sources.n - 1);
	auto_free char *text = NULL;
	size_t len = 0;

	if (lane_trace(lane, all->job->digest, &text, &len, NULL) == 0)
		trace_read(text, len, all->n_chunks, ret_trace, NULL);
}

/* Kernel and initrd, then the disk in the order of the trace, then by number. */
static void order_make(struct fetching *all)
{
	size_t disk_end = held_number(all->held, PART_KERNEL, 0), n = 0;
	auto_free uint8_t *placed = xcalloc(all->n_chunks, 1);
	struct trace trace = {0};

	all->order = xcalloc(all->n_chunks, sizeof(*all->order));
	all->claimed = xcalloc(all->n_chunks, sizeof(*all->claimed));
	for (size_t i = disk_end; i < all->n_chunks; i++)
		placed[all->order[n++] = (uint32_t)i] = 1;
	all->n_order = n;
	if (all->job->start_only)
		return;
	trace_get(all, &trace);
	vec_each (uint32_t, number, &trace)
		if (!placed[*number])
			placed[all->order[n++] = *number] = 1;
	for (size_t i = 0; i < disk_end; i++)
		if (!placed[i])
			all->order[n++] = (uint32_t)i;
	all->n_order = n;
	vec_done(&trace);
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

/* What other images here have of it need not come over the wire. */
static int copy_held(struct fetching *all, struct error **err)
{
	const struct fetch *job = all->job;
	uint64_t bytes;

	if (job->start_only || limited(all))
		return 0;
	return held_reuse(all->held, job->dir, job->digest, job->cancel, &bytes, err);
}

static int fetch_run(struct fetching *all, struct error **err)
{
	int r = folder_lock(all, err);

	if (r == 0)
		r = image_open(all, err);
	if (r < 0)
		return r;
	all->n_chunks = held_count(all->held);
	atomic_store(&all->urgent, all->n_chunks);
	if (all->job->room && !fetch_is_complete(all->job->dir, all->job->digest))
		held_set_limit(
			all->held, all->job->room < held_total(all->held) ? all->job->room : 0);
	if (all->job->manifest_only)
		return 0;
	r = copy_held(all, err);
	if (r < 0)
		return r;
	all->reused = held_have(all->held);
	report(all);
	if (fetch_is_complete(all->job->dir, all->job->digest))
		return 0;
	if (all->reused < held_total(all->held)) {
		order_make(all);
		r = chunks_fetch(all, err);
	}
	if (r == 0 && !limited(all) && !all->job->start_only)
		r = held_finish(all->held, err);
	return r;
}

int fetch_image(const struct fetch *job, struct fetch_result *ret_result, struct error **err)
{
	struct fetching all = {.job = job, .lock = -1};
	int r;

	if (!sha256_hex_ok(job->digest))
		return error_field(
			err, -EINVAL, "digest", "an image digest has 64 lower-case hex digits");
	all.folder = xasprintf("%s/%s", job->dir, job->digest);
	fetch_sources_init(&all.sources, job->peers, job->n_peers, job->base);
	r = fetch_run(&all, err);
	if (all.lock >= 0)
		close(all.lock);
	if (r == 0 && ret_result)
		*ret_result = (struct fetch_result){.total = held_total(all.held),
			.reused = all.reused,
			.received = all.received,
			.wrong = all.wrong};
	held_close(all.held);
	fetch_sources_done(&all.sources);
	free(all.order);
	free(all.claimed);
	free(all.folder);
	return r < 0 ? error_wrap(err, r, "image %.12s", job->digest) : 0;
}
