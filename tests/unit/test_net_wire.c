/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The grammar of netd's socket: what is taken, and which field a refusal names. The state file both
 * ways. And netd.conf. */
#include "tests/unit/net_sample.h"
#include "netconf/netd_client.h"
#include "netconf/netd_conf.h"
#include "netconf/wire.h"

#define PC(name, mac, address)                                                                     \
	"{\"name\":\"" name "\",\"mac\":\"" mac "\",\"address\":\"" address "\"}"
#define PC1 PC("pc1", "52:54:00:00:00:01", "10.71.0.11")
#define APPLY "{\"op\":\"apply\",\"name\":\"join-1\",\"lease_s\":60"
#define ROUTE(to, via) "{\"to\":\"" to "\",\"via\":\"" via "\"}"

static const struct {
	const char *text;
	int code;
	const char *field; /* NULL: none is named */
} refused[] = {
	{"", -EINVAL, NULL},
	{"[]", -EINVAL, NULL},
	{"{}", -EINVAL, "op"},
	{"{\"op\":1}", -EINVAL, "op"},
	{"{\"op\":\"reboot\"}", -EINVAL, "op"},
	{"{\"op\":\"show\"} x", -EINVAL, NULL},
	{"{\"op\":\"show\",\"op\":\"boot\"}", -EINVAL, "op"},
	{"{\"op\":\"show\",\"all\":true}", -EINVAL, "all"},
	{"{\"op\":\"withdraw\"}", -EINVAL, "name"},
	{"{\"op\":\"withdraw\",\"name\":\"Join 1\"}", -EINVAL, "name"},
	{"{\"op\":\"dhcp\"}", -EINVAL, "hosts"},
	{"{\"op\":\"dhcp\",\"hosts\":{}}", -EINVAL, "hosts"},
	{"{\"op\":\"dhcp\",\"hosts\":[" PC("pc1", "52:54:00:00:00", "10.71.0.11") "]}", -EINVAL,
		"hosts[0].mac"},
	{"{\"op\":\"dhcp\",\"hosts\":[" PC("p,c", "52:54:00:00:00:01", "10.71.0.11") "]}", -EINVAL,
		"hosts[0].name"},
	{"{\"op\":\"dhcp\",\"hosts\":[" PC1 "," PC("pc2", "52:54:00:00:00:01", "10.71.0.12") "]}",
		-EEXIST, "hosts[1].mac"},
	{"{\"op\":\"dhcp\",\"hosts\":[" PC1 "," PC("pc2", "52:54:00:00:00:02", "10.71.0.11") "]}",
		-EEXIST, "hosts[1].address"},
	{"{\"op\":\"dhcp\",\"hosts\":[" PC1 "," PC("pc1", "52:54:00:00:00:02", "10.71.0.12") "]}",
		-EEXIST, "hosts[1].name"},
	{"{\"op\":\"dhcp\",\"hosts\":[" PC("pc1", "52:54:00:00:00:01", "10.72.0.11") "]}", -EINVAL,
		"hosts[0].address"},
	{"{\"op\":\"dhcp\",\"hosts\":[" PC("pc1", "52:54:00:00:00:01", "10.71.0.1") "]}", -EINVAL,
		"hosts[0].address"},
	{"{\"op\":\"dhcp\",\"hosts\":[" PC("pc1", "52:54:00:00:00:01", "10.71.0.255") "]}", -EINVAL,
		"hosts[0].address"},
	{"{\"op\":\"dhcp\",\"hosts\":[],\"names\":[{\"name\":\"a\\nb\",\"address\":\"10.0.0.1\"}]}",
		-EINVAL, "names[0].name"},
	{"{\"op\":\"boot\",\"lease_s\":60}", -EINVAL, "url"},
	{"{\"op\":\"boot\",\"url\":\"http://10.71.0.1/\"}", -EINVAL, "lease_s"},
	{"{\"op\":\"boot\",\"lease_s\":-1,\"url\":\"http://10.71.0.1/\"}", -EINVAL, "lease_s"},
	{"{\"op\":\"boot\",\"lease_s\":60,\"url\":\"https://10.71.0.1/\"}", -EINVAL, "url"},
	{"{\"op\":\"boot\",\"lease_s\":60,\"url\":\"http://10.71.0.1/,x\"}", -EINVAL, "url"},
	{"{\"op\":\"boot\",\"lease_s\":60,\"url\":\"http://10.71.0.1/ x\"}", -EINVAL, "url"},
	{"{\"op\":\"boot\",\"lease_s\":60,\"url\":\"http://10.71.0.1/\\ndhcp-script=/x\"}", -EINVAL,
		"url"},
	{APPLY ",\"lease_s\":60}", -EINVAL, "lease_s"},
	{"{\"op\":\"apply\",\"name\":\"join-1\",\"lease_s\":0}", -EINVAL, "lease_s"},
	{"{\"op\":\"apply\",\"name\":\"join-1\",\"lease_s\":2592001}", -EINVAL, "lease_s"},
	{"{\"op\":\"apply\",\"name\":\"join-1\",\"lease_s\":\"60\"}", -EINVAL, "lease_s"},
	{APPLY ",\"addresses\":\"10.80.1.1/24\"}", -EINVAL, "addresses"},
	{APPLY ",\"addresses\":[\"10.80.1.1/24\",7]}", -EINVAL, "addresses[1]"},
	{APPLY ",\"addresses\":[\"10.80.1.0/24\"]}", -EINVAL, "addresses[0]"},
	{APPLY ",\"addresses\":[\"10.80.1.1\"]}", -EINVAL, "addresses[0]"},
	{APPLY ",\"addresses\":[\"10.71.0.9/24\"]}", -EINVAL, "addresses[0]"},
	{APPLY ",\"exempt\":[\"10.80.0.1/16\"]}", -EINVAL, "exempt[0]"},
	{APPLY ",\"masquerade\":[\"10.80.1.0/24\",\"0.0.0.0/0\"]}", -EINVAL, "masquerade[1]"},
	{APPLY ",\"isolate\":1}", -EINVAL, "isolate"},
	{APPLY ",\"routes\":[{\"to\":\"10.80.2.0/24\"}]}", -EINVAL, "routes[0].via"},
	{APPLY ",\"routes\":[{\"to\":\"10.80.2.0/24\",\"via\":\"10.70.0.2\",\"dev\":\"x\"}]}",
		-EINVAL, "routes[0].dev"},
	{APPLY ",\"routes\":[" ROUTE("10.80.2.1/24", "10.70.0.2") "]}", -EINVAL, "routes[0].to"},
	{APPLY ",\"routes\":[" ROUTE("10.0.0.0/7", "10.70.0.2") "]}", -EINVAL, "routes[0].to"},
	{APPLY ",\"routes\":[" ROUTE("10.71.0.0/16", "10.70.0.2") "]}", -EINVAL, "routes[0].to"},
	{APPLY ",\"routes\":[" ROUTE("10.71.0.128/25", "10.70.0.2") "]}", -EINVAL, "routes[0].to"},
	{APPLY ",\"routes\":[" ROUTE("10.80.2.0/24", "10.80.2.1") "]}", -EINVAL, "routes[0].via"},
	{APPLY ",\"routes\":[" ROUTE("10.80.2.0/24", "10.70.0.2") "," ROUTE(
		 "10.80.2.0/24", "10.70.0.3") "]}",
		-EEXIST, "routes[1].to"},
	{"{\"op\":\"conflicts\"}", -EINVAL, "addresses"},
	{"{\"op\":\"conflicts\",\"addresses\":[\"10.71.0.300\"]}", -EINVAL, "addresses[0]"},
	{"{\"op\":\"conflicts\",\"addresses\":[],\"mine\":[\"x\"]}", -EINVAL, "mine[0]"},
};

static void test_refused(void **state)
{
	struct net_site site = sample_site(NET_MODE_DHCP);

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(refused); i++) {
		auto_error struct error *err = NULL;
		struct netd_request request = {0};
		int r = netd_request_read(
			refused[i].text, strlen(refused[i].text), &site, &request, &err);

		if (r != refused[i].code || !err || (refused[i].field && !err->field) ||
			(refused[i].field && strcmp(err->field, refused[i].field) != 0))
			fail_msg("%s: %d %s: %s", refused[i].text, r,
				err && err->field ? err->field : "-", error_text(err, r));
		assert_non_null(err->text);
	}
}

static void read_ok(const char *text, struct netd_request *ret_request)
{
	struct net_site site = sample_site(NET_MODE_DHCP);
	auto_error struct error *err = NULL;

	if (netd_request_read(text, strlen(text), &site, ret_request, &err) < 0)
		fail_msg("%s: %s", text, error_text(err, 0));
}

static void test_taken(void **state)
{
	struct netd_request request = {0};

	(void)state;
	read_ok("{\"op\":\"dhcp\",\"hosts\":[" PC1
		"],\"names\":[{\"name\":\"a-001\",\"address\":\"10.80.1.10\"}]}",
		&request);
	assert_int_equal(request.op, NETD_OP_DHCP);
	assert_string_equal(request.hosts.at[0].name, "pc1");
	assert_int_equal(request.names.at[0].address.host, ip("10.80.1.10").host);
	netd_request_done(&request);
	read_ok("{\"op\":\"boot\",\"lease_s\":120,\"url\":\"http://10.71.0.1:8080/boot/"
		"script?mac=${mac}\"}",
		&request);
	assert_int_equal(request.lease_s, 120);
	netd_request_done(&request);
	read_ok("{\"op\":\"boot\",\"lease_s\":0}", &request);
	assert_null(request.url);
	netd_request_done(&request);
	read_ok(APPLY ",\"addresses\":[\"10.80.1.1/24\"],\"routes\":[" ROUTE("10.80.2.0/24",
			"10.70.0.2") "],"
				     "\"exempt\":[\"10.80.0.0/16\"],\"masquerade\":[\"10.80.1.0/"
				     "24\"],\"isolate\":true}",
		&request);
	assert_string_equal(request.lease.name, "join-1");
	assert_int_equal(request.lease.routes.at[0].via.host, ip("10.70.0.2").host);
	assert_int_equal(request.lease.exempt.at[0].len, 16);
	assert_true(request.lease.isolate);
	netd_request_done(&request);
	read_ok("{\"op\":\"conflicts\",\"addresses\":[\"10.71.0.11\"],\"mine\":[\"52:54:00:00:00:"
		"01\"]}",
		&request);
	assert_int_equal(request.addresses.n + request.mine.n, 2);
	netd_request_done(&request);
}

static void test_state_both_ways(void **state)
{
	struct netd_state first = {.boot_id = xstrdup("b1"),
				  .forward_before = 0,
				  .goal = sample_hosts()},
			  second = {0};
	auto_free char *text = NULL, *again = NULL;

	(void)state;
	vec_push(&first.goal.names, ((struct net_name){xstrdup("a-001"), ip("10.80.1.10")}));
	add_join(&first.goal, "join-1");
	first.goal.boot_url = xstrdup("http://10.71.0.1/");
	first.goal.boot_expires_ms = 12345;
	text = netd_state_write(&first);
	assert_int_equal(netd_state_read(text, strlen(text), &second, NULL), 0);
	again = netd_state_write(&second);
	assert_string_equal(text, again);
	assert_int_equal(second.goal.leases.at[0].expires_ms, 60000);
	assert_true(net_lease_equal(&first.goal.leases.at[0], &second.goal.leases.at[0]));
	netd_state_done(&first);
	netd_state_done(&second);
	/* any cut is refused, none crashes */
	for (size_t len = 0; len < strlen(text); len++)
		assert_true(netd_state_read(text, len, &second, NULL) < 0);
}

static void test_error_codes_both_ways(void **state)
{
	(void)state;
	assert_int_equal(netd_code("EINVAL"), -EINVAL);
	assert_int_equal(netd_code("EEXIST"), -EEXIST);
	assert_int_equal(netd_code("ENONSENSE"), -EIO);
	assert_int_equal(netd_code(NULL), -EIO);
}

#define CONF "[netd]\nlan_interface = eth1\nlan_address = 10.71.0.1/24\nallowed_user = 64123\n"

static void test_conf(void **state)
{
	static const struct {
		const char *text, *names; /* NULL: taken */
	} cases[] = {
		{CONF, NULL},
		{CONF "mode = proxy\nuplink_interface = eth0\nrouter = 10.71.0.254\ndns = "
		      "10.71.0.254\n",
			NULL},
		{CONF "dhcp_range = 10.71.0.200-10.71.0.250\n", NULL},
		{CONF "dhcp_range = 10.71.0.250-10.71.0.200\n", "dhcp_range"},
		{CONF "dhcp_range = 10.72.0.200-10.72.0.250\n", "dhcp_range"},
		{CONF "mode = both\n", "mode"},
		{CONF "tftp_root = /srv/a b\n", "tftp_root"},
		{CONF "uplink_interface = a\"b\n", "uplink_interface"},
		{CONF "uplink_interface = abcdefghijklmnop\n", "uplink_interface"},
		{CONF "log_level = loud\n", "log_level"},
		{CONF "lan = eth1\n", "lan"},
		{"[netd]\nlan_interface = eth1\nallowed_user = 1\n", "lan_address"},
		{"[netd]\nlan_interface = eth1\nlan_address = 10.71.0.0/24\nallowed_user = 1\n",
			"lan_address"},
		{"[netd]\nlan_interface = eth1\nlan_address = 10.71.0.1/24\nallowed_user = "
		 "no-such-user\n",
			"no-such-user"},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		auto_error struct error *err = NULL;
		struct netd_conf conf = {0};
		int r = netd_conf_parse(cases[i].text, &conf, &err);

		if (cases[i].names && (r == 0 || !strstr(error_text(err, r), cases[i].names)))
			fail_msg("%s: %d %s", cases[i].text, r, error_text(err, r));
		if (!cases[i].names && r < 0)
			fail_msg("%s: %s", cases[i].text, error_text(err, r));
		netd_conf_done(&conf);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_refused),
		cmocka_unit_test(test_taken),
		cmocka_unit_test(test_state_both_ways),
		cmocka_unit_test(test_error_codes_both_ways),
		cmocka_unit_test(test_conf),
	};

	return cmocka_run_group_tests_name("netconf wire", tests, NULL, NULL);
}
