/* SPDX-License-Identifier: GPL-2.0-or-later */
/* OVF by libxml2, kept from everything that makes XML dangerous.
 *
 * Before the parser sees the text it must be free of NUL bytes and of "<!DOCTYPE" and "<!ENTITY",
 * so no entity is ever declared, inside or outside; and the parser is told that the text is UTF-8,
 * so no declared encoding can hide those words from that look. Network and every outside file are
 * closed by option and by a loader that loads nothing; in the program the jail closes them once
 * more. Depth and the length of names and values are limited by libxml2 as long as nobody asks for
 * its huge mode.
 *
 * What is read is little: which files there are, and which of them is the disk. Elements and
 * attributes are found by their local names, since vendors differ in the name spaces. A reference
 * is a member of the archive and nothing else: no URL, no path.
 */
#include "images/ovf.h"

#include <ctype.h>
#include <libxml/parser.h>
#include <libxml/tree.h>
#include "lib/str.h"

struct seen {
	struct ovf ovf;
	unsigned disks;
	char *disk_file; /* fileRef of the disk */
};

bool ovf_name_ok(const char *name)
{
	size_t len = strlen(name);

	if (len == 0 || len > OVF_NAME_MAX || name[0] == '.' || name[0] == '-')
		return false;
	for (size_t i = 0; i < len; i++)
		if (!isascii((unsigned char)name[i]) ||
			(!isalnum((unsigned char)name[i]) && !strchr(" ._-+()", name[i])))
			return false;
	return true;
}

static bool contains(const char *bytes, size_t len, const char *word)
{
	return memmem(bytes, len, word, strlen(word)) != NULL;
}

static int text_check(const char *bytes, size_t len, struct error **err)
{
	if (len == 0 || len > OVF_MAX_BYTES)
		return error_make(err, -EINVAL, "the OVF descriptor has %zu bytes; at most %d", len,
			OVF_MAX_BYTES);
	if (memchr(bytes, 0, len))
		return error_make(err, -EINVAL, "the OVF descriptor is not UTF-8 text");
	if (contains(bytes, len, "<!DOCTYPE") || contains(bytes, len, "<!ENTITY"))
		return error_make(err, -EINVAL,
			"the OVF descriptor declares a document type or entities; no OVF needs "
			"them, and none is taken with them");
	return 0;
}

static bool is(const xmlNode *node, const char *name)
{
	return node->type == XML_ELEMENT_NODE && strcmp((const char *)node->name, name) == 0;
}

/* The attribute of that local name in any name space, or NULL; caller frees. */
static char *attribute(const xmlNode *node, const char *name)
{
	for (const xmlAttr *a = node->properties; a; a = a->next) {
		if (strcmp((const char *)a->name, name) != 0)
			continue;
		if (!a->children || a->children->next || a->children->type != XML_TEXT_NODE)
			return xstrdup("");
		return xstrdup((const char *)a->children->content);
	}
	return NULL;
}

static const char *shown(const char *text)
{
	return text_ok(text, 100) ? text : "(not printable)";
}

static int file_read_packing(const xmlNode *node, struct ovf_file *file, struct error **err)
{
	auto_free char *packing = attribute(node, "compression"),
		       *pieces = attribute(node, "chunkSize"), *size = attribute(node, "size");

	if (pieces)
		return error_make(err, -EINVAL, "the OVF keeps %s in pieces; export it as one file",
			file->href);
	if (packing && *packing && strcmp(packing, "identity") != 0 && strcmp(packing, "gzip") != 0)
		return error_make(err, -EINVAL, "the OVF packs %s by \"%s\"; gzip is known",
			file->href, shown(packing));
	file->gzip = packing && strcmp(packing, "gzip") == 0;
	file->has_size = size != NULL;
	if (size && uint_parse(size, 0, INT64_MAX, &file->size) < 0)
		return error_make(
			err, -EINVAL, "the OVF gives %s the size \"%s\"", file->href, shown(size));
	return 0;
}

static int file_add(struct seen *seen, const xmlNode *node, struct error **err)
{
	auto_free char *id = attribute(node, "id"), *href = attribute(node, "href");
	struct ovf_file *file;

	if (!id || !href || !*id)
		return error_make(err, -EINVAL, "the OVF has a file without id or href");
	if (!ovf_name_ok(href))
		return error_make(err, -EINVAL,
			"the OVF refers to \"%s\", which is no plain name of a member of the "
			"archive; nothing else is opened",
			shown(href));
	if (seen->ovf.files.n == OVF_FILES_MAX)
		return error_make(err, -EINVAL, "the OVF names more than %d files", OVF_FILES_MAX);
	vec_each (struct ovf_file, other, &seen->ovf.files)
		if (strcmp(other->id, id) == 0 || strcmp(other->href, href) == 0)
			return error_make(
				err, -EINVAL, "the OVF names the file %s twice", shown(id));
	file = vec_add(&seen->ovf.files);
	*file = (struct ovf_file){.id = TAKE_PTR(id), .href = TAKE_PTR(href)};
	return file_read_packing(node, file, err);
}

/* "byte", "byte * 2^30" -> how far to shift; NULL means bytes. */
static bool units_parse(const char *text, unsigned *ret_shift)
{
	char compact[32] = "";
	uint64_t shift = 0;
	size_t n = 0;

	for (; text && *text; text++)
		if (*text != ' ' && n < sizeof(compact) - 1)
			compact[n++] = *text;
	if (n && strcmp(compact, "byte") != 0 &&
		(!str_starts(compact, "byte*2^") || uint_parse(compact + 7, 0, 50, &shift) < 0))
		return false;
	*ret_shift = (unsigned)shift;
	return true;
}

static int capacity_read(const xmlNode *node, struct ovf *ovf, struct error **err)
{
	auto_free char *capacity = attribute(node, "capacity"),
		       *units = attribute(node, "capacityAllocationUnits");
	unsigned shift = 0;

	if (!capacity)
		return 0;
	if (!units_parse(units, &shift) ||
		uint_parse(capacity, 1, (uint64_t)INT64_MAX >> shift, &ovf->capacity) < 0)
		return error_make(err, -EINVAL,
			"the OVF gives its disk a capacity of \"%s\" \"%s\"", shown(capacity),
			units ? shown(units) : "byte");
	ovf->capacity <<= shift;
	ovf->has_capacity = true;
	return 0;
}

static int disk_add(struct seen *seen, const xmlNode *node, struct error **err)
{
	auto_free char *file = attribute(node, "fileRef"), *parent = attribute(node, "parentRef");

	if (parent)
		return error_make(err, -EINVAL,
			"a disk of the OVF has a parent, so it is not whole; export it flat");
	if (!file)
		return 0; /* an empty disk, made when the VM starts */
	if (++seen->disks > 1)
		return error_make(err, -EINVAL,
			"the OVF has more than one disk; an image is one disk: export the VM with "
			"the one it boots from");
	seen->disk_file = TAKE_PTR(file);
	return capacity_read(node, &seen->ovf, err);
}

/* The children of one element: <References> with <File>s, or <DiskSection> with <Disk>s. */
static int section_read(struct seen *seen, const xmlNode *section, struct error **err)
{
	bool files = is(section, "References"), disks = is(section, "DiskSection");
	int r = 0;

	for (const xmlNode *n = section->children; n && r == 0 && (files || disks); n = n->next) {
		if (files && is(n, "File"))
			r = file_add(seen, n, err);
		else if (disks && is(n, "Disk"))
			r = disk_add(seen, n, err);
	}
	return r;
}

static int disk_find(struct seen *seen, struct error **err)
{
	if (seen->disks == 0)
		return error_make(err, -EINVAL, "the OVF has no disk");
	for (size_t i = 0; i < seen->ovf.files.n; i++)
		if (strcmp(seen->ovf.files.at[i].id, seen->disk_file) == 0) {
			seen->ovf.disk = i;
			return 0;
		}
	return error_make(err, -EINVAL, "the OVF's disk is in a file \"%s\" that it does not name",
		shown(seen->disk_file));
}

static int envelope_read(struct seen *seen, const xmlDoc *doc, struct error **err)
{
	const xmlNode *root = xmlDocGetRootElement((xmlDoc *)doc);
	int r = 0;

	if (doc->intSubset || doc->extSubset)
		return error_make(err, -EINVAL, "the OVF descriptor declares a document type");
	if (!root || !is(root, "Envelope"))
		return error_make(err, -EINVAL, "the OVF descriptor has no Envelope");
	for (const xmlNode *n = root->children; n && r == 0; n = n->next)
		if (n->type == XML_ELEMENT_NODE)
			r = section_read(seen, n, err);
	return r == 0 ? disk_find(seen, err) : r;
}

static xmlParserInputPtr load_nothing(const char *url, const char *id, xmlParserCtxtPtr context)
{
	(void)url;
	(void)id;
	(void)context;
	return NULL;
}

/* NULL with a reason in err. */
static xmlDoc *parse(const char *bytes, size_t len, struct error **err)
{
	xmlDoc *doc;

	xmlSetExternalEntityLoader(load_nothing);
	doc = xmlReadMemory(bytes, (int)len, "ovf", "UTF-8",
		XML_PARSE_NONET | XML_PARSE_NOERROR | XML_PARSE_NOWARNING | XML_PARSE_NOCDATA |
			XML_PARSE_NOXINCNODE);
	if (!doc) {
		const xmlError *why = xmlGetLastError();

		error_make(err, -EINVAL, "the OVF descriptor is no well-formed XML (line %d)",
			why ? why->line : 0);
	}
	return doc;
}

int ovf_read(const char *bytes, size_t len, struct ovf *ret_ovf, struct error **err)
{
	struct seen seen = {0};
	xmlDoc *doc;
	int r = text_check(bytes, len, err);

	if (r < 0)
		return r;
	doc = parse(bytes, len, err);
	r = doc ? envelope_read(&seen, doc, err) : -EINVAL;
	xmlFreeDoc(doc);
	xmlResetLastError();
	free(seen.disk_file);
	if (r < 0)
		ovf_done(&seen.ovf);
	else
		*ret_ovf = seen.ovf;
	return r;
}

void ovf_done(struct ovf *ovf)
{
	vec_each (struct ovf_file, file, &ovf->files) {
		free(file->id);
		free(file->href);
	}
	vec_done(&ovf->files);
	*ovf = (struct ovf){0};
}
