/* SPDX-License-Identifier: GPL-2.0-or-later */
/* How soon a way is left for the next, and what is said of it: the sender of a cast and the last
 * resort are played by the test, on loopback, and say little. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <sys/resource.h>
#include <sys/socket.h>

#include "images/bring.h"
#include "images/cast_frame.h"
#include "lib/file.h"

enum { PATIENCE_MS = 60000, HELLO_LEN = 56, NONCE_AT = 8, NONCE_LEN = 8 };

struct lab {
	int sender, base; /* sockets: datagrams to a cast's sender; a listener */
	int notes[2];	  /* a pipe */
	pthread_t thread;
	atomic_bool cancel;
	char *dir, *url;
	struct bring job;
	int result;
};

static int bound(int type, uint16_t *ret_port)
{
	struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof(at);
	int fd = socket(AF_INET, type | SOCK_CLOEXEC, 0);

	assert_true(fd >= 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&at, sizeof(at)), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&at, &len), 0);
	*ret_port = ntohs(at.sin_port);
	return fd;
}

static bool on_progress(uint64_t have, uint64_t total, void *arg)
{
	(void)have, (void)total, (void)arg;
	return true;
}

static void on_note(const char *text, void *arg)
{
	const struct lab *lab = arg;

	if (write(lab->notes[1], text, strlen(text)) < 0)
		abort();
}

static void *run(void *arg)
{
	struct lab *lab = arg;

	lab->result = bring_image(&lab->job, NULL);
	return NULL;
}

static struct lab *begin(void)
{
	struct lab *lab = xnew(struct lab);
	char dir[] = "/tmp/test_image_bring.XXXXXX";
	uint16_t port;

	lab->base = bound(SOCK_STREAM, &port);
	assert_int_equal(listen(lab->base, 4), 0);
	lab->url = xasprintf("http://127.0.0.1:%u", port);
	lab->sender = bound(SOCK_DGRAM, &port);
	lab->dir = xstrdup(mkdtemp(dir));
	lab->job = (struct bring){
		.digest = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
		.dir = lab->dir,
		.base = lab->url,
		.cast = {INADDR_LOOPBACK},
		.cast_port = port,
		.name = "pc1",
		.cancel = &lab->cancel,
		.progress = on_progress,
		.note = on_note,
		.arg = lab};
	assert_int_equal(pipe(lab->notes), 0);
	assert_int_equal(pthread_create(&lab->thread, NULL, run, lab), 0);
	return lab;
}

static void end(struct lab *lab)
{
	atomic_store(&lab->cancel, true);
	close(lab->base); /* who waits for an answer is told that none comes */
	pthread_join(lab->thread, NULL);
	assert_true(lab->result < 0);
	close(lab->sender);
	close(lab->notes[0]);
	close(lab->notes[1]);
	file_remove_tree(lab->dir, NULL);
	free(lab->dir);
	free(lab->url);
	free(lab);
}

static void await(int fd)
{
	struct pollfd poller = {.fd = fd, .events = POLLIN};

	assert_int_equal(poll(&poller, 1, PATIENCE_MS), 1);
}

/* Hellos that came by now, and of how many receivers: each try has a nonce of its own. */
static unsigned hellos(const struct lab *lab, unsigned *ret_tries)
{
	uint8_t bytes[2048], nonces[8][NONCE_LEN];
	unsigned n = 0, tries = 0, i;
	ssize_t len;

	while ((len = recv(lab->sender, bytes, sizeof(bytes), MSG_DONTWAIT)) > 0) {
		assert_true(len >= HELLO_LEN - 1);
		n++;
		for (i = 0; i < tries; i++)
			if (memcmp(nonces[i], bytes + NONCE_AT, NONCE_LEN) == 0)
				break;
		if (i == tries && tries < ARRAY_LEN(nonces))
			memcpy(nonces[tries++], bytes + NONCE_AT, NONCE_LEN);
	}
	if (ret_tries)
		*ret_tries = tries;
	return n;
}

/* The cast's sender says nothing, so nobody is told how far it is, and yet it ends. */
static void a_fetch_that_is_called_off_ends_before_its_patience(void **state)
{
	struct lab *lab = begin();

	(void)state;
	await(lab->sender);
	hellos(lab, NULL); /* what came while this thread slept */
	atomic_store(&lab->cancel, true);
	pthread_join(lab->thread, NULL);
	assert_in_range(hellos(lab, NULL), 0, 10); /* some 30 more in its whole patience */
	assert_int_equal(pthread_create(&lab->thread, NULL, run, lab), 0); /* for the end */
	end(lab);
}

static void a_cast_that_is_not_there_is_asked_for_once(void **state)
{
	struct lab *lab = begin();
	unsigned tries;

	(void)state;
	await(lab->base); /* it went on by HTTP */
	assert_true(hellos(lab, &tries) >= 1);
	assert_int_equal(tries, 1);
	end(lab);
}

/* Lets in whoever says hello. */
static void welcome(const struct lab *lab, uint32_t plan_bytes)
{
	uint8_t bytes[CAST_FRAME_MAX];
	struct sockaddr_in from;
	socklen_t len = sizeof(from);
	struct cast_frame hello;
	ssize_t n = recvfrom(lab->sender, bytes, sizeof(bytes), 0, (struct sockaddr *)&from, &len);

	assert_int_equal(cast_frame_read(bytes, (size_t)n, &hello), 0);
	const struct cast_frame frame = {.session = 1,
		.kind = CAST_WELCOME,
		.welcome = {.nonce = hello.hello.nonce,
			.group = {0xefff4e43},
			.port = 7867,
			.plan_bytes = plan_bytes,
			.plan_length = 1}};
	n = (ssize_t)cast_frame_write(&frame, bytes);
	assert_int_equal(
		sendto(lab->sender, bytes, (size_t)n, 0, (struct sockaddr *)&from, len), n);
}

static void is_noted(const struct lab *lab, const char *wanted)
{
	char text[512] = "";

	await(lab->notes[0]);
	assert_true(read(lab->notes[0], text, sizeof(text) - 1) > 0);
	if (!strstr(text, wanted))
		fail_msg("\"%s\" lacks \"%s\"", text, wanted);
}

static void a_plan_that_is_none_is_said_to_be_so(void **state)
{
	struct lab *lab = begin();

	(void)state;
	welcome(lab, 81 << 20);
	is_noted(lab, "by multicast: it announces a plan of 81 MiB");
	end(lab);
}

/* The receiver has its other sockets by then, and may open no more. */
static void why_a_group_cannot_be_joined_is_said(void **state)
{
	struct lab *lab = begin();
	struct rlimit before, none;
	int next;

	(void)state;
	await(lab->sender);
	next = dup(lab->sender);
	close(next);
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
	none = before;
	none.rlim_cur = (rlim_t)next;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
	welcome(lab, 1);
	is_noted(lab, "cannot be joined: Too many open files");
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
	end(lab);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_fetch_that_is_called_off_ends_before_its_patience),
		cmocka_unit_test(a_cast_that_is_not_there_is_asked_for_once),
		cmocka_unit_test(a_plan_that_is_none_is_said_to_be_so),
		cmocka_unit_test(why_a_group_cannot_be_joined_is_said),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
