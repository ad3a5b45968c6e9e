/* SPDX-License-Identifier: GPL-2.0-or-later */
/* night: lends the PCs and takes them back.
 *
 * Starting is done when every PC of the night is a host, or is named with the reason why not (exit
 * code 3); ending is done when every PC is a desktop again, or named. Times of day are local time,
 * as a person at the lab reads the clock: "07:30" is the next half past seven.
 */
#include <time.h>
#include "controller/cli/progress.h"
#include "controller/cli/show.h"
#include "controller/cli/verbs.h"
#include "lib/clock.h"
#include "lib/hostlist.h"
#include "lib/str.h"

static const struct show_column columns[] = {
	{"id", "id", SHOW_TEXT},
	{"state", "state", SHOW_STATE},
	{"begins", "begins", SHOW_TIME},
	{"hand-back", "ends", SHOW_TIME},
	{"PCs", "pcs", SHOW_NAMES},
};

int night_list(struct cli *cli, struct error **err)
{
	auto_json json_t *answer = NULL;
	int e = client_get(cli->client, "/nights", 0, &answer, err);
	return e < 0 ? e : show_list(cli, answer, "id", columns, ARRAY_LEN(columns));
}

static const json_t *find_pc(const json_t *pcs, const char *name)
{
	size_t i;
	json_t *pc;
	json_array_foreach (json_object_get(pcs, "items"), i, pc)
		if (strcmp(show_text(pc, "name"), name) == 0)
			return pc;
	return NULL;
}

/* The PCs of the night as the documents of /pcs; names that are gone are left out. */
static int night_pcs(struct cli *cli, const json_t *night, json_t **ret_pcs, struct error **err)
{
	auto_json json_t *all = NULL;
	json_t *name, *found = json_array();
	size_t i;
	int e = client_get(cli->client, "/pcs", 0, &all, err);
	json_array_foreach (json_object_get(night, "pcs"), i, name) {
		const json_t *pc = e == 0 && json_is_string(name)
					   ? find_pc(all, json_string_value(name))
					   : NULL;
		if (pc)
			json_array_append(found, (json_t *)pc);
	}
	*ret_pcs = found;
	return e;
}

static int get_night(struct cli *cli, const char *id, json_t **ret_night, struct error **err)
{
	auto_free char *path = client_path("/nights", id);
	return client_get(cli->client, path, 0, ret_night, err);
}

static int show_night(struct cli *cli, const json_t *night, struct error **err)
{
	static const struct show_column rows[] = {
		{"Night", "id", SHOW_TEXT},
		{"State", "state", SHOW_STATE},
		{"Begins", "begins", SHOW_TIME},
		{"Hand-back", "ends", SHOW_TIME},
		{"", "ends", SHOW_AGE},
		{"Done", "report.done", SHOW_TIME},
		{"Desktops back", "report.back", SHOW_TEXT},
	};
	static const struct show_column pcs_columns[] = {
		{"PC", "name", SHOW_TEXT},
		{"state", "state", SHOW_STATE},
		{"since", "since", SHOW_AGE},
		{"boot", "boot.text", SHOW_TEXT},
		{"VMs", "vms", SHOW_NAMES},
		{"desktop seen", "desktop_at", SHOW_TIME},
		{"reason", "reason", SHOW_TEXT},
	};
	static const struct show_column missing_columns[] = {
		{"PC", "pc", SHOW_TEXT},
		{"reason", "reason", SHOW_TEXT},
	};
	auto_json json_t *pcs = NULL;
	int e = cli->output == CLI_TABLE ? night_pcs(cli, night, &pcs, err) : 0;
	show_one(cli, night, "id", rows, ARRAY_LEN(rows));
	show_part(cli, "PCs", pcs, pcs_columns, ARRAY_LEN(pcs_columns));
	show_part(cli, "Not back in the morning", show_member(night, "report.exceptions"),
		missing_columns, ARRAY_LEN(missing_columns));
	return e;
}

/* The newest night that is over; NULL: there is none, or it cannot be asked for. Caller frees. */
static json_t *last_night(struct cli *cli)
{
	auto_json json_t *nights = NULL;
	json_t *night;
	size_t i;
	if (client_get(cli->client, "/nights", 0, &nights, NULL) < 0)
		return NULL;
	json_array_foreach (json_object_get(nights, "items"), i, night)
		if (strcmp(show_text(night, "state"), "done") == 0)
			return json_incref(night);
	return NULL;
}

int night_show(struct cli *cli, struct error **err)
{
	auto_json json_t *night = NULL;
	int e = get_night(cli, cli->n_args ? cli->args[0] : "current", &night, err);
	if (e == -ENOENT && !cli->n_args && (night = last_night(cli))) {
		error_free(TAKE_PTR(*err));
		e = 0;
	}
	return e < 0 ? e : show_night(cli, night, err);
}

/* "07:30" (the next one, local time) or RFC 3339. */
static int parse_time(const char *option, const char *text, int64_t *ret_at, struct error **err)
{
	struct tm tm;
	time_t now = (time_t)clock_wall();
	if (clock_parse(text, ret_at) == 0)
		return 0;
	localtime_r(&now, &tm);
	const char *end = strptime(text, "%H:%M", &tm);
	if (!end || *end)
		return error_field(err, -EINVAL, option,
			"\"%s\" is not a time like 07:30 or 2026-11-21T07:30:00Z", text);
	tm.tm_sec = 0;
	tm.tm_isdst = -1;
	time_t at = mktime(&tm);
	if (at <= now) {
		tm.tm_mday++;
		tm.tm_isdst = -1;
		at = mktime(&tm);
	}
	*ret_at = at;
	return 0;
}

static int set_time(json_t *body, const struct cli *cli, const char *option, const char *member,
	struct error **err)
{
	const char *text = cli_value(cli, option);
	int64_t at;
	int e = text ? parse_time(option, text, &at, err) : 0;
	if (text && e == 0) {
		char stamp[CLOCK_TEXT];
		json_object_set_new(body, member, json_string(clock_format(at, stamp)));
	}
	return e;
}

static int night_body(const struct cli *cli, json_t *body, struct error **err)
{
	const char *length = cli_value(cli, "for");
	int64_t seconds;
	if (!length == !cli_value(cli, "until"))
		return error_make(err, -EINVAL,
			"say when the PCs are handed back: --until 07:30, or --for 8h");
	if (length && duration_parse(length, &seconds) < 0)
		return error_field(
			err, -EINVAL, "--for", "\"%s\" is not a time like 90m or 8h", length);
	if (length)
		json_object_set_new(body, "for_s", json_integer(seconds));
	if (cli->n_args)
		json_object_set_new(body, "pcs", json_string(cli->args[0]));
	int e = set_time(body, cli, "until", "ends", err);
	return e < 0 ? e : set_time(body, cli, "begins", "begins", err);
}

/* How many of `pcs` are in one of the states (" host hosting "), held by night `id` (NULL: by whichever)? */
static size_t count_in(const json_t *pcs, const char *states, const char *id)
{
	size_t n = 0, i;
	json_t *pc;
	json_array_foreach ((json_t *)pcs, i, pc) {
		auto_free char *word = xasprintf(" %s ", show_text(pc, "state"));
		auto_free char *night = show_value(json_object_get(pc, "night"), SHOW_TEXT);
		n += strstr(states, word) && (!id || strcmp(night, id) == 0);
	}
	return n;
}

struct night_wait {
	const char *id;
	const char *good; /* states that are the goal */
};

static int look_pcs(
	struct cli *cli, void *arg, struct progress *p, bool *ret_done, struct error **err)
{
	const struct night_wait *w = arg;
	auto_json json_t *night = NULL, *pcs = NULL;
	int e = get_night(cli, w->id, &night, err);
	if (e == 0)
		e = night_pcs(cli, night, &pcs, err);
	if (e < 0)
		return e;
	const char *state = show_text(night, "state");
	auto_free char *states = show_value(pcs, SHOW_STATES);
	progress_say(p, "night %s: %s (PCs: %s)", w->id, state, states);
	/* An exception of an earlier night is none of this one: its PC is woken again. */
	size_t good = count_in(pcs, w->good, NULL), bad = count_in(pcs, " exception ", w->id),
	       all = json_array_size(pcs);
	bool ending = strstr(w->good, "desktop");
	*ret_done = strcmp(state, "done") == 0 ||
		    (good + bad == all && !ending && strcmp(state, "running") == 0);
	if (*ret_done)
		cli->exit = good == all ? CLI_OK : good ? CLI_PARTLY : CLI_FAILED;
	if (!ending && strcmp(state, "ending") == 0)
		return error_make(err, -EIO, "the night is being ended");
	return 0;
}

static int wait_and_show(struct cli *cli, const char *id, const char *good, struct error **err)
{
	struct night_wait w = {.id = id, .good = good};
	auto_json json_t *night = NULL;
	int e = wait_until(cli, look_pcs, &w, err);
	if (e == 0)
		e = get_night(cli, id, &night, err);
	return e < 0 ? e : show_night(cli, night, err);
}

int night_start(struct cli *cli, struct error **err)
{
	auto_json json_t *body = json_object(), *night = NULL;
	int e = night_body(cli, body, err);
	if (e == 0)
		e = client_call(cli->client, "POST", "/nights", body, &night, err);
	if (e < 0)
		return e;
	auto_free char *id = show_value(json_object_get(night, "id"), SHOW_TEXT);
	if (!cli->wait || cli_value(cli, "begins"))
		return show_night(cli, night, err);
	return wait_and_show(cli, id, " host hosting ", err);
}

int night_end(struct cli *cli, struct error **err)
{
	auto_json json_t *night = NULL, *answer = NULL;
	int e = get_night(cli, cli->n_args ? cli->args[0] : "current", &night, err);
	if (e < 0)
		return e;
	auto_free char *id = show_value(json_object_get(night, "id"), SHOW_TEXT);
	auto_free char *path = client_path("/nights", id), *end = xasprintf("%s/end", path);
	e = client_call(cli->client, "POST", end, NULL, &answer, err);
	if (e < 0 || !cli->wait)
		return e;
	return wait_and_show(cli, id, " desktop ", err);
}
