/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Taking the disk out of an OVA.
 *
 * libarchive reads the tar, and nothing is ever unpacked by a name from it: the members are read
 * one after the other, and the bytes of exactly one of them go to a descriptor that was open
 * before. So no "../", link or device can lead anywhere. They are refused all the same, by name,
 * because a file that has them was made by somebody who meant harm: the list of members is flat,
 * each is a plain file, once, of a name that the descriptor or the standard gives it.
 *
 * Two passes: the descriptor and the manifest may only be believed when the whole list was seen,
 * and the digests must be known before the disk goes by. Members that are read into memory are
 * bounded; how many members there are, too.
 */
#include "images/ova.h"

#include <archive.h>
#include <archive_entry.h>
#include <gnutls/crypto.h>
#include "images/ova_manifest.h"
#include "images/ovf.h"
#include "lib/str.h"

enum { MEMBERS_MAX = 64, PIECE = 256 << 10 };

struct member {
	char *name;
	uint64_t size;
};
VEC_OF(members, struct member);

struct ova {
	int fd;
	struct archive *archive;
	struct members members;
	struct ovf ovf;
	struct ova_digests digests;
	char *ovf_name; /* of the first member */
	bool has_manifest;
	struct disk_out *out;
};

static bool ends_with(const char *name, const char *end)
{
	size_t a = strlen(name), b = strlen(end);

	return a > b && strcasecmp(name + a - b, end) == 0;
}

bool ova_has_magic(int fd)
{
	char seen[5];

	return pread(fd, seen, sizeof(seen), 257) == (ssize_t)sizeof(seen) &&
	       memcmp(seen, "ustar", sizeof(seen)) == 0;
}

static int broken(struct ova *ova, struct error **err)
{
	const char *why = archive_error_string(ova->archive);

	return error_make(err, -EINVAL, "the OVA is cut off or damaged%s%s; copy it again",
		why && text_ok(why, 200) ? ": " : "", why && text_ok(why, 200) ? why : "");
}

static int archive_begin(struct ova *ova, struct error **err)
{
	archive_read_free(ova->archive);
	ova->archive = archive_read_new();
	if (!ova->archive)
		return error_make(err, -ENOMEM, "no memory to read an archive with");
	archive_read_support_format_tar(ova->archive);
	if (lseek(ova->fd, 0, SEEK_SET) < 0 ||
		archive_read_open_fd(ova->archive, ova->fd, PIECE) != ARCHIVE_OK)
		return broken(ova, err);
	return 0;
}

/* 1: there is a next member, 0: the end. */
static int archive_next(struct ova *ova, struct archive_entry **ret_entry, struct error **err)
{
	int code = archive_read_next_header(ova->archive, ret_entry);

	if (code == ARCHIVE_EOF)
		return 0;
	return code == ARCHIVE_OK ? 1 : broken(ova, err);
}

static int entry_check(struct ova *ova, struct archive_entry *entry, struct error **err)
{
	const char *name = archive_entry_pathname(entry);
	const char *shown = name && text_ok(name, 200) ? name : "(not printable)";

	if (!name || !ovf_name_ok(name))
		return error_make(err, -EINVAL,
			"the OVA has a member \"%s\"; members are plain names without folders",
			shown);
	if (archive_entry_hardlink(entry) || archive_entry_symlink(entry) ||
		archive_entry_filetype(entry) != AE_IFREG)
		return error_make(err, -EINVAL,
			"the OVA's member %s is a link, a device or a folder; only plain files are "
			"taken",
			shown);
	if (archive_entry_sparse_count(entry) > 0 || !archive_entry_size_is_set(entry) ||
		archive_entry_size(entry) < 0)
		return error_make(
			err, -EINVAL, "the OVA's member %s is sparse or without a size", shown);
	vec_each (struct member, other, &ova->members)
		if (strcasecmp(other->name, name) == 0)
			return error_make(err, -EINVAL, "the OVA has two members %s", shown);
	if (ova->members.n == MEMBERS_MAX)
		return error_make(err, -EINVAL, "the OVA has more than %d members", MEMBERS_MAX);
	return 0;
}

/* A member that is read into memory. */
static int text_read(struct ova *ova, const struct member *member, size_t max, char **ret_text,
	struct error **err)
{
	auto_free char *text = NULL;
	size_t at = 0;

	if (member->size > max)
		return error_make(err, -EINVAL, "the OVA's member %s has %llu bytes; at most %zu",
			member->name, (unsigned long long)member->size, max);
	text = xcalloc(1, member->size + 1);
	while (at < member->size) {
		la_ssize_t n = archive_read_data(ova->archive, text + at, member->size - at);

		if (n <= 0)
			return broken(ova, err);
		at += (size_t)n;
	}
	*ret_text = TAKE_PTR(text);
	return 0;
}

static int member_look(struct ova *ova, const struct member *member, struct error **err)
{
	auto_free char *text = NULL;
	int r;

	if (ova->members.n == 1) {
		if (!ends_with(member->name, ".ovf"))
			return error_make(err, -EINVAL,
				"this is a tar but no OVA: its first member is %s, not an OVF "
				"descriptor",
				member->name);
		ova->ovf_name = xstrdup(member->name);
		r = text_read(ova, member, OVF_MAX_BYTES, &text, err);
		return r < 0 ? r : ovf_read(text, member->size, &ova->ovf, err);
	}
	if (!ends_with(member->name, ".mf"))
		return 0;
	if (ova->has_manifest)
		return error_make(err, -EINVAL, "the OVA has two manifests");
	ova->has_manifest = true;
	r = text_read(ova, member, OVA_MANIFEST_MAX_BYTES, &text, err);
	return r < 0 ? r : ova_manifest_read(text, member->size, &ova->digests, err);
}

/* First pass: every member by its header, the two texts by their contents. */
static int members_look(struct ova *ova, struct error **err)
{
	struct archive_entry *entry;
	int r = archive_begin(ova, err);

	while (r == 0 && (r = archive_next(ova, &entry, err)) == 1) {
		r = entry_check(ova, entry, err);
		if (r < 0)
			return r;
		vec_push(&ova->members, ((struct member){xstrdup(archive_entry_pathname(entry)),
						(uint64_t)archive_entry_size(entry)}));
		r = member_look(ova, &ova->members.at[ova->members.n - 1], err);
	}
	if (r == 0 && ova->members.n == 0)
		r = broken(ova, err);
	return r;
}

static struct member *member_find(const struct ova *ova, const char *name)
{
	vec_each (struct member, member, &ova->members)
		if (strcmp(member->name, name) == 0)
			return member;
	return NULL;
}

/* Every member belongs here, and all that is promised is here. */
static int list_check(const struct ova *ova, struct error **err)
{
	vec_each (struct ovf_file, file, &ova->ovf.files) {
		const struct member *member = member_find(ova, file->href);

		if (!member)
			return error_make(err, -EINVAL,
				"the OVF refers to %s, which is not in the archive", file->href);
		if (file->has_size && file->size != member->size)
			return error_make(err, -EINVAL,
				"the OVF says %s has %llu bytes, in the archive it has %llu",
				file->href, (unsigned long long)file->size,
				(unsigned long long)member->size);
	}
	for (size_t i = 1; i < ova->members.n; i++) {
		const char *name = ova->members.at[i].name;
		bool named = ends_with(name, ".mf") || ends_with(name, ".cert");

		vec_each (struct ovf_file, file, &ova->ovf.files)
			named |= strcmp(file->href, name) == 0;
		if (!named)
			return error_make(err, -EINVAL,
				"the OVA has a member %s that its descriptor does not name", name);
	}
	vec_each (struct ova_digest, digest, &ova->digests)
		if (!member_find(ova, digest->name))
			return error_make(err, -EINVAL,
				"the OVA's manifest has a digest of %s, which is not in the "
				"archive",
				digest->name);
	return 0;
}

/* A list of digests that leaves out what matters protects nothing. */
static int digests_check(const struct ova *ova, struct error **err)
{
	const char *const needed[] = {ova->ovf_name, ova->ovf.files.at[ova->ovf.disk].href};

	for (size_t i = 0; i < ARRAY_LEN(needed) && ova->has_manifest; i++)
		if (!ova_digest_find(&ova->digests, needed[i]))
			return error_make(
				err, -EINVAL, "the OVA's manifest has no digest of %s", needed[i]);
	return 0;
}

/* Reads the member to its end: into the digest, and to the disk where it is the disk. */
static int member_copy(struct ova *ova, const struct member *member, gnutls_hash_hd_t hash,
	bool is_disk, struct error **err)
{
	auto_free unsigned char *bytes = xcalloc(1, PIECE);
	uint64_t at = 0;
	int r = 0;

	while (r == 0 && at < member->size) {
		la_ssize_t n = archive_read_data(ova->archive, bytes, PIECE);

		if (n <= 0 || (uint64_t)n > member->size - at)
			return broken(ova, err);
		if (hash && gnutls_hash(hash, bytes, (size_t)n) < 0)
			return error_make(err, -EIO, "a digest cannot be computed");
		if (is_disk)
			r = disk_out_write(ova->out, at, bytes, (size_t)n, err);
		at += (uint64_t)n;
		if (r == 0 && is_disk)
			r = disk_out_tell(ova->out, at, member->size, err);
	}
	return r == 0 && is_disk ? disk_out_end(ova->out, member->size, err) : r;
}

static int member_check(struct ova *ova, const struct member *member, struct error **err)
{
	struct ova_digest *digest = ova_digest_find(&ova->digests, member->name);
	bool is_disk = strcmp(member->name, ova->ovf.files.at[ova->ovf.disk].href) == 0;
	unsigned char seen[OVA_DIGEST_MAX];
	gnutls_hash_hd_t hash = NULL;
	int r;

	if (!digest && !is_disk)
		return 0;
	if (digest && gnutls_hash_init(&hash, digest->algorithm) < 0)
		return error_make(err, -EIO, "a digest cannot be computed");
	r = member_copy(ova, member, hash, is_disk, err);
	if (hash)
		gnutls_hash_deinit(hash, seen);
	if (r == 0 && digest &&
		memcmp(seen, digest->bytes, gnutls_hash_get_len(digest->algorithm)) != 0)
		return error_make(err, -EINVAL,
			"the OVA is damaged or was changed: %s has another digest than the "
			"manifest "
			"says",
			member->name);
	return r;
}

/* Second pass. */
static int members_take(struct ova *ova, struct error **err)
{
	struct archive_entry *entry;
	int r = archive_begin(ova, err);

	for (size_t i = 0; r == 0 && i < ova->members.n; i++) {
		const struct member *member = &ova->members.at[i];

		r = archive_next(ova, &entry, err);
		if (r < 0)
			return r;
		if (r == 0 || !archive_entry_pathname(entry) ||
			strcmp(archive_entry_pathname(entry), member->name) != 0 ||
			(uint64_t)archive_entry_size(entry) != member->size)
			return error_make(err, -EINVAL, "the OVA changed while it was read");
		r = member_check(ova, member, err);
	}
	return r;
}

static void ova_done(struct ova *ova)
{
	archive_read_free(ova->archive);
	vec_each (struct member, member, &ova->members)
		free(member->name);
	vec_done(&ova->members);
	ovf_done(&ova->ovf);
	ova_digests_done(&ova->digests);
	free(ova->ovf_name);
}

int ova_read(int fd, struct disk_out *out, struct ova_disk *ret_disk, struct error **err)
{
	__attribute__((cleanup(ova_done))) struct ova ova = {.fd = fd, .out = out};
	const struct ovf_file *file;
	int r = members_look(&ova, err);

	if (r == 0)
		r = list_check(&ova, err);
	if (r == 0)
		r = digests_check(&ova, err);
	if (r == 0)
		r = members_take(&ova, err);
	if (r < 0)
		return r;
	file = &ova.ovf.files.at[ova.ovf.disk];
	*ret_disk = (struct ova_disk){.len = member_find(&ova, file->href)->size,
		.gzip = file->gzip,
		.has_capacity = ova.ovf.has_capacity,
		.capacity = ova.ovf.capacity};
	return 0;
}
