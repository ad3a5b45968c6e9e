/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Reads the seed disc's three texts into one struct.
 *
 * They are cloud-init's formats, but written by our own host agent as JSON, and read here by the
 * strict tables of lib/json: what we do not know we do not silently leave undone. Sizes are
 * bounded. The parts that cloud-init wants and we do by nature (no root login, no password login)
 * must say what we do anyway; runcmd, by which a guest without this agent says "ready", is not
 * ours to run and is skipped whatever it says. This file opens nothing but the three texts and
 * changes nothing.
 */
#include "guest-agent/seed_read.h"

#include "lib/file.h"
#include "lib/json.h"

#define NAMED(type, member, text, k, req)                                                          \
	{                                                                                          \
		.name = (text), .kind = (k), .offset = offsetof(type, member), .required = (req),  \
		.has_offset = NO_HAS                                                               \
	}

enum { SEED_MAX_BYTES = 4 << 20, CONTENT_MAX = 2 << 20, USERS_MAX = 4, FILES_MAX = 16 };

struct meta {
	char *instance_id, *local_hostname;
};
static const struct json_field meta_fields[] = {
	NAMED(struct meta, instance_id, "instance-id", JSON_KIND_STRING, true),
	NAMED(struct meta, local_hostname, "local-hostname", JSON_KIND_NAME, true),
};

struct host_keys {
	char *ed25519_private, *ed25519_public;
};
static const struct json_field host_key_fields[] = {
	FIELD(struct host_keys, ed25519_private, JSON_KIND_TEXT, true),
	FIELD(struct host_keys, ed25519_public, JSON_KIND_STRING, true),
};
static const struct json_field file_fields[] = {
	FIELD(struct seed_file, path, JSON_KIND_STRING, true),
	FIELD(struct seed_file, owner, JSON_KIND_STRING, true),
	FIELD(struct seed_file, permissions, JSON_KIND_STRING, true),
	FIELD_MAX(struct seed_file, content, JSON_KIND_TEXT, true, CONTENT_MAX),
	FIELD(struct seed_file, defer, JSON_KIND_BOOL, false),
};
static const struct json_field user_fields[] = {
	FIELD(struct seed_user, name, JSON_KIND_NAME, true),
	FIELD(struct seed_user, shell, JSON_KIND_STRING, true),
	FIELD(struct seed_user, lock_passwd, JSON_KIND_BOOL, true),
	FIELD_MAX(struct seed_user, ssh_authorized_keys, JSON_KIND_STRINGS, false, 16),
};

struct config {
	char *hostname;
	bool preserve_hostname, manage_etc_hosts, disable_root, ssh_pwauth;
	struct seed_users users;
	struct host_keys ssh_keys;
	struct seed_files write_files;
	json_t *runcmd;
};
static const struct json_field config_fields[] = {
	FIELD(struct config, hostname, JSON_KIND_NAME, true),
	FIELD(struct config, preserve_hostname, JSON_KIND_BOOL, true),
	FIELD(struct config, manage_etc_hosts, JSON_KIND_BOOL, true),
	FIELD(struct config, disable_root, JSON_KIND_BOOL, true),
	FIELD(struct config, ssh_pwauth, JSON_KIND_BOOL, true),
	{.name = "users",
		.kind = JSON_KIND_ARRAY,
		.offset = offsetof(struct config, users),
		.required = true,
		.has_offset = NO_HAS,
		.max = USERS_MAX,
		.fields = user_fields,
		.n_fields = ARRAY_LEN(user_fields),
		.size = sizeof(struct seed_user)},
	FIELD_OBJECT(struct config, ssh_keys, false, host_key_fields),
	{.name = "write_files",
		.kind = JSON_KIND_ARRAY,
		.offset = offsetof(struct config, write_files),
		.required = true,
		.has_offset = NO_HAS,
		.max = FILES_MAX,
		.fields = file_fields,
		.n_fields = ARRAY_LEN(file_fields),
		.size = sizeof(struct seed_file)},
	FIELD(struct config, runcmd, JSON_KIND_ANY, false),
};

struct route {
	char *to;
	struct ip4 via;
};
VEC_OF(routes, struct route);
struct match {
	struct mac macaddress;
};
struct nic {
	struct match match;
	bool dhcp4;
	struct strings addresses;
	struct routes routes;
	uint64_t mtu;
};
struct ethernets {
	struct nic nic0;
};
struct network {
	uint64_t version;
	struct ethernets ethernets;
};
static const struct json_field route_fields[] = {
	FIELD(struct route, to, JSON_KIND_STRING, true),
	FIELD(struct route, via, JSON_KIND_IP4, true),
};
static const struct json_field match_fields[] = {
	FIELD(struct match, macaddress, JSON_KIND_MAC, true),
};
static const struct json_field nic_fields[] = {
	FIELD_OBJECT(struct nic, match, true, match_fields),
	FIELD(struct nic, dhcp4, JSON_KIND_BOOL, true),
	FIELD_MAX(struct nic, addresses, JSON_KIND_STRINGS, true, 1),
	FIELD_ARRAY(struct nic, routes, false, struct route, route_fields),
	FIELD_MAX(struct nic, mtu, JSON_KIND_UINT, false, 65535),
};
static const struct json_field ethernets_fields[] = {
	FIELD_OBJECT(struct ethernets, nic0, true, nic_fields),
};
static const struct json_field network_fields[] = {
	FIELD(struct network, version, JSON_KIND_UINT, true),
	FIELD_OBJECT(struct network, ethernets, true, ethernets_fields),
};

/* Reads DIR/NAME, whose text must begin with `first_line`, by a table. */
static int read_part(const char *dir, const char *name, const char *first_line,
	const struct json_field *fields, size_t n, void *base, struct error **err)
{
	auto_free char *path = xasprintf("%s/%s", dir, name);
	auto_free char *text = NULL;
	auto_json json_t *object = NULL;
	size_t len, skip = strlen(first_line);
	int r = file_read(path, SEED_MAX_BYTES, &text, &len, err);
	if (r < 0)
		return r;
	if (!str_starts(text, first_line))
		return error_make(
			err, -EINVAL, "%s: does not begin with \"%.13s\"", name, first_line);
	r = json_parse_object(text + skip, len - skip, &object, err);
	if (r == 0)
		r = json_read(object, fields, n, base, err);
	return r < 0 ? error_wrap(err, r, "%s", name) : 0;
}

static int take_network(struct network *network, struct seed *seed, struct error **err)
{
	const struct nic *nic = &network->ethernets.nic0;
	if (network->version != 2 || nic->dhcp4)
		return error_make(
			err, -EINVAL, "network-config: version 2 without dhcp4 is wanted");
	if (nic->addresses.n != 1 || prefix4_parse(nic->addresses.at[0], &seed->address) < 0)
		return error_field(err, -EINVAL, "addresses",
			"network-config: one address as ADDRESS/LENGTH is wanted");
	if (nic->routes.n > 1 ||
		(nic->routes.n == 1 && strcmp(nic->routes.at[0].to, "0.0.0.0/0") != 0))
		return error_field(
			err, -EINVAL, "routes", "network-config: only a default route is known");
	seed->mac = nic->match.macaddress;
	seed->mtu = nic->mtu;
	seed->has_gateway = nic->routes.n == 1;
	if (seed->has_gateway)
		seed->gateway = nic->routes.at[0].via;
	return 0;
}

static int take_config(struct config *config, struct seed *seed, struct error **err)
{
	if (config->preserve_hostname || config->manage_etc_hosts || !config->disable_root ||
		config->ssh_pwauth)
		return error_make(err, -EINVAL,
			"user-data: wants what this agent does not do (host name kept, hosts file "
			"managed elsewhere, root or password login)");
	seed->hostname = TAKE_PTR(config->hostname);
	seed->host_key = TAKE_PTR(config->ssh_keys.ed25519_private);
	seed->host_key_pub = TAKE_PTR(config->ssh_keys.ed25519_public);
	seed->users = config->users;
	seed->files = config->write_files;
	memset(&config->users, 0, sizeof(config->users));
	memset(&config->write_files, 0, sizeof(config->write_files));
	return 0;
}

int seed_read(const char *dir, struct seed *ret_seed, struct error **err)
{
	struct meta meta = {0};
	struct config config = {0};
	struct network network = {0};
	struct seed seed = {0};
	int r = read_part(dir, "meta-data", "", meta_fields, ARRAY_LEN(meta_fields), &meta, err);
	if (r == 0)
		r = read_part(dir, "user-data", "#cloud-config\n", config_fields,
			ARRAY_LEN(config_fields), &config, err);
	if (r == 0)
		r = read_part(dir, "network-config", "", network_fields, ARRAY_LEN(network_fields),
			&network, err);
	if (r == 0)
		r = take_network(&network, &seed, err);
	if (r == 0)
		r = take_config(&config, &seed, err);
	if (r == 0)
		seed.instance_id = TAKE_PTR(meta.instance_id);
	json_done(meta_fields, ARRAY_LEN(meta_fields), &meta);
	json_done(config_fields, ARRAY_LEN(config_fields), &config);
	json_done(network_fields, ARRAY_LEN(network_fields), &network);
	if (r < 0)
		seed_done(&seed);
	else
		*ret_seed = seed;
	return r;
}

void seed_done(struct seed *seed)
{
	struct config config = {.users = seed->users, .write_files = seed->files};
	json_done(config_fields, ARRAY_LEN(config_fields), &config);
	free(seed->instance_id);
	free(seed->hostname);
	free(seed->host_key);
	free(seed->host_key_pub);
	memset(seed, 0, sizeof(*seed));
}
