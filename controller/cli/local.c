/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The verbs that ask no controller: config check, completion, help.
 *
 * `config check` reads a file by the daemon's own table (controller/config.h is the one header of
 * the controller that the CLI may see), so what passes here is what nightclassd will take. It
 * changes nothing.
 */
#include "controller/cli/show.h"
#include "controller/cli/verbs.h"
#include "controller/config.h"

int config_check(struct cli *cli, struct error **err)
{
	struct config config = {0};
	auto_error struct error *trouble = NULL;
	int e = config_load(cli->args[0], &config, &trouble);
	if (e < 0) {
		/* A bad file is a finding, not a wrong call: "failed", unless it could not be read
		 * at all. */
		e = e == -EINVAL ? -EIO : e;
		return error_make(err, e, "%s", error_text(trouble, e));
	}
	if (cli->output == CLI_JSON)
		puts("{\n  \"ok\": true\n}");
	else
		printf("%s: ok, lab %s\n", cli->args[0], config.lab);
	config_done(&config);
	return 0;
}

int config_list(struct cli *cli, struct error **err)
{
	static const struct show_column columns[] = {
		{"section", "section", SHOW_TEXT},
		{"key", "key", SHOW_TEXT},
		{"default", "default", SHOW_TEXT},
		{"meaning", "help", SHOW_TEXT},
	};
	(void)err;
	auto_json json_t *items = json_array();
	for (size_t i = 0; i < config_n_keys; i++) {
		const struct conf_key *key = &config_keys[i];
		json_array_append_new(items, json_pack("{s:s,s:s,s:s,s:s}", "section", key->section,
						     "key", key->key, "default",
						     key->required   ? "needed"
						     : key->fallback ? key->fallback
								     : "",
						     "help", key->help));
	}
	return show_items(cli, items, "key", columns, ARRAY_LEN(columns));
}

int completion_bash(struct cli *cli, struct error **err)
{
	(void)cli;
	(void)err;
	cli_completion_bash(stdout);
	return 0;
}

int help_text(struct cli *cli, struct error **err)
{
	if (cli_value(cli, "manual")) {
		cli_manual(stdout);
		return 0;
	}
	const char *noun = cli->n_args > 0 ? cli->args[0] : NULL,
		   *verb = cli->n_args > 1 ? cli->args[1] : NULL;
	if (cli_help(stdout, noun, verb) == 0)
		return 0;
	return error_make(err, -EINVAL, "there is no %s%s%s. `nightclass help` lists all verbs",
		noun, verb ? " " : "", verb ? verb : "");
}
