/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A bash completion script out of the verb table.
 *
 * Words come from the rows. Names (of PCs, images, clusters ...) are asked of the controller by the
 * same program (`nightclass pc list -o name`), quietly: without a controller there are just no
 * names. Files are left to bash. The script holds no state and needs no bash-completion package.
 */
#include "controller/cli/verbs.h"
#include "lib/str.h"

static void add_options(struct buf *b, const struct cli_option *rows)
{
	for (const struct cli_option *row = rows; row && row->name; row++)
		buf_addf(b, " --%s", row->name);
}

static void put_nouns(FILE *out)
{
	const char *last = "";
	fputs("\tlocal nouns='", out);
	for (const struct cli_verb *row = cli_verbs; row->noun; row++) {
		if (strcmp(row->noun, last) != 0)
			fprintf(out, "%s%s", *last ? " " : "", row->noun);
		last = row->noun;
	}
	fputs("'\n", out);
}

static void put_verbs(FILE *out)
{
	fputs("\tcase $noun in\n", out);
	for (const struct cli_verb *row = cli_verbs; row->noun; row++) {
		if (row == cli_verbs || strcmp(row[-1].noun, row->noun) != 0)
			fprintf(out, "\t%s) verbs='", row->noun);
		if (row->verb)
			fprintf(out, "%s ", row->verb);
		if (!row[1].noun || strcmp(row[1].noun, row->noun) != 0)
			fputs("' ;;\n", out);
	}
	fputs("\tesac\n", out);
}

static void put_verb_options(FILE *out)
{
	fputs("\tcase $noun/$verb in\n", out);
	for (const struct cli_verb *row = cli_verbs; row->noun; row++) {
		auto_buf struct buf words = {0};
		add_options(&words, row->options);
		if (row->flags & CLI_WAITS)
			add_options(&words, cli_wait_options);
		bool names = str_starts(row->args, "NAME") || str_starts(row->args, "ID") ||
			     str_starts(row->args, "HOSTLIST") ||
			     str_starts(row->args, "[HOSTLIST") || str_starts(row->args, "[NAME") ||
			     str_starts(row->args, "[ID");
		fprintf(out, "\t%s/%s) options='%s' names=%s ;;\n", row->noun,
			row->verb ? row->verb : "", words.len ? words.text + 1 : "",
			names && row->max_args == 1 ? row->noun : "");
	}
	fputs("\tesac\n", out);
}

void cli_completion_bash(FILE *out)
{
	auto_buf struct buf global = {0};
	add_options(&global, cli_global_options);
	fputs("# bash completion of nightclass: . <(nightclass completion bash)\n"
	      "_nightclass()\n{\n"
	      "\tlocal current=${COMP_WORDS[COMP_CWORD]} noun= verb= verbs= options= names= word "
	      "i\n",
		out);
	put_nouns(out);
	fputs("\tCOMPREPLY=()\n"
	      "\tfor ((i = 1; i < COMP_CWORD; i++)); do\n"
	      "\t\tword=${COMP_WORDS[i]}\n"
	      "\t\tcase $word in\n"
	      "\t\t--server | --token-file | --ca | --output | -o) ((i++)) || true ;;\n"
	      "\t\t-*) ;;\n"
	      "\t\t*)\tif [ -z \"$noun\" ]; then noun=$word; elif [ -z \"$verb\" ]; then "
	      "verb=$word; fi ;;\n"
	      "\t\tesac\n"
	      "\tdone\n",
		out);
	put_verbs(out);
	put_verb_options(out);
	fprintf(out, "\tlocal global='%s'\n", global.text + 1);
	fputs("\tif [[ ${COMP_WORDS[COMP_CWORD - 1]} == -o || ${COMP_WORDS[COMP_CWORD - 1]} == "
	      "--output ]]; then\n"
	      "\t\tmapfile -t COMPREPLY < <(compgen -W 'table json name' -- \"$current\")\n"
	      "\telif [[ $current == -* ]]; then\n"
	      "\t\tmapfile -t COMPREPLY < <(compgen -W \"$options $global\" -- \"$current\")\n"
	      "\telif [ -z \"$noun\" ]; then\n"
	      "\t\tmapfile -t COMPREPLY < <(compgen -W \"$nouns\" -- \"$current\")\n"
	      "\telif [ -z \"$verb\" ] && [ -n \"$verbs\" ]; then\n"
	      "\t\tmapfile -t COMPREPLY < <(compgen -W \"$verbs\" -- \"$current\")\n"
	      "\telif [ -n \"$names\" ]; then\n"
	      "\t\tmapfile -t COMPREPLY < <(compgen -W \"$(nightclass \"$names\" list -o name "
	      "2>/dev/null)\" \\\n"
	      "\t\t\t-- \"$current\")\n"
	      "\tfi\n"
	      "}\n"
	      "complete -o default -F _nightclass nightclass\n",
		out);
}
