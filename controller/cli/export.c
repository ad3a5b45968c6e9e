/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What VirtualBox, VMware and others leave when a VM is exported as OVF, packed into an OVA while
 * it is uploaded.
 *
 * The controller takes an OVA, and reads it where it can do no harm; so nothing is interpreted
 * here. The description is searched for the names of the files that lie beside it, as values of its
 * attribute href, and those go in: what leads elsewhere (a path, a URL, a symbolic link) finds
 * nothing or is refused, and what is still missing the controller says. Order is that of DMTF
 * DSP0243: the description first, its digests, then the files as they are named.
 *
 * An upload is read twice and may be gone on with days later, by its digest. Therefore the OVA is
 * not written to a file, which would need the room of all disks once more, but is a list of parts
 * that can be read anywhere; and its headers say nothing of owner and time, so that the same files
 * are the same OVA. The header is made here, for libarchive would come into every call of the CLI,
 * those of the shell's completion among them, for 512 bytes.
 */
#include "controller/cli/export.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include "lib/file.h"

enum { DESCRIPTION_MAX = 1 << 20, BLOCK = 512, NAME_BYTES = 100 };
#define OCTAL_MAX ((uint64_t)1 << 33) /* eleven digits */

/* A file beside the description, and where that names it first. */
struct named {
	char *name;
	size_t at;
};
VEC_OF(nameds, struct named);

bool export_named(const char *path)
{
	size_t len = strlen(path);
	return len > 4 && strcasecmp(path + len - 4, ".ovf") == 0;
}

int export_find(const char *folder, char **ret_path, struct error **err)
{
	auto_free char *path = NULL;
	DIR *dir = opendir(folder);
	struct dirent *entry;
	int e = dir ? 0 : error_make(err, -errno, "cannot read %s: %s", folder, strerror(errno));
	while (e == 0 && (entry = readdir(dir))) {
		if (entry->d_name[0] == '.' || !export_named(entry->d_name))
			continue;
		if (path)
			e = error_make(err, -EINVAL,
				"%s holds several .ovf; name the one to import", folder);
		free(path);
		path = xasprintf("%s/%s", folder, entry->d_name);
	}
	if (dir)
		closedir(dir);
	if (e == 0)
		*ret_path = TAKE_PTR(path);
	return e;
}

/* The 512 bytes before a member: ustar, and for what eleven octal digits cannot say the size in
 * binary, as GNU tar and libarchive do. Caller frees. */
static char *header_new(const char *name, uint64_t size)
{
	char *header = xcalloc(1, BLOCK);
	unsigned sum = 0;
	memcpy(header, name, strlen(name));
	memcpy(header + 100, "0000644", 7);
	memcpy(header + 108, "0000000", 7);
	memcpy(header + 116, "0000000", 7);
	if (size < OCTAL_MAX) {
		snprintf(header + 124, 12, "%011llo", (unsigned long long)size);
	} else {
		header[124] = (char)0x80;
		for (int i = 0; i < 8; i++)
			header[135 - i] = (char)(size >> 8 * i);
	}
	memcpy(header + 136, "00000000000", 11);
	memset(header + 148, ' ', 8);
	header[156] = '0';
	memcpy(header + 257,
		"ustar\0"
		"00",
		8);
	for (int i = 0; i < BLOCK; i++)
		sum += (unsigned char)header[i];
	snprintf(header + 148, 7, "%06o", sum);
	return header;
}

static int name_check(const char *name, struct error **err)
{
	if (strlen(name) <= NAME_BYTES)
		return 0;
	return error_make(err, -EINVAL,
		"the name %s has more than %d bytes, which no OVA holds; export the VM under a "
		"shorter name",
		name, NAME_BYTES);
}

/* One member: its header, itself, and zeros up to the next block. */
static void member_add(struct export *export, const char *name, struct upload_part member)
{
	char *header = header_new(name, member.size);
	vec_push(&export->owned, header);
	vec_push(&export->parts, ((struct upload_part){-1, header, BLOCK}));
	vec_push(&export->parts, member);
	vec_push(&export->parts, ((struct upload_part){-1, NULL, -member.size % BLOCK}));
}

/* A file of the folder, which must be one itself: a link would bring what lies elsewhere. */
static int file_add(struct export *export, int folder, const char *name, struct error **err)
{
	struct stat st;
	int e = name_check(name, err);
	if (e < 0)
		return e;
	/* O_NONBLOCK: a FIFO must not hang us before fstat tells what it is. */
	auto_close int fd = openat(folder, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	if (fd < 0 && errno != ELOOP)
		return error_make(err, -errno, "cannot read %s: %s", name, strerror(errno));
	if (fd < 0 || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode))
		return error_make(err, -EINVAL,
			"%s is a link, a folder or a device; put the file itself beside the .ovf",
			name);
	member_add(export, name, (struct upload_part){TAKE_FD(fd), NULL, (uint64_t)st.st_size});
	return 0;
}

/* Is what begins at `at` and has `len` bytes the whole value of an attribute href, of any name
 * space? */
static bool is_reference(const char *text, const char *at, size_t len)
{
	const char *before = at - 1;
	if (at == text || (*before != '"' && *before != '\'') || at[len] != *before)
		return false;
	for (bool equals = false;
		before > text && strchr(equals ? " \t\r\n" : "= \t\r\n", before[-1]); before--)
		equals |= before[-1] == '=';
	return before - text > 4 && memcmp(before - 4, "href", 4) == 0;
}

/* Where the text refers to the file first; false: nowhere. */
static bool find_name(const char *text, const char *name, size_t *ret_at)
{
	const char *at = text;
	while ((at = strstr(at, name)) && !is_reference(text, at, strlen(name)))
		at++;
	*ret_at = at ? (size_t)(at - text) : 0;
	return at;
}

static int by_place(const void *a, const void *b)
{
	const struct named *one = a, *other = b;
	return one->at < other->at ? -1 : one->at > other->at;
}

/* The files beside the description `own` that its text names, in the order of the text. */
static int names_find(
	int folder, const char *own, const char *text, struct nameds *names, struct error **err)
{
	int again = openat(folder, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = again < 0 ? NULL : fdopendir(again);
	struct dirent *entry;
	size_t at;
	if (!dir) {
		int e = -errno;
		if (again >= 0)
			close(again);
		return error_make(err, e, "cannot read the folder of %s: %s", own, strerror(-e));
	}
	while ((entry = readdir(dir)))
		if (entry->d_name[0] != '.' && strcmp(entry->d_name, own) != 0 &&
			find_name(text, entry->d_name, &at))
			vec_push(names, ((struct named){xstrdup(entry->d_name), at}));
	closedir(dir);
	if (names->n)
		qsort(names->at, names->n, sizeof(*names->at), by_place);
	return 0;
}

/* NAME.mf beside NAME.ovf; most exports have it, none must. */
static int digests_add(struct export *export, int folder, const char *own, struct error **err)
{
	auto_free char *name = xasprintf("%.*s.mf", (int)strlen(own) - 4, own);
	return faccessat(folder, name, F_OK, AT_SYMLINK_NOFOLLOW) < 0
		       ? 0
		       : file_add(export, folder, name, err);
}

static int members_add(struct export *export, int folder, const char *path, const char *text,
	size_t len, struct error **err)
{
	const char *slash = strrchr(path, '/'), *own = slash ? slash + 1 : path;
	struct nameds names = {0};
	int e = name_check(own, err);
	if (e < 0)
		return e;
	member_add(export, own, (struct upload_part){-1, text, len});
	e = digests_add(export, folder, own, err);
	if (e == 0)
		e = names_find(folder, own, text, &names, err);
	if (e == 0 && names.n == 0)
		e = error_make(err, -ENOENT,
			"%s names no disk that lies beside it; put the disks of the export (.vmdk) "
			"into its folder",
			path);
	vec_each (struct named, named, &names) {
		if (e == 0)
			e = file_add(export, folder, named->name, err);
		free(named->name);
	}
	vec_done(&names);
	return e;
}

int export_open(const char *path, struct export *ret_export, struct error **err)
{
	const char *slash = strrchr(path, '/');
	auto_free char *above = slash ? xstrndup(path, (size_t)(slash - path) + 1) : xstrdup("."),
		       *text = NULL;
	struct export export = {0};
	size_t len = 0;
	auto_close int folder = open(above, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (folder < 0)
		return error_make(err, -errno, "cannot read %s: %s", above, strerror(errno));
	int e = file_read(path, DESCRIPTION_MAX, &text, &len, err);
	if (e == 0) {
		e = members_add(&export, folder, path, text, len, err);
		vec_push(&export.owned, TAKE_PTR(text));
	}
	if (e < 0) {
		export_done(&export);
		return e;
	}
	/* The end of an archive: two blocks of zeros. */
	vec_push(&export.parts, ((struct upload_part){-1, NULL, 2 * BLOCK}));
	*ret_export = export;
	return 0;
}

void export_done(struct export *export)
{
	vec_each (struct upload_part, part, &export->parts)
		if (part->fd >= 0)
			close(part->fd);
	vec_done(&export->parts);
	strings_done(&export->owned);
}
