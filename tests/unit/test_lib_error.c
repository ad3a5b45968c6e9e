/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Errors: the first cause is kept, context goes in front, paths of fields grow from the inside, and
 * a caller that passes NULL costs nothing. The log line that ends an error is here too.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <fcntl.h>
#include <pty.h>
#include <cmocka.h>

#include "lib/error.h"
#include "lib/log.h"

static void test_first_cause_is_kept(void **state)
{
	auto_error struct error *err = NULL;

	(void)state;
	errno = EXFULL;
	assert_int_equal(error_make(&err, -ENOENT, "No PC %s.", "pc-1"), -ENOENT);
	assert_int_equal(errno, EXFULL);
	assert_int_equal(error_make(&err, -EIO, "later"), -EIO);
	assert_string_equal(err->text, "No PC pc-1.");
	assert_int_equal(err->code, -ENOENT);
	assert_null(err->field);
	assert_int_equal(error_wrap(&err, -EIO, "join %d", 7), -ENOENT);
	assert_string_equal(error_text(err, -EIO), "join 7: No PC pc-1.");
}

static void test_null(void **state)
{
	(void)state;
	assert_int_equal(error_make(NULL, -EIO, "x"), -EIO);
	assert_int_equal(error_field(NULL, -EIO, "f", "x"), -EIO);
	assert_int_equal(error_wrap(NULL, -EIO, "x"), -EIO);
	error_in_field(NULL, "a");
	error_free(NULL);
	assert_string_equal(error_text(NULL, -ENOENT), "No such file or directory");
	assert_string_equal(error_text(NULL, -99999), "unknown error");
}

static void test_wrap_makes(void **state)
{
	auto_error struct error *err = NULL;

	(void)state;
	assert_int_equal(error_wrap(&err, -ENOENT, "image"), -ENOENT);
	assert_string_equal(err->text, "image: No such file or directory");
}

static void test_fields(void **state)
{
	static const struct {
		const char *field, *prefix, *result;
	} rows[] = {{"mac", "context", "context.mac"}, {"[2].mac", "vms", "vms[2].mac"},
		{NULL, "vms[2]", "vms[2]"}, {"mac", "vms[2]", "vms[2].mac"}};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		auto_error struct error *err = NULL;

		error_field(&err, -EINVAL, rows[i].field, "wrong");
		error_in_field(err, rows[i].prefix);
		assert_string_equal(err->field, rows[i].result);
	}
}

/* What log_line writes to standard error. */
static char *logged(enum log_level level, const char *text)
{
	static char bytes[8192];
	int fds[2], saved = dup(STDERR_FILENO);
	ssize_t n = 0;

	assert_int_equal(pipe2(fds, O_NONBLOCK), 0);
	dup2(fds[1], STDERR_FILENO);
	log_line(level, "pc-1: %s", text);
	dup2(saved, STDERR_FILENO);
	n = read(fds[0], bytes, sizeof(bytes) - 1);
	bytes[n > 0 ? n : 0] = '\0';
	close(saved);
	close(fds[0]);
	close(fds[1]);
	return bytes;
}

static void test_log(void **state)
{
	enum log_level level = LOG_LEVEL_ERROR;
	char *big = xcalloc(1, 10000);

	(void)state;
	unsetenv("JOURNAL_STREAM");
	log_init("nightclassd", LOG_LEVEL_INFO);
	assert_string_equal(logged(LOG_LEVEL_INFO, "up"), "nightclassd: pc-1: up\n");
	assert_string_equal(logged(LOG_LEVEL_DEBUG, "up"), "");
	/* a text from outside cannot make a second line */
	assert_string_equal(logged(LOG_LEVEL_INFO, "a\n<3>b\x1b"), "nightclassd: pc-1: a <3>b \n");
	memset(big, 'x', 9999);
	assert_int_equal(strlen(logged(LOG_LEVEL_INFO, big)), 4095);
	free(big);
	setenv("JOURNAL_STREAM", "1:2", 1);
	log_init("nightclassd", LOG_LEVEL_DEBUG);
	assert_string_equal(logged(LOG_LEVEL_WARNING, "up"), "<4>pc-1: up\n");
	assert_int_equal(log_level_parse("debug", &level), 0);
	assert_int_equal(level, LOG_LEVEL_DEBUG);
	assert_int_equal(log_level_parse("loud", &level), -EINVAL);
	assert_int_equal(level, LOG_LEVEL_DEBUG);
}

/* A terminal that is full, and whose reader never reads, as standard error. */
static void test_log_does_not_wait_for_a_terminal(void **state)
{
	int ours = -1, terminal = -1, saved = dup(STDERR_FILENO), flags = 0, r = 0, after = 0;

	(void)state;
	assert_int_equal(openpty(&ours, &terminal, NULL, NULL, NULL), 0);
	flags = fcntl(terminal, F_GETFL);
	assert_int_equal(fcntl(terminal, F_SETFL, flags | O_NONBLOCK), 0);
	while (write(terminal, "full", 4) > 0)
		;
	assert_int_equal(fcntl(terminal, F_SETFL, flags), 0);
	dup2(terminal, STDERR_FILENO);
	r = log_never_wait();
	after = fcntl(STDERR_FILENO, F_GETFL);
	if (after & O_NONBLOCK) /* else it never returns */
		log_line(LOG_LEVEL_ERROR, "pc-1: up");
	dup2(saved, STDERR_FILENO);
	assert_int_equal(r, 0);
	assert_true(after & O_NONBLOCK);
	assert_int_equal(fcntl(terminal, F_GETFL), flags); /* others write as before */
	close(saved);
	close(terminal);
	close(ours);
}

static void test_log_keeps_what_is_no_terminal(void **state)
{
	int fds[2], saved = dup(STDERR_FILENO), r = 0, after = 0;

	(void)state;
	assert_int_equal(pipe(fds), 0);
	dup2(fds[1], STDERR_FILENO);
	r = log_never_wait();
	after = fcntl(STDERR_FILENO, F_GETFL);
	dup2(saved, STDERR_FILENO);
	assert_int_equal(r, 0);
	assert_int_equal(after & O_NONBLOCK, 0);
	close(saved);
	close(fds[0]);
	close(fds[1]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_first_cause_is_kept),
		cmocka_unit_test(test_null),
		cmocka_unit_test(test_wrap_makes),
		cmocka_unit_test(test_fields),
		cmocka_unit_test(test_log),
		cmocka_unit_test(test_log_does_not_wait_for_a_terminal),
		cmocka_unit_test(test_log_keeps_what_is_no_terminal),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
