/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The tables of the documents that controller, host, guest and desktop agent share. Reading is
 * strict (see json.c): a member that one side does not know is an error, so both sides change
 * together and the version member says so first; a document of another version is refused with that
 * reason alone.
 *
 * A report comes from a PC that students can touch, so everything in it is bounded: 256 VMs, 64
 * images, 4096 lines in a hosts file, one-line reasons. Keys are texts of many lines and never
 * appear in an error.
 *
 * The format is one table per struct; a new member is one line here and one in proto.h. Must not
 * check what only the controller can know (whether the VM exists, whether the PC may say so).
 */
#include "lib/proto.h"

enum {
	VMS_MAX = 256,
	HOSTS_MAX = 4096,
	PEERS_MAX = 8,
	KEY_MAX = 16 << 10,
	KNOWN_HOSTS_MAX = 1 << 20
};

const char *const proto_vm_state_names[] = {
	"absent", "waiting", "starting", "running", "ready", "stopping", "failed", NULL};
static const char *const role_names[] = {"host", "desktop", NULL};

#define OBJECTS(type, member, element, rows, limit)                                                \
	{                                                                                          \
		.name = #member, .kind = JSON_KIND_ARRAY, .offset = offsetof(type, member),        \
		.required = true, .has_offset = NO_HAS, .max = (limit), .fields = (rows),          \
		.n_fields = ARRAY_LEN(rows), .size = sizeof(element)                               \
	}

static const struct json_field peer_fields[] = {
	FIELD(struct proto_peer, ip, JSON_KIND_IP4, true),
	FIELD(struct proto_peer, name, JSON_KIND_NAME, true),
};

static const struct json_field context_fields[] = {
	FIELD_MAX(struct proto_context, instance_id, JSON_KIND_STRING, true, 128),
	FIELD(struct proto_context, hostname, JSON_KIND_NAME, true),
	FIELD(struct proto_context, mac, JSON_KIND_MAC, true),
	FIELD(struct proto_context, address, JSON_KIND_PREFIX4, true),
	FIELD(struct proto_context, gateway, JSON_KIND_IP4, false),
	FIELD(struct proto_context, cluster_net, JSON_KIND_PREFIX4, true),
	FIELD_MAX(struct proto_context, mtu, JSON_KIND_UINT, false, 65535),
	OBJECTS(struct proto_context, hosts, struct proto_peer, peer_fields, HOSTS_MAX),
	FIELD(struct proto_context, user, JSON_KIND_NAME, true),
	FIELD_MAX(struct proto_context, user_key, JSON_KIND_TEXT, false, KEY_MAX),
	FIELD_MAX(struct proto_context, user_key_pub, JSON_KIND_STRING, false, KEY_MAX),
	FIELD_MAX(struct proto_context, host_key, JSON_KIND_TEXT, false, KEY_MAX),
	FIELD_MAX(struct proto_context, host_key_pub, JSON_KIND_STRING, false, KEY_MAX),
	FIELD_MAX(struct proto_context, known_hosts, JSON_KIND_TEXT, false, KNOWN_HOSTS_MAX),
};

static const struct json_field image_fields[] = {
	FIELD(struct proto_image, name, JSON_KIND_NAME, true),
	FIELD(struct proto_image, revision, JSON_KIND_UINT, true),
	FIELD(struct proto_image, digest, JSON_KIND_SHA256, true),
	FIELD_MAX(struct proto_image, peers, JSON_KIND_STRINGS, false, PEERS_MAX),
	FIELD(struct proto_image, record, JSON_KIND_BOOL, false),
};

static const struct json_field vm_fields[] = {
	FIELD(struct proto_vm, id, JSON_KIND_NAME, true),
	FIELD(struct proto_vm, image, JSON_KIND_SHA256, true),
	{.name = "cpus",
		.kind = JSON_KIND_UINT,
		.offset = offsetof(struct proto_vm, cpus),
		.required = true,
		.has_offset = NO_HAS,
		.min = 1,
		.max = 1024},
	{.name = "memory_mib",
		.kind = JSON_KIND_UINT,
		.offset = offsetof(struct proto_vm, memory_mib),
		.required = true,
		.has_offset = NO_HAS,
		.min = 16,
		.max = 1 << 24},
	FIELD_OBJECT(struct proto_vm, context, true, context_fields),
};

static const struct json_field goal_fields[] = {
	FIELD(struct proto_goal, version, JSON_KIND_UINT, true),
	FIELD(struct proto_goal, generation, JSON_KIND_UINT, true),
	FIELD(struct proto_goal, pc, JSON_KIND_NAME, true),
	FIELD_ENUM(struct proto_goal, role, true, role_names),
	FIELD_MAX(struct proto_goal, lease_s, JSON_KIND_UINT, true, 30 * 24 * 3600),
	FIELD_MAX(struct proto_goal, until, JSON_KIND_STRING, false, 64),
	FIELD_MAX(struct proto_goal, grace_s, JSON_KIND_UINT, true, 3600),
	FIELD_MAX(struct proto_goal, chunk_url, JSON_KIND_STRING, false, 512),
	FIELD_MAX(struct proto_goal, cast, JSON_KIND_STRING, false, 64),
	FIELD(struct proto_goal, image_key, JSON_KIND_SHA256, false),
	OBJECTS(struct proto_goal, images, struct proto_image, image_fields, PROTO_IMAGES_MAX),
	OBJECTS(struct proto_goal, vms, struct proto_vm, vm_fields, VMS_MAX),
};

static const struct json_field facts_fields[] = {
	FIELD_MAX(struct proto_facts, boot_id, JSON_KIND_STRING, true, 64),
	FIELD(struct proto_facts, mac, JSON_KIND_MAC, true),
	FIELD_MAX(struct proto_facts, firmware, JSON_KIND_STRING, true, 16),
	FIELD_MAX(struct proto_facts, model, JSON_KIND_STRING, false, 128),
	FIELD_MAX(struct proto_facts, cpus, JSON_KIND_UINT, true, 65536),
	FIELD(struct proto_facts, memory_mib, JSON_KIND_UINT, true),
	FIELD(struct proto_facts, kvm, JSON_KIND_BOOL, true),
	FIELD(struct proto_facts, boot_ms, JSON_KIND_UINT, true),
};

static const struct json_field image_seen_fields[] = {
	FIELD(struct proto_image_seen, digest, JSON_KIND_SHA256, true),
	FIELD(struct proto_image_seen, have, JSON_KIND_UINT, true),
	FIELD(struct proto_image_seen, total, JSON_KIND_UINT, true),
	FIELD_MAX(struct proto_image_seen, reason, JSON_KIND_STRING, false, 512),
	FIELD_MAX(struct proto_image_seen, notes, JSON_KIND_STRINGS, false, PROTO_NOTES_MAX),
};

static const struct json_field vm_seen_fields[] = {
	FIELD(struct proto_vm_seen, id, JSON_KIND_NAME, true),
	FIELD_ENUM(struct proto_vm_seen, state, true, proto_vm_state_names),
	FIELD_MAX(struct proto_vm_seen, reason, JSON_KIND_STRING, false, 512),
	FIELD(struct proto_vm_seen, ready_ms, JSON_KIND_UINT, false),
};

static const struct json_field report_fields[] = {
	FIELD(struct proto_report, version, JSON_KIND_UINT, true),
	FIELD(struct proto_report, generation, JSON_KIND_UINT, true),
	FIELD_ENUM(struct proto_report, role, true, role_names),
	FIELD_OBJECT(struct proto_report, facts, true, facts_fields),
	OBJECTS(struct proto_report, images, struct proto_image_seen, image_seen_fields,
		PROTO_IMAGES_MAX),
	OBJECTS(struct proto_report, vms, struct proto_vm_seen, vm_seen_fields, VMS_MAX),
	FIELD_MAX(struct proto_report, problem, JSON_KIND_STRING, false, 512),
	FIELD(struct proto_report, load_permille, JSON_KIND_UINT, false),
	FIELD(struct proto_report, scratch_mib, JSON_KIND_UINT, false),
	FIELD_MAX(struct proto_report, scratch, JSON_KIND_STRING, false, 512),
};

/* Bytes -> object of our version. */
static int parse(const char *bytes, size_t len, size_t max, json_t **ret_object, struct error **err)
{
	auto_json json_t *object = NULL;
	const json_t *version = NULL;
	int r = 0;

	if (len > max)
		return error_make(err, -E2BIG, "The document has more than %zu bytes.", max);
	r = json_parse_object(bytes, len, &object, err);
	if (r < 0)
		return r;
	version = json_object_get(object, "version");
	if (json_is_integer(version) && json_integer_value(version) != PROTO_VERSION)
		return error_field(err, -EINVAL, "version",
			"The document is of version %lld, this program speaks %d: boot the PC "
			"anew.",
			(long long)json_integer_value(version), PROTO_VERSION);
	*ret_object = TAKE_PTR(object);
	return 0;
}

static char *text_of(const struct json_field *fields, size_t n, const void *base)
{
	auto_json json_t *object = json_write(fields, n, base);

	return json_text(object);
}

int proto_goal_read(const char *bytes, size_t len, struct proto_goal *ret_goal, struct error **err)
{
	auto_json json_t *object = NULL;
	struct proto_goal goal = {0};
	int r = parse(bytes, len, GOAL_MAX_BYTES, &object, err);

	if (r == 0)
		r = json_read(object, goal_fields, ARRAY_LEN(goal_fields), &goal, err);
	if (r < 0)
		return r;
	if (goal.role == ROLE_HOST && goal.lease_s == 0) {
		proto_goal_done(&goal);
		return error_field(err, -EINVAL, "lease_s", "A host's goal needs a lease.");
	}
	*ret_goal = goal;
	return 0;
}

char *proto_goal_write(const struct proto_goal *goal)
{
	return text_of(goal_fields, ARRAY_LEN(goal_fields), goal);
}

void proto_goal_done(struct proto_goal *goal)
{
	json_done(goal_fields, ARRAY_LEN(goal_fields), goal);
}

int proto_report_read(
	const char *bytes, size_t len, struct proto_report *ret_report, struct error **err)
{
	auto_json json_t *object = NULL;
	struct proto_report report = {0};
	int r = parse(bytes, len, REPORT_MAX_BYTES, &object, err);

	if (r == 0)
		r = json_read(object, report_fields, ARRAY_LEN(report_fields), &report, err);
	if (r == 0)
		*ret_report = report;
	return r;
}

char *proto_report_write(const struct proto_report *report)
{
	return text_of(report_fields, ARRAY_LEN(report_fields), report);
}

void proto_report_done(struct proto_report *report)
{
	json_done(report_fields, ARRAY_LEN(report_fields), report);
}

const struct proto_image_seen *proto_report_image(const struct proto_report *report, const char *digest)
{
	vec_each (struct proto_image_seen, image, &report->images)
		if (strcmp(image->digest, digest) == 0)
			return image;
	return NULL;
}

int proto_facts_read(const json_t *object, struct proto_facts *ret_facts, struct error **err)
{
	return json_read(object, facts_fields, ARRAY_LEN(facts_fields), ret_facts, err);
}

json_t *proto_facts_write(const struct proto_facts *facts)
{
	return json_write(facts_fields, ARRAY_LEN(facts_fields), facts);
}

void proto_facts_done(struct proto_facts *facts)
{
	json_done(facts_fields, ARRAY_LEN(facts_fields), facts);
}

/* A list alone travels as the one member of a struct of its own, so that the same reader serves. */
struct vms_only {
	struct proto_vms vms;
};
static const struct json_field vms_only_fields[] = {
	OBJECTS(struct vms_only, vms, struct proto_vm, vm_fields, VMS_MAX),
};

int proto_vms_read(const json_t *array, struct proto_vms *ret_vms, struct error **err)
{
	auto_json json_t *object = json_object();
	struct vms_only only = {0};
	int r = 0;

	json_object_set(object, "vms", (json_t *)array);
	r = json_read(object, vms_only_fields, ARRAY_LEN(vms_only_fields), &only, err);
	if (r == 0)
		*ret_vms = only.vms;
	return r;
}

json_t *proto_vms_write(const struct proto_vms *vms)
{
	struct vms_only only = {.vms = *vms};
	auto_json json_t *object = json_write(vms_only_fields, ARRAY_LEN(vms_only_fields), &only);

	return json_incref(json_object_get(object, "vms"));
}

void proto_vms_done(struct proto_vms *vms)
{
	struct vms_only only = {.vms = *vms};

	json_done(vms_only_fields, ARRAY_LEN(vms_only_fields), &only);
	*vms = only.vms;
}

void proto_context_copy(struct proto_context *to, const struct proto_context *from)
{
	struct proto_context copy = *from;

	copy.hosts = (struct proto_peers){0};
	for (size_t i = 0; i < ARRAY_LEN(context_fields); i++) {
		const struct json_field *field = &context_fields[i];
		char **text = (char **)((char *)&copy + field->offset);

		if (field->kind == JSON_KIND_STRING || field->kind == JSON_KIND_TEXT ||
			field->kind == JSON_KIND_NAME)
			*text = xstrdup(*text);
	}
	vec_each (struct proto_peer, peer, &from->hosts) {
		struct proto_peer *mine = vec_add(&copy.hosts);

		mine->ip = peer->ip;
		mine->name = xstrdup(peer->name);
	}
	*to = copy;
}
