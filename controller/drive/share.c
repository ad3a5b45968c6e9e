/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A member's work in a join.
 *
 * share_step() is the same on coordinator and member: what state the join is in says what netd shall hold and for
 * how long; netd's answer says how far this lab is. One netd name per join, so apply and withdraw cannot overtake
 * each other. The lease of a prepared share is short and renewed while the coordinator negotiates.
 *
 * A probe goes from our gateway address in the cluster net to the other lab's: the way the VMs' packets will take.
 * It fetches 256 KiB over plain HTTP (the boot listener, no secret) and reads the segment size of the connection: a
 * path that loses full-sized packets fails here, and not in the middle of somebody's program. */
#include "controller/drive/share.h"

#include "controller/wake.h"
#include "controller/drive/joins.h"
#include "controller/drive/labdoc.h"
#include "controller/drive/netd.h"
#include "controller/drive/peers.h"
#include "controller/plan/join.h"
#include "controller/store/join.h"
#include "lib/clock.h"
#include "lib/httpc.h"
#include "lib/log.h"

enum { PROBE_TRIES = 3, PROBE_MS = 8000, AGAIN_MS = 40000, HOLD_MS = 60000, RETRY_MS = 3000, WARN_MS = 60000 };

struct join_member *join_member_of(const struct join *join, const char *lab)
{
	vec_each (struct join_member, member, &join->members)
		if (strcmp(member->lab, lab) == 0)
			return member;
	return NULL;
}

bool join_is_shared(const struct join *join)
{
	return join->members.n > 1;
}

int join_get_shared(struct controller *controller, const char *id, struct join *ret_join, struct error **err)
{
	struct join join = {0};
	int r = store_join_get(controller->store, id, &join, err);
	if (r >= 0 && !join_is_shared(&join)) {
		join_done(&join);
		return error_make(err, -ENOENT, "%s is this lab's own net, not a join", id);
	}
	*ret_join = join;
	return r;
}

static char *netd_name(const struct join *join)
{
	return join_is_shared(join) ? xasprintf("join-%s", join->id) : xstrdup("lab");
}

static json_t *text4(struct prefix4 prefix)
{
	char text[PREFIX4_TEXT];
	return json_string(prefix4_format(prefix, text));
}

/* The netd request of this lab's share, without its lease. */
static int apply_request(struct controller *controller, const struct join *join, json_t **ret_request,
	struct error **err)
{
	struct join_share share = {0};
	auto_free char *name = netd_name(join);
	int r = plan_join_share(join, controller->config.lab, &share, err);
	if (r < 0)
		return r;
	json_t *routes = json_array();
	vec_each (struct join_route, route, &share.routes) {
		char via[IP4_TEXT];
		json_array_append_new(routes,
			json_pack("{s:o, s:s}", "to", text4(route->to), "via", ip4_format(route->via, via)));
	}
	*ret_request = json_pack("{s:s, s:s, s:[o], s:o, s:[o], s:[o], s:b}", "op", "apply", "name", name,
		"addresses", text4(share.gateway), "routes", routes, "exempt", text4(share.exempt),
		"masquerade", text4(share.masquerade), "isolate", 1);
	join_share_done(&share);
	return 0;
}

static int set_self(struct drive *drive, struct join *join, struct join_member *self, enum join_state state,
	struct error **err)
{
	if (self->state == state)
		return 0;
	self->state = state;
	auto_free char *topic = xasprintf("join/%s", join->id);
	http_wake(drive->controller->http, topic);
	return store_join_set_member(drive->controller->store, join->id, self->lab, state, err);
}

static bool is_committing(const struct join *join, const char *self)
{
	if (join->state == JOIN_COMMITTED)
		return true;
	return join->state == JOIN_PREPARED && strcmp(join->coordinator, self) == 0 && share_all_ok(join);
}

static int failed(struct drive *drive, struct join *join, struct join_member *self, const char *text,
	struct error **err)
{
	if (!join_is_shared(join))
		return 0; /* this lab's own net: keep trying, clusters wait */
	auto_free char *reason = xasprintf("lab %s: network: %s", self->lab, text);
	log_warning("join %s: %s", join->id, reason);
	join->state = JOIN_FAILED;
	int r = store_join_set_state(drive->controller->store, join->id, JOIN_FAILED, reason, err);
	auto_free char *topic = xasprintf("join/%s", join->id);
	http_wake(drive->controller->http, topic);
	return r;
}

/* A share that is committed stays: VMs live on it, netd holds it by its lease, and a netd that is restarted or hangs
 * is there again at one of the next tries. Told once a minute. */
static void keep_trying(struct drive *drive, const struct join *join, const struct task_result *result)
{
	if (drive->share_warned_ms && result->at_ms - drive->share_warned_ms < WARN_MS)
		return;
	drive->share_warned_ms = result->at_ms;
	log_warning("join %s: its network here could not be renewed, trying again: %s", join->id, result->text);
}

static int hold(struct drive *drive, struct join *join, struct join_member *self, struct error **err)
{
	bool commit = is_committing(join, self->lab);
	int64_t left = join->expires - clock_wall();
	json_t *request = NULL;
	struct task_result result;
	int r = apply_request(drive->controller, join, &request, err);
	if (r < 0)
		return r;
	auto_free char *name = netd_name(join);
	auto_free char *text = json_text(request);
	auto_free char *identity = xasprintf(
		"%s until %lld %s", commit ? "hold" : "prepare", (long long)(commit ? join->expires : 0), text);
	if (!commit && left > PREPARE_LEASE_S)
		left = PREPARE_LEASE_S;
	json_object_set_new(request, "lease_s", json_integer(left > 1 ? left : 1));
	if (!netd_want(drive, name, identity, commit ? HOLD_MS : AGAIN_MS, RETRY_MS, request, &result))
		return 0;
	if (result.code < 0 && join_is_shared(join) && self->state == JOIN_COMMITTED) {
		keep_trying(drive, join, &result);
		return 0;
	}
	if (result.code < 0)
		return failed(drive, join, self, result.text, err);
	return set_self(drive, join, self, commit ? JOIN_COMMITTED : JOIN_PREPARED, err);
}

static int let_go(struct drive *drive, struct join *join, struct join_member *self, struct error **err)
{
	struct task_result result;
	if (self->state == JOIN_WITHDRAWN)
		return 0;
	auto_free char *name = netd_name(join);
	json_t *request = json_pack("{s:s, s:s}", "op", "withdraw", "name", name);
	auto_free char *identity = xasprintf("withdraw %s", join->id);
	if (!netd_want(drive, name, identity, 0, RETRY_MS, request, &result) || result.code < 0)
		return 0;
	return set_self(drive, join, self, JOIN_WITHDRAWN, err);
}

int share_step(struct drive *drive, struct join *join, struct join_member *self, struct error **err)
{
	switch (join->state) {
	case JOIN_PROPOSED:
	case JOIN_PREPARED:
	case JOIN_COMMITTED:
		return hold(drive, join, self, err);
	case JOIN_FAILED:
	case JOIN_WITHDRAWN:
		break;
	}
	return let_go(drive, join, self, err);
}

/* Probes */

static int probe_once(struct httpc *client, const char *url, struct httpc_response *response, struct error **err)
{
	struct httpc_request request = {
		.method = "GET", .url = url, .timeout_ms = PROBE_MS, .max_body = 2 * PROBE_BYTES};
	int r = httpc_do(client, &request, response, err);
	if (r < 0)
		return r;
	if (response->status != 200 || response->len != PROBE_BYTES)
		return error_make(err, -EPROTO, "it answered %d with %zu bytes", response->status, response->len);
	return 0;
}

static int probe_work(json_t *input, json_t **ret_answer, struct error **err)
{
	(void)err;
	struct httpc_trust trust = {.interface = json_string_value(json_object_get(input, "from"))};
	auto_error struct error *why = NULL;
	int r = -EAGAIN;
	for (int i = 0; i < PROBE_TRIES && r < 0; i++) {
		struct httpc *client = httpc_new(&trust);
		struct httpc_response response = {0};
		error_free(TAKE_PTR(why));
		if (i > 0)
			usleep(500000);
		r = probe_once(client, json_string_value(json_object_get(input, "url")), &response, &why);
		if (r >= 0)
			*ret_answer = json_pack("{s:b, s:f, s:i}", "ok", 1, "ms", response.seconds * 1000, "mss",
				(int)response.mss);
		httpc_response_done(&response);
		httpc_free(client);
	}
	if (r < 0)
		*ret_answer = json_pack(
			"{s:b, s:f, s:i, s:s}", "ok", 0, "ms", 0.0, "mss", 0, "reason", error_text(why, r));
	return 0;
}

char *join_probe_topic(const struct join *join, const char *to)
{
	return xasprintf("probe-join/%s/%s", join->id, to);
}

static struct ip4 gateway(const struct join_member *member)
{
	return (struct ip4){member->cluster_net.address.host + 1};
}

bool join_probe(struct drive *drive, const struct join *join, const char *to, uint16_t port,
	struct task_result *ret_result)
{
	char from_text[IP4_TEXT], to_text[IP4_TEXT];
	const struct join_member *self = join_member_of(join, drive->controller->config.lab);
	const struct join_member *other = join_member_of(join, to);
	auto_free char *key = join_probe_topic(join, to);
	auto_free char *url = xasprintf("http://%s:%u/boot/probe", ip4_format(gateway(other), to_text), port);
	json_t *input =
		json_pack("{s:s, s:s}", "from", ip4_format(gateway(self), from_text), "url", url);
	return task_want(drive->tasks, key, url, 0, RETRY_MS, probe_work, input, ret_result);
}

/* The pair's entry in the matrix, NULL: not yet probed. */
static json_t *entry_of(const json_t *matrix, const char *from, const char *to)
{
	size_t i;
	json_t *row;
	json_array_foreach (matrix, i, row) {
		const char *a = json_string_value(json_object_get(row, "from"));
		const char *b = json_string_value(json_object_get(row, "to"));
		if (a && b && strcmp(a, from) == 0 && strcmp(b, to) == 0)
			return row;
	}
	return NULL;
}

static json_t *matrix_of(const struct join *join)
{
	json_t *matrix = join->probes ? json_loads(join->probes, 0, NULL) : NULL;
	return matrix ? matrix : json_array();
}

bool share_all_ok(const struct join *join)
{
	auto_json json_t *matrix = matrix_of(join);
	vec_each (struct join_member, a, &join->members)
		vec_each (struct join_member, b, &join->members) {
			const json_t *row = a == b ? NULL : entry_of(matrix, a->lab, b->lab);
			if (a != b && !json_is_true(json_object_get(row, "ok")))
				return false;
		}
	return true;
}

/* One pair: asks whoever is its `from`. True with a new entry when the result is there. */
static bool probe_pair(struct drive *drive, const struct join *join, const char *from, const char *to,
	json_t **ret_entry)
{
	struct task_result result;
	struct lab_document document = {0};
	struct controller *controller = drive->controller;
	uint64_t port = labdoc_of(controller, to, &document, NULL) < 0 ? 8080 : document.boot_port;
	lab_document_done(&document);
	bool there;
	if (strcmp(from, controller->config.lab) == 0) {
		there = join_probe(drive, join, to, (uint16_t)port, &result);
	} else {
		auto_free char *name = xasprintf("%s/probe/%s/%s", from, join->id, to);
		auto_free char *path = xasprintf("/peers/joins/%s/probe", join->id);
		json_t *body = json_pack("{s:s, s:I}", "to", to, "port", (json_int_t)port);
		there = peer_want(drive, name, from, "POST", path, body, "probe", 0, 0, &result);
	}
	if (!there)
		return false;
	json_t *entry = json_pack("{s:s, s:s}", "from", from, "to", to);
	if (result.code < 0) {
		json_object_set_new(entry, "ok", json_false());
		json_object_set_new(entry, "reason", json_string(result.text));
	} else {
		json_object_update(entry, (json_t *)result.answer);
	}
	*ret_entry = entry;
	return true;
}

static int probe_all(struct drive *drive, struct join *join, json_t *matrix, bool *ret_done, struct error **err)
{
	bool changed = false, all = true;
	vec_each (struct join_member, a, &join->members)
		vec_each (struct join_member, b, &join->members) {
			json_t *entry = NULL;
			if (a == b || entry_of(matrix, a->lab, b->lab))
				continue;
			if (probe_pair(drive, join, a->lab, b->lab, &entry)) {
				json_array_append_new(matrix, entry);
				changed = true;
			} else {
				all = false;
			}
		}
	*ret_done = all;
	if (!changed)
		return 0;
	free(join->probes);
	join->probes = json_text(matrix);
	return store_join_set_probes(drive->controller->store, join->id, join->probes, err);
}

static int fail_unreached(struct drive *drive, struct join *join, const json_t *matrix, struct error **err)
{
	size_t i;
	json_t *row;
	json_array_foreach (matrix, i, row) {
		const char *why = json_string_value(json_object_get(row, "reason"));
		if (json_is_true(json_object_get(row, "ok")))
			continue;
		auto_free char *reason = xasprintf("lab %s does not reach lab %s over the cluster net: %s",
			json_string_value(json_object_get(row, "from")),
			json_string_value(json_object_get(row, "to")), why ? why : "no answer");
		log_warning("join %s: %s", join->id, reason);
		join->state = JOIN_FAILED;
		return store_join_set_state(drive->controller->store, join->id, JOIN_FAILED, reason, err);
	}
	return 0;
}

bool share_probed(struct drive *drive, struct join *join, int *ret_r, struct error **err)
{
	auto_json json_t *matrix = matrix_of(join);
	bool done;
	*ret_r = probe_all(drive, join, matrix, &done, err);
	if (*ret_r < 0 || !done)
		return false;
	if (share_all_ok(join))
		return true;
	*ret_r = fail_unreached(drive, join, matrix, err);
	return false;
}

json_t *join_commands(struct controller *controller, const struct join *join)
{
	auto_free char *name = netd_name(join), *key = xasprintf("netd/%s", name);
	json_t *commands =
		controller->drive ? json_object_get(task_answer(controller->drive->tasks, key), "commands") : NULL;
	return commands ? json_incref(commands) : json_array();
}
