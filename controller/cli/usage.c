/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Help, usage and manual out of the verb table.
 *
 * Texts stay short enough for a terminal of 80 columns: one line per verb in the overview, one line
 * per option in the help of a verb. The manual's part is scdoc, with everything that scdoc would
 * take for markup escaped; tests/program/test_cli.py holds docs/man/nightclass.1.scd against it, so
 * the page cannot drift from the program. Here is no knowledge of any single verb.
 */
#include "controller/cli/verbs.h"
#include "lib/str.h"

static void add_option(struct buf *b, const struct cli_option *row)
{
	buf_adds(b, row->required ? " " : " [");
	if (row->letter)
		buf_addf(b, "-%c", row->letter);
	else
		buf_addf(b, "--%s", row->name);
	if (row->value)
		buf_addf(b, " %s", row->value);
	if (!row->required)
		buf_adds(b, "]");
}

char *cli_usage(const struct cli_verb *verb)
{
	auto_buf struct buf b = {0};
	buf_addf(&b, "nightclass %s", verb->noun);
	if (verb->verb)
		buf_addf(&b, " %s", verb->verb);
	/* Options first where they must stand first, and required ones before the others. */
	bool first = verb->flags & CLI_REST;
	if (!first && *verb->args)
		buf_addf(&b, " %s", verb->args);
	for (int required = 1; required >= 0; required--)
		for (const struct cli_option *row = verb->options; row && row->name; row++)
			if (row->required == required)
				add_option(&b, row);
	if (verb->flags & CLI_WAITS)
		buf_adds(&b, " [--no-wait]");
	if (first)
		buf_addf(&b, " %s", verb->args);
	return buf_take(&b);
}

static void print_options(FILE *out, const char *title, const struct cli_option *rows)
{
	fprintf(out, "\n%s\n", title);
	for (const struct cli_option *row = rows; row && row->name; row++) {
		char letter[] = {'-', row->letter, ',', ' ', 0};
		auto_free char *left = xasprintf("%s--%s%s%s", row->letter ? letter : "    ",
			row->name, row->value ? " " : "", row->value ? row->value : "");
		fprintf(out, "  %-24s %s%s\n", left, row->help, row->required ? " (needed)" : "");
	}
}

static int help_verb(FILE *out, const struct cli_verb *verb)
{
	auto_free char *usage = cli_usage(verb);
	fprintf(out, "%s\n  %s.\n", usage, verb->help);
	if (verb->options)
		print_options(out, "Options", verb->options);
	if (verb->flags & CLI_WAITS)
		print_options(out, "Waiting", cli_wait_options);
	print_options(out, "Options of every verb", cli_global_options);
	return 0;
}

static void help_line(FILE *out, const struct cli_verb *row)
{
	auto_free char *left = xasprintf("%s%s%s%s%s", row->noun, row->verb ? " " : "",
		row->verb ? row->verb : "", *row->args ? " " : "", row->args);
	fprintf(out, "  %-28s %s\n", left, row->help);
}

int cli_help(FILE *out, const char *noun, const char *verb)
{
	size_t shown = 0;
	if (!noun)
		fputs("nightclass NOUN VERB: lends classroom PCs to computing, and gives them "
		      "back.\n\n",
			out);
	for (const struct cli_verb *row = cli_verbs; row->noun; row++) {
		if (noun && strcmp(row->noun, noun) != 0)
			continue;
		if (verb && row->verb && strcmp(row->verb, verb) == 0)
			return help_verb(out, row);
		if (verb)
			continue;
		if (noun && !row->verb) {
			help_verb(out, row);
			fputc('\n', out);
			shown++;
			continue;
		}
		if (!noun && row > cli_verbs && strcmp(row[-1].noun, row->noun) != 0)
			fputc('\n', out);
		help_line(out, row);
		shown++;
	}
	if (!shown)
		return -ENOENT;
	if (!noun)
		print_options(out, "Options of every verb", cli_global_options);
	fputs("\n`nightclass help NOUN VERB` has the options of a verb; man nightclass the rest.\n",
		out);
	return 0;
}

/* scdoc markup: '*' and '_' are for us, every other special sign is escaped. */
static void put_scdoc(FILE *out, const char *text)
{
	for (const char *c = text; *c; c++) {
		if (strchr("\\*_<>#[]|~`.", *c) || (*c == '-' && c == text))
			fputc('\\', out);
		fputc(*c, out);
	}
}

static void manual_option(FILE *out, const struct cli_option *row)
{
	fputs("\t\\", out);
	if (row->letter)
		fprintf(out, "-%c, \\", row->letter);
	fprintf(out, "--%s", row->name);
	if (row->value)
		fprintf(out, " _%s_", row->value);
	fputs(": ", out);
	put_scdoc(out, row->help);
	fputs("\n\n", out);
}

void cli_manual(FILE *out)
{
	fputs("# COMMANDS\n\n", out);
	for (const struct cli_verb *row = cli_verbs; row->noun; row++) {
		auto_free char *usage = cli_usage(row);
		fputs("*", out);
		put_scdoc(out, usage);
		fputs("*\n\t", out);
		put_scdoc(out, row->help);
		fputs(".\n\n", out);
		for (const struct cli_option *option = row->options; option && option->name;
			option++)
			manual_option(out, option);
	}
}
