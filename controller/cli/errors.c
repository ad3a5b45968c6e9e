/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Errors for people and for scripts: the only place where an errno becomes an exit code, and the
 * only place where the advice "what to do next" is added. lib/httpc has already turned the
 * controller's problem+json into the same errno (lib/error.h has the mapping), so answers and local
 * failures meet here.
 */
#include "controller/cli/client.h"

int cli_exit_code(int code)
{
	switch (-code) {
	case 0:
		return CLI_OK;
	case EINVAL:
	case E2BIG:
		return CLI_USAGE;
	case ENOENT:
		return CLI_NOT_FOUND;
	case EACCES:
	case EPERM:
		return CLI_DENIED;
	case EEXIST:
	case EBUSY:
		return CLI_CONFLICT;
	case ECONNREFUSED:
	case EHOSTUNREACH:
	case ENETUNREACH:
	case ECONNRESET:
	case EPROTO:
	case EAGAIN:
		return CLI_UNREACHABLE;
	case ETIMEDOUT:
		return CLI_TIMED_OUT;
	default:
		return CLI_FAILED;
	}
}

/* What a person can do about it, NULL where the text says all. */
static char *advice(const struct cli *cli, int code)
{
	const char *noun = cli->verb ? cli->verb->noun : NULL;
	const char *server = cli->client ? client_server(cli->client) : NULL;
	switch (cli_exit_code(code)) {
	case CLI_NOT_FOUND:
		return server ? xasprintf("`nightclass %s list` shows what there is.", noun) : NULL;
	case CLI_DENIED:
		return code == -EACCES && server ? xasprintf("Give a good token: --token-file FILE "
							     "or NIGHTCLASS_TOKEN_FILE. "
							     "An administrator makes one with "
							     "`nightclass token create`.")
						 : NULL;
	case CLI_UNREACHABLE: /* an answer that says so is of another lab */
		return server && !client_answered(cli->client)
			       ? xasprintf("Is nightclassd running there, and is %s its address? "
					   "With a "
					   "certificate in doubt: --ca FILE, its tls/ca.pem.",
					 server)
			       : NULL;
	case CLI_TIMED_OUT:
		return noun ? xasprintf("What was begun goes on; `nightclass %s list` shows how it "
					"stands.",
				      noun)
			    : NULL;
	default:
		return NULL;
	}
}

void cli_report(const struct cli *cli, int code, const struct error *err)
{
	const struct cli_verb *verb = cli->verb;
	const char *field = err ? err->field : NULL, *bold = "", *plain = "";
	if (cli->err_is_terminal && cli->color) {
		bold = "\033[1;31m";
		plain = "\033[0m";
	}
	fflush(stdout);
	fprintf(stderr, "%snightclass:%s ", bold, plain);
	if (verb)
		fprintf(stderr, "%s%s%s: ", verb->noun, verb->verb ? " " : "",
			verb->verb ? verb->verb : "");
	fprintf(stderr, "%s%s%s\n", field ? field : "", field ? ": " : "", error_text(err, code));
	/* The controller's own advice is better than ours. */
	bool advised = strstr(error_text(err, code), "`nightclass ");
	auto_free char *next = advised ? NULL : advice(cli, code);
	if (next)
		fprintf(stderr, "  Next: %s\n", next);
}
