/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The descriptor of a VMDK is where the danger is: lines like
 *
 *   RW 8 FLAT "/etc/passwd" 0
 *
 * make a program that believes them read any file of the machine into a disk. Nothing here opens a
 * name. The text is only judged: every line is understood or refused, the disk must be
 * streamOptimized, which by its definition has one extent, in the very file; the extent's name is
 * that of the file when it was made, so after an upload it means nothing, but it must be a plain
 * name. Keys that lead to other files (a parent, a change map) are refused by name.
 *
 * createType comes first in the judgement, because it is what people can act on.
 */
#include "images/vmdk_descriptor.h"

#include <stdbool.h>
#include "lib/str.h"

enum { VALUE_MAX = 256, LINES_MAX = 4096 };

struct descriptor {
	char *create_type, *parent; /* parent: parentCID */
	uint64_t sectors;
	unsigned extents, lines;
	bool foreign; /* a key that names another file */
	char *bad;    /* the first line that was not understood */
};

static void descriptor_done(struct descriptor *d)
{
	free(d->create_type);
	free(d->parent);
	free(d->bad);
}

static char *trimmed(const char *from, size_t len)
{
	while (len > 0 && strchr(" \t\r", from[0]))
		from++, len--;
	while (len > 0 && strchr(" \t\r", from[len - 1]))
		len--;
	return xstrndup(from, len);
}

/* Takes the quotes off, or leaves a bare word. NULL when they do not match. */
static char *unquoted(const char *text)
{
	size_t len = strlen(text);

	if (text[0] != '"')
		return strchr(text, '"') ? NULL : xstrdup(text);
	if (len < 2 || text[len - 1] != '"' || memchr(text + 1, '"', len - 2))
		return NULL;
	return xstrndup(text + 1, len - 2);
}

static bool keep_once(char **place, char *value)
{
	if (*place) {
		free(value);
		return false;
	}
	*place = value;
	return value != NULL;
}

static bool key_take(struct descriptor *d, const char *key, const char *text)
{
	static const char *const known[] = {
		"version", "CID", "isNativeSnapshot", "encoding", "longContentID"};
	static const char *const foreign[] = {"parentFileNameHint", "changeTrackPath"};
	auto_free char *value = unquoted(text);

	if (!value || strlen(value) > VALUE_MAX)
		return false;
	for (size_t i = 0; i < ARRAY_LEN(foreign); i++)
		if (strcasecmp(key, foreign[i]) == 0)
			return d->foreign = true;
	if (strcasecmp(key, "createType") == 0)
		return keep_once(&d->create_type, TAKE_PTR(value));
	if (strcasecmp(key, "parentCID") == 0)
		return keep_once(&d->parent, TAKE_PTR(value));
	for (size_t i = 0; i < ARRAY_LEN(known); i++)
		if (strcasecmp(key, known[i]) == 0)
			return true;
	return strncmp(key, "ddb.", 4) == 0;
}

/* RW 16384 SPARSE "disk.vmdk": a plain name and nothing behind it. */
static bool extent_take(struct descriptor *d, const char *line)
{
	char access[16] = "", kind[16] = "";
	unsigned long long sectors = 0;
	int at = 0;
	auto_free char *name = NULL;

	d->extents++;
	if (sscanf(line, "%15s %llu %15s %n", access, &sectors, kind, &at) != 3 || at == 0)
		return false;
	name = line[at] == '"' ? unquoted(line + at) : NULL;
	d->sectors = sectors;
	return strcmp(kind, "SPARSE") == 0 && name && *name && !strpbrk(name, "/\\") &&
	       strcmp(name, "..") != 0;
}

static bool is_extent(const char *line)
{
	return str_starts(line, "RW ") || str_starts(line, "RDONLY ") ||
	       str_starts(line, "NOACCESS ");
}

static bool line_take(struct descriptor *d, const char *line)
{
	const char *equals;

	if (line[0] == '\0' || line[0] == '#')
		return true;
	if (is_extent(line))
		return extent_take(d, line);
	equals = strchr(line, '=');
	if (!equals)
		return false;
	auto_free char *key = trimmed(line, (size_t)(equals - line)),
		       *value = trimmed(equals + 1, strlen(equals + 1));

	return key_take(d, key, value);
}

static void text_take(struct descriptor *d, const char *text)
{
	while (*text && d->lines < LINES_MAX) {
		size_t len = strcspn(text, "\n");
		auto_free char *line = trimmed(text, len);

		d->lines++;
		if (!line_take(d, line) && !d->bad)
			d->bad = xstrdup(text_ok(line, VALUE_MAX) ? line : "(not printable)");
		text += len + (text[len] == '\n');
	}
}

static int judge(const struct descriptor *d, struct error **err)
{
	const char *type = d->create_type;

	if (!type || !text_ok(type, 64))
		return error_make(err, -EINVAL, "the VMDK's descriptor has no createType");
	if (strcmp(type, "streamOptimized") != 0)
		return error_make(err, -EINVAL,
			"a VMDK of type %s may keep its data in other files; only streamOptimized "
			"is taken: write it anew with 'qemu-img convert -O vmdk -o "
			"subformat=streamOptimized', or as qcow2",
			type);
	if (d->foreign || !d->parent || strcasecmp(d->parent, "ffffffff") != 0)
		return error_make(err, -EINVAL,
			"the VMDK has a parent or names another file, so it is not a whole disk; "
			"export it as one");
	if (d->extents != 1)
		return error_make(err, -EINVAL,
			"the VMDK's descriptor has %u extents; a streamOptimized disk is one file",
			d->extents);
	if (d->bad)
		return error_make(err, -EINVAL,
			"the VMDK's descriptor has a line that is not understood or leads out of "
			"the file: %s",
			d->bad);
	if (d->lines >= LINES_MAX)
		return error_make(err, -EINVAL, "the VMDK's descriptor is too long");
	return 0;
}

int vmdk_descriptor_check(const char *text, uint64_t *ret_sectors, struct error **err)
{
	__attribute__((cleanup(descriptor_done))) struct descriptor d = {0};
	int r;

	text_take(&d, text);
	r = judge(&d, err);
	if (r == 0)
		*ret_sectors = d.sectors;
	return r;
}
