/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The table of all routes, strung together from one slice per noun, and who may call a row.
 *
 * Deny by default in both: a path without a row does not exist, and role_may() says yes only in the
 * cases it lists. The roles of people are ordered; peers and PCs stand beside that order, so that
 * no teacher's token ever speaks for a lab and no PC's certificate for a person.
 *
 * A parameter in a path is one segment of a small alphabet; what it means is the handler's
 * business. */
#include "controller/api/routes.h"

enum { PARAM_MAX = 128 };

static const struct routes *const slices[] = {&routes_lab, &routes_pc, &routes_image,
	&routes_publication, &routes_check, &routes_cluster, &routes_join, &routes_night,
	&routes_run, &routes_event, &routes_token, &routes_enrol, &routes_host, &routes_peer,
	&routes_boot, &routes_upload, &routes_web};

const char *const role_names[] = {
	"nobody", "viewer", "user", "teacher", "operator", "admin", "peer", "pc", NULL};

bool role_may(enum role role, enum role wanted)
{
	switch (wanted) {
	case ROLE_NOBODY:
		return true;
	case ROLE_VIEWER:
	case ROLE_USER:
	case ROLE_TEACHER:
	case ROLE_OPERATOR:
	case ROLE_ADMIN:
		return role >= wanted && role <= ROLE_ADMIN;
	case ROLE_PEER:
	case ROLE_PC:
		return role == wanted;
	}
	return false;
}

const struct route *routes_at(size_t i)
{
	for (size_t s = 0; s < ARRAY_LEN(slices); s++) {
		if (i < slices[s]->n)
			return &slices[s]->rows[i];
		i -= slices[s]->n;
	}
	return NULL;
}

static bool param_ok(const char *text, size_t n)
{
	if (n == 0 || n > PARAM_MAX || text[0] == '.')
		return false;
	for (size_t i = 0; i < n; i++) {
		char c = text[i];
		if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
			    c == '-' || c == '_' || c == '.'))
			return false;
	}
	return true;
}

/* Segment by segment; "{name}" in the pattern stands for one segment. */
static bool path_fits(const char *pattern, const char *path, char *params[ROUTE_PARAMS])
{
	size_t n_params = 0;
	while (*pattern && *path) {
		size_t pattern_len = 1 + strcspn(pattern + 1, "/"),
		       path_len = 1 + strcspn(path + 1, "/");
		if (pattern[1] == '{') {
			if (n_params == ROUTE_PARAMS || !param_ok(path + 1, path_len - 1))
				return false;
			free(params[n_params]);
			params[n_params++] = xstrndup(path + 1, path_len - 1);
		} else if (pattern_len != path_len || strncmp(pattern, path, path_len) != 0) {
			return false;
		}
		pattern += pattern_len;
		path += path_len;
	}
	return *pattern == *path;
}

void routes_match(bool boot, const char *method, const char *path, struct route_match *ret_match)
{
	const char *wanted = strcmp(method, "HEAD") == 0 ? "GET" : method;
	*ret_match = (struct route_match){0};
	const struct route *route = NULL;
	for (size_t i = 0; (route = routes_at(i)); i++) {
		char *params[ROUTE_PARAMS] = {0};
		if (boot == !!(route->flags & ROUTE_BOOT) && path_fits(route->path, path, params)) {
			buf_addf(&ret_match->allow, "%s%s", ret_match->allow.len ? ", " : "",
				route->method);
			if (!ret_match->route && strcmp(route->method, wanted) == 0) {
				ret_match->route = route;
				memcpy(ret_match->params, params, sizeof(params));
				memset(params, 0, sizeof(params));
			}
		}
		for (size_t p = 0; p < ROUTE_PARAMS; p++)
			free(params[p]);
	}
}

void route_match_done(struct route_match *match)
{
	for (size_t p = 0; p < ROUTE_PARAMS; p++)
		free(match->params[p]);
	buf_done(&match->allow);
	*match = (struct route_match){0};
}
