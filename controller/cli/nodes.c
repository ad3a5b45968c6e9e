/* SPDX-License-Identifier: GPL-2.0-or-later */
/* lab, pc and token: the verbs that list, add, change and remove one kind of row.
 *
 * Arguments become JSON members and the controller judges them; only what would change the meaning
 * of a path is checked here. A host list (`pc[1-4,7]`) is worked name by name: one that fails is
 * reported and does not stop the others, and the exit code then says "partly".
 */
#include "controller/cli/client.h"
#include "controller/cli/show.h"
#include "controller/cli/verbs.h"
#include "lib/file.h"
#include "lib/hostlist.h"
#include "lib/str.h"

enum { HOSTS_MAX = 4096, PEM_MAX = 64 << 10, SECRET_MAX = 4096 };

/* Adds the option's value as a string member when it was given. */
static void set_from(json_t *body, const struct cli *cli, const char *option, const char *member)
{
	const char *value = cli_value(cli, option);
	if (value)
		json_object_set_new(body, member, json_string(value));
}

static int get_list(struct cli *cli, const char *path, json_t **ret_answer, struct error **err)
{
	return client_get(cli->client, path, 0, ret_answer, err);
}

static int delete_one(struct cli *cli, const char *collection, const char *name, struct error **err)
{
	auto_free char *path = client_path(collection, name);
	return client_call(cli->client, "DELETE", path, NULL, NULL, err);
}

/* ---- lab ---- */

static const struct show_column lab_columns[] = {
	{"name", "name", SHOW_TEXT},
	{"reachable", "reachable", SHOW_STATE},
	{"url", "url", SHOW_TEXT},
	{"hosts", "seen.hosts", SHOW_COUNT},
	{"night", "seen.night.state", SHOW_STATE},
	{"seen", "seen_at", SHOW_AGE},
};

int lab_list(struct cli *cli, struct error **err)
{
	auto_json json_t *answer = NULL;
	int e = get_list(cli, "/labs", &answer, err);
	return e < 0 ? e : show_list(cli, answer, "name", lab_columns, ARRAY_LEN(lab_columns));
}

static int show_lab_document(struct cli *cli, const json_t *lab)
{
	static const struct show_column rows[] = {
		{"Name", "name", SHOW_TEXT},
		{"URL", "url", SHOW_TEXT},
		{"LAN", "lan", SHOW_TEXT},
		{"Uplink address", "uplink", SHOW_TEXT},
		{"LAN address", "addresses.lan", SHOW_TEXT},
		{"Uplink address", "addresses.uplink", SHOW_TEXT},
		{"Cluster network", "cluster_net", SHOW_TEXT},
		{"Image key", "image_key", SHOW_TEXT},
		{"Night", "night.state", SHOW_STATE},
		{"Hand-back", "night.ends", SHOW_TIME},
		{"PCs", "pcs", SHOW_STATES},
		{"Join", "join.id", SHOW_TEXT},
		{"Join state", "join.state", SHOW_STATE},
	};
	static const struct show_column hosts[] = {
		{"host", "pc", SHOW_TEXT},
		{"CPUs", "cpus", SHOW_TEXT},
		{"free", "free_cpus", SHOW_TEXT},
		{"MiB", "memory_mib", SHOW_TEXT},
		{"free", "free_memory_mib", SHOW_TEXT},
	};
	static const struct show_column peers[] = {
		{"name", "name", SHOW_TEXT},
		{"reachable", "reachable", SHOW_STATE},
		{"url", "url", SHOW_TEXT},
	};
	show_one(cli, lab, "name", rows, ARRAY_LEN(rows));
	show_part(cli, "Peers", json_object_get(lab, "peers"), peers, ARRAY_LEN(peers));
	show_part(cli, "Hosts it lends", json_object_get(lab, "hosts"), hosts, ARRAY_LEN(hosts));
	return 0;
}

static int show_peer(struct cli *cli, struct error **err)
{
	auto_json json_t *answer = NULL;
	size_t i;
	json_t *lab;
	int e = get_list(cli, "/labs", &answer, err);
	if (e < 0)
		return e;
	json_array_foreach (json_object_get(answer, "items"), i, lab)
		if (strcmp(show_text(lab, "name"), cli->args[0]) == 0)
			return cli->output == CLI_TABLE && show_member(lab, "seen")
				       ? show_lab_document(cli, show_member(lab, "seen"))
				       : show_lab_document(cli, lab);
	return error_make(err, -ENOENT, "no lab is called %s", cli->args[0]);
}

int lab_show(struct cli *cli, struct error **err)
{
	auto_json json_t *lab = NULL;
	int e = client_get(cli->client, "/lab", 0, &lab, err);
	if (e < 0)
		return e;
	if (cli->n_args && strcmp(show_text(lab, "name"), cli->args[0]) != 0)
		return show_peer(cli, err);
	return show_lab_document(cli, lab);
}

int lab_add(struct cli *cli, struct error **err)
{
	auto_free char *ca = NULL, *token = NULL, *path = client_path("/labs", cli->args[0]);
	int e = file_read(cli_value(cli, "ca-file"), PEM_MAX, &ca, NULL, err);
	if (e == 0)
		e = file_read(cli_value(cli, "peer-token-file"), SECRET_MAX, &token, NULL, err);
	if (e != 0)
		return e;
	token[strcspn(token, "\r\n")] = 0;
	auto_json json_t *body = json_object();
	set_from(body, cli, "url", "url");
	json_object_set_new(body, "ca_pem", json_string(ca));
	json_object_set_new(body, "token", json_string(token));
	return client_call(cli->client, "PUT", path, body, NULL, err);
}

int lab_remove(struct cli *cli, struct error **err)
{
	return delete_one(cli, "/labs", cli->args[0], err);
}

/* ---- pc ---- */

static const struct show_column pc_columns[] = {
	{"name", "name", SHOW_TEXT},
	{"state", "state", SHOW_STATE},
	{"since", "since", SHOW_AGE},
	{"boot", "boot.text", SHOW_TEXT},
	{"address", "address", SHOW_TEXT},
	{"mac", "mac", SHOW_TEXT},
	{"firmware", "facts.firmware", SHOW_TEXT},
	{"VMs", "vms", SHOW_NAMES},
	{"seat", "seat", SHOW_TEXT},
	{"reason", "reason", SHOW_TEXT},
};

/* The items whose name stands in the host list, in the list's order; a name that is not there is
 * reported. */
static int select_pcs(
	struct cli *cli, const json_t *items, json_t **ret_selected, struct error **err)
{
	struct strings names = {0};
	int e = hostlist_expand(cli->args[0], HOSTS_MAX, &names, err);
	if (e < 0)
		return e;
	json_t *selected = json_array();
	vec_each (char *, name, &names) {
		size_t i, before = json_array_size(selected);
		json_t *pc;
		json_array_foreach (items, i, pc)
			if (strcmp(show_text(pc, "name"), *name) == 0)
				json_array_append(selected, pc);
		if (json_array_size(selected) == before)
			e = error_make(err, -ENOENT, "no PC is called %s", *name);
	}
	strings_done(&names);
	*ret_selected = selected;
	return e;
}

int pc_list(struct cli *cli, struct error **err)
{
	auto_json json_t *answer = NULL, *selected = NULL;
	int e = get_list(cli, "/pcs", &answer, err);
	if (e < 0 || !cli->n_args)
		return e < 0 ? e
			     : show_list(cli, answer, "name", pc_columns, ARRAY_LEN(pc_columns));
	e = select_pcs(cli, json_object_get(answer, "items"), &selected, err);
	if (selected && json_array_size(selected)) {
		auto_json json_t *list = json_pack("{s:O}", "items", selected);
		show_list(cli, list, "name", pc_columns, ARRAY_LEN(pc_columns));
		cli->exit = e < 0 ? CLI_PARTLY : CLI_OK;
	}
	return e;
}

int pc_show(struct cli *cli, struct error **err)
{
	static const struct show_column rows[] = {
		{"Name", "name", SHOW_TEXT},
		{"Seat", "seat", SHOW_TEXT},
		{"State", "state", SHOW_STATE},
		{"Since", "since", SHOW_AGE},
		{"Boot", "boot.text", SHOW_TEXT},
		{"Deadline", "deadline", SHOW_AGE},
		{"Reason", "reason", SHOW_TEXT},
		{"MAC", "mac", SHOW_TEXT},
		{"Address", "address", SHOW_TEXT},
		{"Probe", "probe", SHOW_TEXT},
		{"Desktop seen", "desktop_at", SHOW_AGE},
		{"Firmware", "facts.firmware", SHOW_TEXT},
		{"Model", "facts.model", SHOW_TEXT},
		{"CPUs", "facts.cpus", SHOW_TEXT},
		{"Memory, MiB", "facts.memory_mib", SHOW_TEXT},
		{"KVM", "facts.kvm", SHOW_TEXT},
		{"Boot time", "facts.boot_ms", SHOW_MS},
		{"Scratch", "scratch.text", SHOW_TEXT},
		{"Images kept", "kept", SHOW_COUNT},
		{"VMs", "vms", SHOW_NAMES},
	};
	static const struct show_column images[] = {
		{"image", "digest", SHOW_DIGEST},
		{"have", "have", SHOW_SIZE},
		{"total", "total", SHOW_SIZE},
		{"reason", "reason", SHOW_TEXT},
	};
	auto_json json_t *pc = NULL;
	auto_free char *path = client_path("/pcs", cli->args[0]);
	int e = client_get(cli->client, path, 0, &pc, err);
	if (e < 0)
		return e;
	show_one(cli, pc, "name", rows, ARRAY_LEN(rows));
	show_part(cli, "Images held", json_object_get(pc, "images"), images, ARRAY_LEN(images));
	return 0;
}

/* Works through the host list of the first argument. */
static int each_pc(struct cli *cli, const char *method, const json_t *body, struct error **err)
{
	struct strings names = {0};
	size_t failed = 0;
	int e = hostlist_expand(cli->args[0], HOSTS_MAX, &names, err);
	if (e < 0)
		return e;
	vec_each (char *, name, &names) {
		auto_error struct error *trouble = NULL;
		auto_free char *path = client_path("/pcs", *name);
		int one = client_call(cli->client, method, path, body, NULL, &trouble);
		if (one == 0)
			continue;
		e = one;
		failed++;
		if (names.n > 1) {
			error_wrap(&trouble, one, "%s", *name);
			cli_report(cli, one, trouble);
		} else {
			error_field(err, one, trouble ? trouble->field : NULL, "%s",
				error_text(trouble, one));
		}
	}
	if (names.n > 1 && failed)
		error_make(err, e, "%zu of %zu PCs failed", failed, names.n);
	cli->exit = failed && failed < names.n ? CLI_PARTLY : CLI_OK;
	strings_done(&names);
	return e;
}

int pc_add(struct cli *cli, struct error **err)
{
	auto_json json_t *body = json_pack("{s:s}", "name", cli->args[0]);
	set_from(body, cli, "mac", "mac");
	set_from(body, cli, "address", "address");
	set_from(body, cli, "seat", "seat");
	set_from(body, cli, "probe", "probe");
	return client_call(cli->client, "POST", "/pcs", body, NULL, err);
}

int pc_remove(struct cli *cli, struct error **err)
{
	return each_pc(cli, "DELETE", NULL, err);
}

int pc_edit(struct cli *cli, struct error **err)
{
	auto_json json_t *body = json_object();
	set_from(body, cli, "mac", "mac");
	set_from(body, cli, "address", "address");
	set_from(body, cli, "seat", "seat");
	set_from(body, cli, "probe", "probe");
	if (json_object_size(body) == 0)
		return error_make(
			err, -EINVAL, "say what to change: --mac, --address, --seat or --probe");
	return each_pc(cli, "PATCH", body, err);
}

int pc_release(struct cli *cli, struct error **err)
{
	auto_json json_t *body = json_pack("{s:b}", "release", 1);
	return each_pc(cli, "PATCH", body, err);
}

/* ---- token ---- */

int token_list(struct cli *cli, struct error **err)
{
	static const struct show_column columns[] = {
		{"name", "name", SHOW_TEXT},
		{"role", "role", SHOW_TEXT},
		{"expires", "expires", SHOW_TIME},
	};
	auto_json json_t *answer = NULL;
	int e = get_list(cli, "/tokens", &answer, err);
	return e < 0 ? e : show_list(cli, answer, "name", columns, ARRAY_LEN(columns));
}

int token_create(struct cli *cli, struct error **err)
{
	auto_json json_t *body = json_pack("{s:s}", "name", cli->args[0]), *answer = NULL;
	const char *expires = cli_value(cli, "expires");
	int64_t seconds;
	set_from(body, cli, "role", "role");
	if (expires && duration_parse(expires, &seconds) < 0)
		return error_field(
			err, -EINVAL, "--expires", "\"%s\" is not a time like 8h or 30d", expires);
	if (expires)
		json_object_set_new(body, "expires_s", json_integer(seconds));
	int e = client_call(cli->client, "POST", "/tokens", body, &answer, err);
	if (e < 0)
		return e;
	if (cli->output == CLI_JSON)
		show_json(answer);
	else
		puts(show_text(answer, "token"));
	if (cli->err_is_terminal)
		fputs("It is shown this once. Keep it in a file that only its user can read.\n",
			stderr);
	return 0;
}

int token_delete(struct cli *cli, struct error **err)
{
	return delete_one(cli, "/tokens", cli->args[0], err);
}
