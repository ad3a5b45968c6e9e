/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Request targets and the table of routes as pure functions: what is read, what is refused, who
 * may. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "controller/api/routes.h"
#include "controller/api/uri.h"

static void test_good(void **state)
{
	static const struct {
		const char *raw, *path, *name, *value;
	} cases[] = {
		{"/", "/", "x", NULL},
		{"/api/v1/pcs", "/api/v1/pcs", "x", NULL},
		{"/api/v1/pcs/", "/api/v1/pcs/", "x", NULL},
		{"/b?mac=52:54:00:00:00:01&platform=efi", "/b", "mac", "52:54:00:00:00:01"},
		{"/b?mac=52%3A54%3a", "/b", "mac", "52:54:"},
		{"/b?x", "/b", "x", ""},
		{"/b?x=", "/b", "x", ""},
		{"/b?x=a=b", "/b", "x", "a=b"},
		{"/b?x=a%26b&y=%41", "/b", "y", "A"},
		{"/b?", "/b", "x", NULL},
		{"/...", "/...", "x", NULL},
	};
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct uri uri = {0};
		assert_int_equal(uri_parse(cases[i].raw, &uri, NULL), 0);
		assert_string_equal(uri.path, cases[i].path);
		const char *value = uri_param(&uri, cases[i].name);
		if (cases[i].value)
			assert_string_equal(value, cases[i].value);
		else
			assert_null(value);
		uri_done(&uri);
	}
}

static void test_bad(void **state)
{
	static const char *const cases[] = {"", "x", "*", "http://x/", "/a%2fb", "/a%00", "/a%41",
		"/a b", "/a#b", "/a\\b", "/\x7f", "/\xc3\xa4", "//a", "/a//b", "/./a", "/a/..",
		"/..", "/.", "/a?x=%", "/a?x=%4", "/a?x=%4g", "/a?x=%00", "/a?x=%0a", "/a?x=%7f",
		"/a?%=1", "/a?=1", "/a?x=1&x=2", "/a?x=1&%78=2", "/a?a&b&c&d&e&f&g&h&i"};
	auto_free char *longest = xcalloc(URI_MAX + 2, 1);
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct uri uri = {0};
		struct error *err = NULL;
		if (uri_parse(cases[i], &uri, &err) != -EINVAL)
			fail_msg("taken: %s", cases[i]);
		assert_null(uri.path);
		error_free(err);
	}
	memset(longest, 'a', URI_MAX + 1);
	longest[0] = '/';
	struct uri uri = {0};
	assert_int_equal(uri_parse(longest, &uri, NULL), -EINVAL);
	longest[URI_MAX] = '\0';
	assert_int_equal(uri_parse(longest, &uri, NULL), 0);
	uri_done(&uri);
}

static void test_match(void **state)
{
	static const struct {
		bool boot;
		const char *method, *path, *pattern, *param;
	} cases[] = {
		{false, "GET", "/api/v1/pcs", "/api/v1/pcs", NULL},
		{false, "HEAD", "/api/v1/pcs", "/api/v1/pcs", NULL},
		{false, "GET", "/api/v1/pcs/pc1", "/api/v1/pcs/{name}", "pc1"},
		{false, "GET", "/", "/", NULL},
		{false, "GET", "/web/app.js", "/web/{file}", "app.js"},
		{false, "GET", "/api/v1/pcs/", NULL, NULL},
		{false, "GET", "/api/v1/pcs/.db", NULL, NULL},
		{false, "GET", "/api/v1/pcs/a:b", NULL, NULL},
		{false, "GET", "/api/v1/pcs/a/b", NULL, NULL},
		{false, "GET", "/api/v1", NULL, NULL},
		{false, "GET", "/boot/start", NULL, NULL}, /* each listener has its own rows */
		{true, "GET", "/boot/start", "/boot/start", NULL},
		{true, "GET", "/api/v1/health", NULL, NULL},
		{false, "BREW", "/api/v1/pcs", NULL, NULL},
		{false, "get", "/api/v1/pcs", NULL, NULL},
	};
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct route_match match;
		routes_match(cases[i].boot, cases[i].method, cases[i].path, &match);
		if (cases[i].pattern) {
			assert_non_null(match.route);
			assert_string_equal(match.route->path, cases[i].pattern);
		} else {
			assert_null(match.route);
		}
		if (cases[i].param)
			assert_string_equal(match.params[0], cases[i].param);
		else
			assert_null(match.params[0]);
		route_match_done(&match);
	}
}

static void test_allow(void **state)
{
	struct route_match match;
	(void)state;
	routes_match(false, "PUT", "/api/v1/pcs/pc1", &match);
	assert_null(match.route);
	assert_string_equal(match.allow.text, "GET, PATCH, DELETE");
	route_match_done(&match);
	routes_match(false, "GET", "/nothing", &match);
	assert_int_equal(match.allow.len, 0);
	route_match_done(&match);
}

static void test_roles(void **state)
{
	(void)state;
	for (int role = ROLE_NOBODY; role <= ROLE_PC; role++) {
		assert_true(role_may(role, ROLE_NOBODY));
		for (int wanted = ROLE_VIEWER; wanted <= ROLE_ADMIN; wanted++)
			assert_int_equal(
				role_may(role, wanted), role >= wanted && role <= ROLE_ADMIN);
		assert_int_equal(role_may(role, ROLE_PEER), role == ROLE_PEER);
		assert_int_equal(role_may(role, ROLE_PC), role == ROLE_PC);
		assert_false(role_may(role, (enum role)77));
	}
}

/* What the dispatcher relies on for every row. */
static void test_rows(void **state)
{
	const struct route *route = NULL;
	size_t n = 0;
	(void)state;
	for (; (route = routes_at(n)); n++) {
		bool get =
			strcmp(route->method, "GET") == 0 || strcmp(route->method, "DELETE") == 0;
		assert_non_null(route->handler);
		assert_non_null(route->help);
		assert_int_equal(route->path[0], '/');
		assert_in_range(route->role, ROLE_NOBODY, ROLE_PC);
		if (get)
			assert_int_equal(route->max_body, 0);
		if (route->flags & ROUTE_BOOT)
			assert_int_equal(route->role, ROLE_NOBODY);
		else if (strncmp(route->path, "/api/v1/", 8) != 0)
			assert_true(strcmp(route->path, "/") == 0 ||
				    strncmp(route->path, "/web/", 5) == 0);
	}
	assert_true(n >= 50);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_good),
		cmocka_unit_test(test_bad),
		cmocka_unit_test(test_match),
		cmocka_unit_test(test_allow),
		cmocka_unit_test(test_roles),
		cmocka_unit_test(test_rows),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
