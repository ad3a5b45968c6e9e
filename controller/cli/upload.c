/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A file to the controller, in pieces that resume; or what is put together from several, of which
 * the pieces are read as if it were one.
 *
 * The file's SHA-256 is its name there: what another call brought before is not sent again, a
 * broken upload goes on at its last whole piece, and a file that changes while it is read cannot
 * pass as what it was. A piece is 4 MiB; a lost connection is tried again for a minute with the
 * same offset, which changes nothing when the piece had arrived. Pieces of nothing but zeros, most
 * of a raw disk, are told, not sent; a controller that takes none gets them as bytes.
 */
#include <fcntl.h>
#include <sys/stat.h>
#include "controller/cli/progress.h"
#include "controller/cli/show.h"
#include "lib/hash.h"
#include "lib/str.h"

enum { PIECE = 4 << 20, VERIFY_S = 90 };

struct upload {
	struct cli *cli;
	struct progress progress;
	const char *name; /* for people: the base name */
	const struct upload_parts *parts;
	bool no_holes;
	uint64_t size, have;
	char digest[SHA256_TEXT];
	char *piece;
};

/* Bytes of one part; fewer than wanted when its file became shorter. */
static ssize_t read_part(const struct upload_part *part, char *to, uint64_t offset, size_t want)
{
	size_t got = 0;
	if (part->fd < 0 && part->bytes)
		memcpy(to, (const char *)part->bytes + offset, want);
	else if (part->fd < 0)
		memset(to, 0, want);
	if (part->fd < 0)
		return (ssize_t)want;
	while (got < want) {
		ssize_t n = pread(part->fd, to + got, want - got, (off_t)(offset + got));
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0)
			break;
		got += (size_t)n;
	}
	return (ssize_t)got;
}

/* Bytes of the whole, into u->piece; fewer than wanted at its end, or when a file became shorter.
 */
static ssize_t read_piece(const struct upload *u, uint64_t offset, size_t want)
{
	uint64_t begin = 0; /* of the part in the whole */
	size_t got = 0;
	vec_each (struct upload_part, part, u->parts) {
		uint64_t at = offset + got - begin;
		begin += part->size;
		if (at >= part->size || got == want)
			continue;
		size_t most = part->size - at < want - got ? (size_t)(part->size - at) : want - got;
		ssize_t n = read_part(part, u->piece + got, at, most);
		if (n < 0)
			return n;
		got += (size_t)n;
		if ((size_t)n < most)
			break;
	}
	return (ssize_t)got;
}

static int hash_all(struct upload *u, struct error **err)
{
	struct sha256_stream *stream = sha256_begin();
	uint64_t at = 0;
	ssize_t n = 0;
	while (at < u->size && (n = read_piece(u, at, PIECE)) > 0) {
		sha256_add(stream, u->piece, (size_t)n);
		at += (uint64_t)n;
		if (u->size > 16 * (uint64_t)PIECE)
			progress_bytes(&u->progress, "reading", at, u->size);
	}
	struct sha256 digest = sha256_end(stream);
	sha256_format(&digest, u->digest);
	if (n < 0)
		return error_make(err, (int)n, "reading: %s", strerror((int)-n));
	return at == u->size ? 0 : error_make(err, -EIO, "it became shorter while it was read");
}

/* What the controller has of it. */
static int ask(struct upload *u, bool *ret_complete, struct error **err)
{
	auto_free char *path = xasprintf("/uploads/%s", u->digest);
	auto_json json_t *answer = NULL;
	auto_error struct error *trouble = NULL;
	*ret_complete = false;
	int e = client_get(u->cli->client, path, 0, &answer, &trouble);
	if (e == -ENOENT)
		return 0;
	if (e < 0)
		return error_make(err, e, "%s", error_text(trouble, e));
	u->have = (uint64_t)json_integer_value(json_object_get(answer, "have"));
	*ret_complete = json_is_true(json_object_get(answer, "complete"));
	if (u->have > u->size)
		return error_make(err, -EPROTO, "the controller has more of it than there is");
	return 0;
}

/* How many zeros follow from u->have on, in whole pieces (the last may be short). */
static uint64_t zeros(const struct upload *u)
{
	uint64_t at = u->have;
	while (at < u->size) {
		uint64_t left = u->size - at;
		ssize_t n = read_piece(u, at, left < PIECE ? (size_t)left : PIECE);
		if (n <= 0 || u->piece[0] || memcmp(u->piece, u->piece + 1, (size_t)n - 1) != 0)
			break;
		at += (uint64_t)n;
	}
	return at - u->have;
}

/* PUTs n bytes, or n zeros where `bytes` is NULL, and moves u->have behind them. The last piece is
 * answered when the controller has hashed the whole file; if that takes it more than a minute
 * (-EAGAIN) the same piece asks again. */
static int put(struct upload *u, const void *bytes, uint64_t n, struct error **err)
{
	auto_free char *zero = bytes ? NULL : xasprintf("&zero=%llu", (unsigned long long)n);
	auto_free char *path = xasprintf("/uploads/%s?offset=%llu%s", u->digest,
		(unsigned long long)u->have, zero ? zero : "");
	auto_free char *header = xasprintf("Upload-Length: %llu", (unsigned long long)u->size);
	for (;;) {
		auto_error struct error *trouble = NULL;
		struct httpc_response response = {0};
		int e = client_raw(u->cli->client, "PUT", path, bytes ? bytes : "",
			bytes ? (size_t)n : 0, header, VERIFY_S, &response, &trouble);
		httpc_response_done(&response);
		if (e == -EAGAIN && u->have + n == u->size)
			continue;
		if (e < 0)
			return error_make(err, e, "%s", error_text(trouble, e));
		u->have += n;
		return 0;
	}
}

static int send_piece(struct upload *u, struct error **err)
{
	uint64_t hole = u->no_holes ? 0 : zeros(u);
	if (hole) {
		auto_error struct error *trouble = NULL;
		int e = put(u, NULL, hole, &trouble);
		if (e == 0)
			return 0;
		if (e != -EINVAL)
			return error_make(err, e, "%s", error_text(trouble, e));
		bool complete;
		u->no_holes = true;
		return ask(u, &complete, err);
	}
	uint64_t left = u->size - u->have;
	ssize_t n = read_piece(u, u->have, left < PIECE ? (size_t)left : PIECE);
	if (n < 0 || (n == 0 && left))
		return error_make(err, n < 0 ? (int)n : -EIO, "it cannot be read to its end");
	return put(u, u->piece, (uint64_t)n, err);
}

static int send_all(struct upload *u, struct error **err)
{
	bool complete, sent = false;
	int e = ask(u, &complete, err);
	uint64_t before = u->have;
	progress_end(&u->progress);
	progress_begin(&u->progress, u->cli);
	while (e == 0 && !complete && (u->have < u->size || !sent)) {
		e = send_piece(u, err);
		sent = true;
		if (e == 0 && u->size > PIECE)
			progress_bytes(&u->progress, u->name, u->have - before, u->size - before);
	}
	return e;
}

int upload_parts(struct cli *cli, const char *name, const struct upload_parts *parts,
	char *ret_digest, struct error **err)
{
	const char *slash = strrchr(name, '/');
	struct upload u = {.cli = cli, .parts = parts, .name = slash ? slash + 1 : name};
	vec_each (struct upload_part, part, parts)
		u.size += part->size;
	u.piece = xcalloc(1, PIECE);
	client_be_patient(cli->client);
	progress_begin(&u.progress, cli);
	int e = hash_all(&u, err);
	if (e == 0)
		e = send_all(&u, err);
	progress_end(&u.progress);
	free(u.piece);
	if (e < 0)
		return error_wrap(err, e, "upload of %s", name);
	memcpy(ret_digest, u.digest, SHA256_TEXT);
	return 0;
}

int upload_file(struct cli *cli, const char *path, char *ret_digest, struct error **err)
{
	struct stat st;
	auto_close int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &st) < 0) {
		int e = -errno;
		return error_make(err, e, "cannot read %s: %s", path, strerror(-e));
	}
	if (!S_ISREG(st.st_mode))
		return error_make(err, -EINVAL, "%s is not a regular file", path);
	struct upload_part whole = {.fd = fd, .size = (uint64_t)st.st_size};
	const struct upload_parts parts = {.at = &whole, .n = 1};
	return upload_parts(cli, path, &parts, ret_digest, err);
}
