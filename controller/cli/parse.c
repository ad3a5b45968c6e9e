/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A command line -> struct cli, by the rows of the verb table.
 *
 * Options may stand before, between and after the words, in the forms --name VALUE, --name=VALUE
 * and -n VALUE;
 * "--" ends them. With CLI_REST (run) they end at the first argument, since what follows belongs to
 * the program that is run. Strict: an unknown word or option, a value given twice, a missing or
 * needless argument is an error that says which usage holds. Values are checked by the verbs, names
 * by name_ok before they get into a path. Nothing is abbreviated: a script written today means the
 * same tomorrow.
 */
#include "controller/cli/verbs.h"
#include "lib/str.h"

/* Where we are in the words. */
struct reading {
	int argc, at;
	char *const *argv;
	bool no_more_options;
	const char *noun;
	struct cli *cli;
};

static const struct cli_verb *find_verb(const char *noun, const char *verb)
{
	for (const struct cli_verb *row = cli_verbs; row->noun; row++)
		if (strcmp(row->noun, noun) == 0 &&
			(verb ? row->verb && strcmp(row->verb, verb) == 0 : !row->verb))
			return row;
	return NULL;
}

static bool noun_known(const char *noun)
{
	for (const struct cli_verb *row = cli_verbs; row->noun; row++)
		if (strcmp(row->noun, noun) == 0)
			return true;
	return false;
}

/* Does `word` ("--name", "--name=x", "-n", "-nx") mean this row? *ret_value: what stands in the
 * same word. */
static bool option_matches(const struct cli_option *row, const char *word, const char **ret_value)
{
	size_t len = strlen(row->name);
	if (strncmp(word, "--", 2) == 0) {
		if (strncmp(word + 2, row->name, len) != 0 ||
			(word[2 + len] && word[2 + len] != '='))
			return false;
		*ret_value = word[2 + len] ? word + 3 + len : NULL;
		return true;
	}
	if (!row->letter || word[1] != row->letter)
		return false;
	*ret_value = word[2] ? word + 2 : NULL;
	return true;
}

static const struct cli_option *find_option(
	const struct cli_option *rows, const char *word, const char **ret_value)
{
	for (const struct cli_option *row = rows; row && row->name; row++)
		if (option_matches(row, word, ret_value))
			return row;
	return NULL;
}

static int usage_error(
	const struct cli *cli, struct error **err, const char *what, const char *word)
{
	auto_free char *usage = cli->verb ? cli_usage(cli->verb) : xstrdup("nightclass NOUN VERB");
	return error_make(err, -EINVAL, "%s%s. Usage: %s", what, word, usage);
}

/* The value of an option: in the same word, or the next one. NULL with an error. */
static const char *take_value(
	struct reading *r, const struct cli_option *row, const char *inside, struct error **err)
{
	if (!row->value) {
		if (inside)
			usage_error(r->cli, err, "this option takes no value: --", row->name);
		return inside ? NULL : "";
	}
	if (inside)
		return inside;
	if (r->at + 1 < r->argc)
		return r->argv[++r->at];
	usage_error(r->cli, err, "a value is missing after --", row->name);
	return NULL;
}

static int set_output(struct cli *cli, const char *value, struct error **err)
{
	static const char *const names[] = {"table", "json", "name"};
	for (size_t i = 0; i < ARRAY_LEN(names); i++)
		if (strcmp(value, names[i]) == 0) {
			cli->output = (enum cli_output)i;
			return 0;
		}
	return error_field(err, -EINVAL, "--output", "\"%s\" is not table, json or name", value);
}

static int set_global(struct cli *cli, const char *name, const char *value, struct error **err)
{
	if (strcmp(name, "server") == 0)
		cli->server = value;
	else if (strcmp(name, "token-file") == 0)
		cli->token_file = value;
	else if (strcmp(name, "ca") == 0)
		cli->ca_file = value;
	else if (strcmp(name, "output") == 0)
		return set_output(cli, value, err);
	else if (strcmp(name, "help") == 0)
		cli->help = true;
	else
		cli->version = true;
	return 0;
}

static int set_wait(struct cli *cli, const char *name, const char *value, struct error **err)
{
	if (strcmp(name, "timeout") == 0) {
		if (duration_parse(value, &cli->timeout_s) < 0 || cli->timeout_s == 0)
			return error_field(err, -EINVAL, "--timeout",
				"\"%s\" is not a time like 90s, 15m or 2h", value);
		return 0;
	}
	cli->wait = strcmp(name, "wait") == 0;
	return 0;
}

static int set_own(
	struct cli *cli, const struct cli_option *row, const char *value, struct error **err)
{
	size_t i = (size_t)(row - cli->verb->options);
	if (cli->values[i])
		return usage_error(cli, err, "given twice: --", row->name);
	cli->values[i] = value;
	return 0;
}

/* One word that starts with '-'. The verb's own options win over the global ones. */
static int read_option(struct reading *r, struct error **err)
{
	const char *word = r->argv[r->at], *inside = NULL, *value;
	const struct cli_verb *verb = r->cli->verb;
	const struct cli_option *row;
	if (verb && (row = find_option(verb->options, word, &inside)))
		return (value = take_value(r, row, inside, err)) ? set_own(r->cli, row, value, err)
								 : -EINVAL;
	if (verb && (verb->flags & CLI_WAITS) &&
		(row = find_option(cli_wait_options, word, &inside)))
		return (value = take_value(r, row, inside, err))
			       ? set_wait(r->cli, row->name, value, err)
			       : -EINVAL;
	if ((row = find_option(cli_global_options, word, &inside)))
		return (value = take_value(r, row, inside, err))
			       ? set_global(r->cli, row->name, value, err)
			       : -EINVAL;
	return usage_error(r->cli, err, "unknown option: ", word);
}

/* A word before the verb is known: the noun, the verb, or the first argument of a noun that stands
 * alone. */
static int read_word(struct reading *r, bool *ret_argument, struct error **err)
{
	const char *word = r->argv[r->at];
	*ret_argument = false;
	if (!r->noun) {
		if (!noun_known(word))
			return error_make(err, -EINVAL,
				"unknown noun \"%s\". `nightclass help` lists them all", word);
		r->noun = word;
		return 0;
	}
	r->cli->verb = find_verb(r->noun, word);
	if (r->cli->verb)
		return 0;
	r->cli->verb = find_verb(r->noun, NULL);
	*ret_argument = r->cli->verb != NULL;
	if (!r->cli->verb)
		return error_make(err, -EINVAL, "%s has no verb \"%s\". See `nightclass help %s`",
			r->noun, word, r->noun);
	return 0;
}

static int check_complete(struct cli *cli, struct error **err)
{
	const struct cli_verb *verb = cli->verb;
	if ((int)cli->n_args < verb->min_args)
		return usage_error(cli, err, "an argument is missing", "");
	if (verb->max_args >= 0 && (int)cli->n_args > verb->max_args)
		return usage_error(cli, err, "one argument too many: ", cli->args[verb->max_args]);
	for (size_t i = 0; verb->options && verb->options[i].name; i++)
		if (verb->options[i].required && !cli->values[i])
			return usage_error(cli, err, "this is needed: --", verb->options[i].name);
	return 0;
}

/* All words in order; arguments are collected in `args`, which has room for all. */
static int read_words(struct reading *r, const char **args, struct error **err)
{
	struct cli *cli = r->cli;
	for (; r->at < r->argc; r->at++) {
		const char *word = r->argv[r->at];
		bool argument = cli->verb != NULL;
		int e = 0;
		if (!r->no_more_options && word[0] == '-' && word[1]) {
			/* "run -n 2 ./a": an option that only the noun alone has decides for it. */
			const char *inside;
			if (!cli->verb && r->noun &&
				!find_option(cli_global_options, word, &inside))
				cli->verb = find_verb(r->noun, NULL);
			if (strcmp(word, "--") == 0)
				r->no_more_options = true;
			else if ((e = read_option(r, err)) < 0)
				return e;
			continue;
		}
		if (!argument && (e = read_word(r, &argument, err)) < 0)
			return e;
		if (!argument)
			continue;
		args[cli->n_args++] = word;
		if (cli->verb->flags & CLI_REST)
			r->no_more_options = true;
	}
	return 0;
}

int cli_parse(int argc, char *const *argv, struct cli *cli, struct error **err)
{
	struct reading r = {.argc = argc, .at = 1, .argv = argv, .cli = cli};
	const char **args = xcalloc((size_t)argc + 1, sizeof(*args));
	cli->args = args;
	cli->wait = true;
	cli->timeout_s = 3600;
	int e = read_words(&r, args, err);
	if (e < 0)
		return e;
	if (!cli->verb && r.noun)
		cli->verb = find_verb(r.noun, NULL);
	if (cli->help && !cli->verb && r.noun)
		args[cli->n_args++] = r.noun; /* `pc --help`: main shows the noun's verbs */
	if (cli->help || cli->version)
		return 0;
	if (!cli->verb && r.noun)
		return error_make(
			err, -EINVAL, "%s what? See `nightclass help %s`", r.noun, r.noun);
	if (!cli->verb)
		return error_make(
			err, -EINVAL, "say what to do. `nightclass help` lists all verbs");
	return check_complete(cli, err);
}

const char *cli_value(const struct cli *cli, const char *option)
{
	const struct cli_option *rows = cli->verb->options;
	for (size_t i = 0; rows && rows[i].name; i++)
		if (strcmp(rows[i].name, option) == 0)
			return cli->values[i];
	return NULL;
}

int cli_number(const struct cli *cli, const char *option, uint64_t max, uint64_t *ret_number,
	struct error **err)
{
	const char *text = cli_value(cli, option);
	*ret_number = 0;
	if (text && uint_parse(text, 1, max, ret_number) < 0)
		return error_field(err, -EINVAL, option,
			"\"%s\" is not a whole number from 1 to %llu", text,
			(unsigned long long)max);
	return 0;
}

int cli_set_number(const struct cli *cli, const char *option, uint64_t max, json_t *body,
	const char *member, struct error **err)
{
	uint64_t number;
	int e = cli_number(cli, option, max, &number, err);
	if (e == 0 && number)
		json_object_set_new(body, member, json_integer((json_int_t)number));
	return e;
}
