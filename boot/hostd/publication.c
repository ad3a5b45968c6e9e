/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The check that stands before every fetch of an image.
 *
 * The digest of an image comes with the goal, over TLS, so nobody on the segment can put another
 * image in its place. What the publication adds is time: an image that was taken back because it
 * was bad must not come again, whoever repeats an old answer and whatever an old backup of the
 * controller believes. So the host keeps, for each name and key, the highest sequence number it has
 * seen, with its images: in memory for the night, on a scratch partition for longer.
 *
 * The number is written before the fetch begins. A file of numbers that cannot be read is begun
 * anew: it guards against the network, and whoever can damage it here could as well remove it.
 */
#include "boot/hostd/publication.h"

#include <fcntl.h>

#include "images/publication.h"
#include "lib/file.h"
#include "lib/httpc.h"
#include "lib/json.h"
#include "lib/str.h"
#include "lib/vec.h"

enum { TIMEOUT_MS = 10000, ANSWER_MAX = 4096, NAMES_MAX = 256, FILE_MAX = 256 << 10 };

struct known {
	char *name, *key;
	uint64_t sequence;
};
VEC_OF(knowns, struct known);

struct memory {
	struct knowns seen; /* the one that was changed last stands last */
};

static const struct json_field known_fields[] = {
	FIELD(struct known, name, JSON_KIND_NAME, true),
	FIELD(struct known, key, JSON_KIND_SHA256, true),
	FIELD(struct known, sequence, JSON_KIND_UINT, true),
};
static const struct json_field memory_fields[] = {
	FIELD_ARRAY(struct memory, seen, true, struct known, known_fields),
};

static void cleanup_memory(struct memory *memory)
{
	json_done(memory_fields, ARRAY_LEN(memory_fields), memory);
}

static void memory_read(const char *path, struct memory *memory)
{
	auto_json json_t *object = NULL;
	auto_free char *text = NULL;
	size_t len;

	if (file_read(path, FILE_MAX, &text, &len, NULL) == 0 &&
		json_parse_object(text, len, &object, NULL) == 0)
		json_read(object, memory_fields, ARRAY_LEN(memory_fields), memory, NULL);
}

static int memory_write(const char *path, const struct memory *memory, struct error **err)
{
	auto_json json_t *object = json_write(memory_fields, ARRAY_LEN(memory_fields), memory);
	auto_free char *text = json_text(object);

	return file_write(path, text, strlen(text), 0600, err);
}

static void known_free(struct knowns *knowns, size_t at)
{
	free(knowns->at[at].name);
	free(knowns->at[at].key);
	vec_remove(knowns, at);
}

/* Takes the number in, unless a higher one is there. */
static int memory_add(struct memory *memory, const struct publication *p, struct error **err)
{
	for (size_t i = memory->seen.n; i-- > 0;) {
		struct known *known = &memory->seen.at[i];

		if (strcmp(known->name, p->name) != 0 || strcmp(known->key, p->key) != 0)
			continue;
		if (known->sequence > p->sequence)
			return error_make(err, -EKEYREJECTED,
				"image %s revision %llu: its publication is old (sequence %llu, "
				"this host has seen %llu)",
				p->name, (unsigned long long)p->revision,
				(unsigned long long)p->sequence,
				(unsigned long long)known->sequence);
		known_free(&memory->seen, i);
	}
	if (memory->seen.n >= NAMES_MAX)
		known_free(&memory->seen, 0);
	vec_push(&memory->seen, ((struct known){xstrdup(p->name), xstrdup(p->key), p->sequence}));
	return 0;
}

/* One thread of one program at a time: several images may be fetched at once. */
static int remember(const char *image_dir, const struct publication *p, struct error **err)
{
	__attribute__((cleanup(cleanup_memory))) struct memory memory = {0};
	struct flock whole = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
	auto_free char *path = xasprintf("%s/sequences", image_dir);
	auto_free char *lock_path = xasprintf("%s.lock", path);
	auto_close int lock = -1;
	int r = file_mkdirs(image_dir, 0755, err);

	if (r < 0)
		return r;
	lock = open(lock_path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (lock < 0 || fcntl(lock, F_OFD_SETLKW, &whole) < 0)
		return error_make(err, -errno, "%s: %s", lock_path, strerror(errno));
	memory_read(path, &memory);
	r = memory_add(&memory, p, err);
	return r < 0 ? r : memory_write(path, &memory, err);
}

static int ask(const struct publication_wanted *wanted, struct httpc_response *ret_response,
	struct error **err)
{
	auto_free char *url = xasprintf("%s/publications/%s", wanted->url, wanted->digest);
	const struct httpc_request request = {
		.method = "GET", .url = url, .timeout_ms = TIMEOUT_MS, .max_body = ANSWER_MAX};
	const struct httpc_trust plain = {0};
	struct httpc *client = httpc_new(&plain);
	int r = httpc_do(client, &request, ret_response, err);

	httpc_free(client);
	if (r == 0 && ret_response->status != 200) {
		r = httpc_problem(ret_response, err);
		httpc_response_done(ret_response);
		if (r == 0)
			r = error_make(err, -EPROTO, "%s: no answer", url);
	}
	return r;
}

int publication_check(const struct publication_wanted *wanted, struct error **err)
{
	auto_publication struct publication publication = {0};
	struct httpc_response response = {0};
	int r;

	if (!wanted->key)
		return 0;
	if (!wanted->url || !wanted->name)
		return error_make(err, -EINVAL, "the goal names no source of images");
	r = ask(wanted, &response, err);
	if (r < 0)
		return error_wrap(err, r, "asking whether image %s may be used", wanted->name);
	r = publication_verify(response.body, response.len, wanted->key, &publication, err);
	httpc_response_done(&response);
	if (r < 0)
		return error_wrap(err, r, "image %s refused", wanted->name);
	if (strcmp(publication.digest, wanted->digest) != 0 ||
		strcmp(publication.name, wanted->name) != 0 ||
		publication.revision != wanted->revision)
		return error_make(err, -EKEYREJECTED,
			"image %s refused: its publication is for image %s revision %llu, digest "
			"%.12s",
			wanted->name, publication.name, (unsigned long long)publication.revision,
			publication.digest);
	r = remember(wanted->image_dir, &publication, err);
	return r < 0 ? error_wrap(err, r, "image %s refused", wanted->name) : 0;
}
