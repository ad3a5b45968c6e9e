/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The two sides of the reader's socket.
 *
 * The reader gets one request with three descriptors, seals itself, works, and says what came of it
 * in packets of a fixed shape. It may be taken over by the file it reads; so the other side bounds
 * every number in its answer, takes its text as text only when it is printable, and looks at the
 * length of the disk itself.
 *
 * It is either forked here, or handed out by the service manager under a user of its own, with
 * which an unprivileged controller gets a uid it could not take itself. Both are the same after the
 * socket. A reader whose socket is gone ends by the next thing it has to say; one that says nothing
 * for too long is ended.
 */
#include "images/reader.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>

#include "images/manifest.h"
#include "images/reader_message.h"
#include "images/seal.h"
#include "lib/clock.h"
#include "lib/log.h"
#include "lib/space.h"
#include "lib/str.h"

enum {
	SILENCE_MS = 5 * 60 * 1000,
	MEMORY_MAX = 512 << 20,
	CPU_SECONDS = 120, /* and as many for each GiB of the file */
	WALL_PER_CPU = 5,  /* a little later than seal.c ends it by its own clock */
	GONE_TRIES = 50,   /* tenths of a second that its end may take */
};

/* ---- the reader's side ---- */

static void send_reply(int socket, const struct reader_reply *reply)
{
	if (send(socket, reply, sizeof(*reply), MSG_NOSIGNAL) < 0 && errno == EPIPE)
		_exit(1); /* nobody waits for it any more */
}

static void send_progress(enum reader_phase phase, uint64_t done, uint64_t total, void *arg)
{
	const struct reader_reply reply = {.magic = READER_MAGIC,
		.kind = READER_PROGRESS,
		.phase = phase,
		.done = done,
		.total = total};

	send_reply(*(int *)arg, &reply);
}

static void send_end(
	int socket, int code, const struct reader_result *result, const struct error *err)
{
	struct reader_reply reply = {.magic = READER_MAGIC, .kind = READER_DONE};

	if (code < 0) {
		reply.kind = READER_FAILED;
		reply.code = code;
		snprintf(reply.text, sizeof(reply.text), "%s", error_text(err, code));
		if (err && err->field)
			snprintf(reply.field, sizeof(reply.field), "%s", err->field);
	} else {
		reply.disk = (uint32_t)result->disk;
		reply.size = result->size;
		reply.format = result->format;
	}
	send_reply(socket, &reply);
}

static int request_receive(
	int socket, struct reader_request *request, int files[READER_FILES], struct error **err)
{
	union {
		struct cmsghdr head;
		char bytes[CMSG_SPACE(sizeof(int) * READER_FILES)];
	} control = {0};
	struct iovec part = {request, sizeof(*request)};
	struct msghdr message = {.msg_iov = &part,
		.msg_iovlen = 1,
		.msg_control = control.bytes,
		.msg_controllen = sizeof(control.bytes)};
	ssize_t n = recvmsg(socket, &message, MSG_CMSG_CLOEXEC);
	const struct cmsghdr *head = CMSG_FIRSTHDR(&message);

	if (n == 0)
		return -ECANCELED; /* the import ended before it came to this */
	if (n != (ssize_t)sizeof(*request) || request->magic != READER_MAGIC || !head ||
		head->cmsg_type != SCM_RIGHTS ||
		head->cmsg_len != CMSG_LEN(sizeof(int) * READER_FILES))
		return error_make(err, -EPROTO, "the reader was asked something strange");
	memcpy(files, CMSG_DATA(head), sizeof(int) * READER_FILES);
	return 0;
}

static uint64_t cpu_seconds(int source)
{
	struct stat st;
	uint64_t bytes = fstat(source, &st) == 0 && st.st_size > 0 ? (uint64_t)st.st_size : 0;

	return CPU_SECONDS * (1 + (bytes >> 30));
}

static void seal_size(int source, struct seal *seal)
{
	seal->memory = MEMORY_MAX;
	seal->file_size = IMAGE_SIZE_MAX;
	seal->cpu_s = cpu_seconds(source);
}

int reader_serve(int socket, uid_t uid)
{
	const struct reader_reply began = {.magic = READER_MAGIC, .kind = READER_BEGAN};
	struct seal seal = {.uid = uid};
	struct reader_request request = {0};
	struct reader_result result = {0};
	auto_error struct error *err = NULL;
	int files[READER_FILES] = {-1, -1, -1};
	int r = request_receive(socket, &request, files, &err);

	if (r == -ECANCELED)
		return 0;
	/* A write beyond the limit fails, and says so, instead of ending us. */
	signal(SIGXFSZ, SIG_IGN);
	if (r == 0) {
		seal_size(files[READER_SOURCE], &seal);
		r = seal_enter(&seal, NULL, &err);
	}
	if (r == 0) {
		send_reply(socket, &began);
		r = reader_work((enum image_format)request.format, files, send_progress, &socket,
			&result, &err);
	}
	send_end(socket, r, &result, err);
	return 0;
}

/* ---- the import's side ---- */

static void child_run(int socket, uid_t uid)
{
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	/* Standard output belongs to the import's own answers. */
	int null = open("/dev/null", O_RDWR);

	if (null < 0 || dup2(null, 0) < 0 || dup2(null, 1) < 0 || dup2(socket, 3) < 0 ||
		syscall(SYS_close_range, 4U, ~0U, 0U) < 0)
		_exit(2);
	_exit(reader_serve(3, uid));
}

int reader_fork(uid_t uid, struct reader *ret_reader, struct error **err)
{
	int ends[2];
	pid_t pid;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) < 0)
		return error_make(err, -errno, "the reader: %s", strerror(errno));
	pid = fork();
	if (pid == 0)
		child_run(ends[1], uid);
	close(ends[1]);
	if (pid < 0) {
		close(ends[0]);
		return error_make(err, -EAGAIN, "the reader cannot be started");
	}
	*ret_reader = (struct reader){.socket = ends[0], .pid = pid};
	return 0;
}

int reader_connect(const char *path, struct reader *ret_reader, struct error **err)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	auto_close int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

	if (strlen(path) >= sizeof(address.sun_path))
		return error_make(err, -EINVAL, "%s: too long a name of a socket", path);
	memcpy(address.sun_path, path, strlen(path));
	if (fd < 0 || connect(fd, (const struct sockaddr *)&address, sizeof(address)) < 0)
		return error_make(err, -errno, "%s: %s", path, strerror(errno));
	*ret_reader = (struct reader){.socket = TAKE_FD(fd)};
	return 0;
}

static int request_send(
	int socket, enum image_format format, const int files[READER_FILES], struct error **err)
{
	union {
		struct cmsghdr head;
		char bytes[CMSG_SPACE(sizeof(int) * READER_FILES)];
	} control = {0};
	struct reader_request request = {READER_MAGIC, format};
	struct iovec part = {&request, sizeof(request)};
	struct msghdr message = {.msg_iov = &part,
		.msg_iovlen = 1,
		.msg_control = control.bytes,
		.msg_controllen = sizeof(control.bytes)};
	struct cmsghdr *head = CMSG_FIRSTHDR(&message);

	head->cmsg_level = SOL_SOCKET;
	head->cmsg_type = SCM_RIGHTS;
	head->cmsg_len = CMSG_LEN(sizeof(int) * READER_FILES);
	memcpy(CMSG_DATA(head), files, sizeof(int) * READER_FILES);
	if (sendmsg(socket, &message, MSG_NOSIGNAL) < 0)
		return error_make(err, -errno, "the reader: %s", strerror(errno));
	return 0;
}

/* Ends and reaps it. One that is ending already keeps its own status; one that only let go of its
 * socket is not waited for. Behind the jail we may not be allowed to end it: then it has a moment,
 * and its own clock after that. False: it could not be reaped. */
static bool reap(struct reader *reader, int *ret_status)
{
	pid_t pid = reader->pid, reaped = 0;
	bool killed;

	reader->pid = 0;
	if (pid <= 0)
		return false;
	killed = kill(pid, SIGKILL) == 0;
	for (int i = 0; reaped == 0 && i < GONE_TRIES; i++) {
		reaped = waitpid(pid, ret_status, killed ? 0 : WNOHANG);
		if (reaped == 0)
			poll(NULL, 0, 100);
	}
	return reaped == pid;
}

/* Why a reader went without a word. */
static int gone(struct reader *reader, struct error **err)
{
	int status = 0;

	if (reap(reader, &status) && WIFSIGNALED(status)) {
		if (WTERMSIG(status) == SIGXCPU || WTERMSIG(status) == SIGKILL ||
			WTERMSIG(status) == SIGALRM)
			return error_make(err, -EINVAL,
				"reading it took more time than is allowed; no honest disk does");
		if (WTERMSIG(status) == SIGABRT)
			return error_make(err, -EINVAL,
				"reading it took more memory than is allowed (%d MiB)",
				MEMORY_MAX >> 20);
		return error_make(err, -EINVAL,
			"the reader of foreign files was ended by signal %d over this file",
			WTERMSIG(status));
	}
	/* The service's is not our child, so how it ended is not known here. */
	if (reader->began)
		return error_make(err, -EINVAL,
			"the reader of foreign files ended over this file without an answer");
	return error_make(err, -EIO, "the reader of foreign files ended without an answer");
}

/* Until `end_ms` of clock_real_ms(). */
static int reply_receive(
	struct reader *reader, int64_t end_ms, struct reader_reply *reply, struct error **err)
{
	struct pollfd waits = {.fd = reader->socket, .events = POLLIN};
	int64_t left = end_ms - clock_real_ms();
	ssize_t n;
	int r = 0;

	while (left > 0 && (r = poll(&waits, 1, left < SILENCE_MS ? (int)left : SILENCE_MS)) < 0 &&
		errno == EINTR)
		;
	if (r == 0 && left < SILENCE_MS)
		return error_make(err, -EINVAL,
			"reading it took more time than is allowed; no honest disk does");
	if (r == 0)
		return error_make(err, -ETIMEDOUT,
			"the reader of foreign files said nothing for %d s", SILENCE_MS / 1000);
	n = recv(reader->socket, reply, sizeof(*reply), 0);
	if (n <= 0)
		return gone(reader, err);
	reply->text[sizeof(reply->text) - 1] = '\0';
	reply->field[sizeof(reply->field) - 1] = '\0';
	if (n != (ssize_t)sizeof(*reply) || reply->magic != READER_MAGIC)
		return error_make(err, -EPROTO, "the reader of foreign files answered rubbish");
	reader->began = true;
	return 0;
}

static int failed(const struct reader_reply *reply, struct error **err)
{
	int code = reply->code < 0 && reply->code > -4096 ? reply->code : -EINVAL;
	const char *text = text_ok(reply->text, READER_TEXT) ? reply->text : "it was refused";

	if (name_ok(reply->field))
		return error_field(err, code, reply->field, "%s", text);
	return error_make(err, code, "%s", text);
}

static int result_check(const struct reader_reply *reply, const int files[READER_FILES],
	struct reader_result *ret_result, struct error **err)
{
	struct stat st;

	if (reply->disk >= READER_FILES || reply->format == FORMAT_UNKNOWN ||
		reply->format > FORMAT_VMDK || reply->size == 0 || reply->size % 512 != 0 ||
		reply->size > IMAGE_SIZE_MAX || fstat(files[reply->disk], &st) < 0 ||
		(uint64_t)st.st_size != reply->size)
		return error_make(
			err, -EPROTO, "the reader of foreign files gave a disk that is none");
	*ret_result = (struct reader_result){.disk = (int)reply->disk,
		.size = reply->size,
		.format = (enum image_format)reply->format};
	return 0;
}

int reader_run(struct reader *reader, enum image_format format, const int files[READER_FILES],
	reader_progress_fn *progress, void *arg, struct reader_result *ret_result,
	struct error **err)
{
	int64_t limit_ms = reader->limit_ms;
	struct reader_reply reply;
	int r = request_send(reader->socket, format, files, err);

	if (limit_ms == 0)
		limit_ms = (int64_t)cpu_seconds(files[READER_SOURCE]) * WALL_PER_CPU * 1000;
	limit_ms += clock_real_ms();
	while (r == 0) {
		r = reply_receive(reader, limit_ms, &reply, err);
		if (r < 0)
			break;
		/* It cannot ask itself, and the raw disk may be many times the file. */
		if (reply.kind == READER_FAILED && reply.code != -ENOSPC)
			return failed(&reply, err);
		r = space_check(files[READER_SCRATCH_A], 0, err);
		if (r < 0)
			break;
		if (reply.kind == READER_FAILED)
			return failed(&reply, err);
		if (reply.kind == READER_DONE)
			return result_check(&reply, files, ret_result, err);
		if (progress && reply.kind == READER_PROGRESS && reply.phase <= READER_CONVERT &&
			reply.total <= IMAGE_SIZE_MAX && reply.done <= reply.total)
			progress((enum reader_phase)reply.phase, reply.done, reply.total, arg);
	}
	return r;
}

void reader_done(struct reader *reader)
{
	int status;

	if (reader->socket >= 0)
		close(reader->socket);
	reap(reader, &status);
	*reader = (struct reader){.socket = -1};
}
