/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Reading the request for an import. It is kept in the store as its text and read again after a
 * restart, so everything it says is checked here and nothing is remembered besides.
 *
 * A URL is judged by its words alone; where it leads is judged by the one who calls it
 * (images/download.c). Who may name a path on this server is the route's business (image.c). */
#include "controller/api/import_request.h"

#include "images/chunk.h"
#include "images/download.h"
#include "images/manifest.h"
#include "lib/str.h"

const char *const import_formats[] = {"raw", "qcow2", "vmdk", "ova", NULL};

static const struct json_field fields[] = {
	FIELD(struct import_request, name, JSON_KIND_NAME, true),
	FIELD(struct import_request, upload, JSON_KIND_SHA256, false),
	FIELD(struct import_request, path, JSON_KIND_STRING, false),
	FIELD_MAX(struct import_request, url, JSON_KIND_STRING, false, DOWNLOAD_URL_MAX),
	FIELD(struct import_request, sha256, JSON_KIND_SHA256, false),
	{.name = "format",
		.kind = JSON_KIND_ENUM,
		.offset = offsetof(struct import_request, format),
		.has_offset = offsetof(struct import_request, has_format),
		.names = import_formats},
	FIELD(struct import_request, kernel, JSON_KIND_STRING, false),
	FIELD(struct import_request, initrd, JSON_KIND_STRING, false),
	FIELD_MAX(struct import_request, cmdline, JSON_KIND_STRING, false, MANIFEST_CMDLINE_MAX),
	FIELD_UINT(struct import_request, level, false, 1, CHUNK_LEVEL_MAX),
	FIELD(struct import_request, draft, JSON_KIND_BOOL, false),
};

void import_request_done(struct import_request *request)
{
	json_done(fields, ARRAY_LEN(fields), request);
}

static int check_file(const char *text, const char *field, struct error **err)
{
	if (!text || sha256_hex_ok(text) || (text[0] == '/' && !strstr(text, "/../")))
		return 0;
	return error_field(err, -EINVAL, field,
		"the SHA-256 of an upload, or an absolute path on the lab server");
}

static int check(const struct import_request *request, struct error **err)
{
	int r = 0;
	if (!!request->upload + !!request->path + !!request->url != 1)
		return error_field(err, -EINVAL, "upload", "give one of upload, url and path");
	if (request->path && request->path[0] != '/')
		return error_field(err, -EINVAL, "path", "not an absolute path");
	if (request->sha256 && !request->url)
		return error_field(
			err, -EINVAL, "sha256", "it is for a url; an upload is named by its own");
	if ((request->initrd || request->cmdline) && !request->kernel)
		return error_field(err, -EINVAL, "kernel", "initrd and cmdline need a kernel");
	if (request->url)
		r = download_url_check(request->url, err);
	if (r >= 0)
		r = check_file(request->kernel, "kernel", err);
	return r < 0 ? r : check_file(request->initrd, "initrd", err);
}

int import_request_read(const json_t *body, struct import_request *ret_request, struct error **err)
{
	struct import_request request = {0};
	int r = json_read(body, fields, ARRAY_LEN(fields), &request, err);
	if (r < 0)
		return r;
	r = check(&request, err);
	if (r < 0) {
		import_request_done(&request);
		return r;
	}
	*ret_request = request;
	return 0;
}
