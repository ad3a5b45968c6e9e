/* SPDX-License-Identifier: GPL-2.0-or-later */
/* One call of `nightclass`: what was asked (a row of the verb table, arguments, option values), how
 * to answer (form, colour), and the connection to the controller. Every verb is a function over
 * this. */
#ifndef CONTROLLER_CLI_CLI_H
#define CONTROLLER_CLI_CLI_H

#include <stdbool.h>
#include <stdint.h>
#include "lib/error.h"
#include "lib/json.h"

/* What the shell gets; the same in the manual. `run` gives the program's own code instead. */
enum cli_exit {
	CLI_OK,
	CLI_FAILED,
	CLI_USAGE,
	CLI_PARTLY, /* some of several things were done, the rest was named on stderr */
	CLI_NOT_FOUND,
	CLI_DENIED,
	CLI_CONFLICT,
	CLI_UNREACHABLE,
	CLI_TIMED_OUT,
};

enum cli_output { CLI_TABLE, CLI_JSON, CLI_NAME };

/* One option of a verb. The last row of a list is empty (name NULL). */
struct cli_option {
	char letter;	   /* short form, 0: none */
	const char *name;  /* "mac": --mac MAC, --mac=MAC */
	const char *value; /* "MAC"; NULL: a flag without a value */
	bool required;
	const char *help;
};

enum {
	CLI_WAITS = 1, /* has --wait, --no-wait and --timeout */
	CLI_REST =
		2, /* options end at the first argument; the rest belongs to the program to run */
	CLI_LOCAL = 4, /* opens the connection itself, if it needs one */
	CLI_MAX_OPTIONS = 10,
};

struct cli;
/* 0 or -errno with an error; cli->exit may be set beside 0 (partly, or a program's code). */
typedef int cli_verb_fn(struct cli *cli, struct error **err);

/* One row: help, usage, completion and the manual's synopsis all come from it. */
struct cli_verb {
	const char *noun, *verb; /* verb NULL: the noun alone ("run") */
	const char *args;	 /* "NAME FILE", "" none */
	int min_args, max_args;	 /* max -1: any number */
	int flags;
	cli_verb_fn *run;
	const char *help;		  /* one line, starts with a verb: "lists the PCs" */
	const struct cli_option *options; /* NULL: none */
};

struct cli {
	const struct cli_verb *verb;
	const char *const *args; /* n_args of them, NULL-terminated */
	size_t n_args;
	const char
		*values[CLI_MAX_OPTIONS]; /* by row of verb->options; "" for a flag that is set */
	enum cli_output output;
	bool wait;	   /* follow until it is done */
	int64_t timeout_s; /* of waiting */
	bool help, version;
	const char *server, *token_file, *ca_file; /* as given, NULL: from environment or files */
	bool color, err_is_terminal;
	struct client *client; /* made before the verb runs, but for CLI_LOCAL */
	int exit;
};

/* The value of the verb's option, "" for a flag that is set, NULL when it was not given. */
const char *cli_value(const struct cli *cli, const char *option);

/* The option's value, a whole number from 1 to `max`; 0 when it was not given. -EINVAL names the
 * option. */
int cli_number(const struct cli *cli, const char *option, uint64_t max, uint64_t *ret_number,
	struct error **err);

/* The same as a member of `body`; none when it was not given. */
int cli_set_number(const struct cli *cli, const char *option, uint64_t max, json_t *body,
	const char *member, struct error **err);

/* The one place where errors become exit codes. */
int cli_exit_code(int code);
/* What, why and what next, on standard error. */
void cli_report(const struct cli *cli, int code, const struct error *err);

#endif
