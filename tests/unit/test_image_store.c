/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The chunk store: what was put comes back verified, damage is seen, what crashes leave behind is
 * swept, and nothing that a manifest names is ever removed. Each test has a store of its own in a
 * temporary folder. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "images/chunk.h"
#include "images/cut.h"
#include "images/store.h"
#include "lib/file.h"
#include "tests/unit/folder.h"

static struct chunkstore *open_store(const char *dir, unsigned flags)
{
	struct chunkstore *store = NULL;
	auto_error struct error *err = NULL;

	if (chunkstore_open(dir, flags, &store, &err) < 0)
		fail_msg("%s", err->text);
	return store;
}

/* Puts `text` as a chunk; its digest. */
static struct sha256 put_text(struct chunkstore *store, const char *text)
{
	auto_chunk_coder struct chunk_coder *coder = chunk_coder_new();
	struct sha256 digest = sha256_of(text, strlen(text));
	const void *packed;
	size_t len;

	assert_int_equal(chunk_pack(coder, CHUNK_LEVEL, text, strlen(text), &packed, &len, NULL), 0);
	assert_int_equal(chunkstore_put(store, &digest, packed, len, NULL), 0);
	return digest;
}

/* A one-chunk image of 512 bytes that all are `byte`. */
static struct sha256 put_image(struct chunkstore *store, const char *name, char byte)
{
	auto_manifest struct manifest m = {.name = xstrdup(name), .revision = 1};
	char sector[513] = "";
	struct sha256 digest;

	memset(sector, byte, 512);
	m.parts[PART_DISK] = (struct manifest_part){.present = true, .size = 512};
	vec_push(&m.parts[PART_DISK].chunks,
		(struct manifest_chunk){.digest = put_text(store, sector)});
	assert_int_equal(chunkstore_put_manifest(store, &m, &digest, NULL), 0);
	return digest;
}

static void write_file(const char *path, const char *text)
{
	auto_close int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

	assert_true(fd >= 0);
	assert_int_equal(fd_write_all(fd, text, strlen(text)), 0);
}

static void gives_back_what_was_put(void **state)
{
	auto_chunkstore struct chunkstore *store = open_store(*state, CHUNKSTORE_WRITE);
	struct sha256 digest = put_text(store, "night"), other = sha256_of("day", 3);
	char out[5];

	assert_true(chunkstore_has(store, &digest));
	assert_false(chunkstore_has(store, &other));
	assert_int_equal(chunkstore_get(store, &digest, out, 5, NULL), 0);
	assert_memory_equal(out, "night", 5);
	assert_int_equal(chunkstore_get(store, &digest, out, 4, NULL), -EBADMSG);
	assert_int_equal(chunkstore_get(store, &other, out, 3, NULL), -ENOENT);
}

static void put_never_overwrites(void **state)
{
	auto_chunkstore struct chunkstore *store = open_store(*state, CHUNKSTORE_WRITE);
	struct sha256 digest = put_text(store, "night");
	auto_free char *path = chunkstore_chunk_path(*state, &digest);
	struct stat before, after;

	assert_int_equal(stat(path, &before), 0);
	assert_int_equal(chunkstore_put(store, &digest, "other", 5, NULL), 0);
	assert_int_equal(stat(path, &after), 0);
	assert_int_equal(before.st_ino, after.st_ino);
	assert_int_equal(before.st_size, after.st_size);
}

static void get_sees_every_flipped_bit(void **state)
{
	auto_chunkstore struct chunkstore *store = open_store(*state, CHUNKSTORE_WRITE);
	struct sha256 digest = put_text(store, "the whole of the night");
	auto_free char *path = chunkstore_chunk_path(*state, &digest), *bytes = NULL;
	char out[22];
	size_t len, harmless = 0;

	assert_int_equal(file_read(path, 4096, &bytes, &len, NULL), 0);
	for (size_t i = 0; i < len * 8; i++) {
		auto_close int fd = open(path, O_WRONLY | O_TRUNC | O_CLOEXEC);
		int r;

		bytes[i / 8] ^= (char)(1 << i % 8);
		assert_int_equal(fd_write_all(fd, bytes, len), 0);
		r = chunkstore_get(store, &digest, out, 22, NULL);
		bytes[i / 8] ^= (char)(1 << i % 8);
		if (r ==
			0) /* a bit of the frame that carries nothing: the content is what counts */
			assert_memory_equal(out, "the whole of the night", 22);
		else
			assert_int_equal(r, -EBADMSG);
		harmless += r == 0;
	}
	assert_true(harmless < 8);
}

static void a_bomb_does_not_unfold(void **state)
{
	auto_chunk_coder struct chunk_coder *coder = chunk_coder_new();
	auto_free char *zeros = xcalloc(1, CHUNK_SIZE);
	struct sha256 digest = sha256_of(zeros, CHUNK_SIZE);
	const void *packed;
	char out[512];
	size_t len;

	(void)state;
	assert_int_equal(chunk_pack(coder, CHUNK_LEVEL, zeros, CHUNK_SIZE, &packed, &len, NULL), 0);
	assert_true(len < 1024);
	assert_int_equal(
		chunk_unpack(coder, packed, len, &digest, out, sizeof(out), NULL), -EBADMSG);
	assert_int_equal(chunk_pack(coder, CHUNK_LEVEL, zeros, 0, &packed, &len, NULL), -EINVAL);
	assert_int_equal(chunk_pack(coder, CHUNK_LEVEL, zeros, CHUNK_SIZE + 1, &packed, &len, NULL), -EINVAL);
}

/* Does a chunk become the same frame by both levels? `ret_len` is the one of CHUNK_LEVEL. */
static bool same_frame(const unsigned char *bytes, size_t *ret_len)
{
	auto_chunk_coder struct chunk_coder *quick = chunk_coder_new(), *hard = chunk_coder_new();
	const void *a, *b;
	size_t len;

	assert_int_equal(chunk_pack(quick, 9, bytes, CHUNK_SIZE, &a, &len, NULL), 0);
	assert_int_equal(chunk_pack(hard, CHUNK_LEVEL, bytes, CHUNK_SIZE, &b, ret_len, NULL), 0);
	return len == *ret_len && memcmp(a, b, len) == 0;
}

static void what_hardly_packs_is_not_packed_hard(void **state)
{
	auto_free unsigned char *bytes = xcalloc(1, CHUNK_SIZE);
	size_t len;

	(void)state;
	srandom(1);
	for (size_t i = 0; i < CHUNK_SIZE; i++) /* 4 % can be saved, and some of it comes again */
		bytes[i] = i % 1000 < 20 ? bytes[i % 1000] : (unsigned char)(random() % 200);
	assert_true(same_frame(bytes, &len));
	assert_in_range(len, CHUNK_SIZE * 9 / 10, CHUNK_SIZE);
	for (size_t i = 0; i < CHUNK_SIZE; i++) /* half */
		bytes[i] = (unsigned char)(random() % 16);
	assert_false(same_frame(bytes, &len));
}

static void a_manifest_needs_its_chunks(void **state)
{
	auto_chunkstore struct chunkstore *store = open_store(*state, CHUNKSTORE_WRITE);
	auto_manifest struct manifest m = {.name = xstrdup("x"), .revision = 1}, back = {0};
	struct sha256 digest = put_image(store, "mpi", 'a'), absent = sha256_of("absent", 6);
	auto_free char *path = chunkstore_manifest_path(*state, &digest);

	assert_int_equal(chunkstore_get_manifest(store, &digest, &back, NULL), 0);
	assert_string_equal(back.name, "mpi");
	m.parts[PART_DISK] = (struct manifest_part){.present = true, .size = 512};
	vec_push(&m.parts[PART_DISK].chunks, (struct manifest_chunk){.digest = absent});
	assert_int_equal(chunkstore_put_manifest(store, &m, &digest, NULL), -ENOENT);
	manifest_done(&back);
	write_file(path, "{}");
	assert_int_equal(chunkstore_get_manifest(store, &digest, &back, NULL), -EBADMSG);
}

static void crash_leftovers_are_swept_at_open(void **state)
{
	struct chunkstore *store = open_store(*state, CHUNKSTORE_WRITE | CHUNKSTORE_SYNC);
	struct sha256 image = put_image(store, "mpi", 'a'), orphan = put_text(store, "orphan");
	auto_free char *temp = chunkstore_temp_path(store),
		       *stray = xasprintf("%s/chunks/README", (char *)*state);
	auto_manifest struct manifest m = {0};
	char sector[512];

	/* As if the import had been killed: half a file aside, a chunk that no manifest names. */
	write_file(temp, "half a chu");
	write_file(stray, "an administrator's");
	chunkstore_close(store);
	store = open_store(*state, CHUNKSTORE_READ);
	assert_int_equal(access(temp, F_OK), 0); /* readers touch nothing */
	chunkstore_close(store);
	store = open_store(*state, CHUNKSTORE_WRITE);
	assert_int_equal(access(temp, F_OK), -1);
	assert_int_equal(access(stray, F_OK), 0);
	assert_false(chunkstore_has(store, &orphan));
	assert_int_equal(chunkstore_get_manifest(store, &image, &m, NULL), 0);
	assert_int_equal(
		chunkstore_get(store, &m.parts[PART_DISK].chunks.at[0].digest, sector, 512, NULL),
		0);
	chunkstore_close(store);
}

static void a_second_writer_does_not_sweep_the_first(void **state)
{
	auto_chunkstore struct chunkstore *first = open_store(*state, CHUNKSTORE_WRITE),
					  *second = NULL;
	struct sha256 digest = put_text(first, "not yet in a manifest");
	auto_free char *temp = chunkstore_temp_path(first);

	write_file(temp, "being written");
	second = open_store(*state, CHUNKSTORE_WRITE);
	assert_true(chunkstore_has(second, &digest));
	assert_int_equal(access(temp, F_OK), 0);
	assert_int_equal(chunkstore_sweep(second, NULL, NULL), -EBUSY);
	assert_int_equal(chunkstore_gc(first, NULL, 0, false, NULL, NULL), -EBUSY);
	assert_true(chunkstore_has(second, &digest));
	chunkstore_close(TAKE_PTR(first));
	assert_int_equal(chunkstore_sweep(second, NULL, NULL), 0);
	assert_false(chunkstore_has(second, &digest));
}

static void gc_keeps_what_live_images_share(void **state)
{
	auto_chunkstore struct chunkstore *store = open_store(*state, CHUNKSTORE_WRITE);
	struct sha256 one = put_image(store, "one", 'a'), two = put_image(store, "two", 'a'),
		      three = put_image(store, "three", 'b');
	struct chunkstore_swept swept = {0};
	struct sha256 live[] = {two};
	auto_manifest struct manifest m = {0};
	auto_free char *path = NULL;
	struct stat st;
	uint64_t of_two;

	assert_int_equal(chunkstore_gc(store, live, 1, false, &swept, NULL), 0);
	assert_int_equal(swept.manifests, 2);
	assert_int_equal(swept.chunks, 1);
	assert_int_equal(chunkstore_get_manifest(store, &one, &m, NULL), -ENOENT);
	assert_int_equal(chunkstore_get_manifest(store, &three, &m, NULL), -ENOENT);
	assert_int_equal(chunkstore_get_manifest(store, &two, &m, NULL), 0);
	assert_true(chunkstore_has(store, &m.parts[PART_DISK].chunks.at[0].digest));
	assert_int_equal(chunkstore_stored(store, &m, &of_two, NULL), 0);
	path = chunkstore_chunk_path(*state, &m.parts[PART_DISK].chunks.at[0].digest);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(of_two, st.st_size);
}

/* What the preview counts is what then goes: shared chunks, traces and quarantine included. */
static void a_preview_of_gc_removes_nothing(void **state)
{
	auto_chunkstore struct chunkstore *store = open_store(*state, CHUNKSTORE_WRITE);
	struct sha256 live[] = {put_image(store, "one", 'a')}, dead = put_image(store, "two", 'b');
	struct sha256 shares = put_image(store, "three", 'a'), orphan = put_text(store, "orphan");
	struct chunkstore_swept counted = {0}, swept = {0};
	char hex[SHA256_TEXT];

	auto_free char *traces = xasprintf("%s/traces", (char *)*state);
	auto_free char *quarantine = xasprintf("%s/quarantine", (char *)*state);
	auto_free char *kept = xasprintf("%s/%s", traces, sha256_format(&live[0], hex));
	auto_free char *gone = xasprintf("%s/%s", traces, sha256_format(&dead, hex));
	auto_free char *bad = xasprintf("%s/%s", quarantine, sha256_format(&orphan, hex));
	assert_int_equal(mkdir(traces, 0755), 0);
	assert_int_equal(mkdir(quarantine, 0755), 0);
	write_file(kept, "1\n");
	write_file(gone, "1\n2\n");
	write_file(bad, "damaged");
	assert_int_equal(chunkstore_gc(store, live, 1, true, &counted, NULL), 0);
	assert_int_equal(counted.manifests, 2);
	assert_int_equal(counted.chunks, 2); /* of image two, and the orphan */
	assert_int_equal(counted.others, 2);
	assert_true(chunkstore_has(store, &orphan));
	assert_int_equal(access(gone, F_OK), 0);
	assert_int_equal(chunkstore_gc(store, live, 1, false, &swept, NULL), 0);
	assert_memory_equal(&swept, &counted, sizeof(swept));
	assert_false(chunkstore_has(store, &orphan));
	assert_int_equal(access(kept, F_OK), 0);
	assert_int_not_equal(access(gone, F_OK), 0);
	assert_int_not_equal(access(bad, F_OK), 0);
	auto_free char *manifest = chunkstore_manifest_path(*state, &shares);
	assert_int_not_equal(access(manifest, F_OK), 0);
}

static void one_who_is_alone_lets_nobody_in(void **state)
{
	auto_chunkstore struct chunkstore *writer = open_store(*state, CHUNKSTORE_WRITE);
	auto_error struct error *err = NULL;
	struct chunkstore *alone = NULL;
	const unsigned flags = CHUNKSTORE_WRITE | CHUNKSTORE_ALONE;

	assert_int_equal(chunkstore_open(*state, flags, &alone, &err), -EBUSY);
	assert_non_null(strstr(err->text, "others write to it"));
	assert_non_null(strstr(err->text, "image store "));
	assert_null(strstr(strstr(err->text, "image store ") + 1, "image store ")); /* once */
	struct sha256 orphan = put_text(writer, "orphan");
	chunkstore_close(TAKE_PTR(writer));
	alone = open_store(*state, flags);
	assert_true(chunkstore_has(alone, &orphan)); /* nothing is swept by opening */
	assert_int_equal(chunkstore_open(*state, flags, &writer, NULL), -EBUSY);
	chunkstore_close(alone);
}

/* From now on no file of this process is locked: the file system has no room for that. */
static void no_more_locks(void)
{
	struct sock_filter lines[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_fcntl, 0, 3),
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[1])),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, F_OFD_SETLK, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOLCK),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = {ARRAY_LEN(lines), lines};

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ||
		prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) < 0)
		_exit(2);
}

/* Nobody who waits for an import to end would get any further. */
static void a_lock_that_cannot_be_had_is_no_other_writer(void **state)
{
	auto_chunkstore struct chunkstore *store = open_store(*state, CHUNKSTORE_WRITE);
	pid_t child = fork();
	int status;

	if (child == 0) {
		auto_error struct error *err = NULL;

		no_more_locks();
		_exit(chunkstore_sweep(store, NULL, &err) == -ENOLCK &&
				      strstr(err->text, "image store ") &&
				      strstr(err->text, strerror(ENOLCK))
				      ? 0
				      : 1);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
}

static void a_damaged_manifest_stops_the_sweep(void **state)
{
	auto_chunkstore struct chunkstore *store = open_store(*state, CHUNKSTORE_WRITE);
	struct sha256 image = put_image(store, "mpi", 'a'), orphan = put_text(store, "orphan");
	auto_free char *path = chunkstore_manifest_path(*state, &image);
	auto_error struct error *err = NULL;

	write_file(path, "{\"format\":1}");
	assert_int_equal(chunkstore_sweep(store, NULL, &err), -EBADMSG);
	assert_non_null(strstr(err->text, "no chunk was removed"));
	assert_true(chunkstore_has(store, &orphan));
	/* A list of live images that lacks it is a decision: then it goes. */
	assert_int_equal(chunkstore_gc(store, NULL, 0, false, NULL, NULL), 0);
	assert_false(chunkstore_has(store, &orphan));
}

static int by_text(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static void every_manifest_has_its_name(void **state)
{
	auto_chunkstore struct chunkstore *store = open_store(*state, CHUNKSTORE_WRITE);
	struct strings names = {0}, none = {0};

	assert_int_equal(chunkstore_names(store, &names, NULL), 0);
	assert_int_equal(names.n, 0);
	put_image(store, "mpi", 'a');
	put_image(store, "mpi", 'b');
	struct sha256 class = put_image(store, "class", 'a');
	assert_int_equal(chunkstore_names(store, &names, NULL), 0);
	assert_int_equal(names.n, 3);
	qsort(names.at, names.n, sizeof(*names.at), by_text);
	assert_string_equal(names.at[0], "class");
	assert_string_equal(names.at[1], "mpi");
	assert_string_equal(names.at[2], "mpi");
	strings_done(&names);
	auto_free char *path = chunkstore_manifest_path(*state, &class);
	write_file(path, "{}");
	assert_int_equal(chunkstore_names(store, &none, NULL), -EBADMSG);
	assert_null(none.at);
}

static void reports(uint64_t done, void *arg)
{
	uint64_t *last = arg;

	assert_true(done >= *last);
	*last = done;
}

static void cutting_skips_zeros_and_finds_the_rest(void **state)
{
	auto_chunkstore struct chunkstore *store = open_store(*state, CHUNKSTORE_WRITE);
	auto_free char *path = xasprintf("%s/tmp/disk", (char *)*state);
	auto_close int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	auto_manifest struct manifest m = {0};
	struct manifest_part *part = &m.parts[PART_DISK];
	const uint64_t size = 5ULL * CHUNK_SIZE + 512;
	auto_free char *zeros = xcalloc(1, CHUNK_SIZE), *out = xcalloc(1, CHUNK_SIZE);
	uint64_t last = 0;

	/* Chunk 0: data at its end; 1: written zeros; 2 and 3: a hole; 4: data; 5: a short one with
	 * data. */
	assert_int_equal(ftruncate(fd, (off_t)size), 0);
	assert_int_equal(pwrite(fd, "a", 1, CHUNK_SIZE - 1), 1);
	assert_int_equal(pwrite(fd, zeros, CHUNK_SIZE, CHUNK_SIZE), CHUNK_SIZE);
	assert_int_equal(pwrite(fd, "b", 1, 4LL * CHUNK_SIZE), 1);
	assert_int_equal(pwrite(fd, "c", 1, 5LL * CHUNK_SIZE), 1);
	assert_int_equal(cut_file(store, fd, size, CHUNK_LEVEL, reports, &last, part, NULL), 0);
	assert_int_equal(last, 3 * CHUNK_SIZE + 512); /* not the hole */
	assert_int_equal(cut_bytes(fd, size), last);
	assert_int_equal(cut_bytes(fd, 5ULL * CHUNK_SIZE + 1), last - 511);
	assert_int_equal(cut_bytes(fd, 3ULL * CHUNK_SIZE), 2 * CHUNK_SIZE);
	assert_int_equal(part->chunks.n, 6);
	for (size_t i = 0; i < 6; i++)
		assert_int_equal(part->chunks.at[i].zero, i >= 1 && i <= 3);
	assert_int_equal(
		chunkstore_get(store, &part->chunks.at[0].digest, out, CHUNK_SIZE, NULL), 0);
	assert_int_equal(out[CHUNK_SIZE - 1], 'a');
	assert_int_equal(chunkstore_get(store, &part->chunks.at[5].digest, out, 512, NULL), 0);
	assert_int_equal(out[0], 'c');
	/* A file that is shorter than promised must not end in a list of wrong digests. */
	manifest_done(&m);
	assert_int_equal(
		cut_file(store, fd, size + CHUNK_SIZE / 2, CHUNK_LEVEL, NULL, NULL, part, NULL),
		-EIO);
	assert_null(part->chunks.at);
}

/* Which writers must not believe a chunk by its name. */
static void who_could_not_sweep_doubts(void **state)
{
	struct chunkstore *first = open_store(*state, CHUNKSTORE_WRITE), *second = NULL;
	auto_free char *temp = chunkstore_temp_path(first), *path = NULL;
	struct sha256 image = put_image(first, "mpi", 'a'), orphan;

	assert_false(chunkstore_doubtful(first));
	second = open_store(*state, CHUNKSTORE_WRITE);
	assert_true(chunkstore_doubtful(second));
	chunkstore_close(second);
	orphan = put_text(first, "orphan");
	write_file(temp, "half");
	chunkstore_close(first);
	first = open_store(*state, CHUNKSTORE_WRITE | CHUNKSTORE_KEEP);
	assert_true(chunkstore_doubtful(first));
	assert_true(chunkstore_has(first, &orphan));
	assert_int_equal(access(temp, F_OK), -1); /* a number of a process comes again */
	chunkstore_close(first);
	path = chunkstore_manifest_path(*state, &image);
	write_file(path, "{\"format\":1}");
	first = open_store(*state, CHUNKSTORE_WRITE);
	assert_true(chunkstore_doubtful(first));
	assert_true(chunkstore_has(first, &orphan));
	chunkstore_close(first);
}

/* A file that is `text` for whoever cuts it. */
static int cut_text(struct chunkstore *store, const char *text, struct manifest_part *part)
{
	auto_free char *path = chunkstore_temp_path(store);
	auto_close int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);

	assert_int_equal(fd_write_all(fd, text, strlen(text)), 0);
	return cut_file(store, fd, strlen(text), CHUNK_LEVEL, NULL, NULL, part, NULL);
}

static void cutting_in_doubt_heals_and_guesses_nothing(void **state)
{
	auto_chunkstore struct chunkstore *other = open_store(*state, CHUNKSTORE_WRITE),
					  *store = open_store(*state, CHUNKSTORE_WRITE);
	static const char text[] = "the bytes of a disk";
	struct sha256 digest = sha256_of(text, strlen(text));
	auto_free char *path = chunkstore_chunk_path(*state, &digest);
	char out[sizeof(text)];
	static const char *const spoilt[] = {"", "no frame", NULL};

	/* Rubbish, and a disk that gives EIO. */
	for (size_t i = 0; i < ARRAY_LEN(spoilt); i++) {
		auto_manifest struct manifest m = {0};

		put_text(store, text);
		assert_int_equal(unlink(path), 0);
		if (spoilt[i])
			write_file(path, spoilt[i]);
		else
			assert_int_equal(symlink("/proc/self/mem", path), 0);
		assert_int_equal(cut_text(store, text, &m.parts[PART_DISK]), 0);
		assert_int_equal(chunkstore_get(store, &digest, out, strlen(text), NULL), 0);
		assert_memory_equal(out, text, strlen(text));
	}
	/* What cannot be told is neither believed nor removed. */
	auto_manifest struct manifest m = {0};
	auto_free char *kept = xasprintf("%s/kept", (char *)*state);

	assert_int_equal(rename(path, kept), 0);
	assert_int_equal(symlink(path, path), 0);
	assert_int_equal(cut_text(store, text, &m.parts[PART_DISK]), -ELOOP);
}

#define STORE_TEST(name) cmocka_unit_test_setup_teardown(name, folder_make, folder_remove)

int main(void)
{
	const struct CMUnitTest tests[] = {
		STORE_TEST(gives_back_what_was_put),
		STORE_TEST(put_never_overwrites),
		STORE_TEST(get_sees_every_flipped_bit),
		STORE_TEST(a_bomb_does_not_unfold),
		STORE_TEST(what_hardly_packs_is_not_packed_hard),
		STORE_TEST(a_manifest_needs_its_chunks),
		STORE_TEST(crash_leftovers_are_swept_at_open),
		STORE_TEST(a_second_writer_does_not_sweep_the_first),
		STORE_TEST(gc_keeps_what_live_images_share),
		STORE_TEST(a_preview_of_gc_removes_nothing),
		STORE_TEST(one_who_is_alone_lets_nobody_in),
		STORE_TEST(a_lock_that_cannot_be_had_is_no_other_writer),
		STORE_TEST(a_damaged_manifest_stops_the_sweep),
		STORE_TEST(every_manifest_has_its_name),
		STORE_TEST(cutting_skips_zeros_and_finds_the_rest),
		STORE_TEST(who_could_not_sweep_doubts),
		STORE_TEST(cutting_in_doubt_heals_and_guesses_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
