/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Manifest struct <-> canonical JSON.
 *
 *   {"format":1,"name":"mpi","revision":3,"size":N,"chunk_size":262144,
 *    "parts":{"disk":PART,"kernel":PART,"initrd":PART},"cmdline":"root=/dev/vda ..."}
 *
 * where size is the disk's and PART is {"size":N,"chunks":[DIGEST or "0" (all zeros), ...]}.
 *
 * A manifest reaches a host over plain HTTP from a segment that students share; it is trusted only
 * because its digest came with the goal over TLS. Still every bound is checked before anything is
 * made from it: whoever could publish a manifest must not be able to fill a host's memory or name a
 * chunk twice over.
 *
 * Canonical means: reading and writing again gives the same bytes, and manifest_read insists on it.
 * One content has one text, so one digest; there is no room for a second spelling of the same
 * image.
 */
#include "images/manifest.h"

#include "images/chunk.h"
#include "lib/json.h"
#include "lib/str.h"

const char *const manifest_part_names[PART_COUNT] = {"disk", "kernel", "initrd"};

VEC_OF(chunk_names, char *);

struct part_doc {
	uint64_t size;
	struct chunk_names chunks;
};

struct parts_doc {
	bool has_disk, has_kernel, has_initrd;
	struct part_doc disk, kernel, initrd;
};

struct manifest_doc {
	uint64_t format;
	char *name;
	uint64_t revision, size, chunk_size;
	struct parts_doc parts;
	char *cmdline;
};

#define UINT_BETWEEN(type, member, low, high)                                                      \
	{                                                                                          \
		.name = #member, .kind = JSON_KIND_UINT, .offset = offsetof(type, member),         \
		.required = true, .has_offset = NO_HAS, .min = (low), .max = (high)                \
	}

static const struct json_field part_fields[] = {
	UINT_BETWEEN(struct part_doc, size, 1, IMAGE_SIZE_MAX),
	FIELD_MAX(struct part_doc, chunks, JSON_KIND_STRINGS, true, IMAGE_SIZE_MAX / CHUNK_SIZE),
};

#define PART_FIELD(member, req)                                                                    \
	{                                                                                          \
		.name = #member, .kind = JSON_KIND_OBJECT,                                         \
		.offset = offsetof(struct parts_doc, member), .required = (req),                   \
		.has_offset = offsetof(struct parts_doc, has_##member), .fields = part_fields,     \
		.n_fields = ARRAY_LEN(part_fields)                                                 \
	}

static const struct json_field parts_fields[] = {
	PART_FIELD(disk, true),
	PART_FIELD(kernel, false),
	PART_FIELD(initrd, false),
};

static const struct json_field manifest_fields[] = {
	UINT_BETWEEN(struct manifest_doc, format, MANIFEST_FORMAT, MANIFEST_FORMAT),
	FIELD(struct manifest_doc, name, JSON_KIND_NAME, true),
	FIELD(struct manifest_doc, revision, JSON_KIND_UINT, true),
	UINT_BETWEEN(struct manifest_doc, size, 1, IMAGE_SIZE_MAX),
	UINT_BETWEEN(struct manifest_doc, chunk_size, CHUNK_SIZE, CHUNK_SIZE),
	FIELD_OBJECT(struct manifest_doc, parts, true, parts_fields),
	FIELD_MAX(struct manifest_doc, cmdline, JSON_KIND_STRING, false, MANIFEST_CMDLINE_MAX),
};

static void cleanup_doc(struct manifest_doc *doc)
{
	json_done(manifest_fields, ARRAY_LEN(manifest_fields), doc);
}

static int chunk_read(const char *text, struct manifest_chunk *ret_chunk)
{
	if (strcmp(text, "0") == 0) {
		ret_chunk->zero = true;
		return 0;
	}
	return sha256_hex_ok(text) ? sha256_parse(text, &ret_chunk->digest) : -EINVAL;
}

static int part_read(const struct part_doc *doc, enum manifest_part_kind kind,
	struct manifest_part *part, struct error **err)
{
	const char *name = manifest_part_names[kind];

	part->present = true;
	part->size = doc->size;
	if (doc->chunks.n != chunk_count(doc->size)) {
		auto_free char *field = xasprintf("parts.%s.chunks", name);

		return error_field(err, -EINVAL, field, "%zu chunks, but %llu bytes make %zu",
			doc->chunks.n, (unsigned long long)doc->size, chunk_count(doc->size));
	}
	for (size_t i = 0; i < doc->chunks.n; i++) {
		if (chunk_read(doc->chunks.at[i], vec_add(&part->chunks)) < 0) {
			auto_free char *field = xasprintf("parts.%s.chunks[%zu]", name, i);

			return error_field(err, -EINVAL, field,
				"must be 64 lower-case hex digits, or \"0\" for a chunk of zeros");
		}
	}
	return 0;
}

int manifest_check(const struct manifest *manifest, struct error **err)
{
	if (!manifest->name || !name_ok(manifest->name))
		return error_field(err, -EINVAL, "name",
			"an image name has 1 to 63 of a-z, 0-9 and '-', and starts with a letter");
	if (manifest->revision == 0 || manifest->revision >= 1ULL << 53)
		return error_field(err, -EINVAL, "revision", "revisions count from 1");
	for (int i = 0; i < PART_COUNT; i++) {
		const struct manifest_part *part = &manifest->parts[i];
		uint64_t max = i == PART_DISK ? IMAGE_SIZE_MAX : IMAGE_BOOT_MAX;

		if (part->present && (part->size == 0 || part->size > max)) {
			auto_free char *field = xasprintf("parts.%s.size", manifest_part_names[i]);

			return error_field(err, -EINVAL, field, "%llu bytes; must be 1 to %llu",
				(unsigned long long)part->size, (unsigned long long)max);
		}
	}
	if (!manifest->parts[PART_DISK].present || manifest->parts[PART_DISK].size % 512 != 0)
		return error_field(
			err, -EINVAL, "parts.disk.size", "a disk is a multiple of 512 bytes");
	if (!manifest->parts[PART_KERNEL].present && manifest->parts[PART_INITRD].present)
		return error_field(
			err, -EINVAL, "parts.initrd", "an initrd needs a kernel beside it");
	if (!manifest->parts[PART_KERNEL].present && manifest->cmdline)
		return error_field(err, -EINVAL, "cmdline", "a command line needs a kernel");
	if (manifest->cmdline && !text_ok(manifest->cmdline, MANIFEST_CMDLINE_MAX))
		return error_field(err, -EINVAL, "cmdline",
			"must be one printable line of at most %d bytes", MANIFEST_CMDLINE_MAX);
	return 0;
}

static int manifest_from_doc(const struct manifest_doc *doc, struct manifest *m, struct error **err)
{
	const struct part_doc *parts[] = {&doc->parts.disk, &doc->parts.kernel, &doc->parts.initrd};
	const bool has[] = {doc->parts.has_disk, doc->parts.has_kernel, doc->parts.has_initrd};
	int r = 0;

	m->name = xstrdup(doc->name);
	m->revision = doc->revision;
	m->cmdline = xstrdup(doc->cmdline);
	for (int i = 0; i < PART_COUNT && r == 0; i++)
		if (has[i])
			r = part_read(parts[i], i, &m->parts[i], err);
	if (r < 0)
		return r;
	if (doc->size != m->parts[PART_DISK].size)
		return error_field(err, -EINVAL, "size", "differs from parts.disk.size");
	return manifest_check(m, err);
}

int manifest_read(const char *text, size_t len, struct manifest *ret_manifest, struct error **err)
{
	__attribute__((cleanup(cleanup_doc))) struct manifest_doc doc = {0};
	auto_manifest struct manifest m = {0};
	auto_json json_t *object = NULL;
	auto_free char *again = NULL;
	int r;

	if (len > MANIFEST_MAX_BYTES)
		return error_make(err, -E2BIG, "the manifest has %zu bytes, at most %d are read",
			len, MANIFEST_MAX_BYTES);
	r = json_parse_object(text, len, &object, err);
	if (r == 0)
		r = json_read(object, manifest_fields, ARRAY_LEN(manifest_fields), &doc, err);
	if (r == 0)
		r = manifest_from_doc(&doc, &m, err);
	if (r < 0)
		return error_wrap(err, r, "image manifest");
	again = manifest_write(&m);
	if (strlen(again) != len || memcmp(again, text, len) != 0)
		return error_make(
			err, -EINVAL, "image manifest: its JSON is not in canonical form");
	*ret_manifest = m;
	m = (struct manifest){0};
	return 0;
}

static json_t *part_write(const struct manifest_part *part)
{
	json_t *chunks = json_array();
	char hex[SHA256_TEXT];

	vec_each (struct manifest_chunk, chunk, &part->chunks)
		json_array_append_new(chunks,
			json_string(chunk->zero ? "0" : sha256_format(&chunk->digest, hex)));
	return json_pack("{s:I, s:o}", "size", (json_int_t)part->size, "chunks", chunks);
}

char *manifest_write(const struct manifest *manifest)
{
	auto_json json_t *parts = json_object();
	auto_json json_t *object = NULL;

	for (int i = 0; i < PART_COUNT; i++)
		if (manifest->parts[i].present)
			json_object_set_new(
				parts, manifest_part_names[i], part_write(&manifest->parts[i]));
	object = json_pack("{s:i, s:s, s:I, s:I, s:i, s:O, s:s*}", "format", MANIFEST_FORMAT,
		"name", manifest->name, "revision", (json_int_t)manifest->revision, "size",
		(json_int_t)manifest->parts[PART_DISK].size, "chunk_size", CHUNK_SIZE, "parts",
		parts, "cmdline", manifest->cmdline);
	if (!object)
		abort();
	return json_text(object);
}

void manifest_done(struct manifest *manifest)
{
	free(manifest->name);
	free(manifest->cmdline);
	for (int i = 0; i < PART_COUNT; i++)
		vec_done(&manifest->parts[i].chunks);
	*manifest = (struct manifest){0};
}

uint64_t manifest_data_bytes(const struct manifest *manifest)
{
	uint64_t bytes = 0;

	for (int i = 0; i < PART_COUNT; i++) {
		const struct manifest_part *part = &manifest->parts[i];

		for (size_t c = 0; c < part->chunks.n; c++)
			if (!part->chunks.at[c].zero)
				bytes += chunk_len(part->size, c);
	}
	return bytes;
}
