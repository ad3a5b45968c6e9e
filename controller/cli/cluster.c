/* SPDX-License-Identifier: GPL-2.0-or-later */
/* cluster and join: what the controller builds step by step, so creating waits and tells the steps.
 *
 * "ready" is success, "partly" (some VMs failed and are named) is exit code 3, "failed" is an error
 * with the controller's reason. A closing cluster that only PCs still hold which were lost a while
 * ago ends the wait with exit code 3 too: a person has to look. The plan of --dry-run is printed
 * in the same form as a real cluster.
 */
#include "controller/cli/progress.h"
#include "controller/cli/show.h"
#include "controller/cli/verbs.h"
#include "lib/str.h"

enum { VMS_MAX = 512 }; /* the controller's own, model/request.c */

static const struct show_column cluster_columns[] = {
	{"name", "name", SHOW_TEXT},
	{"state", "state", SHOW_STATE},
	{"owner", "owner", SHOW_TEXT},
	{"n", "n", SHOW_TEXT},
	{"VMs", "vms", SHOW_STATES},
	{"image", "image_name", SHOW_TEXT},
	{"join", "join", SHOW_TEXT},
	{"reason", "reason", SHOW_TEXT},
};

int cluster_list(struct cli *cli, struct error **err)
{
	auto_json json_t *answer = NULL;
	int e = client_get(cli->client, "/clusters", 0, &answer, err);
	return e < 0 ? e
		     : show_list(cli, answer, "name", cluster_columns, ARRAY_LEN(cluster_columns));
}

static int show_cluster(struct cli *cli, const json_t *cluster)
{
	static const struct show_column rows[] = {
		{"Name", "name", SHOW_TEXT},
		{"State", "state", SHOW_STATE},
		{"Reason", "reason", SHOW_TEXT},
		{"Owner", "owner", SHOW_TEXT},
		{"Image", "image_name", SHOW_TEXT},
		{"Revision", "revision", SHOW_TEXT},
		{"VMs", "n", SHOW_TEXT},
		{"CPUs each", "cpus", SHOW_TEXT},
		{"Memory each, MiB", "memory_mib", SHOW_TEXT},
		{"Policy", "policy", SHOW_TEXT},
		{"Join", "join", SHOW_TEXT},
		{"Open MPI if_include", "mpi.if_include", SHOW_TEXT},
	};
	static const struct show_column vms[] = {
		{"VM", "id", SHOW_TEXT},
		{"state", "state", SHOW_STATE},
		{"IP", "ip", SHOW_TEXT},
		{"MAC", "mac", SHOW_TEXT},
		{"lab", "lab", SHOW_TEXT},
		{"PC", "pc", SHOW_TEXT},
		{"image there", "image_there", SHOW_TEXT},
		{"ready in", "ready_ms", SHOW_MS},
		{"reason", "reason", SHOW_TEXT},
	};
	show_one(cli, cluster, "name", rows, ARRAY_LEN(rows));
	show_part(cli, "VMs", json_object_get(cluster, "vms"), vms, ARRAY_LEN(vms));
	return 0;
}

static int get_cluster(struct cli *cli, const char *name, json_t **ret_cluster, struct error **err)
{
	auto_free char *path = client_path("/clusters", name);
	return client_get(cli->client, path, 0, ret_cluster, err);
}

int cluster_show(struct cli *cli, struct error **err)
{
	auto_json json_t *cluster = NULL;
	int e = get_cluster(cli, cli->args[0], &cluster, err);
	return e < 0 ? e : show_cluster(cli, cluster);
}

static int set_memory(json_t *body, const struct cli *cli, struct error **err)
{
	const char *text = cli_value(cli, "memory");
	uint64_t bytes;
	if (!text)
		return 0;
	if (size_parse(text, &bytes) < 0 || bytes % (1 << 20) || bytes == 0)
		return error_field(
			err, -EINVAL, "--memory", "\"%s\" is not a size like 512MiB or 2GiB", text);
	json_object_set_new(body, "memory_mib", json_integer((json_int_t)(bytes >> 20)));
	return 0;
}

static int cluster_body(const struct cli *cli, json_t *body, struct error **err)
{
	static const char *const texts[] = {"image", "owner", "policy", "join"};
	json_object_set_new(body, "name", json_string(cli->args[0]));
	for (size_t i = 0; i < ARRAY_LEN(texts); i++)
		if (cli_value(cli, texts[i]))
			json_object_set_new(body, texts[i], json_string(cli_value(cli, texts[i])));
	int e = cli_set_number(cli, "vms", VMS_MAX, body, "n", err);
	if (e == 0)
		e = cli_set_number(cli, "cpus", 256, body, "cpus", err);
	if (e == 0)
		e = cli_set_number(cli, "revision", INT32_MAX, body, "revision", err);
	return e < 0 ? e : set_memory(body, cli, err);
}

static int look_cluster(
	struct cli *cli, void *arg, struct progress *p, bool *ret_done, struct error **err)
{
	auto_json json_t *cluster = NULL;
	int e = get_cluster(cli, arg, &cluster, err);
	if (e < 0)
		return e;
	const char *state = show_text(cluster, "state");
	auto_free char *vms = show_value(json_object_get(cluster, "vms"), SHOW_STATES);
	progress_say(p, "%s: %s (%s)", (const char *)arg, state, vms);
	if (strcmp(state, "failed") == 0)
		return error_make(err, -EIO, "%s failed: %s", (const char *)arg,
			show_text(cluster, "reason"));
	*ret_done = strcmp(state, "ready") == 0 || strcmp(state, "partly") == 0;
	cli->exit = strcmp(state, "partly") == 0 ? CLI_PARTLY : CLI_OK;
	if (strcmp(state, "closing") == 0 || strcmp(state, "closed") == 0)
		return error_make(err, -EIO, "%s is being closed: %s", (const char *)arg,
			show_text(cluster, "reason"));
	return 0;
}

int cluster_create(struct cli *cli, struct error **err)
{
	auto_json json_t *body = json_object(), *answer = NULL, *cluster = NULL;
	bool dry = cli_value(cli, "dry-run");
	int e = cluster_body(cli, body, err);
	if (e < 0)
		return e;
	e = client_call(
		cli->client, "POST", dry ? "/clusters?dry_run=1" : "/clusters", body, &answer, err);
	if (e < 0 || dry || !cli->wait)
		return e < 0 ? e : show_cluster(cli, answer);
	e = wait_until(cli, look_cluster, (void *)cli->args[0], err);
	if (e == 0)
		e = get_cluster(cli, cli->args[0], &cluster, err);
	return e < 0 ? e : show_cluster(cli, cluster);
}

/* Do only VMs hold it whose PCs wait for a person? Their reasons name the command. */
static bool is_kept(const json_t *vms)
{
	size_t i;
	json_t *vm;
	json_array_foreach ((json_t *)vms, i, vm)
		if (strcmp(show_text(vm, "state"), "failed") != 0 ||
			!strstr(show_text(vm, "reason"), "`nightclass pc release "))
			return false;
	return json_array_size(vms) > 0;
}

static void tell_kept(struct progress *p, const json_t *vms)
{
	size_t i;
	json_t *vm;
	progress_end(p);
	json_array_foreach ((json_t *)vms, i, vm) {
		auto_free char *reason = show_value(json_object_get(vm, "reason"), SHOW_TEXT);
		fprintf(stderr, "VM %s: %s\n", show_text(vm, "id"), reason);
	}
}

static int look_closed(
	struct cli *cli, void *arg, struct progress *p, bool *ret_done, struct error **err)
{
	auto_json json_t *cluster = NULL;
	auto_error struct error *trouble = NULL;
	int e = get_cluster(cli, arg, &cluster, &trouble);
	const char *state = show_text(cluster, "state");
	/* A failed one holds nothing any more either. */
	*ret_done = e == -ENOENT || strcmp(state, "closed") == 0 || strcmp(state, "failed") == 0;
	if (e == -ENOENT)
		return 0;
	if (e < 0)
		return error_make(err, e, "%s", error_text(trouble, e));
	const json_t *left = json_object_get(cluster, "vms");
	auto_free char *vms = show_value(left, SHOW_STATES);
	progress_say(p, "%s: %s (%s)", (const char *)arg, state, vms);
	if (!*ret_done && is_kept(left)) {
		tell_kept(p, left);
		cli->exit = CLI_PARTLY;
		*ret_done = true;
	}
	return 0;
}

int cluster_delete(struct cli *cli, struct error **err)
{
	auto_free char *path = client_path("/clusters", cli->args[0]);
	int e = client_call(cli->client, "DELETE", path, NULL, NULL, err);
	return e < 0 || !cli->wait ? e : wait_until(cli, look_closed, (void *)cli->args[0], err);
}

/* ---- join ---- */

int join_list(struct cli *cli, struct error **err)
{
	static const struct show_column columns[] = {
		{"id", "id", SHOW_TEXT},
		{"state", "state", SHOW_STATE},
		{"labs", "members", SHOW_COUNT},
		{"net", "net", SHOW_TEXT},
		{"expires", "expires", SHOW_TIME},
		{"reason", "reason", SHOW_TEXT},
	};
	auto_json json_t *answer = NULL;
	int e = client_get(cli->client, "/joins", 0, &answer, err);
	return e < 0 ? e : show_list(cli, answer, "id", columns, ARRAY_LEN(columns));
}

static int show_join(struct cli *cli, const json_t *join)
{
	static const struct show_column rows[] = {
		{"Join", "id", SHOW_TEXT},
		{"State", "state", SHOW_STATE},
		{"Reason", "reason", SHOW_TEXT},
		{"Network", "net", SHOW_TEXT},
		{"Expires", "expires", SHOW_AGE},
	};
	static const struct show_column members[] = {
		{"lab", "lab", SHOW_TEXT},
		{"state", "state", SHOW_STATE},
		{"uplink", "uplink", SHOW_TEXT},
		{"cluster net", "cluster_net", SHOW_TEXT},
	};
	static const struct show_column probes[] = {
		{"from", "from", SHOW_TEXT},
		{"to", "to", SHOW_TEXT},
		{"ok", "ok", SHOW_STATE},
		{"time", "ms", SHOW_MS},
		{"MSS", "mss", SHOW_TEXT},
		{"reason", "reason", SHOW_TEXT},
	};
	size_t i;
	json_t *command;
	show_one(cli, join, "id", rows, ARRAY_LEN(rows));
	show_part(cli, "Labs", json_object_get(join, "members"), members, ARRAY_LEN(members));
	show_part(cli, "Probes", json_object_get(join, "probes"), probes, ARRAY_LEN(probes));
	const json_t *commands = json_object_get(join, "commands");
	if (cli->output == CLI_TABLE && json_array_size(commands))
		puts("\nThe same by hand, here");
	json_array_foreach ((json_t *)commands, i, command) {
		auto_free char *line = show_value(command, SHOW_TEXT);
		if (cli->output == CLI_TABLE)
			printf("  %s\n", line);
	}
	return 0;
}

static int get_join(struct cli *cli, const char *id, json_t **ret_join, struct error **err)
{
	auto_free char *path = client_path("/joins", id);
	return client_get(cli->client, path, 0, ret_join, err);
}

int join_show(struct cli *cli, struct error **err)
{
	auto_json json_t *join = NULL;
	int e = get_join(cli, cli->args[0], &join, err);
	return e < 0 ? e : show_join(cli, join);
}

static int look_join(
	struct cli *cli, void *arg, struct progress *p, bool *ret_done, struct error **err)
{
	auto_json json_t *join = NULL;
	int e = get_join(cli, arg, &join, err);
	if (e < 0)
		return e;
	const char *state = show_text(join, "state");
	auto_free char *members = show_value(json_object_get(join, "members"), SHOW_STATES);
	progress_say(p, "%s: %s (labs: %s)", (const char *)arg, state, members);
	*ret_done = strcmp(state, "committed") == 0;
	if (strcmp(state, "failed") == 0 || strcmp(state, "withdrawn") == 0)
		return error_make(err, -EIO, "%s %s: %s", (const char *)arg, state,
			show_text(join, "reason"));
	return 0;
}

/* The labs of the arguments; this lab first, named or not. */
static int name_labs(struct cli *cli, json_t **ret_labs, struct error **err)
{
	auto_json json_t *lab = NULL;
	int e = client_get(cli->client, "/lab", 0, &lab, err);
	if (e < 0)
		return e;
	json_t *labs = json_array();
	json_array_append_new(labs, json_string(show_text(lab, "name")));
	for (size_t i = 0; i < cli->n_args; i++)
		if (strcmp(cli->args[i], show_text(lab, "name")) != 0)
			json_array_append_new(labs, json_string(cli->args[i]));
	*ret_labs = labs;
	return 0;
}

int join_create(struct cli *cli, struct error **err)
{
	auto_json json_t *labs = NULL, *answer = NULL, *join = NULL;
	int e = name_labs(cli, &labs, err);
	if (e < 0)
		return e;
	auto_json json_t *body = json_pack("{s:O}", "labs", labs);
	e = client_call(cli->client, "POST", "/joins", body, &answer, err);
	if (e < 0)
		return e;
	const char *id = show_text(answer, "id");
	if (!cli->wait || !*id)
		return show_join(cli, answer);
	e = wait_until(cli, look_join, (void *)id, err);
	if (e == 0)
		e = get_join(cli, id, &join, err);
	return e < 0 ? e : show_join(cli, join);
}

int join_delete(struct cli *cli, struct error **err)
{
	auto_free char *path = client_path("/joins", cli->args[0]);
	return client_call(cli->client, "DELETE", path, NULL, NULL, err);
}
