/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Jobs over the chunk store. Reading an image takes a second for each 500 MB, so it is done by a
 * worker that has a copy of what it needs, and the request that asked for it is answered with a
 * number to come back with. Jobs live in memory: after a restart of the controller one is simply
 * asked for again.
 *
 * A sweep needs the store for itself: the lock is taken here on the loop thread, at a moment when
 * no import is running by the database either, and what must stay is counted under it. An import
 * that is asked for meanwhile waits at the lock. So no image can come in between the counting and
 * the sweep and be swept for not having been counted.
 *
 * Chunks that are served are looked at once each before the first host gets them. What a disk did
 * to a chunk is then told once, here, and not by thirty-two hosts; they check everything themselves
 * all the same. */
#include "controller/api/checks.h"

#include <stdatomic.h>
#include <sys/stat.h>
#include "controller/api/bootfiles.h"
#include "controller/api/http.h"
#include "controller/store/cluster.h"
#include "controller/store/image.h"
#include "controller/store/store.h"
#include "images/store_check.h"
#include "lib/clock.h"
#include "lib/log.h"

enum { JOBS_MAX = 32, RUNNING_MAX = 3, SEEN_MAX = 1 << 16, UNREAD_AGAIN_MS = 60000 };

enum job_kind { JOB_VERIFY, JOB_DIFF, JOB_GC };
static const char *const kind_names[] = {"verify", "diff", "gc"};

struct job {
	struct checks *checks;
	int64_t id;
	enum job_kind kind;
	char *dir, *name;
	uint64_t revision;
	struct sha256 image, other; /* DIFF: from image to other */
	/* shared with the worker */
	_Atomic uint64_t done, total;
	/* the worker's until the job is over */
	struct chunkstore *store; /* GC: open and alone */
	struct sha256 *live;
	size_t n_live;
	bool dry;
	struct chunkstore_check check;
	struct chunkstore_difference difference;
	struct chunkstore_swept swept;
	int result;
	struct error *err;
	bool over;
};
VEC_OF(jobs, struct job *);

/* A chunk file that was read and found good; or that the disk could not read, which is not tried again at once: a disk
 * that fails takes seconds for it, and hosts ask often. */
struct seen {
	struct sha256 digest;
	struct timespec changed;
	ino_t inode;
	int64_t unread_ms; /* 0: good */
};

struct checks {
	struct controller *controller;
	struct jobs jobs; /* oldest first */
	int64_t last_id;
	atomic_bool stop;
	struct seen *seen; /* SEEN_MAX places; by the first two bytes of the digest */
};

struct checks *checks_new(struct controller *controller)
{
	struct checks *checks = xnew(struct checks);
	checks->controller = controller;
	checks->seen = xcalloc(SEEN_MAX, sizeof(*checks->seen));
	checks->last_id = clock_wall_ms(); /* no number of the controller before this one */
	return checks;
}

void checks_stop(struct checks *checks)
{
	if (checks)
		atomic_store(&checks->stop, true);
}

static void job_free(struct job *job)
{
	chunkstore_close(job->store);
	chunkstore_check_done(&job->check);
	error_free(job->err);
	free(job->dir);
	free(job->name);
	free(job->live);
	free(job);
}

void checks_free(struct checks *checks)
{
	if (!checks)
		return;
	vec_each (struct job *, job, &checks->jobs)
		job_free(*job);
	vec_done(&checks->jobs);
	free(checks->seen);
	free(checks);
}

/* ---- in the worker ---- */

static void count(uint64_t done, uint64_t total, void *arg)
{
	struct job *job = arg;
	atomic_store(&job->total, total);
	atomic_store(&job->done, done);
}

static int run_verify(struct job *job)
{
	auto_chunkstore struct chunkstore *store = NULL;
	job->check.progress = count;
	job->check.arg = job;
	job->check.cancel = &job->checks->stop;
	int r = chunkstore_open(job->dir, CHUNKSTORE_READ, &store, &job->err);
	if (r >= 0)
		r = chunkstore_verify(store, &job->image, &job->check, &job->err);
	return r < 0 ? r : chunkstore_put_aside(job->dir, &job->check, &job->err);
}

static int run_diff(struct job *job)
{
	auto_chunkstore struct chunkstore *store = NULL;
	int r = chunkstore_open(job->dir, CHUNKSTORE_READ, &store, &job->err);
	return r < 0 ? r
		     : chunkstore_diff(
			       store, &job->image, &job->other, &job->difference, &job->err);
}

static int run_gc(struct job *job)
{
	int r = chunkstore_gc(job->store, job->live, job->n_live, job->dry, &job->swept, &job->err);
	chunkstore_close(TAKE_PTR(job->store)); /* imports go on */
	return r;
}

static void work(void *arg)
{
	struct job *job = arg;
	switch (job->kind) {
	case JOB_VERIFY:
		job->result = run_verify(job);
		break;
	case JOB_DIFF:
		job->result = run_diff(job);
		break;
	case JOB_GC:
		job->result = run_gc(job);
		break;
	}
}

/* ---- on the loop thread ---- */

static int tell_damage(
	const struct job *job, struct store *store, const char *subject, struct error **err)
{
	const struct chunkstore_check *check = &job->check;
	if (check->n_unread)
		return store_event(store, "image.damaged", subject, NULL, err,
			"image %s revision %d: %d of %d chunks are damaged or missing, and of these the "
			"lab server's disk cannot read %d; look at the disk",
			job->name, (int)job->revision, (int)check->n_damaged, (int)check->chunks,
			(int)check->n_unread);
	return store_event(store, "image.damaged", subject, NULL, err,
		"image %s revision %d: %d of %d chunks are damaged or missing; import the "
		"same files again to heal it",
		job->name, (int)job->revision, (int)check->n_damaged, (int)check->chunks);
}

static void tell(const struct job *job)
{
	struct store *store = job->checks->controller->store;
	auto_error struct error *err = NULL;
	auto_free char *subject =
		job->name ? xasprintf("image/%s", job->name) : xstrdup("lab/store");
	int r = store_begin(store, &err);
	if (r < 0)
		return;
	if (job->kind == JOB_VERIFY && job->check.n_damaged)
		r = tell_damage(job, store, subject, &err);
	if (job->kind == JOB_GC && !job->dry && job->swept.bytes)
		r = store_event(store, "image.swept", subject, NULL, &err,
			"the image store gave back %llu bytes of %d images and %d chunks",
			(unsigned long long)job->swept.bytes, (int)job->swept.manifests,
			(int)job->swept.chunks);
	r = store_end(store, r, &err);
	if (r < 0)
		log_error("images: %s", error_text(err, r));
}

static void done(void *arg)
{
	struct job *job = arg;
	auto_free char *topic = xasprintf("check/%lld", (long long)job->id);
	job->over = true;
	if (job->result < 0 && job->result != -ECANCELED)
		log_error(
			"images: %s: %s", kind_names[job->kind], error_text(job->err, job->result));
	else if (job->result >= 0)
		tell(job);
	http_wake(job->checks->controller->http, topic);
}

static bool same_work(const struct job *a, const struct job *b)
{
	return a->kind == b->kind && memcmp(&a->image, &b->image, sizeof(a->image)) == 0 &&
	       memcmp(&a->other, &b->other, sizeof(a->other)) == 0 && a->dry == b->dry;
}

/* The oldest that are over make room. */
static void forget(struct checks *checks)
{
	for (size_t i = 0; i < checks->jobs.n && checks->jobs.n >= JOBS_MAX;) {
		if (!checks->jobs.at[i]->over) {
			i++;
			continue;
		}
		job_free(checks->jobs.at[i]);
		vec_remove(&checks->jobs, i);
	}
}

/* Takes the job over, in any case. `kept`: one like it that is over will do. */
static int begin(
	struct checks *checks, struct job *job, bool kept, int64_t *ret_id, struct error **err)
{
	size_t running = 0;
	vec_each (struct job *, other, &checks->jobs) {
		running += !(*other)->over;
		if (!same_work(*other, job) || ((*other)->over && !(kept && (*other)->result >= 0)))
			continue;
		*ret_id = (*other)->id;
		job_free(job);
		return 0;
	}
	if (running >= RUNNING_MAX) {
		job_free(job);
		return error_make(err, -EBUSY,
			"%d checks of images are running; try again when one has ended",
			(int)running);
	}
	forget(checks);
	job->id = ++checks->last_id;
	*ret_id = job->id;
	vec_push(&checks->jobs, job);
	loop_work(checks->controller->loop, work, done, job);
	return 0;
}

static struct job *job_new(struct checks *checks, enum job_kind kind)
{
	struct job *job = xnew(struct job);
	job->checks = checks;
	job->kind = kind;
	job->dir = xasprintf("%s/store", checks->controller->config.state_dir);
	return job;
}

int checks_verify(
	struct checks *checks, const struct image *image, int64_t *ret_id, struct error **err)
{
	struct job *job = job_new(checks, JOB_VERIFY);
	job->name = xstrdup(image->name);
	job->revision = image->revision;
	sha256_parse(image->digest, &job->image);
	return begin(checks, job, false, ret_id, err);
}

int checks_diff(struct checks *checks, const struct image *from, const struct image *to,
	int64_t *ret_id, struct error **err)
{
	struct job *job = job_new(checks, JOB_DIFF);
	sha256_parse(from->digest, &job->image);
	sha256_parse(to->digest, &job->other);
	return begin(checks, job, true, ret_id, err);
}

static int no_import(struct store *store, struct error **err)
{
	struct imports imports = {0};
	int r = store_import_list(store, &imports, err);
	vec_each (struct import, import, &imports)
		if (r >= 0 && import->state == IMPORT_RUNNING)
			r = error_make(err, -EBUSY,
				"image %s is being imported; try again when that has ended",
				import->name);
	imports_done(&imports);
	return r;
}

static int count_live(const struct controller *controller, struct job *job, struct error **err)
{
	struct store *store = controller->store;
	struct images images = {0};
	struct clusters clusters = {0};
	const struct cluster_filter open = {.open_only = true};
	int r = store_image_list(store, NULL, &images, err);
	if (r >= 0)
		r = store_cluster_list(store, &open, &clusters, err);
	job->live = xcalloc(images.n + clusters.n + 1, sizeof(*job->live));
	job->n_live = bootfiles_root(controller->bootfiles, &job->live[0]) > 0;
	vec_each (struct image, image, &images)
		sha256_parse(image->digest, &job->live[job->n_live++]);
	vec_each (struct cluster, cluster, &clusters)
		sha256_parse(cluster->image, &job->live[job->n_live++]);
	images_done(&images);
	clusters_done(&clusters);
	return r;
}

int checks_gc(struct checks *checks, bool dry, int64_t *ret_id, struct error **err)
{
	const unsigned flags = CHUNKSTORE_WRITE | CHUNKSTORE_ALONE;
	struct job *job = job_new(checks, JOB_GC);
	job->dry = dry;
	vec_each (struct job *, other, &checks->jobs)
		if (!(*other)->over && same_work(*other, job)) {
			*ret_id = (*other)->id;
			job_free(job);
			return 0;
		}
	int r = no_import(checks->controller->store, err);
	if (r >= 0)
		r = chunkstore_open(job->dir, flags, &job->store, err);
	if (r >= 0)
		r = count_live(checks->controller, job, err);
	if (r < 0) {
		job_free(job);
		return r;
	}
	return begin(checks, job, false, ret_id, err);
}

/* ---- what became of it ---- */

static json_t *present_damage(const struct chunkstore_check *check)
{
	json_t *list = json_array();
	vec_each (struct chunk_damage, damage, &check->damaged) {
		char hex[SHA256_TEXT];
		json_array_append_new(list,
			json_pack("{s:s, s:I, s:s, s:s}", "part", manifest_part_names[damage->part],
				"number", (json_int_t)damage->number, "digest",
				sha256_format(&damage->digest, hex), "reason", damage->reason));
	}
	return list;
}

static json_t *present_result(const struct job *job)
{
	const struct chunkstore_difference *d = &job->difference;
	const struct chunkstore_swept *swept = &job->swept;
	switch (job->kind) {
	case JOB_VERIFY:
		return json_pack("{s:s, s:I, s:I, s:I, s:I, s:I, s:o}", "name", job->name,
			"revision", (json_int_t)job->revision, "chunks",
			(json_int_t)job->check.chunks, "bytes", (json_int_t)job->check.bytes,
			"damaged", (json_int_t)job->check.n_damaged, "unread",
			(json_int_t)job->check.n_unread, "list", present_damage(&job->check));
	case JOB_DIFF:
		return json_pack("{s:I, s:I, s:I, s:I, s:I, s:I}", "chunks", (json_int_t)d->chunks,
			"bytes", (json_int_t)d->bytes, "changed_chunks", (json_int_t)d->changed,
			"changed_bytes", (json_int_t)d->changed_bytes, "travel_chunks",
			(json_int_t)d->travel, "travel_bytes", (json_int_t)d->travel_bytes);
	case JOB_GC:
		return json_pack("{s:b, s:I, s:I, s:I, s:I}", "dry_run", job->dry, "images",
			(json_int_t)swept->manifests, "chunks", (json_int_t)swept->chunks, "others",
			(json_int_t)swept->others, "bytes", (json_int_t)swept->bytes);
	}
	return json_null();
}

int checks_present(struct checks *checks, int64_t id, json_t **ret_document, struct error **err)
{
	const struct job *job = NULL;
	vec_each (struct job *, candidate, &checks->jobs)
		if ((*candidate)->id == id)
			job = *candidate;
	if (!job)
		return error_make(err, -ENOENT,
			"there is no check %lld (any more); ask for a new one", (long long)id);
	bool good = job->over && job->result >= 0;
	*ret_document = json_pack("{s:I, s:s, s:s, s:I, s:I, s:s, s:o}", "id", (json_int_t)id,
		"kind", kind_names[job->kind], "state",
		good	    ? "done"
		: job->over ? "failed"
			    : "running",
		"done", (json_int_t)atomic_load(&job->done), "total",
		(json_int_t)atomic_load(&job->total), "reason",
		job->over && !good ? error_text(job->err, job->result) : "", "result",
		good ? present_result(job) : json_null());
	return 0;
}

/* ---- what is served ---- */

static bool known(const struct seen *seen, const struct sha256 *digest, const struct stat *st)
{
	return memcmp(&seen->digest, digest, sizeof(*digest)) == 0 && seen->inode == st->st_ino &&
	       seen->changed.tv_sec == st->st_ctim.tv_sec &&
	       seen->changed.tv_nsec == st->st_ctim.tv_nsec;
}

int checks_chunk(struct checks *checks, const struct sha256 *digest, int fd, struct error **err)
{
	struct seen *seen = &checks->seen[digest->b[0] << 8 | digest->b[1]];
	auto_free char *dir = xasprintf("%s/store", checks->controller->config.state_dir);
	struct stat st;
	bool is_known = fstat(fd, &st) == 0 && known(seen, digest, &st);
	if (is_known && seen->unread_ms == 0)
		return 0;
	if (is_known && clock_real_ms() < seen->unread_ms + UNREAD_AGAIN_MS)
		return error_make(err, -EIO, "the disk could not read it a moment ago");
	int r = chunkstore_verify_chunk(dir, digest, err);
	if (r == -EBADMSG)
		chunkstore_quarantine(dir, digest, NULL);
	if (r >= 0 || r == -EIO)
		*seen = (struct seen){*digest, st.st_ctim, st.st_ino, r < 0 ? clock_real_ms() : 0};
	return r;
}
