/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Believing what lies on a disk: by digest, chunk by chunk.
 *
 * Within one boot the map says what is in place, and is right because it is written after the bytes
 * and both are in memory: no power cut can come between. Across boots nothing is right: a scratch
 * partition may have lost either, or somebody may have written to it while the PC was a desktop. So
 * the first to open an image in a boot reads it all once, with a few threads, for SHA-256 is faster
 * than any classroom's wire; what does not match is a hole again and is fetched.
 *
 * The manifest says what there is, not the folder: a kernel that lies in the folder of an image that has none would be
 * as good as a key to every VM of it, and no chunk of the manifest tells that it is wrong.
 *
 * Places without data cost nothing: the file system is asked where data begins. Called while the
 * caller keeps all others out, so states are simply set.
 */
#include "images/held_inside.h"

#include <fcntl.h>
#include <sys/stat.h>

#include "images/chunk.h"
#include "lib/file.h"
#include "lib/str.h"

enum { CHECKERS = 4 };

struct check {
	struct held *held;
	atomic_size_t next;
	atomic_uint_fast64_t have;
	atomic_int failed; /* -errno: bytes where zeros belong, that stay */
};

/* Is it a plain file with this text and nothing else? NULL: no file has it. */
static bool has_text(const char *path, const char *text)
{
	auto_free char *seen = NULL;
	struct stat st;

	return text && lstat(path, &st) == 0 && S_ISREG(st.st_mode) && (uint64_t)st.st_size == strlen(text) &&
	       file_read(path, strlen(text), &seen, NULL, NULL) == 0 && strcmp(seen, text) == 0;
}

int held_check_names(struct held *held, struct error **err)
{
	const struct manifest *m = &held->manifest;
	auto_free char *cmdline = xasprintf("%s/cmdline", held->folder);
	int r = 0;

	for (int i = PART_KERNEL; i < PART_COUNT && r == 0; i++) {
		auto_free char *path = xasprintf("%s/%s", held->folder, manifest_part_names[i]);

		if (!m->parts[i].present)
			r = file_remove_tree(path, err);
	}
	if (r < 0 || has_text(cmdline, m->cmdline))
		return r;
	r = file_remove_tree(cmdline, err);
	return r < 0 || !m->cmdline ? r : file_write(cmdline, m->cmdline, strlen(m->cmdline), 0644, err);
}

static bool read_whole(int fd, void *bytes, size_t len, uint64_t at)
{
	for (size_t got = 0; got < len;) {
		ssize_t n = pread(fd, (char *)bytes + got, len - got, (off_t)(at + got));

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return false;
		got += (size_t)n;
	}
	return true;
}

/* Has the file any data there? On any doubt it has. */
static bool has_data(int fd, uint64_t at, size_t len)
{
	off_t data = lseek(fd, (off_t)at, SEEK_DATA);

	return data < 0 ? errno != ENXIO : (uint64_t)data < at + len;
}

static bool matches(int fd, const struct held_chunk *chunk, void *bytes)
{
	struct sha256 digest;

	if (!read_whole(fd, bytes, chunk->len, chunk->at))
		return false;
	digest = sha256_of(bytes, chunk->len);
	return memcmp(digest.b, chunk->digest.b, SHA256_LEN) == 0;
}

int held_punch(struct held *held, const struct held_chunk *chunk)
{
	static const unsigned char zeros[CHUNK_SIZE];
	int fd = held->files[chunk->part];

	if (fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)chunk->at,
		    (off_t)chunk->len) == 0)
		return 0;
	return pwrite(fd, zeros, chunk->len, (off_t)chunk->at) == (ssize_t)chunk->len ? 0 : -errno;
}

static void check_one(struct check *check, size_t number, void *bytes)
{
	struct held *held = check->held;
	struct held_chunk chunk;
	bool has, right;
	int fd;

	held_chunk_at(held, number, &chunk);
	fd = held->files[chunk.part];
	has = has_data(fd, chunk.at, chunk.len);
	right = has && !chunk.zero && matches(fd, &chunk, bytes);
	if (has && !right) {
		int r = held_punch(held, &chunk);

		if (r < 0 && chunk.zero) /* what else stays is written over by the next put */
			atomic_store(&check->failed, r);
	}
	if (right)
		atomic_fetch_add(&check->have, chunk.len);
	atomic_store(&held->state[number], right ? HELD_PRESENT : HELD_ABSENT);
}

static void *check_run(void *arg)
{
	struct check *check = arg;
	size_t number, count = held_count(check->held);
	auto_free void *bytes = xcalloc(1, CHUNK_SIZE);

	while ((number = atomic_fetch_add(&check->next, 1)) < count)
		check_one(check, number, bytes);
	return NULL;
}

int held_check(struct held *held, bool *ret_whole, struct error **err)
{
	struct check check = {.held = held};
	pthread_t threads[CHECKERS];
	bool started[CHECKERS] = {false};

	for (int i = 1; i < CHECKERS; i++)
		started[i] = pthread_create(&threads[i], NULL, check_run, &check) == 0;
	check_run(&check);
	for (int i = 1; i < CHECKERS; i++)
		if (started[i])
			pthread_join(threads[i], NULL);
	atomic_store(&held->head->have, check.have);
	if (check.failed < 0)
		return error_make(err, check.failed, "%s cannot be mended: %s", held->folder,
			strerror(-check.failed));
	*ret_whole = check.have == held->total;
	return 0;
}
