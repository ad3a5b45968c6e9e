/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The content-addressed store.
 *
 * A crash at any moment leaves a valid store, by the order of writing alone: a file gets its final
 * name when it is whole, and a manifest comes after its chunks. What a crash leaves is rubbish that
 * nothing names: files in tmp/ and chunks of an import that did not end. The next writer that finds
 * itself alone removes it.
 *
 * That sweep is also what makes one flush enough. Chunks are not synced one by one; the file system
 * is synced once before the manifest is linked. After a power cut a chunk without manifest may hold
 * anything, but then it is swept before a later import could take it for a chunk it need not store
 * again. A writer that could not sweep, because it was not alone, because it takes up what was
 * left, or because a manifest cannot be read, reads each chunk before it believes it.
 *
 * Writers share an open-file-description lock on STORE/lock, a sweep needs it alone. So an import
 * can rely on every chunk it found or put until its manifest is there, and two imports never undo
 * each other's work. Readers take no lock: what a live manifest names is never removed, and a file
 * in use stays readable.
 *
 * "Unknown is not absent": when a manifest cannot be read, a sweep removes nothing.
 */
#include "images/store.h"

#include <fcntl.h>
#include <stdatomic.h>
#include <sys/stat.h>

#include "images/chunk.h"
#include "images/store_sweep.h"
#include "lib/file.h"
#include "lib/space.h"

struct chunkstore {
	char *dir;
	unsigned flags;
	int lock; /* -1 for readers */
	bool doubtful;
	atomic_uint temps;
};

char *chunkstore_chunk_path(const char *dir, const struct sha256 *digest)
{
	char hex[SHA256_TEXT];

	sha256_format(digest, hex);
	return xasprintf("%s/chunks/%.2s/%s", dir, hex, hex);
}

char *chunkstore_manifest_path(const char *dir, const struct sha256 *digest)
{
	char hex[SHA256_TEXT];

	return xasprintf("%s/manifests/%s", dir, sha256_format(digest, hex));
}

char *chunkstore_temp_path(struct chunkstore *store)
{
	return xasprintf(
		"%s/tmp/%ld-%u", store->dir, (long)getpid(), atomic_fetch_add(&store->temps, 1));
}

/* Sets the whole-file lock; waits or not. An attempt that fails keeps what was held before. */
static int lock_set(int fd, short type, bool wait)
{
	struct flock lock = {.l_type = type, .l_whence = SEEK_SET};

	while (fcntl(fd, wait ? F_OFD_SETLKW : F_OFD_SETLK, &lock) < 0)
		if (errno != EINTR)
			return -errno;
	return 0;
}

static int store_folders(const char *dir, struct error **err)
{
	static const char *const names[] = {"chunks", "manifests", "tmp"};

	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		auto_free char *path = xasprintf("%s/%s", dir, names[i]);
		int r = file_mkdirs(path, 0755, err);

		if (r < 0)
			return r;
	}
	return 0;
}

/* Takes the lock for this writer alone: 0, -EBUSY while there are others, or what the file system
 * says of the lock. */
static int lock_alone(const struct chunkstore *store, struct error **err)
{
	int r = lock_set(store->lock, F_WRLCK, false);

	if (r == -EAGAIN || r == -EACCES)
		return error_make(err, -EBUSY,
			"others write to it (an import, a sweep, or the hosts' root image being "
			"stored); try again when they have ended");
	return r < 0 ? error_make(err, r, "its lock cannot be taken: %s", strerror(-r)) : 0;
}

static int writer_enter(struct chunkstore *store, struct error **err)
{
	auto_free char *path = xasprintf("%s/lock", store->dir);
	int r;

	store->lock = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (store->lock < 0)
		return error_make(err, -errno, "%s: %s", path, strerror(errno));
	if (store->flags & CHUNKSTORE_ALONE)
		return lock_alone(store, err);
	store->doubtful = true;
	if (lock_set(store->lock, F_WRLCK, false) == 0) {
		/* Alone. A sweep that fails removed too little, never too much; put and get are not
		 * hindered. */
		sweep_temps(store->dir);
		if (!(store->flags & CHUNKSTORE_KEEP))
			store->doubtful = sweep_chunks(store->dir, NULL, false, NULL, NULL) < 0;
	}
	r = lock_set(store->lock, F_RDLCK, true);
	return r < 0 ? error_make(err, r, "%s: %s", path, strerror(-r)) : 0;
}

int chunkstore_open(
	const char *dir, unsigned flags, struct chunkstore **ret_store, struct error **err)
{
	auto_chunkstore struct chunkstore *store = xnew(struct chunkstore);
	int r;

	store->dir = xstrdup(dir);
	store->flags = flags;
	store->lock = -1;
	r = store_folders(dir, err);
	if (r == 0 && flags & CHUNKSTORE_WRITE)
		r = writer_enter(store, err);
	if (r < 0)
		return error_wrap(err, r, "image store %s", dir);
	*ret_store = TAKE_PTR(store);
	return 0;
}

void chunkstore_close(struct chunkstore *store)
{
	if (!store)
		return;
	if (store->lock >= 0)
		close(store->lock);
	free(store->dir);
	free(store);
}

const char *chunkstore_dir(const struct chunkstore *store)
{
	return store->dir;
}

bool chunkstore_has(const struct chunkstore *store, const struct sha256 *digest)
{
	auto_free char *path = chunkstore_chunk_path(store->dir, digest);

	return access(path, F_OK) == 0;
}

/* Links the finished temporary file to its name; an equal file that is there stays. */
static int link_new(const char *temp, const char *path)
{
	return link(temp, path) == 0 || errno == EEXIST ? 0 : -errno;
}

static int temp_write(const char *temp, const void *bytes, size_t len, bool sync)
{
	auto_close int fd = open(temp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
	int r;

	if (fd < 0)
		return -errno;
	r = fd_write_all(fd, bytes, len);
	if (r == 0 && sync && fsync(fd) < 0)
		r = -errno;
	return r;
}

int chunkstore_put(struct chunkstore *store, const struct sha256 *digest, const void *packed,
	size_t packed_len, struct error **err)
{
	auto_free char *path = chunkstore_chunk_path(store->dir, digest);
	auto_free char *temp = chunkstore_temp_path(store);
	int r;

	if (access(path, F_OK) == 0)
		return 0;
	r = space_check(store->lock, packed_len, err);
	if (r < 0)
		return r;
	r = temp_write(temp, packed, packed_len, false);
	if (r == 0)
		r = link_new(temp, path);
	if (r == -ENOENT) { /* the first chunk of its folder */
		auto_free char *folder = xstrndup(path, (size_t)(strrchr(path, '/') - path));

		r = mkdir(folder, 0755) == 0 || errno == EEXIST ? link_new(temp, path) : -errno;
	}
	unlink(temp);
	if (r == -ENOSPC)
		return space_full(store->lock, err);
	if (r < 0)
		return error_make(err, r, "storing a chunk in %s: %s", store->dir, strerror(-r));
	return 0;
}

int chunkstore_get(const struct chunkstore *store, const struct sha256 *digest, void *out,
	size_t len, struct error **err)
{
	auto_free char *path = chunkstore_chunk_path(store->dir, digest);
	auto_chunk_coder struct chunk_coder *coder = NULL;
	auto_free char *packed = NULL;
	size_t packed_len;
	int r = file_read(path, CHUNK_PACKED_MAX, &packed, &packed_len, err);

	if (r < 0)
		return r;
	coder = chunk_coder_new();
	r = chunk_unpack(coder, packed, packed_len, digest, out, len, err);
	return r < 0 ? error_wrap(err, r, "image store %s", store->dir) : 0;
}

bool chunkstore_doubtful(const struct chunkstore *store)
{
	return store->doubtful;
}

int chunkstore_sound(struct chunkstore *store, const struct sha256 *digest, void *scratch,
	size_t len, struct error **err)
{
	auto_free char *path = chunkstore_chunk_path(store->dir, digest);
	auto_error struct error *why = NULL;
	int r = chunkstore_get(store, digest, scratch, len, &why);

	if (r == 0)
		return 1;
	if (r == -ENOENT)
		return 0;
	if (!chunk_is_damage(r))
		return error_make(err, r, "%s", error_text(why, r));
	if (unlink(path) < 0 && errno != ENOENT)
		return error_make(err, -errno, "%s is damaged and cannot be removed: %s", path,
			strerror(errno));
	return 0;
}

static int folder_sync(const char *dir, const char *name)
{
	auto_free char *path = xasprintf("%s/%s", dir, name);
	auto_close int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	return fd < 0 || fsync(fd) < 0 ? -errno : 0;
}

/* Everything written so far reaches the disk, then the manifest does. */
static int manifest_link(struct chunkstore *store, const char *text, const char *path)
{
	auto_free char *temp = chunkstore_temp_path(store);
	bool sync = store->flags & CHUNKSTORE_SYNC;
	int r = 0;

	if (sync && syncfs(store->lock) < 0)
		r = -errno;
	if (r == 0)
		r = temp_write(temp, text, strlen(text), sync);
	if (r == 0)
		r = link_new(temp, path);
	unlink(temp);
	if (r == 0 && sync)
		r = folder_sync(store->dir, "manifests");
	return r;
}

int chunkstore_put_manifest(struct chunkstore *store, const struct manifest *manifest,
	struct sha256 *ret_digest, struct error **err)
{
	auto_free char *text = manifest_write(manifest);
	struct sha256 digest = sha256_of(text, strlen(text));
	auto_free char *path = chunkstore_manifest_path(store->dir, &digest);
	int r;

	if (strlen(text) > MANIFEST_MAX_BYTES)
		return error_make(err, -E2BIG,
			"image %s holds too much data: its manifest has %zu bytes", manifest->name,
			strlen(text));
	for (int i = 0; i < PART_COUNT; i++)
		vec_each (struct manifest_chunk, chunk, &manifest->parts[i].chunks)
			if (!chunk->zero && !chunkstore_has(store, &chunk->digest))
				return error_make(err, -ENOENT,
					"image %s: chunk %zu of its %s is not in the store",
					manifest->name,
					(size_t)(chunk - manifest->parts[i].chunks.at),
					manifest_part_names[i]);
	r = manifest_link(store, text, path);
	if (r < 0)
		return error_make(err, r, "%s: %s", path, strerror(-r));
	*ret_digest = digest;
	return 0;
}

int chunkstore_get_manifest(const struct chunkstore *store, const struct sha256 *digest,
	struct manifest *ret_manifest, struct error **err)
{
	return sweep_read_manifest(store->dir, digest, ret_manifest, err);
}

int chunkstore_names(const struct chunkstore *store, struct strings *ret_names, struct error **err)
{
	return sweep_names(store->dir, ret_names, err);
}

static int sweep_live(const char *dir, const struct digests *live, bool dry,
	struct chunkstore_swept *swept, struct error **err)
{
	int r = sweep_manifests(dir, live, dry, swept, err);

	if (r == 0)
		r = sweep_chunks(dir, dry ? live : NULL, dry, swept, err);
	return r < 0 ? r : sweep_others(dir, live, dry, swept, err);
}

/* `live` NULL: only what no manifest names. */
static int sweep_alone(struct chunkstore *store, const struct digests *live, bool dry,
	struct chunkstore_swept *ret_swept, struct error **err)
{
	struct chunkstore_swept swept = {0};
	int r;

	if (store->lock < 0)
		return error_make(
			err, -EINVAL, "image store %s is open for reading only", store->dir);
	r = lock_alone(store, err);
	if (r < 0)
		return error_wrap(err, r, "image store %s", store->dir);
	if (!dry)
		sweep_temps(store->dir);
	r = live ? sweep_live(store->dir, live, dry, &swept, err)
		 : sweep_chunks(store->dir, NULL, dry, &swept, err);
	lock_set(store->lock, F_RDLCK, true);
	if (r == 0 && ret_swept)
		*ret_swept = swept;
	return r;
}

int chunkstore_gc(struct chunkstore *store, const struct sha256 *live, size_t n, bool dry,
	struct chunkstore_swept *ret_swept, struct error **err)
{
	struct digests set = {0};
	int r;

	for (size_t i = 0; i < n; i++)
		vec_push(&set, live[i]);
	digests_sort(&set);
	r = sweep_alone(store, &set, dry, ret_swept, err);
	vec_done(&set);
	return r;
}

int chunkstore_sweep(
	struct chunkstore *store, struct chunkstore_swept *ret_swept, struct error **err)
{
	return sweep_alone(store, NULL, false, ret_swept, err);
}

int chunkstore_stored(const struct chunkstore *store, const struct manifest *manifest,
	uint64_t *ret_bytes, struct error **err)
{
	struct digests named = {0};
	uint64_t bytes = 0;
	int r = 0;

	digests_add_named(&named, manifest);
	digests_sort(&named);
	for (size_t i = 0; i < named.n && r == 0; i++) {
		auto_free char *path = chunkstore_chunk_path(store->dir, &named.at[i]);
		struct stat st;

		if (stat(path, &st) < 0)
			r = error_make(err, -errno, "%s: %s", path, strerror(errno));
		else
			bytes += (uint64_t)st.st_size;
	}
	vec_done(&named);
	if (r == 0)
		*ret_bytes = bytes;
	return r;
}
