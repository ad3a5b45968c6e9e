/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The caller's end of netd's socket: one connection, one line each way, ten seconds at most.
 * Blocking on purpose: nightclassd calls it from a worker, and a repeated request is harmless, so
 * there is no connection to keep, no queue and no state between calls. netd's errors arrive whole,
 * with code and field, and look to the caller as if its own function had failed.
 *
 * Must not retry: the caller's rethink does, when it is time.
 */
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>

#include "lib/file.h"
#include "lib/json.h"
#include "lib/str.h"
#include "netconf/netd_client.h"

enum { CALL_S = 10, ANSWER_MAX = 16 << 20 };

int netd_code(const char *name)
{
	for (int code = 1; name && code < 134; code++) {
		const char *known = strerrorname_np(code);

		if (known && strcmp(known, name) == 0)
			return -code;
	}
	return -EIO;
}

static int open_socket(const char *path, int *ret_fd, struct error **err)
{
	struct sockaddr_un at = {.sun_family = AF_UNIX};
	struct timeval limit = {.tv_sec = CALL_S};
	auto_close int fd = -1;

	if (strlen(path) >= sizeof(at.sun_path))
		return error_make(err, -EINVAL, "The path of netd's socket is too long: %s", path);
	strcpy(at.sun_path, path);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit)) < 0 ||
		setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit)) < 0)
		return error_make(err, -errno, "No socket: %s", strerror(errno));
	if (connect(fd, (struct sockaddr *)&at, sizeof(at)) < 0)
		return error_make(err, errno == EAGAIN ? -ETIMEDOUT : -ECONNREFUSED,
			"nightclass-netd does not answer at %s: %s. Is it running?", path,
			strerror(errno));
	*ret_fd = TAKE_FD(fd);
	return 0;
}

static int read_line(int fd, struct buf *line, struct error **err)
{
	char piece[16384];

	while (!line->text || !memchr(line->text, '\n', line->len)) {
		ssize_t n = recv(fd, piece, sizeof(piece), 0);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return error_make(err, errno == EAGAIN ? -ETIMEDOUT : -errno,
				"nightclass-netd has not answered within %d s.", CALL_S);
		if (n == 0 || line->len + (size_t)n > ANSWER_MAX)
			return error_make(
				err, -EIO, "nightclass-netd closed the connection in mid answer.");
		buf_add(line, piece, (size_t)n);
	}
	return 0;
}

static int judge(json_t *answer, struct error **err)
{
	const char *field = json_string_value(json_object_get(answer, "field"));
	const char *text = json_string_value(json_object_get(answer, "text"));

	if (json_is_true(json_object_get(answer, "ok")))
		return 0;
	return error_field(err, netd_code(json_string_value(json_object_get(answer, "code"))),
		field, "%s", text ? text : "nightclass-netd refused without a reason.");
}

int netd_call(const char *socket, const json_t *request, json_t **ret_answer, struct error **err)
{
	auto_free char *text = json_text(request), *line = xasprintf("%s\n", text);
	auto_json json_t *answer = NULL;
	auto_buf struct buf reply = {0};
	auto_close int fd = -1;
	int r = open_socket(socket, &fd, err);

	if (r < 0)
		return r;
	for (size_t sent = 0, len = strlen(line); sent < len;) {
		ssize_t n = send(fd, line + sent, len - sent, MSG_NOSIGNAL);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			break; /* the answer tells why, if there is one */
		sent += (size_t)n;
	}
	r = read_line(fd, &reply, err);
	if (r == 0)
		r = json_parse_object(reply.text, reply.len, &answer, err);
	if (r == 0)
		r = judge(answer, err);
	if (r == 0 && ret_answer)
		*ret_answer = TAKE_PTR(answer);
	return r;
}
