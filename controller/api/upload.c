/* SPDX-License-Identifier: GPL-2.0-or-later */
/* /uploads: large files come in pieces and may be resumed after any break, ours or the caller's.
 *
 * The name of an upload is the digest it must have. A piece is written at its offset into SHA.part;
 * the same piece again changes nothing, a gap is refused. With the last byte a worker flushes and
 * hashes the file, and only a file that is what its name says becomes SHA, by rename; a wrong one
 * is dropped. So "complete" is never said of bytes that a power cut could take, and what stands in
 * incoming/ under a digest can be trusted. One file is hashed at a time: more would take the
 * workers from everybody else.
 *
 * What is nothing but zeros need not be sent: zero=N instead of bytes lets the part grow by a hole.
 * A hole costs its sender nothing and us the hashing, so files with holes have a limit of their
 * own.
 *
 * The length is kept beside the part, so that one who comes back knows what is missing after a
 * restart too. What every user may send is bounded by the disk's reserve (lib/space.c) and by how
 * many parts a token may have (incoming.c). */
#include "controller/api/uploads.h"

#include <fcntl.h>
#include <sys/stat.h>
#include "controller/api/http.h"
#include "controller/api/incoming.h"
#include "controller/api/route.h"
#include "lib/clock.h"
#include "lib/file.h"
#include "lib/hash.h"
#include "lib/space.h"

enum { PIECE_MAX = 8 << 20, VERIFY_MS = 60000, SWEEP_MS = 86400 * 1000 };
#define UPLOAD_MAX ((uint64_t)256 << 30)
#define HOLED_MAX ((uint64_t)32 << 30)

/* What one PUT brings: bytes, or only a count of zeros. */
struct piece {
	uint64_t offset, length; /* length: of the whole file */
	const void *bytes;
	uint64_t n;
};

/* Of a file that has its last byte: hashed, or waiting for it. What came of it is kept until it was
 * told, at most a day; of a good one the file under its name says enough. */
struct verify {
	struct uploads *uploads;
	struct verify *next;
	char *sha256, *folder, *part, *whole;
	bool busy, wrong;
	int result;
};

struct uploads {
	struct controller *controller;
	struct verify *verifies; /* oldest first; the first that is busy is being hashed */
	struct loop_timer *sweep;
};

static void verify_free(struct verify *v)
{
	free(v->sha256);
	free(v->folder);
	free(v->part);
	free(v->whole);
	free(v);
}

/* Out of the list. */
static void verify_forget(struct verify **place)
{
	struct verify *v = *place;
	*place = v->next;
	verify_free(v);
}

static void sweep(void *arg)
{
	struct uploads *uploads = arg;
	struct verify **place = &uploads->verifies;
	while (*place) {
		if ((*place)->busy)
			place = &(*place)->next;
		else
			verify_forget(place);
	}
	incoming_drop_old(uploads->controller);
	loop_timer_at(uploads->sweep, clock_mono_ms() + SWEEP_MS);
}

struct uploads *uploads_new(struct controller *controller)
{
	struct uploads *uploads = xnew(struct uploads);
	uploads->controller = controller;
	uploads->sweep = loop_timer_new(controller->loop, sweep, uploads);
	sweep(uploads);
	return uploads;
}

void uploads_stop(struct uploads *uploads)
{
	if (!uploads)
		return;
	loop_timer_free(uploads->sweep);
	uploads->sweep = NULL;
}

void uploads_free(struct uploads *uploads)
{
	if (!uploads)
		return;
	while (uploads->verifies)
		verify_forget(&uploads->verifies);
	free(uploads);
}

int upload_path(struct controller *controller, const char *sha256, const char *field,
	char **ret_path, struct error **err)
{
	auto_free char *path = sha256_hex_ok(sha256) ? incoming_path(controller, sha256, "") : NULL;
	if (!path || access(path, R_OK) != 0)
		return error_field(err, -ENOENT, field,
			"there is no whole upload %s; PUT it to /api/v1/uploads/ first", sha256);
	*ret_path = TAKE_PTR(path);
	return 0;
}

void upload_remove(struct controller *controller, const char *sha256)
{
	if (!sha256 || !sha256_hex_ok(sha256) || incoming_wanted(controller, sha256))
		return;
	auto_free char *path = incoming_path(controller, sha256, "");
	unlink(path);
}

static int folder_sync(const char *folder)
{
	auto_close int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return fd < 0 || fsync(fd) < 0 ? -errno : 0;
}

static void work(void *arg)
{
	struct verify *v = arg;
	struct sha256 digest, wanted;
	auto_close int fd = open(v->part, O_RDONLY | O_CLOEXEC);
	v->result = fd < 0 || fdatasync(fd) < 0 ? -errno : sha256_file(v->part, &digest, NULL);
	if (v->result < 0 || sha256_parse(v->sha256, &wanted) < 0)
		return;
	if (memcmp(digest.b, wanted.b, sizeof(digest.b)) != 0) {
		v->wrong = true;
		unlink(v->part);
	} else if (rename(v->part, v->whole) < 0) {
		v->result = -errno;
	} else {
		v->result = folder_sync(v->folder);
	}
}

static struct verify **find(struct uploads *uploads, const char *sha256)
{
	struct verify **v = &uploads->verifies;
	while (*v && strcmp((*v)->sha256, sha256) != 0)
		v = &(*v)->next;
	return v;
}

static void done(void *arg);

/* The next that waits is hashed, unless we are about to end. */
static void verify_next(struct uploads *uploads)
{
	struct verify *v = uploads->sweep ? uploads->verifies : NULL;
	while (v && !v->busy)
		v = v->next;
	if (v)
		loop_work(uploads->controller->loop, work, done, v);
}

static void done(void *arg)
{
	struct verify *v = arg;
	struct uploads *uploads = v->uploads;
	auto_free char *topic = xasprintf("upload/%s", v->sha256);
	auto_free char *length = incoming_path(uploads->controller, v->sha256, ".length");
	v->busy = false;
	if (v->wrong || v->result >= 0)
		unlink(length);
	if (!v->wrong && v->result >= 0)
		verify_forget(find(uploads, v->sha256));
	http_wake(uploads->controller->http, topic);
	verify_next(uploads);
}

static void verify_start(struct controller *controller, const char *sha256)
{
	struct verify *v = xnew(struct verify), **place = &controller->uploads->verifies;
	bool alone = true;
	*v = (struct verify){.uploads = controller->uploads,
		.sha256 = xstrdup(sha256),
		.folder = incoming_path(controller, "", ""),
		.part = incoming_path(controller, sha256, ".part"),
		.whole = incoming_path(controller, sha256, ""),
		.busy = true};
	for (; *place; place = &(*place)->next)
		alone &= !(*place)->busy;
	*place = v;
	if (alone)
		verify_next(controller->uploads);
}

struct progress {
	uint64_t have, length;
	bool complete;
};

static void look(struct controller *controller, const char *sha256, struct progress *ret_progress)
{
	auto_free char *whole = incoming_path(controller, sha256, ""),
		       *part = incoming_path(controller, sha256, ".part");
	struct progress progress = {0};
	struct incoming_length length;
	struct stat st;
	if (stat(whole, &st) == 0) {
		progress = (struct progress){(uint64_t)st.st_size, (uint64_t)st.st_size, true};
	} else if (stat(part, &st) == 0 && incoming_length_read(controller, sha256, &length) == 0 &&
		   length.length <= UPLOAD_MAX) {
		progress = (struct progress){.have = (uint64_t)st.st_size, .length = length.length};
	}
	*ret_progress = progress;
}

static void answer(const struct progress *progress, struct api_answer *ret_answer)
{
	ret_answer->status = 200;
	ret_answer->body = json_pack("{s:I, s:I, s:b}", "have", (json_int_t)progress->have,
		"length", (json_int_t)progress->length, "complete", progress->complete);
}

static int check_name(const char *sha256, struct error **err)
{
	if (!sha256_hex_ok(sha256))
		return error_field(
			err, -EINVAL, "sha256", "an upload is named by its SHA-256, 64 hex digits");
	return 0;
}

static int upload_get(
	const struct api_request *request, struct api_answer *ret_answer, struct error **err)
{
	struct progress progress;
	int r = check_name(request->params[0], err);
	if (r < 0)
		return r;
	look(request->controller, request->params[0], &progress);
	answer(&progress, ret_answer);
	return 0;
}

/* The length is written down with the first piece and stays. */
static int keep_length(const struct api_request *request, uint64_t length,
	const struct progress *progress, struct error **err)
{
	const struct incoming_length kept = {length, request->who.token_id};
	if (progress->length == length && length > 0)
		return 0;
	if (progress->have > 0)
		return error_field(err, -EEXIST, "Upload-Length", "it was %llu before",
			(unsigned long long)progress->length);
	int r = incoming_begin(request->controller, kept.token, err);
	return r < 0 ? r
		     : incoming_length_write(request->controller, request->params[0], &kept, err);
}

static int write_bytes(int fd, const struct piece *piece)
{
	if (lseek(fd, (off_t)piece->offset, SEEK_SET) < 0)
		return -errno;
	return fd_write_all(fd, piece->bytes, piece->n);
}

/* Bytes that stand there already stay: the digest will judge them. */
static int write_hole(int fd, const struct piece *piece, uint64_t have)
{
	uint64_t end = piece->offset + piece->n;
	return end > have && ftruncate(fd, (off_t)end) < 0 ? -errno : 0;
}

static int write_piece(const struct api_request *request, const struct piece *piece,
	struct progress *progress, struct error **err)
{
	auto_free char *part = incoming_path(request->controller, request->params[0], ".part");
	int r = keep_length(request, piece->length, progress, err);
	if (r < 0)
		return r;
	auto_close int fd = open(part, O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		return error_make(err, -errno, "%s: %s", part, strerror(errno));
	r = space_check(fd, piece->bytes ? piece->n : 0, err);
	if (r < 0)
		return r;
	r = piece->bytes ? write_bytes(fd, piece) : write_hole(fd, piece, progress->have);
	if (r == -ENOSPC)
		return space_full(fd, err);
	if (r < 0)
		return error_make(err, r, "the piece cannot be written: %s", strerror(-r));
	if (piece->offset + piece->n > progress->have)
		progress->have = piece->offset + piece->n;
	progress->length = piece->length;
	return 0;
}

/* What a verification that ran came to: 1 answered, 0 none ran, -errno. */
static int verified(const struct api_request *request, struct progress *progress,
	struct api_answer *ret_answer, struct error **err)
{
	struct verify **place = find(request->controller->uploads, request->params[0]), *v = *place;
	if (!v && !progress->complete)
		return 0;
	if (v && v->busy) {
		if (request->waited)
			return error_make(
				err, -EAGAIN, "the upload is still being verified; ask again");
		ret_answer->wait_topic = xasprintf("upload/%s", request->params[0]);
		ret_answer->wait_ms = VERIFY_MS;
		return 1;
	}
	bool wrong = v && v->wrong;
	int result = v ? v->result : 0;
	if (v)
		verify_forget(place);
	if (wrong)
		return error_field(err, -EINVAL, "sha256",
			"the bytes sent have another SHA-256; send them anew");
	if (result < 0)
		return error_make(
			err, result, "the upload cannot be verified: %s", strerror(-result));
	look(request->controller, request->params[0], progress);
	answer(progress, ret_answer);
	return 1;
}

static int read_piece(
	const struct api_request *request, struct piece *ret_piece, struct error **err)
{
	const char *header = api_header(request, "Upload-Length");
	struct piece piece = {.bytes = request->bytes, .n = request->n_bytes};
	bool hole = api_query(request, "zero") != NULL;
	uint64_t zero = 0;
	int r = api_query_uint(request, "offset", UPLOAD_MAX, 0, &piece.offset, err);
	if (r >= 0)
		r = api_query_uint(request, "zero", HOLED_MAX, 0, &zero, err);
	if (r < 0)
		return r;
	if (!header || uint_parse(header, 0, UPLOAD_MAX, &piece.length) < 0)
		return error_field(
			err, -EINVAL, "Upload-Length", "the size of the whole file in bytes");
	if (hole && piece.n > 0)
		return error_field(err, -EINVAL, "zero", "a piece has bytes or is zero, not both");
	if (hole && piece.length > HOLED_MAX)
		return error_field(err, -EINVAL, "zero", "so large a file has to be sent whole");
	if (hole)
		piece = (struct piece){.offset = piece.offset, .length = piece.length, .n = zero};
	if (piece.offset + piece.n > piece.length)
		return error_field(err, -EINVAL, "Upload-Length", "the piece ends behind it");
	*ret_piece = piece;
	return 0;
}

static int upload_put(
	const struct api_request *request, struct api_answer *ret_answer, struct error **err)
{
	struct controller *controller = request->controller;
	const char *sha256 = request->params[0];
	struct progress progress;
	struct piece piece = {0};
	int r = check_name(sha256, err);
	if (r >= 0)
		r = read_piece(request, &piece, err);
	if (r < 0)
		return r;
	look(controller, sha256, &progress);
	r = verified(request, &progress, ret_answer, err);
	if (r != 0)
		return r < 0 ? r : 0;
	if (piece.offset > progress.have)
		return error_field(err, -EEXIST, "offset",
			"bytes from %llu on are missing before it",
			(unsigned long long)progress.have);
	r = write_piece(request, &piece, &progress, err);
	if (r < 0)
		return r;
	if (progress.have == piece.length) {
		verify_start(controller, sha256);
		ret_answer->wait_topic = xasprintf("upload/%s", sha256);
		ret_answer->wait_ms = VERIFY_MS;
		return 0;
	}
	answer(&progress, ret_answer);
	return 0;
}

static const struct route rows[] = {
	{"PUT", "/api/v1/uploads/{sha256}", ROLE_USER, ROUTE_RAW, PIECE_MAX, "offset zero",
		upload_put, "one piece of a file"},
	{"GET", "/api/v1/uploads/{sha256}", ROLE_USER, ROUTE_JSON, 0, NULL, upload_get,
		"how much of a file is here"},
};
const struct routes routes_upload = {rows, ARRAY_LEN(rows)};
