/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Mark and sweep over the store's folders.
 *
 * Mark: the digests of all manifests, sorted in one array (32 bytes a chunk: 16 MiB for 128 GiB of
 * data). Sweep: every file under chunks/ whose name is not in the array. The two are only right
 * while nobody else writes, which the caller's lock ensures.
 *
 * Names that are not digests are nobody's business here: they are left alone, so that a stray file
 * of an administrator is not deleted, and they are never opened.
 */
#include "images/store_sweep.h"

#include <dirent.h>
#include <sys/stat.h>

#include "images/store_check.h"
#include "lib/file.h"
#include "lib/str.h"

static int digest_cmp(const void *a, const void *b)
{
	return memcmp(a, b, sizeof(struct sha256));
}

void digests_sort(struct digests *set)
{
	size_t kept = 0;

	if (set->n == 0)
		return;
	qsort(set->at, set->n, sizeof(*set->at), digest_cmp);
	for (size_t i = 1; i < set->n; i++)
		if (digest_cmp(&set->at[i], &set->at[kept]) != 0)
			set->at[++kept] = set->at[i];
	set->n = kept + 1;
}

bool digests_has(const struct digests *set, const struct sha256 *digest)
{
	return set->n > 0 && bsearch(digest, set->at, set->n, sizeof(*set->at), digest_cmp);
}

void digests_add_named(struct digests *set, const struct manifest *manifest)
{
	for (int i = 0; i < PART_COUNT; i++)
		vec_each (struct manifest_chunk, chunk, &manifest->parts[i].chunks)
			if (!chunk->zero)
				vec_push(set, chunk->digest);
}

/* Called with the path of each file whose name is a digest. */
typedef int visit_fn(const char *path, const struct sha256 *digest, void *arg, struct error **err);

static void cleanup_dir(DIR **dir)
{
	if (*dir)
		closedir(*dir);
}

static int visit_folder(const char *folder, visit_fn *visit, void *arg, struct error **err)
{
	__attribute__((cleanup(cleanup_dir))) DIR *dir = opendir(folder);
	struct dirent *entry;
	int r = 0;

	if (!dir)
		return errno == ENOENT ? 0
				       : error_make(err, -errno, "%s: %s", folder, strerror(errno));
	while (r == 0 && (errno = 0, entry = readdir(dir))) {
		auto_free char *path = xasprintf("%s/%s", folder, entry->d_name);
		struct sha256 digest;

		if (sha256_hex_ok(entry->d_name) && sha256_parse(entry->d_name, &digest) == 0)
			r = visit(path, &digest, arg, err);
	}
	if (r == 0 && errno)
		r = error_make(err, -errno, "%s: %s", folder, strerror(errno));
	return r;
}

static int visit_chunks(const char *dir, visit_fn *visit, void *arg, struct error **err)
{
	int r = 0;

	for (int i = 0; i < 256 && r == 0; i++) {
		auto_free char *folder = xasprintf("%s/chunks/%02x", dir, (unsigned)i);

		r = visit_folder(folder, visit, arg, err);
	}
	return r;
}

static int visit_named(
	const char *dir, const char *name, visit_fn *visit, void *arg, struct error **err)
{
	auto_free char *folder = xasprintf("%s/%s", dir, name);

	return visit_folder(folder, visit, arg, err);
}

int sweep_read_manifest(const char *dir, const struct sha256 *digest, struct manifest *ret_manifest,
	struct error **err)
{
	auto_free char *path = chunkstore_manifest_path(dir, digest);
	auto_free char *text = NULL;
	struct sha256 seen;
	size_t len;
	int r = file_read(path, MANIFEST_MAX_BYTES, &text, &len, err);

	if (r < 0)
		return r;
	seen = sha256_of(text, len);
	if (digest_cmp(&seen, digest) != 0)
		return error_make(
			err, -EBADMSG, "%s is damaged: its digest does not match its name", path);
	r = manifest_read(text, len, ret_manifest, err);
	return r < 0 ? error_wrap(err, r, "%s", path) : 0;
}

struct naming {
	const char *dir;
	struct strings names;
};

static int add_name(const char *path, const struct sha256 *digest, void *arg, struct error **err)
{
	struct naming *naming = arg;
	auto_manifest struct manifest manifest = {0};
	int r = sweep_read_manifest(naming->dir, digest, &manifest, err);

	(void)path;
	if (r == 0)
		vec_push(&naming->names, TAKE_PTR(manifest.name));
	return r;
}

int sweep_names(const char *dir, struct strings *ret_names, struct error **err)
{
	struct naming naming = {.dir = dir};
	int r = visit_named(dir, "manifests", add_name, &naming, err);

	if (r == 0)
		*ret_names = naming.names;
	else
		strings_done(&naming.names);
	return r;
}

void sweep_temps(const char *dir)
{
	auto_free char *folder = xasprintf("%s/tmp", dir);
	__attribute__((cleanup(cleanup_dir))) DIR *temps = opendir(folder);
	struct dirent *entry;

	while (temps && (entry = readdir(temps))) {
		auto_free char *path = xasprintf("%s/%s", folder, entry->d_name);

		if (entry->d_name[0] != '.')
			unlink(path);
	}
}

struct sweep {
	const char *dir;
	const struct digests *keep;
	bool dry;
	struct chunkstore_swept *swept;
	uint64_t *count; /* a member of swept */
};

static int remove_unkept(
	const char *path, const struct sha256 *digest, void *arg, struct error **err)
{
	struct sweep *sweep = arg;
	struct stat st;

	if (digests_has(sweep->keep, digest))
		return 0;
	if (lstat(path, &st) < 0 || (!sweep->dry && unlink(path) < 0))
		return error_make(err, -errno, "%s: %s", path, strerror(errno));
	*sweep->count += 1;
	sweep->swept->bytes += (uint64_t)st.st_size;
	return 0;
}

int sweep_manifests(const char *dir, const struct digests *live, bool dry,
	struct chunkstore_swept *swept, struct error **err)
{
	struct chunkstore_swept none = {0};
	struct sweep sweep = {.keep = live, .dry = dry, .swept = swept ? swept : &none};

	sweep.count = &sweep.swept->manifests;
	return visit_named(dir, "manifests", remove_unkept, &sweep, err);
}

/* What one failed reading put aside may be the only copy of a good chunk. */
static int return_or_remove(
	const char *path, const struct sha256 *digest, void *arg, struct error **err)
{
	struct sweep *sweep = arg;
	auto_free char *place = NULL;

	if (!chunkstore_can_return(sweep->dir, digest, path))
		return remove_unkept(path, digest, arg, err);
	place = chunkstore_chunk_path(sweep->dir, digest);
	if (!sweep->dry && rename(path, place) < 0)
		return error_make(err, -errno, "%s: %s", place, strerror(errno));
	return 0;
}

int sweep_others(const char *dir, const struct digests *live, bool dry,
	struct chunkstore_swept *swept, struct error **err)
{
	const struct digests nothing = {0};
	struct chunkstore_swept none = {0};
	struct sweep sweep = {
		.dir = dir, .keep = live, .dry = dry, .swept = swept ? swept : &none};
	int r;

	sweep.count = &sweep.swept->others;
	r = visit_named(dir, "traces", remove_unkept, &sweep, err);
	sweep.keep = &nothing;
	return r < 0 ? r : visit_named(dir, "quarantine", return_or_remove, &sweep, err);
}

struct mark {
	const char *dir;
	const struct digests *live; /* NULL: all */
	struct digests named;
};

static int mark_manifest(
	const char *path, const struct sha256 *digest, void *arg, struct error **err)
{
	struct mark *mark = arg;
	auto_manifest struct manifest manifest = {0};
	int r;

	(void)path;
	if (mark->live && !digests_has(mark->live, digest))
		return 0;
	r = sweep_read_manifest(mark->dir, digest, &manifest, err);
	if (r == 0)
		digests_add_named(&mark->named, &manifest);
	return r;
}

int sweep_chunks(const char *dir, const struct digests *live, bool dry,
	struct chunkstore_swept *swept, struct error **err)
{
	struct chunkstore_swept none = {0};
	struct mark mark = {.dir = dir, .live = live};
	struct sweep sweep = {.keep = &mark.named, .dry = dry, .swept = swept ? swept : &none};
	int r = visit_named(dir, "manifests", mark_manifest, &mark, err);

	if (r < 0)
		r = error_wrap(err, r, "no chunk was removed, because a manifest cannot be read");
	digests_sort(&mark.named);
	sweep.count = &sweep.swept->chunks;
	if (r == 0)
		r = visit_chunks(dir, remove_unkept, &sweep, err);
	vec_done(&mark.named);
	return r;
}
