/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The pure parts of the peer chain: what is said on the wire, the ring of frames, whom to leave.
 * With arguments this is the program of tests/rig/test_chain.py and of the chain's bench:
 *
 *   test_image_chain root STORE PORT BITS
 *   test_image_chain node DIR DIGEST MANIFEST PORT BITS SOURCE...
 *
 * A root prints "ready"; a node one line for each note and at the end
 * "ok SECONDS RECEIVED WRONG CHANGES" or "CODE text". Both serve until their input ends. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <sys/resource.h>
#include <sys/socket.h>

#include "images/chain.h"
#include "images/chain_inside.h"
#include "images/chain_log.h"
#include "images/chain_watch.h"
#include "images/chain_wire.h"
#include "lib/clock.h"
#include "lib/file.h"

/* ---- the wire ---- */

struct heard {
	unsigned begun, ended, aborted, bad, statuses, over;
	uint32_t number, last_bad, values[CHAIN_HOPS];
	size_t len, n_values;
	uint32_t about;
	uint8_t bytes[CHUNK_PACKED_MAX];
};

static int on_begin(uint32_t number, void *arg)
{
	struct heard *heard = arg;

	heard->begun++;
	heard->number = number;
	heard->len = 0;
	return 0;
}

static int on_add(const void *bytes, size_t len, void *arg)
{
	struct heard *heard = arg;

	memcpy(heard->bytes + heard->len, bytes, len);
	heard->len += len;
	return 0;
}

static int on_end(bool whole, void *arg)
{
	struct heard *heard = arg;

	heard->ended += whole;
	heard->aborted += !whole;
	return 0;
}

static void on_bad(uint32_t number, void *arg)
{
	struct heard *heard = arg;

	heard->bad++;
	heard->last_bad = number;
}

static void on_status(const uint32_t *values, size_t n, uint32_t number, void *arg)
{
	struct heard *heard = arg;

	heard->statuses++;
	heard->about = number;
	heard->n_values = n;
	memcpy(heard->values, values, n * sizeof(*values));
}

static void on_over(void *arg)
{
	((struct heard *)arg)->over++;
}

static const struct chain_events events = {
	.begin = on_begin,
	.add = on_add,
	.end = on_end,
	.bad = on_bad,
	.status = on_status,
	.over = on_over,
};

struct stream {
	uint8_t at[1 << 20];
	size_t n;
};

static void say(
	struct stream *stream, unsigned kind, uint32_t number, const void *bytes, size_t len)
{
	chain_head_write(kind, number, len, stream->at + stream->n);
	if (len)
		memcpy(stream->at + stream->n + CHAIN_HEAD, bytes, len);
	stream->n += CHAIN_HEAD + len;
}

static void hears_in_pieces_of_any_length(void **state)
{
	static const uint32_t values[] = {7, CHAIN_WHOLE, 0};
	static struct stream stream;
	static struct heard heard;
	uint8_t status[sizeof(values)];

	(void)state;
	chain_status_write(values, ARRAY_LEN(values), status);
	stream.n = 0;
	say(&stream, CHAIN_DATA | CHAIN_FIRST, 5, "one", 3);
	say(&stream, CHAIN_STATUS, 12000 << 1 | CHAIN_SECOND, status, sizeof(status));
	say(&stream, CHAIN_BAD, 9, NULL, 0);
	say(&stream, CHAIN_DATA | CHAIN_LAST, 5, "two", 3);
	say(&stream, CHAIN_DATA | CHAIN_FIRST, 6, "lost", 4);
	say(&stream, CHAIN_ABORT, 0, NULL, 0);
	say(&stream, CHAIN_DATA | CHAIN_FIRST | CHAIN_LAST, 6, "again", 5);
	say(&stream, CHAIN_END, 0, NULL, 0);
	for (size_t step = 1; step <= stream.n; step++) {
		struct chain_parser parser = {.count = 10};

		memset(&heard, 0, sizeof(heard));
		for (size_t at = 0; at < stream.n; at += step)
			assert_int_equal(chain_parse(&parser, stream.at + at,
						 stream.n - at < step ? stream.n - at : step,
						 &events, &heard),
				0);
		assert_int_equal(heard.begun, 3);
		assert_int_equal(heard.ended, 2);
		assert_int_equal(heard.aborted, 1);
		assert_int_equal(heard.over, 1);
		assert_int_equal(heard.last_bad, 9);
		assert_int_equal(heard.n_values, 3);
		assert_int_equal(heard.about, 12000 << 1 | CHAIN_SECOND);
		assert_int_equal(heard.values[1], CHAIN_WHOLE);
		assert_memory_equal(heard.bytes, "again", 5);
		assert_false(parser.open);
	}
}

static void refuses_what_makes_no_sense(void **state)
{
	static const uint8_t big[CHAIN_PIECE];
	static struct heard heard;
	static const struct {
		unsigned kind;
		uint32_t number;
		size_t len;
	} wrong[] = {
		{CHAIN_DATA, 1, 3},		       /* nothing is open */
		{CHAIN_DATA | CHAIN_FIRST, 10, 3},     /* no such chunk */
		{CHAIN_ABORT, 0, 0},		       /* nothing is open */
		{CHAIN_BAD, 10, 0},		       /* no such chunk */
		{CHAIN_STATUS, 0, 3},		       /* not whole words */
		{CHAIN_STATUS, 0, 4 * CHAIN_HOPS + 4}, /* too many */
		{CHAIN_END, 0, 1},		       /* has no content */
		{CHAIN_END | CHAIN_LAST, 0, 0},	       /* has no flags */
		{0, 0, 0},
		{6, 0, 0},
		{CHAIN_DATA | 0x40 | CHAIN_FIRST, 1, 0},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
		struct chain_parser parser = {.count = 10};
		static struct stream stream;

		stream.n = 0;
		say(&stream, wrong[i].kind, wrong[i].number, big, wrong[i].len);
		if (chain_parse(&parser, stream.at, stream.n, &events, &heard) != -EBADMSG)
			fail_msg("message %zu was taken", i);
	}
}

static void a_frame_has_an_end(void **state)
{
	static const uint8_t piece[CHAIN_PIECE];
	static struct stream stream;
	static struct heard heard;
	struct chain_parser parser = {.count = 10};

	(void)state;
	stream.n = 0;
	say(&stream, CHAIN_DATA | CHAIN_FIRST, 1, piece, CHAIN_PIECE);
	for (int i = 1; i < CHUNK_PACKED_MAX / CHAIN_PIECE; i++)
		say(&stream, CHAIN_DATA, 1, piece, CHAIN_PIECE);
	assert_int_equal(chain_parse(&parser, stream.at, stream.n, &events, &heard), 0);
	stream.n = 0;
	say(&stream, CHAIN_DATA, 1, piece, CHAIN_PIECE);
	assert_int_equal(chain_parse(&parser, stream.at, stream.n, &events, &heard), -EBADMSG);
}

static void hello_and_answer_come_back(void **state)
{
	struct chain_hello hello = {.count = 77, .around = 0x0a000001, .digest = {{1, 2, 3}}}, seen;
	uint8_t bytes[CHAIN_HELLO], word[CHAIN_ANSWER];
	enum chain_answer answer;

	(void)state;
	chain_hello_write(&hello, bytes);
	assert_int_equal(chain_hello_read(bytes, &seen), 0);
	assert_int_equal(seen.count, 77);
	assert_int_equal(seen.around, 0x0a000001);
	assert_memory_equal(seen.digest.b, hello.digest.b, SHA256_LEN);
	bytes[0] = 'X';
	assert_int_equal(chain_hello_read(bytes, &seen), -EBADMSG);
	chain_answer_write(CHAIN_FULL, word);
	assert_int_equal(chain_answer_read(word, &answer), 0);
	assert_int_equal(answer, CHAIN_FULL);
	word[11] = 3;
	assert_int_equal(chain_answer_read(word, &answer), -EBADMSG);
}

/* ---- the ring ---- */

static void a_reader_sees_a_frame_grow(void **state)
{
	struct chain_log *log = chain_log_new();
	struct chain_log_view view;
	char bytes[8];

	(void)state;
	assert_int_equal(chain_log_look(log, 0, &view), -EAGAIN);
	chain_log_begin(log, 42, 7);
	chain_log_add(log, "abc", 3);
	assert_int_equal(chain_log_look(log, 0, &view), 0);
	assert_int_equal(view.number, 42);
	assert_int_equal(view.source, 7);
	assert_int_equal(view.len, 3);
	assert_int_equal(view.state, LOG_OPEN);
	chain_log_add(log, "def", 3);
	assert_int_equal(chain_log_copy(log, 0, 2, bytes, sizeof(bytes)), 4);
	assert_memory_equal(bytes, "cdef", 4);
	assert_int_equal(chain_log_copy(log, 0, 6, bytes, sizeof(bytes)), 0);
	chain_log_end(log, true);
	assert_int_equal(chain_log_look(log, 0, &view), 0);
	assert_int_equal(view.state, LOG_WHOLE);
	assert_false(chain_log_drained(log));
	chain_log_verified(log, 0, false);
	assert_true(chain_log_drained(log));
	assert_true(chain_log_bad(log, 0, &view.number));
	assert_int_equal(view.number, 42);
	assert_false(chain_log_bad(log, 1, &view.number));
	chain_log_close(log);
	assert_int_equal(chain_log_look(log, 1, &view), -ENODATA);
	chain_log_unref(log);
}

static void one_who_falls_behind_is_told(void **state)
{
	struct chain_log *log = chain_log_new();
	struct chain_log_view view;
	char byte;

	(void)state;
	for (uint32_t i = 0; i <= CHAIN_LOG_ENTRIES; i++) {
		chain_log_begin(log, i, 0);
		chain_log_add(log, "x", 1);
		chain_log_end(log, i % 2 == 0);
		chain_log_verified(log, i, true);
	}
	assert_int_equal(chain_log_look(log, 0, &view), -ESTALE);
	assert_int_equal(chain_log_copy(log, 0, 0, &byte, 1), 0);
	assert_int_equal(chain_log_oldest(log), 1);
	assert_int_equal(chain_log_look(log, 1, &view), 0);
	assert_int_equal(view.state, LOG_ABORTED);
	chain_log_unref(log);
}

static void *begin_one_more(void *arg)
{
	chain_log_begin(arg, 1000, 0);
	return NULL;
}

static void what_is_not_verified_is_not_overwritten(void **state)
{
	struct chain_log *log = chain_log_new();
	struct chain_log_view view;
	pthread_t thread;

	(void)state;
	for (uint32_t i = 0; i < CHAIN_LOG_ENTRIES; i++) {
		chain_log_begin(log, i, 0);
		chain_log_end(log, true);
	}
	assert_int_equal(pthread_create(&thread, NULL, begin_one_more, log), 0);
	assert_int_equal(chain_log_look(log, CHAIN_LOG_ENTRIES, &view), -EAGAIN);
	assert_int_equal(chain_log_look(log, 0, &view), 0);
	chain_log_verified(log, 0, true);
	pthread_join(thread, NULL);
	assert_int_equal(chain_log_look(log, 0, &view), -ESTALE);
	chain_log_unref(log);
}

/* ---- whom to leave ---- */

enum { MB = 1000000 };

static void passes(struct chain_seen *seen, unsigned mine, uint64_t its, uint64_t before)
{
	seen->mine += (uint64_t)mine * MB / 1000 * CHAIN_WATCH_MS;
	if (seen->its != CHAIN_HAS_ALL)
		seen->its += its * MB / 1000 * CHAIN_WATCH_MS;
	if (seen->before && seen->before != CHAIN_HAS_ALL)
		seen->before += before * MB / 1000 * CHAIN_WATCH_MS;
}

/* Looks until all windows are over, with rates in MB/s. */
static enum chain_verdict after_the_windows(struct chain_watch *watch, unsigned mine, uint64_t its,
	uint64_t before, uint64_t expect, bool second)
{
	struct chain_seen seen = {100 * MB, its == CHAIN_HAS_ALL ? its : 200 * MB,
		before == CHAIN_HAS_ALL || !before ? before : 300 * MB, expect, second};
	int64_t now = 0;

	assert_int_equal(chain_watch_look(watch, now, &seen), CHAIN_STAY);
	for (int i = 1; i < CHAIN_WATCH_TIMES; i++) {
		passes(&seen, mine, its, before);
		now += CHAIN_WATCH_MS;
		assert_int_equal(chain_watch_look(watch, now - 1, &seen), CHAIN_STAY);
		assert_int_equal(chain_watch_look(watch, now, &seen), CHAIN_STAY);
	}
	passes(&seen, mine, its, before);
	return chain_watch_look(watch, now + CHAIN_WATCH_MS, &seen);
}

static void leaves_the_slow_one_and_only_that(void **state)
{
	static const struct {
		const char *what;
		unsigned mine;
		uint64_t its, before, expect;
		enum chain_verdict verdict;
	} cases[] = {
		{"all flow", 12, 12, 12, 0, CHAIN_STAY},
		{"it is slow", 3, 3, 12, 0, CHAIN_LEAVE_SLOW},
		{"it is slow behind a slow one", 3, 3, 3, 0, CHAIN_STAY},
		{"a little slower", 7, 7, 12, 0, CHAIN_STAY},
		{"slow behind the root", 3, 3, CHAIN_HAS_ALL, 12 * MB, CHAIN_LEAVE_SLOW},
		{"slow behind the root, nobody knows", 3, 3, CHAIN_HAS_ALL, 0, CHAIN_STAY},
		{"between it and me", 3, 12, 12, 0, CHAIN_TRY_OTHER},
		{"it is the root", 3, CHAIN_HAS_ALL, 0, 12 * MB, CHAIN_TRY_OTHER},
		{"no measure", 3, 3, 0, 12 * MB, CHAIN_STAY},
		{"all stand still", 0, 0, 0, 0, CHAIN_STAY},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct chain_watch watch = {0};

		if (after_the_windows(&watch, cases[i].mine, cases[i].its, cases[i].before,
			    cases[i].expect, false) != cases[i].verdict)
			fail_msg("%s", cases[i].what);
		if (cases[i].verdict != CHAIN_TRY_OTHER)
			continue;
		watch = (struct chain_watch){.tried = true};
		assert_int_equal(after_the_windows(&watch, cases[i].mine, cases[i].its,
					 cases[i].before, cases[i].expect, false),
			CHAIN_STAY);
		watch = (struct chain_watch){0};
		assert_int_equal(after_the_windows(&watch, cases[i].mine, cases[i].its,
					 cases[i].before, cases[i].expect, true),
			CHAIN_STAY);
	}
}

static void a_moment_is_no_reason(void **state)
{
	struct chain_seen seen = {100 * MB, 100 * MB, 100 * MB, 0, false};
	struct chain_watch watch = {0};

	(void)state;
	chain_watch_look(&watch, 0, &seen);
	for (int i = 1; i <= 10; i++) { /* stands still every other window */
		passes(&seen, i % 2 ? 0 : 12, i % 2 ? 0 : 12, 12);
		assert_int_equal(
			chain_watch_look(&watch, (int64_t)i * CHAIN_WATCH_MS, &seen), CHAIN_STAY);
	}
}

static void leaves_a_liar_but_not_its_victim(void **state)
{
	struct chain_seen seen = {0};
	struct chain_watch liar = {0}, victim = {0}, endless = {0};

	(void)state;
	for (uint32_t i = 0; i < CHAIN_WRONG_MAX; i++) {
		chain_watch_wrong(&liar, 1000, i);
		if (i % 2) /* it may own up before or after */
			chain_watch_excuse(&victim, i);
		chain_watch_wrong(&victim, 1000, i);
		if (i % 2 == 0)
			chain_watch_excuse(&victim, i);
	}
	assert_int_equal(chain_watch_look(&liar, 1000, &seen), CHAIN_STAY);
	assert_int_equal(chain_watch_look(&liar, 1000 + CHAIN_EXCUSE_MS, &seen), CHAIN_LEAVE_LIAR);
	assert_int_equal(chain_watch_look(&victim, 9000, &seen), CHAIN_STAY);
	for (uint32_t i = 0; i < CHAIN_WRONG_ANY; i++) {
		chain_watch_wrong(&endless, 1000, i);
		chain_watch_excuse(&endless, i);
	}
	assert_int_equal(chain_watch_look(&endless, 1000, &seen), CHAIN_LEAVE_LIAR);
}

/* A source that is asked again is the same source, and one that says nothing of itself is judged by
 * what it sent. */
static void a_liar_gains_nothing_by_a_new_round(void **state)
{
	struct chain_watch watch = {.tried = true};

	(void)state;
	for (uint32_t i = 0; i < CHAIN_WRONG_MAX; i++) {
		assert_false(chain_watch_lies(&watch, INT64_MAX));
		chain_watch_again(&watch);
		chain_watch_wrong(&watch, 1000, i);
	}
	assert_false(chain_watch_lies(&watch, 1000));
	assert_true(chain_watch_lies(&watch, INT64_MAX));
	assert_true(watch.tried);
	chain_watch_excuse(&watch, 0);
	assert_false(chain_watch_lies(&watch, INT64_MAX));
}

/* ---- the pace ---- */

static void a_late_thread_does_not_let_the_port_run_dry(void **state)
{
	static const struct {
		uint64_t bytes_per_s;
		int unsent;
	} cases[] = {{0, 128 << 10}, {1000000, 128 << 10}, {116000000, 116000 * 15},
		{1160000000, 8 << 20}};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		socklen_t len = sizeof(int);
		int unsent = 0;

		chain_tcp_pace(fd, cases[i].bytes_per_s);
		getsockopt(fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, &unsent, &len);
		assert_int_equal(unsent, cases[i].unsent);
	}
	close(fd);
}

/* ---- the program ---- */

static void until_input_ends(void)
{
	char byte;

	while (read(STDIN_FILENO, &byte, 1) > 0)
		;
}

static int root_program(char **argv)
{
	struct chain_serve config = {.store = argv[2],
		.port = (uint16_t)atoi(argv[3]),
		.rate = strtoull(argv[4], NULL, 10)};
	auto_error struct error *err = NULL;
	struct chain_server *server = NULL;
	int r = chain_server_start(&config, &server, &err);

	if (r < 0)
		return printf("%s %s\n", strerrorname_np(-r), error_text(err, r)), 1;
	puts("ready");
	until_input_ends();
	chain_server_stop(server);
	return 0;
}

static void print_note(const char *text, void *arg)
{
	(void)arg;
	printf("note %s\n", text);
}

static int node_receive(
	char **argv, size_t n_sources, struct held *held, struct chain_server *server)
{
	struct chain_job job = {.held = held,
		.dir = argv[2],
		.digest = argv[3],
		.sources = (const char *const *)argv + 7,
		.n_sources = n_sources,
		.server = server,
		.port_bits = strtoull(argv[6], NULL, 10),
		.patience_ms = 30000, /* all begin at once, on a machine that may be busy */
		.note = print_note};
	auto_error struct error *err = NULL;
	struct chain_result result;
	struct rusage usage;
	int64_t begin = clock_real_ms();
	int r = chain_receive(&job, &result, &err);

	getrusage(RUSAGE_SELF, &usage);
	if (r < 0)
		return printf("%s %s\n", strerrorname_np(-r), error_text(err, r)), 1;
	printf("ok %.3f %llu %u %u rss %ld cpu %ld\n", (double)(clock_real_ms() - begin) / 1000,
		(unsigned long long)result.received, result.wrong, result.changes, usage.ru_maxrss,
		(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 1000 +
			(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1000);
	return 0;
}

static int node_program(int argc, char **argv)
{
	struct chain_serve config = {.held = argv[2],
		.port = (uint16_t)atoi(argv[5]),
		.port_bits = strtoull(argv[6], NULL, 10)};
	auto_error struct error *err = NULL;
	auto_free char *text = NULL;
	auto_held struct held *held = NULL;
	struct chain_server *server = NULL;
	size_t len;
	int r = file_read(argv[4], MANIFEST_MAX_BYTES, &text, &len, &err);

	if (r == 0)
		r = held_create(argv[2], argv[3], text, len, &held, &err);
	if (r == 0)
		r = chain_server_start(&config, &server, &err);
	if (r < 0)
		return printf("%s %s\n", strerrorname_np(-r), error_text(err, r)), 1;
	r = node_receive(argv, (size_t)argc - 7, held, server);
	until_input_ends();
	chain_server_stop(server);
	return r;
}

/* The host closes its doors while a fetch that was called off may just begin. */
static void a_stopped_server_is_still_there(void **state)
{
	static const char digest[] =
		"0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
	const struct chain_serve config = {.held = "/nonexistent"};
	struct chain_server *server = NULL;
	struct chain_log *log = chain_log_new();

	(void)state;
	assert_int_equal(chain_server_start(&config, &server, NULL), 0);
	assert_ptr_equal(chain_server_ref(server), server);
	chain_server_stop(server);
	assert_int_equal(chain_relay_open(server, digest, log), 0);
	chain_relay_tell(server, digest, &(const uint32_t){1}, 1, 0);
	chain_relay_close(server, digest);
	chain_server_unref(server);
	chain_log_unref(log);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(hears_in_pieces_of_any_length),
		cmocka_unit_test(refuses_what_makes_no_sense),
		cmocka_unit_test(a_frame_has_an_end),
		cmocka_unit_test(hello_and_answer_come_back),
		cmocka_unit_test(a_reader_sees_a_frame_grow),
		cmocka_unit_test(one_who_falls_behind_is_told),
		cmocka_unit_test(what_is_not_verified_is_not_overwritten),
		cmocka_unit_test(leaves_the_slow_one_and_only_that),
		cmocka_unit_test(a_moment_is_no_reason),
		cmocka_unit_test(leaves_a_liar_but_not_its_victim),
		cmocka_unit_test(a_liar_gains_nothing_by_a_new_round),
		cmocka_unit_test(a_late_thread_does_not_let_the_port_run_dry),
		cmocka_unit_test(a_stopped_server_is_still_there),
	};

	setvbuf(stdout, NULL, _IOLBF, 0);
	if (argc == 5 && strcmp(argv[1], "root") == 0)
		return root_program(argv);
	if (argc >= 8 && strcmp(argv[1], "node") == 0)
		return node_program(argc, argv);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
