/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Chunks for peers: an image goes from a store to a host and from that host to another, and nothing
 * but images comes out, whatever is asked. With arguments this is the server of the rig's tests:
 *
 *   test_image_serve held|store DIR PORT
 *
 * prints "ready" and serves until its input ends. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <arpa/inet.h>
#include <dirent.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "images/chunk.h"
#include "images/fetch.h"
#include "images/serve.h"
#include "images/source.h"
#include "images/store.h"
#include "lib/file.h"
#include "lib/proto.h"
#include "lib/str.h"

enum { CHUNKS = 5, KERNEL = 5000 };

struct world {
	char *dir, *store, *host, *other;
	char digest[SHA256_TEXT];
	struct sha256 chunk; /* of the image */
	struct serve *from_store, *from_host;
};

static struct sha256 chunk_put(
	struct chunkstore *store, struct chunk_coder *coder, const void *bytes, size_t n)
{
	struct sha256 digest = sha256_of(bytes, n);
	const void *packed;
	size_t len;

	assert_int_equal(chunk_pack(coder, CHUNK_LEVEL, bytes, n, &packed, &len, NULL), 0);
	assert_int_equal(chunkstore_put(store, &digest, packed, len, NULL), 0);
	return digest;
}

/* Five chunks: two of the same content, one of zeros. A small kernel. */
static void image_make(struct world *w)
{
	static unsigned char bytes[CHUNK_SIZE];
	auto_chunkstore struct chunkstore *store = NULL;
	auto_chunk_coder struct chunk_coder *coder = chunk_coder_new();
	auto_manifest struct manifest m = {.name = xstrdup("mpi"), .revision = 1};
	struct sha256 digest;

	assert_int_equal(chunkstore_open(w->store, CHUNKSTORE_WRITE, &store, NULL), 0);
	m.parts[PART_DISK] = (struct manifest_part){.present = true, .size = CHUNKS * CHUNK_SIZE};
	for (unsigned i = 0; i < CHUNKS; i++) {
		struct manifest_chunk *chunk = vec_add(&m.parts[PART_DISK].chunks);

		chunk->zero = i == 2;
		if (chunk->zero)
			continue;
		memset(bytes, i == 4 ? 1 : (int)i + 1, sizeof(bytes)); /* 4 is 0 again */
		chunk->digest = w->chunk = chunk_put(store, coder, bytes, sizeof(bytes));
	}
	m.parts[PART_KERNEL] = (struct manifest_part){.present = true, .size = KERNEL};
	vec_push(&m.parts[PART_KERNEL].chunks,
		((struct manifest_chunk){.digest = sha256_of(bytes, KERNEL)}));
	chunk_put(store, coder, bytes, KERNEL);
	assert_int_equal(chunkstore_put_manifest(store, &m, &digest, NULL), 0);
	sha256_format(&digest, w->digest);
}

static int setup(void **state)
{
	char dir[] = "/tmp/test_image_serve.XXXXXX";
	struct world *w = xnew(struct world);
	struct serve_options store = {.address = "127.0.0.1"}, host = store;

	assert_non_null(mkdtemp(dir));
	w->dir = xstrdup(dir);
	w->store = xasprintf("%s/store", dir);
	w->host = xasprintf("%s/host", dir);
	w->other = xasprintf("%s/other", dir);
	image_make(w);
	assert_int_equal(mkdir(w->host, 0755), 0);
	store.store = w->store;
	host.held = w->host;
	assert_int_equal(serve_start(&store, &w->from_store, NULL), 0);
	assert_int_equal(serve_start(&host, &w->from_host, NULL), 0);
	*state = w;
	return 0;
}

static int teardown(void **state)
{
	struct world *w = *state;
	int r = file_remove_tree(w->dir, NULL);

	serve_stop(w->from_store);
	serve_stop(w->from_host);
	free(w->dir);
	free(w->store);
	free(w->host);
	free(w->other);
	free(w);
	return r;
}

static void fetch_ok(const struct world *w, const struct serve *from, const char *to)
{
	auto_free char *base = xasprintf("http://127.0.0.1:%u", serve_port(from));
	struct fetch job = {.base = base, .digest = w->digest, .dir = to};
	auto_error struct error *err = NULL;

	if (fetch_image(&job, NULL, &err) < 0)
		fail_msg("%s", err->text);
	assert_true(fetch_is_complete(to, w->digest));
}

/* Sends the bytes and returns the status of the answer; 0: there was none. */
static int ask(const struct serve *serve, const char *request)
{
	struct sockaddr_in at = {.sin_family = AF_INET,
		.sin_port = htons(serve_port(serve)),
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	struct timeval patience = {.tv_sec = 60};
	auto_close int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	char answer[64] = "";
	int status = 0;

	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	assert_int_equal(connect(fd, (struct sockaddr *)&at, sizeof(at)), 0);
	assert_int_equal(send(fd, request, strlen(request), 0), (int)strlen(request));
	if (recv(fd, answer, sizeof(answer) - 1, 0) > 0)
		sscanf(answer, "HTTP/1.1 %d", &status);
	return status;
}

static int get(const struct serve *serve, const char *path)
{
	auto_free char *request = xasprintf("GET %s HTTP/1.1\r\nHost: x\r\n\r\n", path);

	return ask(serve, request);
}

static void an_image_goes_from_host_to_host(void **state)
{
	struct world *w = *state;
	auto_free char *first = NULL, *second = NULL;
	auto_free char *one = fetch_path(w->host, w->digest, "disk.raw");
	auto_free char *two = fetch_path(w->other, w->digest, "disk.raw");
	size_t len;

	fetch_ok(w, w->from_store, w->host);
	fetch_ok(w, w->from_host, w->other);
	assert_int_equal(file_read(one, CHUNKS * CHUNK_SIZE, &first, &len, NULL), 0);
	assert_int_equal(file_read(two, CHUNKS * CHUNK_SIZE, &second, &len, NULL), 0);
	assert_int_equal(len, CHUNKS * CHUNK_SIZE);
	assert_memory_equal(first, second, len);
}

/* Asks until it is so: the server looks at its folder twice a second at most. */
static void becomes(const struct serve *serve, const char *path, int status)
{
	for (int i = 0; i < 200 && get(serve, path) != status; i++)
		usleep(20000);
	assert_int_equal(get(serve, path), status);
}

static void what_is_not_held_is_not_found(void **state)
{
	struct world *w = *state;
	char hex[SHA256_TEXT];
	auto_free char *path = xasprintf("/chunks/%s", sha256_format(&w->chunk, hex));
	auto_free char *folder = xasprintf("%s/%s", w->host, w->digest);

	assert_int_equal(get(w->from_store, path), 200);
	assert_int_equal(get(w->from_host, path), 404);
	fetch_ok(w, w->from_store, w->host);
	becomes(w->from_host, path, 200);
	assert_int_equal(file_remove_tree(folder, NULL), 0);
	assert_int_equal(get(w->from_host, path), 404);
}

/* Files that were removed and are kept open by this process. */
static unsigned removed_and_open(const char *below)
{
	DIR *dir = opendir("/proc/self/fd");
	const struct dirent *entry;
	unsigned n = 0;

	while (dir && (entry = readdir(dir))) {
		auto_free char *link = xasprintf("/proc/self/fd/%s", entry->d_name);
		char to[512] = "";

		n += readlink(link, to, sizeof(to) - 1) > 0 && str_starts(to, below) &&
		     strstr(to, " (deleted)");
	}
	closedir(dir);
	return n;
}

static void what_was_removed_is_closed(void **state)
{
	struct world *w = *state;
	char hex[SHA256_TEXT];
	auto_free char *path = xasprintf("/chunks/%s", sha256_format(&w->chunk, hex));
	auto_free char *folder = xasprintf("%s/%s", w->host, w->digest);

	fetch_ok(w, w->from_store, w->host);
	becomes(w->from_host, path, 200);
	assert_int_equal(file_remove_tree(folder, NULL), 0);
	assert_true(removed_and_open(w->host) > 0);
	serve_forget(w->from_host, w->digest);
	assert_int_equal(removed_and_open(w->host), 0);
	/* Nobody said so, and another of the same name is there already. */
	fetch_ok(w, w->from_store, w->host);
	becomes(w->from_host, path, 200);
	assert_int_equal(file_remove_tree(folder, NULL), 0);
	fetch_ok(w, w->from_store, w->host);
	becomes(w->from_host, path, 200);
	assert_int_equal(removed_and_open(w->host), 0);
}

/* An image of one small chunk, held; the digest of that. */
static struct sha256 hold_small(const struct world *w, unsigned number)
{
	unsigned char bytes[512];
	auto_manifest struct manifest m = {.name = xstrdup("small"), .revision = number + 1};
	auto_held struct held *held = NULL;
	struct sha256 digest, chunk;
	char hex[SHA256_TEXT];

	memset(bytes, (int)number + 1, sizeof(bytes));
	chunk = sha256_of(bytes, sizeof(bytes));
	m.parts[PART_DISK] = (struct manifest_part){.present = true, .size = sizeof(bytes)};
	vec_push(&m.parts[PART_DISK].chunks, ((struct manifest_chunk){.digest = chunk}));
	auto_free char *text = manifest_write(&m);
	digest = sha256_of(text, strlen(text));
	assert_int_equal(
		held_create(w->host, sha256_format(&digest, hex), text, strlen(text), &held, NULL),
		0);
	assert_int_equal(held_put(held, 0, bytes, NULL), 0);
	return chunk;
}

/* A host may hold as many as a goal names: each of them has its place, at the first question. */
static void all_that_a_host_may_hold_is_served(void **state)
{
	struct world *w = *state;
	struct sha256 chunks[PROTO_IMAGES_MAX];

	for (unsigned i = 0; i < PROTO_IMAGES_MAX; i++)
		chunks[i] = hold_small(w, i);
	for (unsigned i = 0; i < PROTO_IMAGES_MAX; i++) {
		char hex[SHA256_TEXT];
		auto_free char *path = xasprintf("/chunks/%s", sha256_format(&chunks[i], hex));

		if (get(w->from_host, path) != 200)
			fail_msg("image %u is held and not found", i);
	}
}

/* To verify it takes minutes; its owner does that, when he needs it. */
static void what_another_boot_left_is_not_opened(void **state)
{
	struct world *w = *state;
	char hex[SHA256_TEXT], boot[36] = "";
	static const char other[] = "00000000-0000-4000-8000-000000000000";
	auto_free char *path = xasprintf("/chunks/%s", sha256_format(&w->chunk, hex));
	auto_free char *map = fetch_path(w->host, w->digest, "map");
	auto_held struct held *held = NULL;
	struct source *source = NULL;
	auto_close int fd = -1;

	fetch_ok(w, w->from_store, w->host);
	assert_true(held_is_checked(w->host, w->digest));
	fd = open(map, O_RDWR | O_CLOEXEC);
	assert_int_equal(pwrite(fd, other, 36, 16), 36);
	assert_false(held_is_checked(w->host, w->digest));
	assert_int_equal(source_open_held(w->host, w->digest, &source, NULL), -EAGAIN);
	assert_int_equal(get(w->from_host, path), 404);
	assert_int_equal(pread(fd, boot, 36, 16), 36);
	assert_memory_equal(boot, other, 36);
	assert_int_equal(held_open(w->host, w->digest, &held, NULL), 0);
	assert_true(held_is_checked(w->host, w->digest));
	becomes(w->from_host, path, 200);
	assert_false(held_is_checked(w->host, "../../etc"));
}

static void most_seen(uint64_t have, uint64_t total, void *arg)
{
	uint64_t *most = arg;

	*most = total && have > *most ? have : *most;
}

/* A cast has filled the room with the disk before it was known that there is so little. */
static void fill_by_cast(const struct world *w, uint64_t room)
{
	static unsigned char bytes[CHUNK_SIZE];
	auto_free char *path = NULL, *text = NULL;
	auto_held struct held *held = NULL;
	struct sha256 digest;
	size_t len;

	sha256_parse(w->digest, &digest);
	path = chunkstore_manifest_path(w->store, &digest);
	assert_int_equal(file_read(path, MANIFEST_MAX_BYTES, &text, &len, NULL), 0);
	assert_int_equal(held_create(w->host, w->digest, text, len, &held, NULL), 0);
	held_set_limit(held, room);
	for (unsigned i = 0; i < 2; i++) {
		memset(bytes, (int)i + 1, sizeof(bytes));
		assert_int_equal(held_put(held, i, bytes, NULL), 0);
	}
}

static void kernel_and_what_fits_come(void **state)
{
	struct world *w = *state;
	enum { ROOM = 2 * CHUNK_SIZE };
	auto_free char *base = xasprintf("http://127.0.0.1:%u", serve_port(w->from_store));
	uint64_t most = 0;
	struct fetch job = {.base = base,
		.digest = w->digest,
		.dir = w->host,
		.room = ROOM,
		.connections = 1,
		.progress = most_seen,
		.arg = &most};
	auto_held struct held *held = NULL;

	fill_by_cast(w, ROOM);
	for (int round = 0; round < 2; round++) {
		job.start_only = round == 0;
		assert_int_equal(fetch_image(&job, NULL, NULL), 0);
		assert_int_equal(held_open(w->host, w->digest, &held, NULL), 0);
		assert_true(held_has_part(held, PART_KERNEL));
		assert_int_equal(held_limit(held), ROOM);
		held_close(TAKE_PTR(held));
	}
	assert_false(fetch_is_complete(w->host, w->digest));
	assert_in_range(most, CHUNK_SIZE + KERNEL, ROOM);
	job.room = 100 * CHUNK_SIZE;
	assert_int_equal(fetch_image(&job, NULL, NULL), 0);
	assert_true(fetch_is_complete(w->host, w->digest));
	job.room = ROOM;
	assert_int_equal(fetch_image(&job, NULL, NULL), 0);
	assert_true(fetch_is_complete(w->host, w->digest)); /* what is whole stays so */
}

static void nothing_else_comes_out(void **state)
{
	struct world *w = *state;
	char hex[SHA256_TEXT];
	const char *chunk = sha256_format(&w->chunk, hex);
	char *wrong[] = {xstrdup("/"), xstrdup("/chunks/"), xstrdup("/chunks/ab"),
		xasprintf("/chunks/%sa", chunk), xasprintf("/chunks/%s/", chunk),
		xasprintf("/chunks/%s?x=1", chunk), xasprintf("/chunks//%s", chunk),
		xasprintf("/chunks/../chunks/%s", chunk), xasprintf("/%%63hunks/%s", chunk),
		xasprintf("/chunks/%%%02x%s", chunk[0], chunk + 1),
		xasprintf("/chunks/%.2s/%s", chunk, chunk), xasprintf("/Chunks/%s", chunk),
		xasprintf("/manifests/%s", chunk), xasprintf("/traces/%s", w->digest),
		xasprintf("/manifests/../../../../etc/%s", w->digest),
		xstrdup("/manifests/../lock"), xstrdup("/lock"), xstrdup("/etc/passwd")};
	auto_free char *lower = xasprintf("/chunks/%s", chunk);

	for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
		if (get(w->from_store, wrong[i]) != 404)
			fail_msg("%s was answered", wrong[i]);
		free(wrong[i]);
	}
	assert_int_equal(get(w->from_store, lower), 200);
}

static void only_get_and_no_body(void **state)
{
	struct world *w = *state;
	static const struct {
		const char *before, *after;
		int status;
	} cases[] = {
		{"GET", "", 200},
		{"HEAD", "", 405},
		{"PUT", "", 405},
		{"DELETE", "", 405},
		{"POST", "Content-Length: 3\r\n\r\nabc", 400},
		{"GET", "Content-Length: 3\r\n\r\nabc", 400},
		{"GET", "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400},
		{"GET", "Content-Length: 0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400},
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		auto_free char *request = xasprintf("%s /manifests/%s HTTP/1.1\r\nHost: x\r\n%s%s",
			cases[i].before, w->digest, cases[i].after, *cases[i].after ? "" : "\r\n");
		int status = ask(w->from_store, request);

		if (status != cases[i].status)
			fail_msg("case %zu was answered %d", i, status);
	}
}

static int program(char **argv)
{
	bool held = strcmp(argv[1], "held") == 0;
	struct serve_options options = {.port = (uint16_t)atoi(argv[3]),
		.held = held ? argv[2] : NULL,
		.store = held ? NULL : argv[2]};
	auto_error struct error *err = NULL;
	struct serve *serve = NULL;
	char byte;
	int r = serve_start(&options, &serve, &err);

	if (r < 0)
		return printf("%s %s\n", strerrorname_np(-r), error_text(err, r)), 1;
	puts("ready");
	fflush(stdout);
	while (read(STDIN_FILENO, &byte, 1) > 0)
		;
	serve_stop(serve);
	return 0;
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(an_image_goes_from_host_to_host, setup, teardown),
		cmocka_unit_test_setup_teardown(what_is_not_held_is_not_found, setup, teardown),
		cmocka_unit_test_setup_teardown(what_was_removed_is_closed, setup, teardown),
		cmocka_unit_test_setup_teardown(
			all_that_a_host_may_hold_is_served, setup, teardown),
		cmocka_unit_test_setup_teardown(
			what_another_boot_left_is_not_opened, setup, teardown),
		cmocka_unit_test_setup_teardown(kernel_and_what_fits_come, setup, teardown),
		cmocka_unit_test_setup_teardown(nothing_else_comes_out, setup, teardown),
		cmocka_unit_test_setup_teardown(only_get_and_no_body, setup, teardown),
	};

	if (argc == 4)
		return program(argv);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
