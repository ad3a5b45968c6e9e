/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The page: files of web/ embedded by the build, served to everybody, because they hold no data.
 * What the page shows it fetches with the token its reader gives it. The headers that confine it
 * are in answer.c.
 *
 * lib/embed.sh makes the table, so a new file in web/ is served without a change here. */
#include "controller/api/route.h"

#include "embedded.h"

static const char *type_of(const char *name)
{
	static const char *const types[][2] = {
		{".html", "text/html; charset=utf-8"},
		{".js", "text/javascript; charset=utf-8"},
		{".css", "text/css; charset=utf-8"},
		{".svg", "image/svg+xml"},
	};
	const char *dot = strrchr(name, '.');
	for (size_t i = 0; dot && i < ARRAY_LEN(types); i++)
		if (strcmp(dot, types[i][0]) == 0)
			return types[i][1];
	return "application/octet-stream";
}

static int answer_file(const char *name, struct api_answer *ret_answer, struct error **err)
{
	auto_free char *path = xasprintf("web/%s", name);
	for (size_t i = 0; i < ARRAY_LEN(embedded_files); i++) {
		if (strcmp(embedded_files[i].path, path) != 0)
			continue;
		ret_answer->status = 200;
		ret_answer->text = xmemdup(embedded_files[i].bytes, embedded_files[i].len + 1);
		ret_answer->text_len = embedded_files[i].len;
		ret_answer->content_type = type_of(name);
		return 0;
	}
	return error_make(err, -ENOENT, "there is no page %s", name);
}

static int index_get(
	const struct api_request *request, struct api_answer *ret_answer, struct error **err)
{
	(void)request;
	return answer_file("index.html", ret_answer, err);
}

static int file_get(
	const struct api_request *request, struct api_answer *ret_answer, struct error **err)
{
	return answer_file(request->params[0], ret_answer, err);
}

static const struct route rows[] = {
	{"GET", "/", ROLE_NOBODY, ROUTE_JSON, 0, NULL, index_get, "the page"},
	{"GET", "/web/{file}", ROLE_NOBODY, ROUTE_JSON, 0, NULL, file_get, "a part of the page"},
};
const struct routes routes_web = {rows, ARRAY_LEN(rows)};
