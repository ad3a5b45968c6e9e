/* SPDX-License-Identifier: GPL-2.0-or-later */
/* run: a program of the user's, by MPI in a cluster, as if it ran here.
 *
 * The file goes up under its SHA-256 (a second run sends nothing), the run is posted, its output
 * comes to standard output as it is written, and our exit code is the program's. Output is asked
 * for by offset, so a broken connection or a restarted controller loses and repeats nothing. ^C
 * leaves the run as it is and says how to come back to it; the program cannot be talked to by
 * standard input.
 */
#include <signal.h>
#include "controller/cli/progress.h"
#include "controller/cli/show.h"
#include "controller/cli/verbs.h"
#include "lib/file.h"
#include "lib/hash.h"
#include "lib/str.h"

enum { RANKS_MAX = 65536, OUTPUT_WAIT_S = 20 };

static const struct show_column columns[] = {
	{"id", "id", SHOW_TEXT},
	{"state", "state", SHOW_STATE},
	{"exit", "exit_code", SHOW_TEXT},
	{"cluster", "cluster", SHOW_TEXT},
	{"ranks", "ranks", SHOW_TEXT},
	{"program", "name", SHOW_TEXT},
	{"reason", "reason", SHOW_TEXT},
};

int run_list(struct cli *cli, struct error **err)
{
	auto_json json_t *answer = NULL;
	int e = client_get(cli->client, "/runs", 0, &answer, err);
	return e < 0 ? e : show_list(cli, answer, "id", columns, ARRAY_LEN(columns));
}

static int get_run(struct cli *cli, const char *id, json_t **ret_run, struct error **err)
{
	auto_free char *path = client_path("/runs", id);
	return client_get(cli->client, path, 0, ret_run, err);
}

int run_show(struct cli *cli, struct error **err)
{
	auto_json json_t *run = NULL;
	int e = get_run(cli, cli->args[0], &run, err);
	return e < 0 ? e : show_one(cli, run, "id", columns, ARRAY_LEN(columns));
}

/* The only cluster that is ready. */
static int choose_cluster(struct cli *cli, char **ret_name, struct error **err)
{
	auto_json json_t *answer = NULL;
	auto_buf struct buf names = {0};
	size_t i, n = 0;
	json_t *cluster;
	if (cli_value(cli, "cluster")) {
		*ret_name = xstrdup(cli_value(cli, "cluster"));
		return 0;
	}
	int e = client_get(cli->client, "/clusters", 0, &answer, err);
	if (e < 0)
		return e;
	json_array_foreach (json_object_get(answer, "items"), i, cluster) {
		const char *state = show_text(cluster, "state");
		if (strcmp(state, "ready") == 0 || strcmp(state, "partly") == 0)
			buf_addf(&names, "%s%s", n++ ? ", " : "", show_text(cluster, "name"));
	}
	if (n == 0)
		return error_make(err, -ENOENT,
			"no cluster is ready. Make one by `nightclass cluster create NAME -n N`");
	if (n > 1)
		return error_make(err, -EINVAL,
			"several clusters are ready, choose one by --cluster: %s", names.text);
	*ret_name = buf_take(&names);
	return 0;
}

/* Writes what has come since *at; *ret_more: there was some. */
static int pass_output(struct cli *cli, const char *id, uint64_t *at, int wait_s, bool *ret_more,
	struct error **err)
{
	auto_free char *run = client_path("/runs", id);
	auto_free char *path =
		xasprintf("%s/output?from=%llu&wait=%d", run, (unsigned long long)*at, wait_s);
	struct httpc_response response = {0};
	int e = client_raw(cli->client, "GET", path, NULL, 0, NULL, wait_s, &response, err);
	if (e < 0)
		return e;
	*ret_more = response.len > 0;
	*at += response.len;
	if (response.len)
		e = fd_write_all(STDOUT_FILENO, response.body, response.len);
	httpc_response_done(&response);
	return e < 0 ? error_make(err, e, "standard output: %s", strerror(-e)) : 0;
}

/* What the run came to, once it ended. */
static int conclude(struct cli *cli, const char *id, const json_t *run, struct error **err)
{
	const json_t *code = show_member(run, "exit_code");
	if (code && strcmp(show_text(run, "state"), "done") == 0) {
		cli->exit = (int)json_integer_value(code) & 0xff;
		return 0;
	}
	const char *reason = show_text(run, "reason");
	if (code && json_integer_value(code) != 0) {
		cli->exit = (int)json_integer_value(code) & 0xff;
		fprintf(stderr, "nightclass: run %s: %s\n", id, *reason ? reason : "failed");
		return 0;
	}
	return error_make(
		err, -EIO, "run %s failed: %s", id, *reason ? reason : "no reason was given");
}

static const char *interrupted_id;

static void on_interrupt(int sig)
{
	static const char words[] = "\nThe run goes on. Come back to it by: nightclass run follow ";
	ssize_t n = write(STDERR_FILENO, words, sizeof(words) - 1);
	n = n < 0 ? n : write(STDERR_FILENO, interrupted_id, strlen(interrupted_id));
	n = n < 0 ? n : write(STDERR_FILENO, "\n", 1);
	_exit(n < 0 ? 1 : 128 + sig);
}

static int follow(struct cli *cli, const char *id, struct error **err)
{
	uint64_t at = 0;
	client_be_patient(cli->client);
	interrupted_id = id;
	signal(SIGINT, on_interrupt);
	for (;;) {
		auto_json json_t *run = NULL;
		bool more = true;
		/* State first: what is written before the end is there when we ask for output next.
		 */
		int e = get_run(cli, id, &run, err);
		const char *state = show_text(run, "state");
		bool ended = strcmp(state, "done") == 0 || strcmp(state, "failed") == 0;
		while (e == 0 && more)
			e = pass_output(cli, id, &at, ended ? 0 : OUTPUT_WAIT_S, &more, err);
		if (e < 0)
			return e;
		if (ended)
			return conclude(cli, id, run, err);
	}
}

static json_t *run_body(
	const struct cli *cli, const char *cluster, const char *digest, uint64_t ranks)
{
	const char *slash = strrchr(cli->args[0], '/');
	json_t *args = json_array();
	for (size_t i = 1; i < cli->n_args; i++)
		json_array_append_new(args, json_string(cli->args[i]));
	return json_pack("{s:s,s:I,s:s,s:s,s:o}", "cluster", cluster, "ranks", (json_int_t)ranks,
		"program", digest, "name", slash ? slash + 1 : cli->args[0], "args", args);
}

int run_program(struct cli *cli, struct error **err)
{
	auto_free char *cluster = NULL;
	auto_json json_t *answer = NULL;
	char digest[SHA256_TEXT];
	uint64_t ranks;
	if (uint_parse(cli_value(cli, "ranks"), 1, RANKS_MAX, &ranks) < 0)
		return error_field(err, -EINVAL, "-n", "\"%s\" is not a whole number from 1 to %d",
			cli_value(cli, "ranks"), RANKS_MAX);
	int e = choose_cluster(cli, &cluster, err);
	if (e == 0)
		e = upload_file(cli, cli->args[0], digest, err);
	if (e < 0)
		return e;
	auto_json json_t *body = run_body(cli, cluster, digest, ranks);
	if (!body)
		return error_make(err, -EINVAL, "an argument of the program is not UTF-8 text");
	e = client_call(cli->client, "POST", "/runs", body, &answer, err);
	if (e < 0)
		return e;
	auto_free char *id = show_value(json_object_get(answer, "id"), SHOW_TEXT);
	if (!cli->wait)
		return show_one(cli, answer, "id", columns, ARRAY_LEN(columns));
	return follow(cli, id, err);
}

int run_follow(struct cli *cli, struct error **err)
{
	return follow(cli, cli->args[0], err);
}
