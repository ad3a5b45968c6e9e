/* SPDX-License-Identifier: GPL-2.0-or-later */
/* image: import is upload (or naming a URL), then a request, then waiting for the controller's
 * check of the header and its cut into chunks (a jailed process there; nothing of a foreign image
 * is interpreted here). A folder made by a recipe (disk.raw or disk.qcow2, vmlinuz, initrd.img,
 * cmdline) is imported as one image; `image build` (recipe.c) ends here as well. So is an exported
 * VM, an .ovf with its disks beside it (export.c).
 */
#include <sys/stat.h>
#include "controller/cli/export.h"
#include "controller/cli/progress.h"
#include "controller/cli/recipe.h"
#include "controller/cli/show.h"
#include "controller/cli/verbs.h"
#include "lib/file.h"
#include "lib/hash.h"
#include "lib/str.h"

enum { CMDLINE_MAX = 2047 + 2 }; /* the kernel's own limit, and the end of a line */

static const struct show_column columns[] = {
	{"name", "name", SHOW_TEXT},
	{"revision", "revision", SHOW_TEXT},
	{"state", "state", SHOW_STATE},
	{"digest", "digest", SHOW_DIGEST},
	{"size", "size", SHOW_SIZE},
	{"stored", "stored", SHOW_SIZE},
	{"created", "created", SHOW_TIME},
};

static const struct show_column image_rows[] = {
	{"Name", "name", SHOW_TEXT},
	{"Revision", "revision", SHOW_TEXT},
	{"State", "state", SHOW_STATE},
	{"Digest", "digest", SHOW_TEXT},
	{"Size", "size", SHOW_SIZE},
	{"Stored", "stored", SHOW_SIZE},
	{"Created", "created", SHOW_TIME},
	{"Sequence", "publication.sequence", SHOW_TEXT},
	{"Published", "publication.published", SHOW_TIME},
	{"Signed by", "publication.key", SHOW_DIGEST},
};

int image_list(struct cli *cli, struct error **err)
{
	auto_json json_t *answer = NULL;
	int e = client_get(cli->client, "/images", 0, &answer, err);
	return e < 0 ? e : show_list(cli, answer, "name", columns, ARRAY_LEN(columns));
}

/* "/images/NAME", of one revision where --revision says so. */
static int image_path(const struct cli *cli, char **ret_path, struct error **err)
{
	const char *text = cli_value(cli, "revision");
	uint64_t revision;
	auto_free char *path = client_path("/images", cli->args[0]);
	if (!text) {
		*ret_path = TAKE_PTR(path);
		return 0;
	}
	if (uint_parse(text, 1, INT32_MAX, &revision) < 0)
		return error_field(
			err, -EINVAL, "--revision", "\"%s\" is not a whole number from 1 on", text);
	*ret_path = xasprintf("%s?revision=%llu", path, (unsigned long long)revision);
	return 0;
}

int image_show(struct cli *cli, struct error **err)
{
	auto_json json_t *image = NULL;
	auto_free char *path = NULL;
	int e = image_path(cli, &path, err);
	if (e == 0)
		e = client_get(cli->client, path, 0, &image, err);
	return e < 0 ? e : show_one(cli, image, "name", image_rows, ARRAY_LEN(image_rows));
}

int image_delete(struct cli *cli, struct error **err)
{
	auto_free char *path = NULL, *forced = NULL;
	int e = image_path(cli, &path, err);
	if (e < 0)
		return e;
	if (cli_value(cli, "force"))
		forced = xasprintf("%s%cforce=1", path, strchr(path, '?') ? '&' : '?');
	return client_call(cli->client, "DELETE", forced ? forced : path, NULL, NULL, err);
}

/* What goes into one import; paths are owned. */
struct source {
	char *disk, *kernel, *initrd, *cmdline;
	const char *format; /* NULL: by its first bytes, which the controller judges */
	bool url;	    /* disk is one */
	bool exported;	    /* disk is an .ovf, and this is it with its files: */
	struct export export;
};

static void source_done(struct source *source)
{
	free(source->disk);
	free(source->kernel);
	free(source->initrd);
	free(source->cmdline);
	export_done(&source->export);
}

static char *in_folder(const char *folder, const char *name)
{
	char *path = xasprintf("%s/%s", folder, name);
	if (access(path, F_OK) == 0)
		return path;
	free(path);
	return NULL;
}

static int read_cmdline(const char *path, char **ret_text, struct error **err)
{
	int e = file_read(path, CMDLINE_MAX, ret_text, NULL, err);
	if (e == 0)
		(*ret_text)[strcspn(*ret_text, "\r\n")] = 0;
	return e;
}

static int source_from_ovf(
	const struct cli *cli, const char *path, struct source *s, struct error **err)
{
	const char *format = cli_value(cli, "format");
	if (cli_value(cli, "on-server"))
		return error_field(err, -EINVAL, "--on-server",
			"an .ovf is sent together with its disks; leave the option out, or name an "
			"OVA");
	if (format && strcmp(format, "ova") != 0)
		return error_field(err, -EINVAL, "--format",
			"an .ovf and its disks are sent as ova, not as %s", format);
	s->disk = xstrdup(path);
	s->format = "ova";
	s->exported = true;
	return export_open(path, &s->export, err);
}

static int source_from_folder(
	const struct cli *cli, const char *folder, struct source *s, struct error **err)
{
	auto_free char *ovf = NULL;
	s->disk = in_folder(folder, "disk.raw");
	s->format = s->disk ? "raw" : "qcow2";
	if (!s->disk)
		s->disk = in_folder(folder, "disk.qcow2");
	if (!s->disk) {
		int e = export_find(folder, &ovf, err);
		if (e < 0)
			return e;
		return ovf ? source_from_ovf(cli, ovf, s, err)
			   : error_make(err, -ENOENT,
				     "%s holds neither disk.raw nor disk.qcow2 nor an .ovf",
				     folder);
	}
	s->kernel = in_folder(folder, "vmlinuz");
	s->initrd = in_folder(folder, "initrd.img");
	auto_free char *cmdline = in_folder(folder, "cmdline");
	return cmdline ? read_cmdline(cmdline, &s->cmdline, err) : 0;
}

static bool is_url(const char *path)
{
	return str_starts(path, "http://") || str_starts(path, "https://");
}

static int disk_find(const struct cli *cli, const char *path, struct source *s, struct error **err)
{
	struct stat st;
	s->url = is_url(path);
	if (s->url && cli_value(cli, "on-server"))
		return error_make(err, -EINVAL, "--on-server is for files, not for a URL");
	if (!s->url && cli_value(cli, "sha256"))
		return error_make(err, -EINVAL, "--sha256 is for a URL");
	if (!s->url && stat(path, &st) < 0) {
		int e = -errno;
		return error_make(err, e, "cannot read %s: %s", path, strerror(-e));
	}
	if (!s->url && S_ISDIR(st.st_mode))
		return source_from_folder(cli, path, s, err);
	if (!s->url && export_named(path))
		return source_from_ovf(cli, path, s, err);
	s->disk = xstrdup(path);
	return 0;
}

static int source_find(
	const struct cli *cli, const char *path, struct source *s, struct error **err)
{
	const char *kernel = cli_value(cli, "kernel"), *initrd = cli_value(cli, "initrd"),
		   *cmdline = cli_value(cli, "cmdline"), *format = cli_value(cli, "format");
	int e = disk_find(cli, path, s, err);
	if (e < 0)
		return e;
	if (kernel) {
		free(s->kernel);
		s->kernel = xstrdup(kernel);
	}
	if (initrd) {
		free(s->initrd);
		s->initrd = xstrdup(initrd);
	}
	if (cmdline) {
		free(TAKE_PTR(s->cmdline));
		e = *cmdline == '@' ? read_cmdline(cmdline + 1, &s->cmdline, err) : 0;
		if (*cmdline != '@')
			s->cmdline = xstrdup(cmdline);
	}
	if (e < 0)
		return e;
	if ((s->initrd || s->cmdline) && !s->kernel)
		return error_make(err, -EINVAL, "--initrd and --cmdline need --kernel");
	if (format)
		s->format = format;
	return 0;
}

/* A file as the controller can find it: uploaded and named by its digest, or (--on-server) its path
 * there. */
static int name_part(
	struct cli *cli, const char *path, const char *member, json_t *body, struct error **err)
{
	char digest[SHA256_TEXT];
	if (!path)
		return 0;
	if (cli_value(cli, "on-server")) {
		auto_free char *whole = realpath(path, NULL);
		json_object_set_new(body, strcmp(member, "upload") == 0 ? "path" : member,
			json_string(whole ? whole : path));
		return 0;
	}
	int e = upload_file(cli, path, digest, err);
	if (e == 0)
		json_object_set_new(body, member, json_string(digest));
	return e;
}

static int name_disk(struct cli *cli, const struct source *s, json_t *body, struct error **err)
{
	char digest[SHA256_TEXT];
	if (s->url)
		return 0;
	if (!s->exported)
		return name_part(cli, s->disk, "upload", body, err);
	int e = upload_parts(cli, s->disk, &s->export.parts, digest, err);
	if (e == 0)
		json_object_set_new(body, "upload", json_string(digest));
	return e;
}

struct import {
	char *path;	     /* /imports/ID */
	json_int_t revision; /* that it made; 0: not yet, or not told */
};

static int look_import(
	struct cli *cli, void *arg, struct progress *p, bool *ret_done, struct error **err)
{
	struct import *watched = arg;
	auto_json json_t *import = NULL;
	int e = client_get(cli->client, watched->path, 0, &import, err);
	if (e < 0)
		return e;
	const char *state = show_text(import, "state");
	*ret_done = strcmp(state, "done") == 0;
	watched->revision = json_integer_value(json_object_get(import, "revision"));
	if (strcmp(state, "failed") == 0)
		return error_make(err, -EIO, "refused: %s", show_text(import, "reason"));
	uint64_t done = (uint64_t)json_integer_value(json_object_get(import, "done")),
		 total = (uint64_t)json_integer_value(json_object_get(import, "total"));
	const char *phase = show_text(import, "phase");
	if (done && !*ret_done)
		progress_bytes(p, *phase ? phase : "import", done, total);
	else
		progress_say(p, "import: %s", *phase && !*ret_done ? phase : state);
	return 0;
}

/* Waits for the end of the import and shows the revision that it made, published or not. */
static int follow_import(struct cli *cli, const char *name, const json_t *id, struct error **err)
{
	auto_free char *text = show_value(id, SHOW_TEXT), *path = client_path("/imports", text),
		       *image_path = client_path("/images", name), *made = NULL;
	auto_json json_t *image = NULL;
	struct import import = {.path = path};
	int e = wait_until(cli, look_import, &import, err);
	if (e < 0)
		return e;
	if (import.revision > 0)
		made = xasprintf("%s?revision=%lld", image_path, (long long)import.revision);
	e = client_get(cli->client, made ? made : image_path, 0, &image, err);
	return e < 0 ? e : show_one(cli, image, "name", image_rows, ARRAY_LEN(image_rows));
}

static int import_source(
	struct cli *cli, const char *name, const struct source *s, struct error **err)
{
	const char *sha256 = cli_value(cli, "sha256");
	auto_json json_t *answer = NULL,
			 *body = json_pack("{s:s, s:s*, s:s*, s:s*}", "name", name, "format",
				 s->format, "url", s->url ? s->disk : NULL, "sha256", sha256);
	int e = cli_set_number(cli, "level", IMAGE_LEVEL_MAX, body, "level", err);
	if (e == 0)
		e = name_disk(cli, s, body, err);
	if (e == 0)
		e = name_part(cli, s->kernel, "kernel", body, err);
	if (e == 0)
		e = name_part(cli, s->initrd, "initrd", body, err);
	if (e < 0)
		return e;
	if (s->cmdline)
		json_object_set_new(body, "cmdline", json_string(s->cmdline));
	if (cli_value(cli, "no-publish"))
		json_object_set_new(body, "draft", json_true());
	e = client_call(cli->client, "POST", "/images", body, &answer, err);
	if (e < 0)
		return e;
	const json_t *id = show_member(answer, "id");
	if (!cli->wait || !id)
		return show_one(
			cli, answer, "id", (struct show_column[]){{"Import", "id", SHOW_TEXT}}, 1);
	return follow_import(cli, name, id, err);
}

int image_import_path(struct cli *cli, const char *name, const char *path, struct error **err)
{
	struct source source = {0};
	if (!name_ok(name))
		return error_field(err, -EINVAL, "NAME",
			"\"%s\" is no name: lower-case letters, digits and '-'", name);
	int e = source_find(cli, path, &source, err);
	if (e == 0)
		e = import_source(cli, name, &source, err);
	source_done(&source);
	return e;
}

int image_import(struct cli *cli, struct error **err)
{
	return image_import_path(cli, cli->args[0], cli->args[1], err);
}
