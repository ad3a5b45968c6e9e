/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The documents of netd. Requests come from the one unprivileged program that may steer the lab
 * server's network, so this file is the wall between the two: a request becomes a typed struct in
 * which everything has been judged (grammar by lib/json and lib/str, meaning here: reservations
 * inside the lab's segment, networks without host bits, nothing that would take the segment itself
 * away), or an error that names the field. Behind it no text of the caller's reaches dnsmasq, nft
 * or netlink but names, which follow name_ok(), and the boot URL, whose characters are listed
 * below.
 *
 * The state file uses the same rows, so that what was accepted once can be read again.
 *
 * Must not log and must not touch anything outside.
 */
#include "lib/hostlist.h"
#include "lib/json.h"
#include "netconf/wire.h"

enum {
	LEASE_MAX_S = 30 * 24 * 3600,
	HOSTS_MAX = 4096,
	NAMES_MAX = 8192,
	ROUTE_MIN_LEN = 8,
};

struct raw_lease {
	char *op, *name;
	uint64_t lease_s;
	int64_t expires_ms;
	struct strings addresses, exempt, masquerade;
	struct net_routes routes;
	bool isolate;
};
struct raw_request {
	char *op, *url, *name;
	uint64_t lease_s;
	struct net_hosts hosts;
	struct net_names names;
	struct strings addresses, mine;
};

static const struct json_field host_rows[] = {
	FIELD(struct net_host, name, JSON_KIND_NAME, true),
	FIELD(struct net_host, mac, JSON_KIND_MAC, true),
	FIELD(struct net_host, address, JSON_KIND_IP4, true),
};
static const struct json_field name_rows[] = {
	FIELD(struct net_name, name, JSON_KIND_NAME, true),
	FIELD(struct net_name, address, JSON_KIND_IP4, true),
};
static const struct json_field route_rows[] = {
	FIELD(struct net_route, to, JSON_KIND_PREFIX4, true),
	FIELD(struct net_route, via, JSON_KIND_IP4, true),
};

#define ARRAY_UP_TO(type, member, req, element, rows, limit)                                       \
	{                                                                                          \
		.name = #member, .kind = JSON_KIND_ARRAY, .offset = offsetof(type, member),        \
		.required = (req), .has_offset = NO_HAS, .max = (limit), .fields = (rows),         \
		.n_fields = ARRAY_LEN(rows), .size = sizeof(element)                               \
	}
#define NUMBER(type, member, req, low, high)                                                       \
	{                                                                                          \
		.name = #member, .kind = JSON_KIND_UINT, .offset = offsetof(type, member),         \
		.required = (req), .has_offset = NO_HAS, .min = (low), .max = (high)               \
	}
#define LEASE_ROWS                                                                                 \
	FIELD(struct raw_lease, name, JSON_KIND_NAME, true),                                       \
		FIELD(struct raw_lease, addresses, JSON_KIND_STRINGS, false),                      \
		FIELD_ARRAY(struct raw_lease, routes, false, struct net_route, route_rows),        \
		FIELD(struct raw_lease, exempt, JSON_KIND_STRINGS, false),                         \
		FIELD(struct raw_lease, masquerade, JSON_KIND_STRINGS, false),                     \
		FIELD(struct raw_lease, isolate, JSON_KIND_BOOL, false)

static const struct json_field apply_rows[] = {
	FIELD(struct raw_lease, op, JSON_KIND_STRING, true),
	NUMBER(struct raw_lease, lease_s, true, 1, LEASE_MAX_S),
	LEASE_ROWS,
};
static const struct json_field kept_lease_rows[] = {
	FIELD(struct raw_lease, expires_ms, JSON_KIND_INT, true),
	LEASE_ROWS,
};
static const struct json_field dhcp_rows[] = {
	FIELD(struct raw_request, op, JSON_KIND_STRING, true),
	ARRAY_UP_TO(struct raw_request, hosts, true, struct net_host, host_rows, HOSTS_MAX),
	ARRAY_UP_TO(struct raw_request, names, false, struct net_name, name_rows, NAMES_MAX),
};
static const struct json_field boot_rows[] = {
	FIELD(struct raw_request, op, JSON_KIND_STRING, true),
	NUMBER(struct raw_request, lease_s, true, 0, LEASE_MAX_S),
	FIELD_MAX(struct raw_request, url, JSON_KIND_STRING, false, NET_URL_MAX),
};
static const struct json_field withdraw_rows[] = {
	FIELD(struct raw_request, op, JSON_KIND_STRING, true),
	FIELD(struct raw_request, name, JSON_KIND_NAME, true),
};
static const struct json_field show_rows[] = {
	FIELD(struct raw_request, op, JSON_KIND_STRING, true),
};
static const struct json_field conflicts_rows[] = {
	FIELD(struct raw_request, op, JSON_KIND_STRING, true),
	FIELD_MAX(struct raw_request, addresses, JSON_KIND_STRINGS, true, HOSTS_MAX),
	FIELD_MAX(struct raw_request, mine, JSON_KIND_STRINGS, false, HOSTS_MAX),
};

static int bad(struct error **err, int code, const char *list, size_t i, const char *member,
	const char *what)
{
	auto_free char *field = xasprintf("%s[%zu]%s%s", list, i, *member ? "." : "", member);

	return error_field(err, code, field, "\"%s\" %s.", field, what);
}

static bool has_host_bits(struct prefix4 prefix)
{
	return !prefix4_equal(prefix4_network(prefix), prefix);
}

/* Texts -> networks (`hosts` false: no host bits) or interface addresses (`hosts` true: with them).
 */
static int read_prefixes(const struct strings *texts, const char *list, bool hosts,
	struct prefix4s *ret_prefixes, struct error **err)
{
	for (size_t i = 0; i < texts->n; i++) {
		struct prefix4 prefix = {0};

		if (prefix4_parse(texts->at[i], &prefix) < 0)
			return bad(err, -EINVAL, list, i, "",
				"must be an IPv4 prefix like 10.80.1.0/24");
		if (prefix.len < ROUTE_MIN_LEN)
			return bad(err, -EINVAL, list, i, "", "must not be wider than /8");
		if (hosts && (!has_host_bits(prefix) || prefix.len > 30))
			return bad(err, -EINVAL, list, i, "",
				"must be an interface's address like 10.80.1.1/24, not a network");
		if (!hosts && has_host_bits(prefix))
			return bad(err, -EINVAL, list, i, "",
				"has host bits set; write the network's address");
		prefix4s_add_once(ret_prefixes, prefix);
	}
	return 0;
}

static int check_routes(
	const struct net_routes *routes, const struct net_site *site, struct error **err)
{
	for (size_t i = 0; i < routes->n; i++) {
		const struct net_route *route = &routes->at[i];

		if (has_host_bits(route->to))
			return bad(err, -EINVAL, "routes", i, "to",
				"has host bits set; write the network's address");
		if (route->to.len < ROUTE_MIN_LEN)
			return bad(err, -EINVAL, "routes", i, "to", "must not be wider than /8");
		if (site && prefix4_overlaps(route->to, site->lan_address))
			return bad(err, -EINVAL, "routes", i, "to",
				"overlaps with the lab's own segment");
		if (prefix4_contains(route->to, route->via))
			return bad(err, -EINVAL, "routes", i, "via",
				"lies inside the network that it is to lead to");
		for (size_t k = 0; k < i; k++)
			if (prefix4_equal(routes->at[k].to, route->to))
				return bad(err, -EEXIST, "routes", i, "to",
					"stands in the list twice");
	}
	return 0;
}

/* Takes the routes and the name over from `raw`. */
static int read_lease(struct raw_lease *raw, const struct net_site *site,
	struct net_lease *ret_lease, struct error **err)
{
	struct net_lease lease = {.isolate = raw->isolate, .expires_ms = raw->expires_ms};
	int r = check_routes(&raw->routes, site, err);

	if (r == 0)
		r = read_prefixes(&raw->addresses, "addresses", true, &lease.addresses, err);
	if (r == 0)
		r = read_prefixes(&raw->exempt, "exempt", false, &lease.exempt, err);
	if (r == 0)
		r = read_prefixes(&raw->masquerade, "masquerade", false, &lease.masquerade, err);
	for (size_t i = 0; r == 0 && site && i < lease.addresses.n; i++)
		if (prefix4_overlaps(lease.addresses.at[i], site->lan_address))
			r = bad(err, -EINVAL, "addresses", i, "",
				"overlaps with the lab's own segment");
	if (r < 0) {
		net_lease_done(&lease);
		return r;
	}
	lease.name = TAKE_PTR(raw->name);
	lease.routes = raw->routes;
	memset(&raw->routes, 0, sizeof(raw->routes));
	*ret_lease = lease;
	return 0;
}

static int read_apply(const json_t *object, const struct net_site *site,
	struct netd_request *request, struct error **err)
{
	struct raw_lease raw = {0};
	int r = json_read(object, apply_rows, ARRAY_LEN(apply_rows), &raw, err);

	if (r < 0)
		return r;
	request->lease_s = (int64_t)raw.lease_s;
	r = read_lease(&raw, site, &request->lease, err);
	json_done(apply_rows, ARRAY_LEN(apply_rows), &raw);
	return r;
}

static int check_host(
	const struct net_hosts *hosts, size_t i, const struct net_site *site, struct error **err)
{
	const struct net_host *host = &hosts->at[i];
	struct prefix4 net = prefix4_network(site->lan_address);

	if (!prefix4_contains(net, host->address) || ip4_equal(host->address, net.address) ||
		host->address.host == (net.address.host | ~prefix4_mask(net.len)))
		return bad(err, -EINVAL, "hosts", i, "address",
			"is no host address of the lab's segment");
	if (ip4_equal(host->address, site->lan_address.address))
		return bad(err, -EINVAL, "hosts", i, "address", "is the lab server's own");
	for (size_t k = 0; k < i; k++) {
		const struct net_host *other = &hosts->at[k];

		if (mac_cmp(&other->mac, &host->mac) == 0)
			return bad(err, -EEXIST, "hosts", i, "mac", "is another PC's already");
		if (ip4_equal(other->address, host->address))
			return bad(err, -EEXIST, "hosts", i, "address", "is another PC's already");
		if (strcmp(other->name, host->name) == 0)
			return bad(err, -EEXIST, "hosts", i, "name", "is another PC's already");
	}
	return 0;
}

static int check_dhcp(struct raw_request *raw, const struct net_site *site,
	struct netd_request *request, struct error **err)
{
	for (size_t i = 0; i < raw->hosts.n; i++) {
		int r = check_host(&raw->hosts, i, site, err);

		if (r < 0)
			return r;
	}
	request->hosts = raw->hosts;
	request->names = raw->names;
	memset(&raw->hosts, 0, sizeof(raw->hosts));
	memset(&raw->names, 0, sizeof(raw->names));
	return 0;
}

/* Nothing that dnsmasq's configuration reads as syntax: no comma, quote, blank, '#' or backslash.
 */
static bool url_ok(const char *url)
{
	static const char allowed[] =
		"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
		":/?&=._~%${}+@-";

	return str_starts(url, "http://") && strlen(url) <= NET_URL_MAX &&
	       strspn(url, allowed) == strlen(url);
}

static int check_boot(struct raw_request *raw, const struct net_site *site,
	struct netd_request *request, struct error **err)
{
	(void)site;
	if (raw->lease_s && !raw->url)
		return error_field(err, -EINVAL, "url", "\"url\" is missing.");
	if (raw->url && !url_ok(raw->url))
		return error_field(err, -EINVAL, "url",
			"\"url\" must start with http:// and hold no blank, comma or quote.");
	request->lease_s = (int64_t)raw->lease_s;
	if (raw->lease_s)
		request->url = TAKE_PTR(raw->url);
	return 0;
}

static int check_withdraw(struct raw_request *raw, const struct net_site *site,
	struct netd_request *request, struct error **err)
{
	(void)site, (void)err;
	request->name = TAKE_PTR(raw->name);
	return 0;
}

static int check_show(struct raw_request *raw, const struct net_site *site,
	struct netd_request *request, struct error **err)
{
	(void)raw, (void)site, (void)request, (void)err;
	return 0;
}

static int check_conflicts(struct raw_request *raw, const struct net_site *site,
	struct netd_request *request, struct error **err)
{
	(void)site;
	for (size_t i = 0; i < raw->addresses.n; i++)
		if (ip4_parse(raw->addresses.at[i], vec_add(&request->addresses)) < 0)
			return bad(err, -EINVAL, "addresses", i, "",
				"must be an IPv4 address like 10.0.0.1");
	for (size_t i = 0; i < raw->mine.n; i++)
		if (mac_parse(raw->mine.at[i], vec_add(&request->mine)) < 0)
			return bad(err, -EINVAL, "mine", i, "",
				"must be a MAC address like 52:54:00:12:34:56");
	return 0;
}

/* A new operation is a new row here and in the enum. */
static const struct op_row {
	const char *name;
	enum netd_op op;
	const struct json_field *rows; /* NULL: apply, which has a reader of its own */
	size_t n_rows;
	int (*check)(struct raw_request *raw, const struct net_site *site,
		struct netd_request *request, struct error **err);
} ops[] = {
	{"dhcp", NETD_OP_DHCP, dhcp_rows, ARRAY_LEN(dhcp_rows), check_dhcp},
	{"boot", NETD_OP_BOOT, boot_rows, ARRAY_LEN(boot_rows), check_boot},
	{"apply", NETD_OP_APPLY, NULL, 0, NULL},
	{"withdraw", NETD_OP_WITHDRAW, withdraw_rows, ARRAY_LEN(withdraw_rows), check_withdraw},
	{"show", NETD_OP_SHOW, show_rows, ARRAY_LEN(show_rows), check_show},
	{"conflicts", NETD_OP_CONFLICTS, conflicts_rows, ARRAY_LEN(conflicts_rows),
		check_conflicts},
};

static int read_by_row(const struct op_row *row, const json_t *object, const struct net_site *site,
	struct netd_request *request, struct error **err)
{
	struct raw_request raw = {0};
	int r = 0;

	if (!row->rows)
		return read_apply(object, site, request, err);
	r = json_read(object, row->rows, row->n_rows, &raw, err);
	if (r < 0)
		return r;
	r = row->check(&raw, site, request, err);
	json_done(row->rows, row->n_rows, &raw);
	return r;
}

int netd_request_read(const char *bytes, size_t len, const struct net_site *site,
	struct netd_request *ret_request, struct error **err)
{
	struct netd_request request = {0};
	auto_json json_t *object = NULL;
	const char *op = NULL;
	int r = json_parse_object(bytes, len, &object, err);

	if (r < 0)
		return r;
	op = json_string_value(json_object_get(object, "op"));
	for (size_t i = 0; op && i < ARRAY_LEN(ops); i++) {
		if (strcmp(op, ops[i].name) != 0)
			continue;
		request.op = ops[i].op;
		r = read_by_row(&ops[i], object, site, &request, err);
		if (r < 0)
			netd_request_done(&request);
		else
			*ret_request = request;
		return r;
	}
	return error_field(err, -EINVAL, "op",
		"\"op\" must be dhcp, boot, apply, withdraw, show or conflicts.");
}

void netd_request_done(struct netd_request *request)
{
	net_hosts_done(&request->hosts);
	net_names_done(&request->names);
	net_lease_done(&request->lease);
	free(request->url);
	free(request->name);
	vec_done(&request->addresses);
	vec_done(&request->mine);
	memset(request, 0, sizeof(*request));
}

/* --- the state file */

struct raw_boot {
	char *url;
	int64_t expires_ms;
};
VEC_OF(raw_leases, struct raw_lease);
struct raw_state {
	char *boot_id;
	uint64_t format;
	int64_t forward_before;
	struct net_hosts hosts;
	struct net_names names;
	struct raw_boot boot;
	bool has_boot;
	struct raw_leases leases;
};
static const struct json_field kept_boot_rows[] = {
	FIELD_MAX(struct raw_boot, url, JSON_KIND_STRING, true, NET_URL_MAX),
	FIELD(struct raw_boot, expires_ms, JSON_KIND_INT, true),
};
static const struct json_field state_rows[] = {
	NUMBER(struct raw_state, format, true, 1, 1),
	FIELD(struct raw_state, boot_id, JSON_KIND_STRING, true),
	FIELD(struct raw_state, forward_before, JSON_KIND_INT, true),
	ARRAY_UP_TO(struct raw_state, hosts, true, struct net_host, host_rows, HOSTS_MAX),
	ARRAY_UP_TO(struct raw_state, names, true, struct net_name, name_rows, NAMES_MAX),
	{.name = "boot",
		.kind = JSON_KIND_OBJECT,
		.offset = offsetof(struct raw_state, boot),
		.has_offset = offsetof(struct raw_state, has_boot),
		.fields = kept_boot_rows,
		.n_fields = ARRAY_LEN(kept_boot_rows)},
	FIELD_ARRAY(struct raw_state, leases, true, struct raw_lease, kept_lease_rows),
};

static json_t *prefix_texts(const struct prefix4s *prefixes)
{
	json_t *array = json_array();
	char text[PREFIX4_TEXT];

	vec_each (struct prefix4, prefix, prefixes)
		json_array_append_new(array, json_string(prefix4_format(*prefix, text)));
	return array;
}

static json_t *lease_object(const struct net_lease *lease)
{
	json_t *object = json_object(), *routes = json_array();

	json_object_set_new(object, "name", json_string(lease->name));
	json_object_set_new(object, "addresses", prefix_texts(&lease->addresses));
	vec_each (struct net_route, route, &lease->routes)
		json_array_append_new(routes, json_write(route_rows, ARRAY_LEN(route_rows), route));
	json_object_set_new(object, "routes", routes);
	json_object_set_new(object, "exempt", prefix_texts(&lease->exempt));
	json_object_set_new(object, "masquerade", prefix_texts(&lease->masquerade));
	json_object_set_new(object, "isolate", json_boolean(lease->isolate));
	return object;
}

json_t *netd_lease_show(const struct net_lease *lease, int64_t now_ms)
{
	int64_t left = (lease->expires_ms - now_ms + 999) / 1000;
	json_t *object = lease_object(lease);

	json_object_set_new(object, "left_s", json_integer(left > 0 ? left : 0));
	return object;
}

char *netd_state_write(const struct netd_state *state)
{
	auto_json json_t *object = json_object();
	json_t *hosts = json_array(), *names = json_array(), *leases = json_array();

	json_object_set_new(object, "format", json_integer(1));
	json_object_set_new(object, "boot_id", json_string(state->boot_id));
	json_object_set_new(object, "forward_before", json_integer(state->forward_before));
	vec_each (struct net_host, host, &state->goal.hosts)
		json_array_append_new(hosts, json_write(host_rows, ARRAY_LEN(host_rows), host));
	vec_each (struct net_name, name, &state->goal.names)
		json_array_append_new(names, json_write(name_rows, ARRAY_LEN(name_rows), name));
	vec_each (struct net_lease, lease, &state->goal.leases) {
		json_t *kept = lease_object(lease);

		json_object_set_new(kept, "expires_ms", json_integer(lease->expires_ms));
		json_array_append_new(leases, kept);
	}
	json_object_set_new(object, "hosts", hosts);
	json_object_set_new(object, "names", names);
	json_object_set_new(object, "leases", leases);
	if (state->goal.boot_url)
		json_object_set_new(object, "boot",
			json_pack("{s:s, s:I}", "url", state->goal.boot_url, "expires_ms",
				(json_int_t)state->goal.boot_expires_ms));
	return json_text(object);
}

static int take_state(struct raw_state *raw, struct netd_state *state, struct error **err)
{
	if (raw->has_boot && !url_ok(raw->boot.url))
		return error_field(err, -EINVAL, "boot.url", "\"boot.url\" is no boot address.");
	vec_each (struct raw_lease, lease, &raw->leases) {
		struct net_lease kept = {0};
		int r = read_lease(lease, NULL, &kept, err);

		if (r < 0)
			return r;
		vec_push(&state->goal.leases, kept);
	}
	state->boot_id = TAKE_PTR(raw->boot_id);
	state->forward_before = (int)raw->forward_before;
	state->goal.hosts = raw->hosts;
	state->goal.names = raw->names;
	memset(&raw->hosts, 0, sizeof(raw->hosts));
	memset(&raw->names, 0, sizeof(raw->names));
	if (raw->has_boot) {
		state->goal.boot_url = TAKE_PTR(raw->boot.url);
		state->goal.boot_expires_ms = raw->boot.expires_ms;
	}
	return 0;
}

int netd_state_read(const char *bytes, size_t len, struct netd_state *ret_state, struct error **err)
{
	struct netd_state state = {0};
	struct raw_state raw = {0};
	auto_json json_t *object = NULL;
	int r = json_parse_object(bytes, len, &object, err);

	if (r == 0)
		r = json_read(object, state_rows, ARRAY_LEN(state_rows), &raw, err);
	if (r < 0)
		return r;
	r = take_state(&raw, &state, err);
	json_done(state_rows, ARRAY_LEN(state_rows), &raw);
	if (r < 0)
		netd_state_done(&state);
	else
		*ret_state = state;
	return r;
}

void netd_state_done(struct netd_state *state)
{
	free(state->boot_id);
	net_goal_done(&state->goal);
	memset(state, 0, sizeof(*state));
}
