/* SPDX-License-Identifier: GPL-2.0-or-later */
/* An image in part, opened: its folder, its sparse files, and the map in shared memory beside them.
 *
 * The map holds for one boot. Whoever opens first in a boot checks all that lies there
 * (held_check.c) with everybody else kept out by a lock of the kernel's, which ends with its
 * holder; killed in the middle, the next opener begins anew, since the boot's id is written last.
 * Later ones map it and go on. What the words of the map mean is said in held_chunks.c.
 *
 * `complete` names the boot too: an image that was whole yesterday must be looked at before a VM
 * stands on it. The manifest is checked at every opening, because its digest is all that a host
 * knows of an image. Files of a whole image are made read-only: a base is shared by all overlays.
 */
#include "images/held_inside.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "images/chunk.h"
#include "lib/file.h"
#include "lib/str.h"

/* ---- opening ---- */

static bool this_boot(char ret_boot[HELD_BOOT_TEXT])
{
	auto_free char *text = NULL;

	if (file_read("/proc/sys/kernel/random/boot_id", HELD_BOOT_TEXT, &text, NULL, NULL) < 0)
		return false;
	text[strcspn(text, "\n")] = '\0';
	memset(ret_boot, 0, HELD_BOOT_TEXT);
	snprintf(ret_boot, HELD_BOOT_TEXT, "%s", text);
	return ret_boot[0];
}

static bool is_digest_of(const char *digest, const char *text, size_t len)
{
	struct sha256 seen = sha256_of(text, len);
	char hex[SHA256_TEXT];

	return strcmp(sha256_format(&seen, hex), digest) == 0;
}

/* Who opens a file that is complete may lack the right to write it, and has no need to. */
static int part_open(struct held *held, enum manifest_part_kind kind, struct error **err)
{
	uint64_t size = held->manifest.parts[kind].size;
	auto_free char *path = xasprintf("%s/%s%s", held->folder, manifest_part_names[kind],
		kind == PART_DISK ? ".raw" : "");
	struct stat st;
	int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);

	if (fd < 0 && (errno == EACCES || errno == EROFS))
		fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	held->files[kind] = fd;
	if (fd < 0 || fstat(fd, &st) < 0 ||
		((uint64_t)st.st_size != size && ftruncate(fd, (off_t)size) < 0))
		return error_make(err, -errno, "%s: %s", path, strerror(errno));
	return 0;
}

static int parts_open(struct held *held, struct error **err)
{
	const struct manifest *m = &held->manifest;
	int r = 0;

	for (int i = 0; i < PART_COUNT && r == 0; i++) {
		held->first[i + 1] = held->first[i] + m->parts[i].chunks.n;
		if (m->parts[i].present)
			r = part_open(held, i, err);
	}
	held->total = manifest_data_bytes(m);
	return r;
}

/* Its length, and all of its memory: touching a page for which there is none would kill us, and a
 * map that an earlier opener left may be as sparse. */
static int map_size(struct held *held)
{
	struct stat st;

	if (fstat(held->map, &st) < 0 ||
		((uint64_t)st.st_size != held->map_len &&
			(ftruncate(held->map, 0) < 0 ||
				ftruncate(held->map, (off_t)held->map_len) < 0)))
		return -errno;
	if (fallocate(held->map, 0, 0, (off_t)held->map_len) < 0 && errno != EOPNOTSUPP)
		return -errno;
	return 0;
}

static int map_open(struct held *held, struct error **err)
{
	size_t n = held_count(held);
	auto_free char *path = xasprintf("%s/map", held->folder);
	char *base;
	int r;

	held->map_len = HELD_HEAD + n * (3 * sizeof(uint32_t) + sizeof(uint8_t));
	held->map = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (held->map < 0 || held_lock(held, HELD_LOCK_OPENING, F_WRLCK, true) < 0)
		return error_make(err, -errno, "%s: %s", path, strerror(errno));
	r = map_size(held);
	if (r < 0)
		return error_make(err, r, "%s: %s", path, strerror(-r));
	base = mmap(NULL, held->map_len, PROT_READ | PROT_WRITE, MAP_SHARED, held->map, 0);
	if (base == MAP_FAILED)
		return error_make(err, -errno, "%s: %s", path, strerror(errno));
	held->head = (void *)base;
	held->state = (void *)(base + HELD_HEAD);
	held->used = held->state + n;
	held->order = held->used + n;
	held->seen = (void *)(held->order + n);
	return 0;
}

bool held_is_checked(const char *dir, const char *digest)
{
	auto_free char *path = NULL;
	auto_close int fd = -1;
	char boot[HELD_BOOT_TEXT];
	struct held_head head;

	if (!sha256_hex_ok(digest) || !this_boot(boot))
		return false;
	path = xasprintf("%s/%s/map", dir, digest);
	fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	return fd >= 0 && pread(fd, &head, sizeof(head), 0) == (ssize_t)sizeof(head) &&
	       head.magic == HELD_MAGIC && memcmp(head.boot, boot, sizeof(boot)) == 0;
}

bool held_is_removed(const struct held *held)
{
	struct stat st;

	return fstat(held->map, &st) < 0 || st.st_nlink == 0;
}

/* With the opening lock held: a map of this boot is taken as it is, any other is made anew. */
static int map_begin(struct held *held, struct error **err)
{
	struct held_head *head = held->head;
	auto_free char *complete = xasprintf("%s/complete", held->folder);
	char boot[HELD_BOOT_TEXT];
	bool whole;
	int r;

	if (!this_boot(boot))
		return error_make(err, -ENOENT, "the kernel tells no boot id: is /proc mounted?");
	if (head->magic == HELD_MAGIC && head->count == held_count(held) &&
		memcmp(head->boot, boot, sizeof(boot)) == 0)
		return 0;
	memset(head, 0, held->map_len);
	r = held_check_names(held, err);
	if (r == 0)
		r = held_check(held, &whole, err);
	if (r < 0)
		return r;
	if (!whole && unlink(complete) < 0 && errno != ENOENT)
		return error_make(err, -errno, "%s: %s", complete, strerror(errno));
	head->count = held_count(held);
	memcpy(head->boot, boot, sizeof(boot));
	atomic_thread_fence(memory_order_seq_cst);
	head->magic = HELD_MAGIC;
	return 0;
}

static struct held *held_new(const char *dir, const char *digest)
{
	struct held *held = xnew(struct held);

	held->folder = xasprintf("%s/%s", dir, digest);
	held->map = -1;
	for (int i = 0; i < PART_COUNT; i++)
		held->files[i] = -1;
	for (int i = 0; i < HELD_GATES; i++)
		pthread_mutex_init(&held->gates[i], NULL);
	return held;
}

void held_close(struct held *held)
{
	if (!held)
		return;
	if (held->head)
		munmap(held->head, held->map_len);
	if (held->map >= 0)
		close(held->map);
	for (int i = 0; i < PART_COUNT; i++)
		if (held->files[i] >= 0)
			close(held->files[i]);
	for (int i = 0; i < HELD_GATES; i++)
		pthread_mutex_destroy(&held->gates[i]);
	manifest_done(&held->manifest);
	free(held->folder);
	free(held);
}

static int held_begin(struct held *held, const char *text, size_t len, struct error **err)
{
	int r = manifest_read(text, len, &held->manifest, err);

	if (r == 0)
		r = parts_open(held, err);
	if (r == 0)
		r = map_open(held, err);
	if (r == 0)
		r = map_begin(held, err);
	if (held->map >= 0)
		held_lock(held, HELD_LOCK_OPENING, F_UNLCK, true);
	return r;
}

int held_create(const char *dir, const char *digest, const char *manifest, size_t len,
	struct held **ret_held, struct error **err)
{
	auto_held struct held *held = NULL;
	auto_free char *path = NULL, *there = NULL;
	size_t there_len = 0;
	int r;

	if (!sha256_hex_ok(digest) || !is_digest_of(digest, manifest, len))
		return error_make(err, -EBADMSG, "the manifest's digest is not %.12s", digest);
	held = held_new(dir, digest);
	path = xasprintf("%s/manifest", held->folder);
	r = file_mkdirs(held->folder, 0755, err);
	if (r == 0 && (file_read(path, len, &there, &there_len, NULL) < 0 || there_len != len ||
			      memcmp(there, manifest, len) != 0))
		r = file_write(path, manifest, len, 0644, err);
	if (r == 0)
		r = held_begin(held, manifest, len, err);
	if (r < 0)
		return r;
	*ret_held = TAKE_PTR(held);
	return 0;
}

/* A scratch partition may hold anything under that name: its digest is checked before it is used. */
static int text_read(const char *dir, const char *digest, char **ret_text, size_t *ret_len,
	struct error **err)
{
	auto_free char *path = NULL, *text = NULL;
	int r;

	if (!sha256_hex_ok(digest))
		return error_make(err, -ENOENT, "an image digest has 64 lower-case hex digits");
	path = xasprintf("%s/%s/manifest", dir, digest);
	r = file_read(path, MANIFEST_MAX_BYTES, &text, ret_len, err);
	if (r < 0)
		return r;
	if (!is_digest_of(digest, text, *ret_len))
		return error_make(err, -EBADMSG, "%s: its digest is another", path);
	*ret_text = TAKE_PTR(text);
	return 0;
}

int held_read_manifest(
	const char *dir, const char *digest, struct manifest *ret_manifest, struct error **err)
{
	auto_free char *text = NULL;
	size_t len;
	int r = text_read(dir, digest, &text, &len, err);

	return r < 0 ? r : manifest_read(text, len, ret_manifest, err);
}

int held_open(const char *dir, const char *digest, struct held **ret_held, struct error **err)
{
	auto_held struct held *held = NULL;
	auto_free char *text = NULL;
	size_t len;
	int r = text_read(dir, digest, &text, &len, err);

	if (r < 0)
		return r;
	held = held_new(dir, digest);
	r = held_begin(held, text, len, err);
	if (r < 0)
		return r;
	*ret_held = TAKE_PTR(held);
	return 0;
}

/* ---- numbers ---- */

const struct manifest *held_manifest(const struct held *held)
{
	return &held->manifest;
}

size_t held_count(const struct held *held)
{
	return held->first[PART_COUNT];
}

void held_chunk_at(const struct held *held, size_t number, struct held_chunk *ret_chunk)
{
	int part = 0;

	while (number >= held->first[part + 1])
		part++;
	number -= held->first[part];
	*ret_chunk = (struct held_chunk){
		.part = (enum manifest_part_kind)part,
		.at = (uint64_t)number * CHUNK_SIZE,
		.len = chunk_len(held->manifest.parts[part].size, number),
		.digest = held->manifest.parts[part].chunks.at[number].digest,
		.zero = held->manifest.parts[part].chunks.at[number].zero,
	};
}

size_t held_number(const struct held *held, enum manifest_part_kind part, uint64_t at)
{
	return held->first[part] + (size_t)(at / CHUNK_SIZE);
}

static bool is_zero(const struct held *held, size_t number)
{
	struct held_chunk chunk;

	held_chunk_at(held, number, &chunk);
	return chunk.zero;
}

bool held_has(const struct held *held, size_t number)
{
	return (atomic_load(&held->state[number]) & HELD_STATE) == HELD_PRESENT ||
	       is_zero(held, number);
}

bool held_has_part(const struct held *held, enum manifest_part_kind part)
{
	for (size_t i = held->first[part]; i < held->first[part + 1]; i++)
		if (!held_has(held, i))
			return false;
	return true;
}

uint64_t held_have(const struct held *held)
{
	return atomic_load(&held->head->have);
}

uint64_t held_total(const struct held *held)
{
	return held->total;
}

/* ---- the end ---- */

bool held_is_complete(const char *dir, const char *digest)
{
	auto_free char *path = NULL, *text = NULL;
	char boot[HELD_BOOT_TEXT];

	if (!sha256_hex_ok(digest) || !this_boot(boot))
		return false;
	path = xasprintf("%s/%s/complete", dir, digest);
	return file_read(path, HELD_BOOT_TEXT, &text, NULL, NULL) == 0 && strcmp(text, boot) == 0;
}

int held_finish(struct held *held, struct error **err)
{
	auto_free char *complete = xasprintf("%s/complete", held->folder);
	uint64_t limit = held_limit(held);

	for (int i = 0; i < PART_COUNT; i++)
		if (!held_has_part(held, i) || (limit && limit < held->total))
			return error_make(err, -EAGAIN, "the image is not whole");
	for (int i = 0; i < PART_COUNT; i++)
		if (held->files[i] >= 0 &&
			(fchmod(held->files[i], 0444) < 0 || fsync(held->files[i]) < 0))
			return error_make(err, -errno, "%s: %s", held->folder, strerror(errno));
	atomic_store(&held->head->have, held->total);
	return file_write(complete, held->head->boot, strlen(held->head->boot), 0644, err);
}
