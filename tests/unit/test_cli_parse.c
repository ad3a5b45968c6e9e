/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The command line by the verb table: forms of options, where they end, every usage error; and that
 * the table itself keeps its own rules. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include "controller/cli/client.h"
#include "controller/cli/verbs.h"

struct parsed {
	struct cli cli;
	struct error *err;
	int result;
};

static struct parsed parse(const char *const *argv)
{
	struct parsed p = {0};
	int argc = 0;
	while (argv[argc])
		argc++;
	p.result = cli_parse(argc, (char *const *)argv, &p.cli, &p.err);
	return p;
}
#define PARSE(...) parse((const char *const[]){"nightclass", __VA_ARGS__, NULL})

static void parsed_done(struct parsed *p)
{
	free((void *)p->cli.args);
	error_free(p->err);
}

static void words_in_any_order(void **state)
{
	(void)state;
	struct parsed cases[] = {
		PARSE("pc", "add", "pc1", "--mac", "m", "--address", "a"),
		PARSE("-o", "json", "pc", "--server", "u", "add", "--mac=m", "--address=a", "pc1"),
		PARSE("pc", "add", "--address", "a", "--mac", "m", "--", "pc1"),
	};
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct parsed *p = &cases[i];
		assert_int_equal(p->result, 0);
		assert_string_equal(p->cli.verb->verb, "add");
		assert_int_equal(p->cli.n_args, 1);
		assert_string_equal(p->cli.args[0], "pc1");
		assert_string_equal(cli_value(&p->cli, "mac"), "m");
		assert_string_equal(cli_value(&p->cli, "address"), "a");
		assert_null(cli_value(&p->cli, "seat"));
		parsed_done(p);
	}
}

static void run_leaves_the_program_its_options(void **state)
{
	(void)state;
	struct parsed p =
		PARSE("run", "-n", "8", "--no-wait", "./a.out", "-n", "3", "--help", "--", "-o");
	assert_int_equal(p.result, 0);
	assert_null(p.cli.verb->verb);
	assert_string_equal(cli_value(&p.cli, "ranks"), "8");
	assert_false(p.cli.wait);
	assert_false(p.cli.help);
	assert_int_equal(p.cli.n_args, 6);
	assert_string_equal(p.cli.args[1], "-n");
	assert_string_equal(p.cli.args[5], "-o");
	parsed_done(&p);
}

static void run_knows_its_verbs(void **state)
{
	(void)state;
	struct parsed list = PARSE("run", "list"), program = PARSE("run", "-n4", "list"),
		      path = PARSE("run", "./list", "-n", "4");
	assert_string_equal(list.cli.verb->verb, "list");
	/* "-n" decides for the program form, so "list" is a program. */
	assert_int_equal(program.result, 0);
	assert_null(program.cli.verb->verb);
	assert_string_equal(program.cli.args[0], "list");
	assert_int_equal(path.result, -EINVAL); /* options after the program are the program's */
	parsed_done(&list);
	parsed_done(&program);
	parsed_done(&path);
}

static void waiting(void **state)
{
	(void)state;
	struct parsed plain = PARSE("night", "end"), off = PARSE("night", "end", "--no-wait"),
		      both = PARSE("night", "end", "--no-wait", "--wait", "--timeout", "90s"),
		      none = PARSE("pc", "list", "--wait");
	assert_true(plain.cli.wait);
	assert_int_equal(plain.cli.timeout_s, 3600);
	assert_false(off.cli.wait);
	assert_true(both.cli.wait);
	assert_int_equal(both.cli.timeout_s, 90);
	assert_int_equal(none.result, -EINVAL);
	parsed_done(&plain);
	parsed_done(&off);
	parsed_done(&both);
	parsed_done(&none);
}

/* Each wrong call is refused with a text that has `said` in it. */
static void usage_errors(void **state)
{
	(void)state;
	static const struct {
		const char *argv[8];
		const char *said;
	} cases[] = {
		{{"nightclass"}, "say what to do"},
		{{"nightclass", "pcs", "list"}, "unknown noun \"pcs\""},
		{{"nightclass", "pc"}, "pc what?"},
		{{"nightclass", "pc", "lst"}, "no verb \"lst\""},
		{{"nightclass", "pc", "show"}, "an argument is missing"},
		{{"nightclass", "pc", "show", "a", "b"}, "one argument too many: b"},
		{{"nightclass", "pc", "list", "--sever", "x"}, "unknown option: --sever"},
		{{"nightclass", "pc", "list", "--serverx"}, "unknown option: --serverx"},
		{{"nightclass", "pc", "list", "-x"}, "unknown option: -x"},
		{{"nightclass", "pc", "add", "pc1", "--mac", "m"}, "this is needed: --address"},
		{{"nightclass", "pc", "add", "pc1", "--mac"}, "a value is missing after --mac"},
		{{"nightclass", "pc", "add", "p", "--mac", "m", "--mac=n"}, "given twice: --mac"},
		{{"nightclass", "pc", "list", "-o", "yaml"}, "\"yaml\" is not table, json or name"},
		{{"nightclass", "night", "end", "--no-wait=1"}, "takes no value: --no-wait"},
		{{"nightclass", "night", "end", "--timeout", "soon"}, "\"soon\" is not a time"},
		{{"nightclass", "run", "-n", "2"}, "an argument is missing"},
		{{"nightclass", "run", "./a"}, "this is needed: --ranks"},
	};
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct parsed p = parse(cases[i].argv);
		assert_int_equal(p.result, -EINVAL);
		assert_int_equal(cli_exit_code(p.result), CLI_USAGE);
		if (!strstr(p.err->text, cases[i].said))
			fail_msg("\"%s\" does not say \"%s\"", p.err->text, cases[i].said);
		parsed_done(&p);
	}
}

static void help_needs_nothing_else(void **state)
{
	(void)state;
	struct parsed verb = PARSE("pc", "add", "--help"), noun = PARSE("pc", "-h"),
		      all = PARSE("--help");
	assert_int_equal(verb.result, 0);
	assert_true(verb.cli.help);
	assert_string_equal(verb.cli.verb->verb, "add");
	assert_true(noun.cli.help);
	assert_string_equal(noun.cli.args[0], "pc");
	assert_true(all.cli.help);
	assert_int_equal(all.cli.n_args, 0);
	parsed_done(&verb);
	parsed_done(&noun);
	parsed_done(&all);
}

static void exit_codes(void **state)
{
	(void)state;
	static const struct {
		int error, code;
	} cases[] = {{0, CLI_OK}, {-EIO, CLI_FAILED}, {-EINVAL, CLI_USAGE},
		{-ENOENT, CLI_NOT_FOUND}, {-EACCES, CLI_DENIED}, {-EPERM, CLI_DENIED},
		{-EEXIST, CLI_CONFLICT}, {-EBUSY, CLI_CONFLICT}, {-ECONNREFUSED, CLI_UNREACHABLE},
		{-EPROTO, CLI_UNREACHABLE}, {-ETIMEDOUT, CLI_TIMED_OUT}};
	for (size_t i = 0; i < ARRAY_LEN(cases); i++)
		assert_int_equal(cli_exit_code(cases[i].error), cases[i].code);
}

/* What a new row could get wrong. */
static void the_table_is_sound(void **state)
{
	(void)state;
	for (const struct cli_verb *row = cli_verbs; row->noun; row++) {
		size_t n = 0;
		assert_non_null(row->run);
		assert_true(row->help && row->help[0] >= 'a' &&
			    row->help[strlen(row->help) - 1] != '.');
		assert_true(row->max_args < 0 || row->max_args >= row->min_args);
		assert_true((*row->args == 0) == (row->max_args == 0));
		for (const struct cli_option *o = row->options; o && o->name; o++, n++) {
			assert_non_null(o->help);
			/* A name of its own: --token-file is ours wherever it stands. */
			for (const struct cli_option *g = cli_global_options; g->name; g++)
				assert_string_not_equal(g->name, o->name);
		}
		assert_true(n <= CLI_MAX_OPTIONS);
		for (const struct cli_verb *other = row + 1; other->noun; other++)
			assert_false(strcmp(row->noun, other->noun) == 0 && row->verb &&
				     other->verb && strcmp(row->verb, other->verb) == 0);
		auto_free char *usage = cli_usage(row);
		assert_true(strncmp(usage, "nightclass ", 11) == 0);
	}
}

static void the_local_token_stays_here(void **state)
{
	(void)state;
	static const char *const here[] = {"https://127.0.0.1:8443", "https://127.9.9.9", "https://localhost:8443/",
		"https://[::1]:8443", "http://127.0.0.1:8080/"};
	static const char *const away[] = {"https://10.71.0.1:8443", "https://127.0.0.1.example:8443",
		"https://127.evil.example", "https://localhost.example", "https://127.0.0.1@example:8443",
		"https://127.0.0.1:x@example", "https://[::1].example", "https://[::10]", "ftp://127.0.0.1", "",
		"https://", "127.0.0.1"};
	for (size_t i = 0; i < ARRAY_LEN(here); i++)
		assert_true(client_is_here(here[i]));
	for (size_t i = 0; i < ARRAY_LEN(away); i++)
		assert_false(client_is_here(away[i]));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(words_in_any_order),
		cmocka_unit_test(run_leaves_the_program_its_options),
		cmocka_unit_test(run_knows_its_verbs),
		cmocka_unit_test(waiting),
		cmocka_unit_test(usage_errors),
		cmocka_unit_test(help_needs_nothing_else),
		cmocka_unit_test(exit_codes),
		cmocka_unit_test(the_table_is_sound),
		cmocka_unit_test(the_local_token_stays_here),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
