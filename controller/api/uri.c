/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Reads the raw request target ourselves, because libmicrohttpd decodes %00 and %2f into the path
 * and is lenient about the query. No path of ours needs an escape, so '%' in a path is refused
 * outright; in a query only well-formed escapes of printable bytes are taken. What passes here has
 * one meaning only, for us and for any proxy in between. */
#include "controller/api/uri.h"

#include "lib/str.h"

/* Decodes n bytes; NULL when an escape is malformed or hides a control character. */
static char *decode(const char *text, size_t n)
{
	char *out = xcalloc(n + 1, 1);
	size_t o = 0;
	for (size_t i = 0; i < n; i++) {
		int c = (unsigned char)text[i];
		if (c == '%') {
			bool whole = n - i > 2;
			int high = whole ? hex_digit(text[i + 1]) : -1,
			    low = whole ? hex_digit(text[i + 2]) : -1;
			if (high < 0 || low < 0) {
				free(out);
				return NULL;
			}
			c = high * 16 + low;
			i += 2;
			if (c < 0x20 || c == 0x7f) {
				free(out);
				return NULL;
			}
		}
		out[o++] = (char)c;
	}
	return out;
}

static int parse_param(const char *text, size_t n, struct uri *uri, struct error **err)
{
	const char *eq = memchr(text, '=', n);
	size_t name_len = eq ? (size_t)(eq - text) : n;
	if (uri->n_params == URI_PARAMS)
		return error_make(err, -EINVAL, "too many query parameters");
	auto_free char *name = decode(text, name_len);
	auto_free char *value = eq ? decode(eq + 1, n - name_len - 1) : xstrdup("");
	if (!name || !value || !*name)
		return error_make(err, -EINVAL, "the query cannot be read");
	if (uri_param(uri, name))
		return error_field(err, -EINVAL, name, "the query parameter is given twice");
	uri->params[uri->n_params].name = TAKE_PTR(name);
	uri->params[uri->n_params++].value = TAKE_PTR(value);
	return 0;
}

static int check_path(const char *path, struct error **err)
{
	if (path[0] != '/')
		return error_make(err, -EINVAL, "the request target is no absolute path");
	if (strchr(path, '%'))
		return error_make(err, -EINVAL, "no path here needs an escape");
	for (const char *p = path; p; p = strchr(p + 1, '/')) {
		size_t n = strcspn(p + 1, "/");
		bool last = p[1 + n] == '\0';
		if ((n == 0 && !last) || (n == 1 && p[1] == '.') ||
			(n == 2 && p[1] == '.' && p[2] == '.'))
			return error_make(err, -EINVAL, "the path has an empty or dot segment");
	}
	return 0;
}

int uri_parse(const char *raw, struct uri *ret_uri, struct error **err)
{
	struct uri uri = {0};
	size_t len = strnlen(raw, URI_MAX + 1);
	if (len > URI_MAX)
		return error_make(
			err, -EINVAL, "the request target is longer than %d bytes", URI_MAX);
	for (size_t i = 0; i < len; i++)
		if (raw[i] <= 0x20 || raw[i] >= 0x7f || raw[i] == '#' || raw[i] == '\\')
			return error_make(err, -EINVAL,
				"the request target has a byte that does not belong there");
	const char *query = strchr(raw, '?');
	uri.path = xstrndup(raw, query ? (size_t)(query - raw) : len);
	int r = check_path(uri.path, err);
	for (const char *p = query ? query + 1 : NULL; r >= 0 && p && *p;) {
		size_t n = strcspn(p, "&");
		r = parse_param(p, n, &uri, err);
		p += n + (p[n] == '&');
	}
	if (r < 0) {
		uri_done(&uri);
		return r;
	}
	*ret_uri = uri;
	return 0;
}

void uri_done(struct uri *uri)
{
	free(uri->path);
	for (size_t i = 0; i < uri->n_params; i++) {
		free(uri->params[i].name);
		free(uri->params[i].value);
	}
	*uri = (struct uri){0};
}

const char *uri_param(const struct uri *uri, const char *name)
{
	for (size_t i = 0; i < uri->n_params; i++)
		if (strcmp(uri->params[i].name, name) == 0)
			return uri->params[i].value;
	return NULL;
}
