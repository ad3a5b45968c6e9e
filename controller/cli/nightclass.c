/* SPDX-License-Identifier: GPL-2.0-or-later */
/* nightclass: the command line of the product. Only a REST client: whatever it can do, the API can
 * do, and it holds no state of its own. This file is the frame: read the command line, open the
 * connection, run the verb of the row, turn its result into an exit code. The road from here:
 * verbs.c (the table), parse.c, the file of the noun, show.c.
 */
#include <locale.h>
#include <signal.h>
#include "controller/cli/client.h"
#include "controller/cli/verbs.h"
#include "lib/clock.h"

static bool help_wanted(const struct cli *cli)
{
	if (cli->version) {
		puts("nightclass " NIGHTCLASS_VERSION);
		return true;
	}
	if (cli->help && cli->verb)
		cli_help(stdout, cli->verb->noun, cli->verb->verb);
	else if (cli->help)
		cli_help(stdout, cli->n_args ? cli->args[0] : NULL, NULL);
	return cli->help;
}

static int run_verb(struct cli *cli, struct error **err)
{
	int e = 0;
	if (!(cli->verb->flags & CLI_LOCAL))
		e = client_open(cli, &cli->client, err);
	if (e == 0)
		e = cli->verb->run(cli, err);
	if (fflush(stdout) != 0 && e == 0)
		e = error_make(err, -EIO, "standard output cannot be written");
	return e;
}

int main(int argc, char **argv)
{
	struct cli cli = {0};
	auto_error struct error *err = NULL;
	clock_init();
	setlocale(LC_ALL, "");
	signal(SIGPIPE, SIG_DFL);
	cli.err_is_terminal = isatty(STDERR_FILENO);
	cli.color = isatty(STDOUT_FILENO) && !getenv("NO_COLOR");
	int e = cli_parse(argc, argv, &cli, &err);
	if (e == 0 && !help_wanted(&cli))
		e = run_verb(&cli, &err);
	if (e < 0)
		cli_report(&cli, e, err);
	int code = cli.exit ? cli.exit : cli_exit_code(e);
	client_close(cli.client);
	free((void *)cli.args);
	return code;
}
