/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What a host believes before it fetches an image: a small server answers with good publications
 * and with those an attacker on the segment could send. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <arpa/inet.h>
#include <pthread.h>
#include <sys/socket.h>

#include "boot/hostd/publication.h"
#include "images/publication.h"
#include "lib/file.h"
#include "lib/hash.h"
#include "lib/str.h"

#define A "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define B "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"

static char folder[] = "/tmp/test-hostd-publication.XXXXXX";
static char *image_dir, *url;
static struct publisher *lab, *stranger;
static int listener;
static pthread_t server;
static char *answer; /* body; NULL: 404 */

static void *serve(void *arg)
{
	int fd;

	while ((fd = accept(listener, NULL, NULL)) >= 0) {
		char request[4096];
		auto_free char *text = NULL;

		if (read(fd, request, sizeof(request)) > 0) {
			text = answer ? xasprintf("HTTP/1.1 200 OK\r\nContent-Length: %zu\r\n"
						  "Connection: close\r\n\r\n%s",
						strlen(answer), answer)
				      : xstrdup("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n"
						"Connection: close\r\n\r\n");
			fd_write_all(fd, text, strlen(text));
		}
		close(fd);
	}
	return arg;
}

static struct publisher *open_key(const char *name)
{
	auto_free char *path = xasprintf("%s/%s", folder, name);
	struct publisher *publisher = NULL;

	assert_int_equal(publisher_open(path, &publisher, NULL), 0);
	return publisher;
}

static int setup(void **state)
{
	struct sockaddr_in address = {
		.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof(address);

	(void)state;
	assert_non_null(mkdtemp(folder));
	lab = open_key("lab.key");
	stranger = open_key("stranger.key");
	listener = socket(AF_INET, SOCK_STREAM, 0);
	assert_int_equal(bind(listener, (struct sockaddr *)&address, len), 0);
	assert_int_equal(listen(listener, 8), 0);
	assert_int_equal(getsockname(listener, (struct sockaddr *)&address, &len), 0);
	url = xasprintf("http://127.0.0.1:%d", ntohs(address.sin_port));
	return pthread_create(&server, NULL, serve, NULL);
}

static int teardown(void **state)
{
	(void)state;
	shutdown(listener, SHUT_RDWR);
	close(listener);
	pthread_join(server, NULL);
	publisher_free(lab);
	publisher_free(stranger);
	free(url);
	return file_remove_tree(folder, NULL);
}

/* Every test has a host of its own. */
static int new_host(void **state)
{
	static int n;

	(void)state;
	image_dir = xasprintf("%s/host%d", folder, n++);
	return 0;
}

static int end_host(void **state)
{
	(void)state;
	free(image_dir);
	free(answer);
	answer = NULL;
	return 0;
}

static void offer(const struct publisher *by, const char *name, uint64_t revision,
	const char *digest, uint64_t sequence)
{
	const struct publication p = {.name = (char *)name,
		.revision = revision,
		.digest = (char *)digest,
		.sequence = sequence,
		.published = 1800000000};

	free(answer);
	answer = publication_sign(by, &p);
}

/* The goal wants revision 3 of mpi, digest A. */
static int check(struct error **err)
{
	const struct publication_wanted wanted = {.image_dir = image_dir,
		.url = url,
		.key = publisher_key(lab),
		.name = "mpi",
		.digest = A,
		.revision = 3};

	return publication_check(&wanted, err);
}

static void refused(const char *why)
{
	auto_error struct error *err = NULL;
	int r = check(&err);

	if (r != -EKEYREJECTED && r != -EINVAL)
		fail_msg("not refused: %d", r);
	if (!strstr(err->text, why))
		fail_msg("\"%s\" does not say \"%s\"", err->text, why);
}

static void nothing_left(void)
{
	auto_free char *path = xasprintf("%s/sequences", image_dir);

	assert_int_not_equal(access(path, F_OK), 0);
}

static void the_labs_own_word_is_taken(void **state)
{
	(void)state;
	offer(lab, "mpi", 3, A, 10);
	assert_int_equal(check(NULL), 0);
	assert_int_equal(check(NULL), 0); /* the same again */
}

static void what_is_not_signed_is_refused(void **state)
{
	(void)state;
	offer(stranger, "mpi", 3, A, 10);
	refused("signed by key");
	nothing_left();
	offer(lab, "mpi", 3, A, 10);
	answer[strlen(answer) - 3] ^= 1;
	refused("refused");
	nothing_left();
	free(answer);
	answer = xstrdup("<html>");
	refused("refused");
	free(answer);
	answer = NULL;
	auto_error struct error *err = NULL;
	assert_int_equal(check(&err), -ENOENT);
	nothing_left();
}

static void another_images_word_is_refused(void **state)
{
	(void)state;
	offer(lab, "mpi", 3, B, 10);
	refused("is for image mpi revision 3");
	offer(lab, "mpi", 2, A, 10);
	refused("is for image mpi revision 2");
	offer(lab, "other", 3, A, 10);
	refused("is for image other");
	nothing_left();
}

static void an_older_word_is_refused(void **state)
{
	(void)state;
	offer(lab, "mpi", 3, A, 10);
	assert_int_equal(check(NULL), 0);
	offer(lab, "mpi", 3, A, 9);
	refused("its publication is old (sequence 9, this host has seen 10)");
	offer(lab, "mpi", 3, A, 11);
	assert_int_equal(check(NULL), 0);
	offer(lab, "mpi", 3, A, 10);
	refused("has seen 11");
}

static void numbers_are_kept_by_name_and_key(void **state)
{
	auto_free char *path = xasprintf("%s/sequences", image_dir);
	auto_free char *text = NULL;

	(void)state;
	assert_int_equal(file_mkdirs(image_dir, 0755, NULL), 0);
	auto_free char *known = xasprintf("{\"seen\":[{\"name\":\"other\",\"key\":\"%s\","
					  "\"sequence\":99},{\"name\":\"mpi\",\"key\":\"%s\","
					  "\"sequence\":99}]}",
		publisher_key_id(lab), publisher_key_id(stranger));
	assert_int_equal(file_write(path, known, strlen(known), 0600, NULL), 0);
	offer(lab, "mpi", 3, A, 10);
	assert_int_equal(check(NULL), 0);
	assert_int_equal(file_read(path, 4096, &text, NULL, NULL), 0);
	assert_non_null(strstr(text, "\"sequence\":99"));
	assert_non_null(strstr(text, "\"sequence\":10"));
}

static void a_damaged_memory_is_begun_anew(void **state)
{
	auto_free char *path = xasprintf("%s/sequences", image_dir);

	(void)state;
	assert_int_equal(file_mkdirs(image_dir, 0755, NULL), 0);
	assert_int_equal(file_write(path, "\x00\xff garbage", 10, 0600, NULL), 0);
	offer(lab, "mpi", 3, A, 10);
	assert_int_equal(check(NULL), 0);
	offer(lab, "mpi", 3, A, 9);
	refused("old");
}

static void without_a_key_nothing_is_asked(void **state)
{
	const struct publication_wanted wanted = {.image_dir = image_dir};

	(void)state;
	assert_int_equal(publication_check(&wanted, NULL), 0);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, new_host, end_host)
	const struct CMUnitTest tests[] = {
		TEST(the_labs_own_word_is_taken),
		TEST(what_is_not_signed_is_refused),
		TEST(another_images_word_is_refused),
		TEST(an_older_word_is_refused),
		TEST(numbers_are_kept_by_name_and_key),
		TEST(a_damaged_memory_is_begun_anew),
		TEST(without_a_key_nothing_is_asked),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
