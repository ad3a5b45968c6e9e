/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The documents that controllers send each other: the lab document, a member's state in a join, a lab's part of
 * a cluster. Each has one table by which it is read and written, so that both sides cannot drift apart.
 *
 * Times travel as seconds from now, never as clock readings: lab servers' clocks may differ by minutes, and a
 * lease must not. Peers are other schools' machines: what they send is checked like any request. */
#include "controller/model/request.h"

struct peer_member {
	char *lab;
	struct ip4 uplink;
	struct prefix4 cluster_net;
};
VEC_OF(peer_members, struct peer_member);
struct peer_join {
	char *coordinator;
	int state;
	struct prefix4 net;
	uint64_t expires_s;
	struct peer_members members;
};
static const struct json_field member_fields[] = {
	FIELD(struct peer_member, lab, JSON_KIND_NAME, true),
	FIELD(struct peer_member, uplink, JSON_KIND_IP4, true),
	FIELD(struct peer_member, cluster_net, JSON_KIND_PREFIX4, true),
};
static const struct json_field peer_join_fields[] = {
	FIELD(struct peer_join, coordinator, JSON_KIND_NAME, true),
	FIELD_ENUM(struct peer_join, state, true, join_state_names),
	FIELD(struct peer_join, net, JSON_KIND_PREFIX4, true),
	{.name = "expires_s", .kind = JSON_KIND_UINT, .offset = offsetof(struct peer_join, expires_s),
		.required = true, .has_offset = NO_HAS, .min = 1, .max = 7 * 86400},
	FIELD_ARRAY(struct peer_join, members, true, struct peer_member, member_fields),
};

int request_peer_join_read(const json_t *body, const char *id, int64_t now, struct join *ret_join,
	struct error **err)
{
	struct peer_join from = {0};
	int r = json_read(body, peer_join_fields, ARRAY_LEN(peer_join_fields), &from, err);
	if (r < 0)
		return r;
	if (from.state != JOIN_PREPARED && from.state != JOIN_COMMITTED) {
		json_done(peer_join_fields, ARRAY_LEN(peer_join_fields), &from);
		return error_field(err, -EINVAL, "state", "\"state\" must be prepared or committed.");
	}
	struct join join = {.id = xstrdup(id),
		.coordinator = TAKE_PTR(from.coordinator),
		.state = (enum join_state)from.state,
		.expires = now + (int64_t)from.expires_s,
		.net = prefix4_network(from.net),
		.reason = xstrdup("")};
	vec_each (struct peer_member, member, &from.members) {
		struct join_member *to = vec_add(&join.members);
		to->lab = TAKE_PTR(member->lab);
		to->uplink = member->uplink;
		to->cluster_net = prefix4_network(member->cluster_net);
		to->state = JOIN_PROPOSED;
	}
	json_done(peer_join_fields, ARRAY_LEN(peer_join_fields), &from);
	*ret_join = join;
	return 0;
}

json_t *request_peer_join_write(const struct join *join, enum join_state state, int64_t expires_s)
{
	struct peer_join to = {.coordinator = join->coordinator,
		.state = state,
		.net = join->net,
		.expires_s = expires_s > 1 ? (uint64_t)expires_s : 1};
	vec_each (struct join_member, member, &join->members)
		vec_push(&to.members,
			((struct peer_member){member->lab, member->uplink, member->cluster_net}));
	json_t *json = json_write(peer_join_fields, ARRAY_LEN(peer_join_fields), &to);
	vec_done(&to.members);
	return json;
}

static const struct json_field part_vm_fields[] = {
	FIELD(struct request_part_vm, pc, JSON_KIND_NAME, true),
	{.name = "number", .kind = JSON_KIND_UINT, .offset = offsetof(struct request_part_vm, number),
		.required = true, .has_offset = NO_HAS, .min = 1, .max = 999},
	FIELD(struct request_part_vm, vm, JSON_KIND_ANY, true),
};
static const struct json_field part_fields[] = {
	FIELD(struct request_part, go, JSON_KIND_BOOL, true),
	FIELD(struct request_part, home, JSON_KIND_NAME, true),
	FIELD(struct request_part, owner, JSON_KIND_NAME, true),
	FIELD(struct request_part, image, JSON_KIND_SHA256, true),
	FIELD(struct request_part, image_name, JSON_KIND_NAME, true),
	FIELD(struct request_part, join, JSON_KIND_NAME, true),
	FIELD(struct request_part, revision, JSON_KIND_UINT, true),
	FIELD(struct request_part, n, JSON_KIND_UINT, true),
	{.name = "cpus", .kind = JSON_KIND_UINT, .offset = offsetof(struct request_part, cpus), .required = true,
		.has_offset = NO_HAS, .min = 1, .max = 256},
	{.name = "memory_mib", .kind = JSON_KIND_UINT, .offset = offsetof(struct request_part, memory_mib),
		.required = true, .has_offset = NO_HAS, .min = 64, .max = 4 << 20},
	FIELD_ENUM(struct request_part, policy, true, place_policy_names),
	FIELD_ARRAY(struct request_part, vms, true, struct request_part_vm, part_vm_fields),
};

int request_part_read(const json_t *body, struct request_part *ret_request, struct error **err)
{
	return json_read(body, part_fields, ARRAY_LEN(part_fields), ret_request, err);
}

json_t *request_part_write(const struct request_part *request)
{
	return json_write(part_fields, ARRAY_LEN(part_fields), request);
}

void request_part_done(struct request_part *request)
{
	json_done(part_fields, ARRAY_LEN(part_fields), request);
}

static const struct json_field host_fields[] = {
	FIELD(struct lab_host, pc, JSON_KIND_NAME, true),
	FIELD(struct lab_host, cpus, JSON_KIND_UINT, true),
	FIELD(struct lab_host, memory_mib, JSON_KIND_UINT, true),
	FIELD(struct lab_host, free_cpus, JSON_KIND_UINT, true),
	FIELD(struct lab_host, free_memory_mib, JSON_KIND_UINT, true),
	FIELD(struct lab_host, images, JSON_KIND_STRINGS, true),
};
static const struct json_field net_fields[] = {
	FIELD(struct lab_net, net, JSON_KIND_PREFIX4, true),
};
static const struct json_field lab_night_fields[] = {
	FIELD_ENUM(struct lab_night, state, true, night_state_names),
	FIELD(struct lab_night, ends_s, JSON_KIND_UINT, true),
};
static const struct json_field lab_fields[] = {
	FIELD(struct lab_document, name, JSON_KIND_NAME, true),
	FIELD(struct lab_document, version, JSON_KIND_UINT, true),
	{.name = "boot_port", .kind = JSON_KIND_UINT, .offset = offsetof(struct lab_document, boot_port),
		.required = true, .has_offset = NO_HAS, .min = 1, .max = 65535},
	FIELD_HAS(struct lab_document, uplink, JSON_KIND_IP4),
	FIELD(struct lab_document, lan, JSON_KIND_PREFIX4, true),
	FIELD(struct lab_document, cluster_net, JSON_KIND_PREFIX4, true),
	{.name = "night", .kind = JSON_KIND_OBJECT, .offset = offsetof(struct lab_document, night),
		.has_offset = offsetof(struct lab_document, has_night), .fields = lab_night_fields,
		.n_fields = ARRAY_LEN(lab_night_fields)},
	FIELD_ARRAY(struct lab_document, nets, true, struct lab_net, net_fields),
	FIELD_MAX(struct lab_document, images, JSON_KIND_STRINGS, true, 4096),
	FIELD_MAX(struct lab_document, taken, JSON_KIND_STRINGS, true, 65536),
	{.name = "hosts", .kind = JSON_KIND_ARRAY, .offset = offsetof(struct lab_document, hosts),
		.required = true, .has_offset = NO_HAS, .max = 4096, .fields = host_fields,
		.n_fields = ARRAY_LEN(host_fields), .size = sizeof(struct lab_host)},
};

int lab_document_read(const json_t *body, struct lab_document *ret_document, struct error **err)
{
	return json_read(body, lab_fields, ARRAY_LEN(lab_fields), ret_document, err);
}

json_t *lab_document_write(const struct lab_document *document)
{
	return json_write(lab_fields, ARRAY_LEN(lab_fields), document);
}

void lab_document_done(struct lab_document *document)
{
	json_done(lab_fields, ARRAY_LEN(lab_fields), document);
}
