/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The import's side of the reader: whatever a reader that was taken over answers, it is bounded or
 * refused. The reader here is a thread that says what a case wants. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <poll.h>
#include <pthread.h>
#include <stdbool.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include "images/reader.h"
#include "images/reader_message.h"
#include "lib/str.h"

enum { SIZE = 4096 };

struct liar {
	int socket;
	const struct reader_reply *replies;
	size_t n, len; /* len: of each packet, 0 the right one */
	bool on_and_on;
};

static void *lie(void *arg)
{
	const struct liar *liar = arg;
	struct reader_request request;

	/* The descriptors that come with it are dropped. */
	if (recv(liar->socket, &request, sizeof(request), 0) == (ssize_t)sizeof(request))
		for (size_t i = 0; i < liar->n; i++)
			send(liar->socket, &liar->replies[i],
				liar->len ? liar->len : sizeof(*liar->replies), MSG_NOSIGNAL);
	while (liar->on_and_on && poll(NULL, 0, 20) == 0 &&
		send(liar->socket, liar->replies, sizeof(*liar->replies), MSG_NOSIGNAL) > 0)
		;
	close(liar->socket);
	return NULL;
}

static void count(enum reader_phase phase, uint64_t done, uint64_t total, void *arg)
{
	assert_true(phase <= READER_CONVERT && done <= total);
	*(int *)arg += 1;
}

static int run(const struct reader_reply *replies, size_t n, size_t len, int *told,
	struct reader_result *result, struct error **err)
{
	int ends[2], files[READER_FILES], r;
	struct reader reader = {.socket = -1};
	struct liar liar = {.replies = replies, .n = n, .len = len};
	pthread_t thread;

	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends), 0);
	for (int i = 0; i < READER_FILES; i++) {
		files[i] = memfd_create("file", MFD_CLOEXEC);
		assert_int_equal(ftruncate(files[i], SIZE), 0);
	}
	reader.socket = ends[0];
	liar.socket = ends[1];
	assert_int_equal(pthread_create(&thread, NULL, lie, &liar), 0);
	r = reader_run(&reader, FORMAT_UNKNOWN, files, count, told, result, err);
	pthread_join(thread, NULL);
	reader_done(&reader);
	for (int i = 0; i < READER_FILES; i++)
		close(files[i]);
	return r;
}

#define ANSWER(m, d, s, f)                                                                         \
	{                                                                                          \
		.magic = (m), .kind = READER_DONE, .disk = (d), .size = (s), .format = (f)         \
	}
#define GOOD ANSWER(READER_MAGIC, READER_SCRATCH_A, SIZE, FORMAT_QCOW2)

static void a_good_answer_is_taken(void **state)
{
	static const struct reader_reply replies[] = {
		{.magic = READER_MAGIC,
			.kind = READER_PROGRESS,
			.phase = READER_CONVERT,
			.done = 1,
			.total = 2},
		{.magic = READER_MAGIC,
			.kind = READER_PROGRESS,
			.phase = 77,
			.done = 1,
			.total = 2},
		{.magic = READER_MAGIC, .kind = READER_PROGRESS, .done = 3, .total = 2},
		{.magic = READER_MAGIC, .kind = READER_PROGRESS, .total = UINT64_MAX},
		GOOD,
	};
	struct reader_result result = {0};
	int told = 0;

	(void)state;
	assert_int_equal(run(replies, ARRAY_LEN(replies), 0, &told, &result, NULL), 0);
	assert_int_equal(told, 1);
	assert_int_equal(result.disk, READER_SCRATCH_A);
	assert_int_equal(result.size, SIZE);
}

static void every_lie_is_refused(void **state)
{
	static const struct {
		struct reader_reply reply;
		size_t len;
	} lies[] = {
		{ANSWER(1, 1, SIZE, FORMAT_RAW), 0},
		{ANSWER(READER_MAGIC, 3, SIZE, FORMAT_RAW), 0},
		{ANSWER(READER_MAGIC, UINT32_MAX, SIZE, FORMAT_RAW), 0},
		{ANSWER(READER_MAGIC, 1, 0, FORMAT_RAW), 0},
		{ANSWER(READER_MAGIC, 1, SIZE - 1, FORMAT_RAW), 0},
		{ANSWER(READER_MAGIC, 1, 2 * SIZE, FORMAT_RAW), 0},
		{ANSWER(READER_MAGIC, 1, UINT64_MAX - 511, FORMAT_RAW), 0},
		{ANSWER(READER_MAGIC, 1, SIZE, FORMAT_UNKNOWN), 0},
		{ANSWER(READER_MAGIC, 1, SIZE, FORMAT_OVA), 0},
		{ANSWER(READER_MAGIC, 1, SIZE, 99), 0},
		{GOOD, 16},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(lies); i++) {
		auto_error struct error *err = NULL;
		struct reader_result result = {.size = 1};
		int told = 0;

		if (run(&lies[i].reply, 1, lies[i].len, &told, &result, &err) != -EPROTO || !err ||
			result.size != 1)
			fail_msg("lie %zu was believed", i);
	}
}

static void words_are_printable_or_not_repeated(void **state)
{
	struct reader_reply reply = {.magic = READER_MAGIC, .kind = READER_FAILED, .code = 7};
	struct reader_result result;
	int told = 0;

	(void)state;
	memset(reply.text, 'x', sizeof(reply.text));
	memset(reply.field, '\033', sizeof(reply.field));
	for (int evil = 0; evil < 2; evil++) {
		auto_error struct error *err = NULL;

		if (evil)
			strcpy(reply.text, "\033[2J\033]0;pwned\a\n{\"digest\":1}");
		assert_int_equal(run(&reply, 1, 0, &told, &result, &err), -EINVAL);
		assert_true(text_ok(err->text, READER_TEXT));
		assert_null(err->field);
	}
}

static void silence_at_the_end_is_an_error(void **state)
{
	auto_error struct error *err = NULL;
	struct reader_result result;
	int told = 0;

	(void)state;
	assert_int_equal(run(NULL, 0, 0, &told, &result, &err), -EIO);
	assert_non_null(strstr(err->text, "without an answer"));
}

/* The service's reader, which is no child whose end could be looked at. */
static void an_end_over_the_file_is_a_refusal(void **state)
{
	static const struct reader_reply began = {.magic = READER_MAGIC, .kind = READER_BEGAN};
	auto_error struct error *err = NULL;
	struct reader_result result;
	int told = 0;

	(void)state;
	assert_int_equal(run(&began, 1, 0, &told, &result, &err), -EINVAL);
	assert_non_null(strstr(err->text, "over this file"));
	assert_int_equal(told, 0);
}

/* One that always has something to say is not silent. */
static void talk_without_end_is_ended(void **state)
{
	static const struct reader_reply reply = {.magic = READER_MAGIC, .kind = READER_PROGRESS};
	int ends[2], files[READER_FILES] = {-1, -1, -1}, told = 0;
	struct liar liar = {.replies = &reply, .on_and_on = true};
	struct reader reader = {.limit_ms = 3000};
	struct reader_result result;
	auto_error struct error *err = NULL;
	pthread_t thread;

	(void)state;
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends), 0);
	reader.socket = ends[0];
	liar.socket = ends[1];
	for (int i = 0; i < READER_FILES; i++)
		files[i] = memfd_create("file", MFD_CLOEXEC);
	/* one word before the thread may come to speak */
	assert_int_equal(send(ends[1], &reply, sizeof(reply), MSG_NOSIGNAL), (int)sizeof(reply));
	assert_int_equal(pthread_create(&thread, NULL, lie, &liar), 0);
	assert_int_equal(
		reader_run(&reader, FORMAT_UNKNOWN, files, count, &told, &result, &err), -EINVAL);
	assert_non_null(strstr(err->text, "more time"));
	assert_true(told > 0);
	reader_done(&reader);
	pthread_join(thread, NULL);
	for (int i = 0; i < READER_FILES; i++)
		close(files[i]);
}

/* A child that lets go of its socket and lives on holds nobody up. */
static void one_that_only_hangs_up_is_ended(void **state)
{
	int ends[2], file = memfd_create("file", MFD_CLOEXEC);
	const int files[READER_FILES] = {file, file, file};
	struct reader reader = {.socket = -1};
	struct reader_result result;
	int told = 0;

	(void)state;
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends), 0);
	reader.pid = fork();
	if (reader.pid == 0) {
		struct reader_request request;

		close(ends[0]);
		recv(ends[1], &request, sizeof(request), 0);
		close(ends[1]);
		for (;;)
			pause();
	}
	close(ends[1]);
	reader.socket = ends[0];
	alarm(60); /* else the test would wait with it */
	assert_true(reader_run(&reader, FORMAT_UNKNOWN, files, count, &told, &result, NULL) < 0);
	alarm(0);
	assert_int_equal(reader.pid, 0);
	reader_done(&reader);
	close(file);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_good_answer_is_taken),
		cmocka_unit_test(every_lie_is_refused),
		cmocka_unit_test(words_are_printable_or_not_repeated),
		cmocka_unit_test(silence_at_the_end_is_an_error),
		cmocka_unit_test(an_end_over_the_file_is_a_refusal),
		cmocka_unit_test(talk_without_end_is_ended),
		cmocka_unit_test(one_that_only_hangs_up_is_ended),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
