/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Other labs: how they are called, and the beat by which each is known to be there.
 *
 * Every controller asks each of its peers for the lab document, every five seconds while a night runs here and
 * every thirty by day; three beats missed in a row make the peer unreachable. The other side's CA is pinned: it was
 * given by a person together with the token (PUT /labs), so a stranger in between learns nothing. Since libcurl
 * wants trust as a file, each peer's CA lies in STATE_DIR/peers, rewritten when the row changes.
 *
 * All calls run in workers with a connection of their own; nothing of the store is touched there. */
#include "controller/drive/peers.h"

#include "controller/model/request.h"
#include "controller/wake.h"
#include "controller/store/lab.h"
#include "controller/store/night.h"
#include "lib/clock.h"
#include "lib/file.h"
#include "lib/httpc.h"
#include "lib/log.h"

enum { CALL_MS = 20000, ANSWER_MAX = 16 << 20, FRESH_MS = 1000 };

static const char *member(const json_t *input, const char *name)
{
	return json_string_value(json_object_get(input, name));
}

static int keep_ca(const char *path, const char *pem, struct error **err)
{
	auto_free char *now = NULL;
	if (file_read(path, 1 << 20, &now, NULL, NULL) == 0 && strcmp(now, pem) == 0)
		return 0;
	return file_write(path, pem, strlen(pem), 0600, err);
}

static int exchange(const json_t *input, struct httpc *client, json_t **ret_answer, struct error **err)
{
	const json_t *body = json_object_get(input, "body");
	auto_free char *text = body ? json_text(body) : NULL;
	struct httpc_request request = {.method = member(input, "method"),
		.url = member(input, "url"),
		.body = text,
		.body_len = text ? strlen(text) : 0,
		.timeout_ms = CALL_MS,
		.max_body = ANSWER_MAX};
	struct httpc_response response = {0};
	int r = httpc_do(client, &request, &response, err);
	if (r < 0)
		return r;
	r = httpc_problem(&response, err);
	if (r >= 0 && response.len > 0)
		r = json_parse_object(response.body, response.len, ret_answer, err);
	/* Told apart from failures on the way, see peer_refused(). */
	if (response.status >= 400 && response.status < 500)
		*ret_answer = json_pack("{s:i}", "refused", response.status);
	httpc_response_done(&response);
	return r;
}

static int call_work(json_t *input, json_t **ret_answer, struct error **err)
{
	const char *ca_file = member(input, "ca_file");
	int r = keep_ca(ca_file, member(input, "ca_pem"), err);
	if (r < 0)
		return r;
	struct httpc_trust trust = {.ca_file = ca_file, .token = member(input, "token")};
	struct httpc *client = httpc_new(&trust);
	r = exchange(input, client, ret_answer, err);
	httpc_free(client);
	return r;
}

static int unknown_work(json_t *input, json_t **ret_answer, struct error **err)
{
	*ret_answer = json_pack("{s:i}", "refused", 404);
	return error_make(err, -ENOENT, "lab %s is not known here; add it first (PUT /labs/%s)",
		member(input, "lab"), member(input, "lab"));
}

bool peer_refused(const struct task_result *result)
{
	return result->code < 0 && json_object_get(result->answer, "refused") != NULL;
}

bool peer_want(struct drive *drive, const char *name, const char *lab_name, const char *method, const char *path,
	json_t *body, const char *identity, int64_t again_ms, int64_t retry_ms, struct task_result *ret_result)
{
	struct lab lab = {0};
	auto_free char *key = xasprintf("peer/%s", name);
	if (store_lab_get(drive->controller->store, lab_name, &lab, NULL) < 0 || lab.self) {
		json_decref(body);
		lab_done(&lab);
		return task_want(drive->tasks, key, identity, again_ms, retry_ms, unknown_work,
			json_pack("{s:s}", "lab", lab_name), ret_result);
	}
	auto_free char *ca_file = xasprintf("%s/peers/%s.pem", drive->controller->config.state_dir, lab_name);
	auto_free char *url = xasprintf("%s/api/v1%s", lab.url, path);
	json_t *input = json_pack("{s:s, s:s, s:s, s:s, s:s, s:o*}", "method", method, "url", url, "ca_file",
		ca_file, "ca_pem", lab.ca_pem ? lab.ca_pem : "", "token", lab.token ? lab.token : "", "body",
		body);
	lab_done(&lab);
	return task_want(drive->tasks, key, identity, again_ms, retry_ms, call_work, input, ret_result);
}

static int beat_s(struct drive *drive)
{
	struct night night = {0};
	bool runs = store_night_current(drive->controller->store, &night, NULL) >= 0;
	night_done(&night);
	return runs ? PEER_BEAT_NIGHT_S : PEER_BEAT_DAY_S;
}

/* The answer of a beat, each counted once. */
static int hear(struct drive *drive, const struct lab *lab, const struct task_result *result, struct error **err)
{
	struct store *store = drive->controller->store;
	struct lab_document document = {0};
	auto_error struct error *why = NULL;
	int r = result->code;
	if (r >= 0)
		r = lab_document_read(result->answer, &document, &why);
	if (r >= 0 && strcmp(document.name, lab->name) != 0)
		r = error_make(&why, -EINVAL, "it calls itself %s", document.name);
	lab_document_done(&document);
	if (r < 0) {
		log_info("lab %s: no beat: %s", lab->name, why ? why->text : result->text);
		return store_lab_missed(store, lab->name, NULL, err);
	}
	auto_free char *text = json_text(result->answer);
	return store_lab_set_seen(store, lab->name, text, clock_wall(), err);
}

static int beat(struct drive *drive, const struct lab *lab, int64_t pause_ms, struct error **err)
{
	struct task_result result;
	auto_free char *name = xasprintf("%s/beat", lab->name);
	auto_free char *identity = xasprintf("%s %s %s", lab->url, lab->token, lab->ca_pem);
	if (!peer_want(drive, name, lab->name, "GET", "/peers/lab", NULL, identity, pause_ms, pause_ms, &result))
		return 0;
	struct peer_memory *memory = peer_memory(drive, lab->name);
	if (memory->heard_ms == result.at_ms)
		return 0;
	memory->heard_ms = result.at_ms;
	http_wake(drive->controller->http, "peers");
	return hear(drive, lab, &result, err);
}

struct peer_memory *peer_memory(struct drive *drive, const char *lab)
{
	vec_each (struct peer_memory, memory, &drive->peers)
		if (strcmp(memory->name, lab) == 0)
			return memory;
	struct peer_memory *memory = vec_add(&drive->peers);
	memory->name = xstrdup(lab);
	return memory;
}

/* Fresh is an answer to a question of within the last second: what was heard before it may be of before a night. */
static bool fresh(struct drive *drive, const struct lab *lab)
{
	int64_t now = clock_mono_ms();
	struct peer_memory *memory = peer_memory(drive, lab->name);
	bool asked = memory->asked_ms > 0 && now - memory->asked_ms < FRESH_MS;
	if (lab->missed >= PEER_BEATS || (asked && memory->heard_ms >= memory->asked_ms))
		return true;
	if (!asked) {
		auto_free char *key = xasprintf("peer/%s/beat", lab->name);
		task_forget(drive->tasks, key);
		memory->asked_ms = now;
		drive_kick(drive->controller);
	}
	return false;
}

bool drive_peers_fresh(struct controller *controller)
{
	struct labs labs = {0};
	bool all = true;
	if (store_lab_list(controller->store, false, &labs, NULL) >= 0)
		vec_each (struct lab, lab, &labs)
			all = fresh(controller->drive, lab) && all;
	labs_done(&labs);
	return all;
}

int think_peers(struct drive *drive, struct error **err)
{
	struct labs labs = {0};
	int64_t pause_ms = beat_s(drive) * 1000;
	int r = store_lab_list(drive->controller->store, false, &labs, err);
	vec_each (struct lab, lab, &labs)
		if (r >= 0)
			r = beat(drive, lab, pause_ms, err);
	labs_done(&labs);
	return r;
}
