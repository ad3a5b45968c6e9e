/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The one place where an error of the product becomes an HTTP answer. Handlers return -errno and a
 * text; they never choose a status for a failure. Faults of our own (500) say no more than that
 * something here failed and that the log has it, since their texts may name files and queries. */
#include "controller/api/problem.h"

#include "lib/json.h"

int problem_status(int code)
{
	static const struct {
		int code, status;
	} map[] = {{-EINVAL, 400}, {-EACCES, 401}, {-EPERM, 403}, {-ENOENT, 404}, {-EEXIST, 409},
		{-EBUSY, 409}, {-E2BIG, 413}, {-EAGAIN, 503}, {-ETIMEDOUT, 504},
		{-EHOSTUNREACH, 502}, {-ECONNREFUSED, 502}, {-ENOSPC, 507}, {-ERANGE, 416}};
	for (size_t i = 0; i < ARRAY_LEN(map); i++)
		if (map[i].code == code)
			return map[i].status;
	return 500;
}

const char *problem_title(int status)
{
	static const struct {
		int status;
		const char *title;
	} titles[] = {{400, "Bad Request"}, {401, "Unauthorized"}, {403, "Forbidden"},
		{404, "Not Found"}, {405, "Method Not Allowed"}, {408, "Request Timeout"},
		{409, "Conflict"}, {411, "Length Required"}, {413, "Content Too Large"},
		{414, "URI Too Long"}, {415, "Unsupported Media Type"},
		{416, "Range Not Satisfiable"}, {431, "Request Header Fields Too Large"},
		{500, "Internal Server Error"}, {502, "Bad Gateway"}, {503, "Service Unavailable"},
		{504, "Gateway Timeout"}, {507, "Insufficient Storage"}};
	for (size_t i = 0; i < ARRAY_LEN(titles); i++)
		if (titles[i].status == status)
			return titles[i].title;
	return "Error";
}

char *problem_text(int status, const char *detail, const char *field)
{
	auto_json json_t *problem = json_pack("{s:s, s:s, s:i, s:s, s:s*}", "type", "about:blank",
		"title", problem_title(status), "status", status, "detail", detail, "field", field);
	if (!problem) /* a text that is not UTF-8 */
		problem = json_pack("{s:s, s:s, s:i}", "type", "about:blank", "title",
			problem_title(status), "status", status);
	return json_text(problem);
}
