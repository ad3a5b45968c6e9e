/* SPDX-License-Identifier: GPL-2.0-or-later */
/* event: what happened, in order. Sequence numbers have no gap, so following is asking again for
 * what comes after the last one seen, and neither a lost connection nor a restart of the controller
 * loses an event.
 */
#include "controller/cli/client.h"
#include "controller/cli/show.h"
#include "controller/cli/verbs.h"
#include "lib/str.h"

enum { FOLLOW_WAIT_S = 25 };

static const struct show_column columns[] = {
	{"seq", "seq", SHOW_TEXT},
	{"at", "at", SHOW_TIME},
	{"kind", "kind", SHOW_TEXT},
	{"subject", "subject", SHOW_TEXT},
	{"text", "text", SHOW_TEXT},
};

static int parse_after(const struct cli *cli, uint64_t *ret_after, struct error **err)
{
	const char *text = cli_value(cli, "after");
	*ret_after = 0;
	if (text && uint_parse(text, 0, INT64_MAX, ret_after) < 0)
		return error_field(
			err, -EINVAL, "--after", "\"%s\" is not a sequence number", text);
	return 0;
}

/* One answer of events after *after; moves *after to the last of them. */
static int next_events(
	struct cli *cli, uint64_t *after, int wait_s, json_t **ret_answer, struct error **err)
{
	auto_free char *path =
		wait_s ? xasprintf("/events?after=%llu&wait=%d", (unsigned long long)*after, wait_s)
		       : xasprintf("/events?after=%llu", (unsigned long long)*after);
	size_t i;
	json_t *event;
	int e = client_get(cli->client, path, wait_s, ret_answer, err);
	if (e < 0)
		return e;
	json_array_foreach (json_object_get(*ret_answer, "items"), i, event) {
		uint64_t seq = (uint64_t)json_integer_value(json_object_get(event, "seq"));
		*after = seq > *after ? seq : *after;
	}
	return 0;
}

/* All events after `after`; answers may come in parts. The caller owns *ret_items. */
static int all_events(struct cli *cli, uint64_t *after, json_t **ret_items, struct error **err)
{
	json_t *items = json_array();
	int e = 0;
	size_t n = 1;
	while (e == 0 && n) {
		auto_json json_t *answer = NULL;
		e = next_events(cli, after, 0, &answer, err);
		n = json_array_size(json_object_get(answer, "items"));
		if (n)
			json_array_extend(items, json_object_get(answer, "items"));
	}
	*ret_items = items;
	return e;
}

int event_list(struct cli *cli, struct error **err)
{
	auto_json json_t *items = NULL;
	uint64_t after;
	int e = parse_after(cli, &after, err);
	if (e == 0)
		e = all_events(cli, &after, &items, err);
	if (e < 0)
		return e;
	auto_json json_t *answer = json_pack("{s:O}", "items", items);
	return show_list(cli, answer, "seq", columns, ARRAY_LEN(columns));
}

/* One line per event: no widths are known ahead. With -o json: one object per line. */
static void put_event(const struct cli *cli, const json_t *event)
{
	auto_free char *json = cli->output == CLI_JSON ? json_text(event) : NULL;
	if (json) {
		puts(json);
		return;
	}
	auto_free char *at = show_value(json_object_get(event, "at"), SHOW_TIME),
		       *seq = show_value(json_object_get(event, "seq"), SHOW_TEXT),
		       *kind = show_value(json_object_get(event, "kind"), SHOW_TEXT),
		       *subject = show_value(json_object_get(event, "subject"), SHOW_TEXT),
		       *text = show_value(json_object_get(event, "text"), SHOW_TEXT);
	if (cli->output == CLI_NAME)
		puts(seq);
	else
		printf("%s  %-18s %-22s %s\n", at, kind, subject, text);
}

int event_follow(struct cli *cli, struct error **err)
{
	uint64_t after;
	int e = parse_after(cli, &after, err);
	if (e == 0 && !cli_value(cli, "after")) {
		auto_json json_t *old = NULL;
		e = all_events(cli, &after, &old, err);
	}
	client_be_patient(cli->client);
	while (e == 0) {
		auto_json json_t *answer = NULL;
		size_t i;
		json_t *event;
		e = next_events(cli, &after, FOLLOW_WAIT_S, &answer, err);
		json_array_foreach (json_object_get(answer, "items"), i, event)
			put_event(cli, event);
		fflush(stdout);
	}
	return e;
}
