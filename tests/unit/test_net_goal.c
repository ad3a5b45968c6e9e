/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Goal against seen: what a diff changes and what it leaves alone; unions and expiry of leases. */
#include "tests/unit/net_sample.h"
#include "netconf/route.h"

/* Lists as texts: "10.80.2.0/24>10.70.0.2 10.80.3.0/24>10.70.0.3", "10.80.1.1/24". */
static void read_routes(const char *text, struct net_routes *ret_routes)
{
	auto_free char *copy = xstrdup(text);
	char *rest = copy;

	for (char *word; (word = strsep(&rest, " "));) {
		char *via = strchr(word, '>');

		if (!via)
			continue;
		*via = '\0';
		vec_push(ret_routes, ((struct net_route){net(word), ip(via + 1)}));
	}
}

static void read_prefixes(const char *text, struct prefix4s *ret_prefixes)
{
	auto_free char *copy = xstrdup(text);
	char *rest = copy;

	for (char *word; (word = strsep(&rest, " "));)
		if (*word)
			vec_push(ret_prefixes, net(word));
}

static void add_texts(
	struct buf *b, char sign, const struct net_routes *routes, const struct prefix4s *addresses)
{
	char to[PREFIX4_TEXT], via[IP4_TEXT];

	vec_each (struct net_route, route, routes)
		buf_addf(b, "%c%s>%s ", sign, prefix4_format(route->to, to),
			ip4_format(route->via, via));
	vec_each (struct prefix4, address, addresses)
		buf_addf(b, "%c%s ", sign, prefix4_format(*address, to));
}

static void test_diff(void **state)
{
	static const struct {
		const char *goal_routes, *goal_addresses, *seen_routes, *seen_addresses, *want;
	} cases[] = {
		{"", "", "", "", ""},
		{"10.80.2.0/24>10.70.0.2", "10.80.1.1/24", "", "",
			"+10.80.2.0/24>10.70.0.2 +10.80.1.1/24 "},
		{"10.80.2.0/24>10.70.0.2", "10.80.1.1/24", "10.80.2.0/24>10.70.0.2", "10.80.1.1/24",
			""},
		{"", "", "10.80.2.0/24>10.70.0.2", "10.80.1.1/24",
			"-10.80.2.0/24>10.70.0.2 -10.80.1.1/24 "},
		/* another gateway is another route */
		{"10.80.2.0/24>10.70.0.9", "", "10.80.2.0/24>10.70.0.2", "",
			"-10.80.2.0/24>10.70.0.2 +10.80.2.0/24>10.70.0.9 "},
		/* another length is another network, and another address */
		{"10.80.2.0/23>10.70.0.2", "10.80.1.1/25", "10.80.2.0/24>10.70.0.2", "10.80.1.1/24",
			"-10.80.2.0/24>10.70.0.2 -10.80.1.1/24 +10.80.2.0/23>10.70.0.2 "
			"+10.80.1.1/25 "},
		{"10.80.2.0/24>10.70.0.2 10.80.3.0/24>10.70.0.3", "",
			"10.80.3.0/24>10.70.0.3 10.80.4.0/24>10.70.0.4", "",
			"-10.80.4.0/24>10.70.0.4 +10.80.2.0/24>10.70.0.2 "},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct net_goal goal = {0};
		struct net_lease *lease = vec_add(&goal.leases);
		struct route_seen seen = {0};
		struct route_steps steps = {0};
		auto_buf struct buf got = {0};

		lease->name = xstrdup("join");
		read_routes(cases[i].goal_routes, &lease->routes);
		read_prefixes(cases[i].goal_addresses, &lease->addresses);
		read_routes(cases[i].seen_routes, &seen.routes);
		read_prefixes(cases[i].seen_addresses, &seen.addresses);
		route_diff(&goal, &seen, &steps);
		add_texts(&got, '-', &steps.remove_routes, &steps.remove_addresses);
		add_texts(&got, '+', &steps.add_routes, &steps.add_addresses);
		assert_string_equal(got.text ? got.text : "", cases[i].want);
		assert_int_equal(route_steps_empty(&steps), !*cases[i].want);
		route_steps_done(&steps);
		route_seen_done(&seen);
		net_goal_done(&goal);
	}
}

static void test_label_fits(void **state)
{
	char label[NET_LABEL_SIZE];

	(void)state;
	route_label("br0", label);
	assert_string_equal(label, "br0:nc");
	route_label("enp0s31f6abcdef", label); /* 15 characters, the longest there is */
	assert_string_equal(label, "enp0s31f6abc:nc");
}

static void test_leases_share(void **state)
{
	struct net_goal goal = {0};
	struct prefix4s addresses = {0};
	struct net_routes routes = {0};

	(void)state;
	add_own(&goal, "lab");
	add_join(&goal, "join");
	net_goal_addresses(&goal, &addresses);
	net_goal_routes(&goal, &routes);
	assert_int_equal(addresses.n, 1);
	assert_int_equal(routes.n, 2);
	vec_done(&addresses);
	vec_done(&routes);
	net_goal_done(&goal);
}

static void test_expiry(void **state)
{
	struct net_goal goal = {0};

	(void)state;
	assert_int_equal(net_goal_next_expiry(&goal), -1);
	add_own(&goal, "lab");	 /* ends at 30 s */
	add_join(&goal, "join"); /* ends at 60 s */
	goal.boot_url = xstrdup("http://10.71.0.1/");
	goal.boot_expires_ms = 20000;
	assert_int_equal(net_goal_next_expiry(&goal), 20000);
	assert_int_equal(net_goal_expire(&goal, 19999), 0);
	assert_int_equal(net_goal_expire(&goal, 20000), 1);
	assert_null(goal.boot_url);
	assert_int_equal(net_goal_next_expiry(&goal), 30000);
	assert_int_equal(net_goal_expire(&goal, 59999), 1);
	assert_null(net_goal_lease(&goal, "lab"));
	assert_non_null(net_goal_lease(&goal, "join"));
	assert_int_equal(net_goal_expire(&goal, 60000), 1);
	assert_int_equal(net_goal_next_expiry(&goal), -1);
	net_goal_done(&goal);
}

static void test_copy_is_deep_and_equal(void **state)
{
	struct net_goal goal = sample_hosts(), copy = {0};

	(void)state;
	add_join(&goal, "join");
	net_goal_copy(&copy, &goal);
	assert_true(net_lease_equal(&goal.leases.at[0], &copy.leases.at[0]));
	goal.leases.at[0].routes.at[1].via = ip("10.70.0.9");
	assert_false(net_lease_equal(&goal.leases.at[0], &copy.leases.at[0]));
	net_goal_done(&goal);
	assert_string_equal(copy.hosts.at[1].name, "pc-02");
	net_goal_done(&copy);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_diff),
		cmocka_unit_test(test_label_fits),
		cmocka_unit_test(test_leases_share),
		cmocka_unit_test(test_expiry),
		cmocka_unit_test(test_copy_is_deep_and_equal),
	};

	return cmocka_run_group_tests_name("netconf goal and diff", tests, NULL, NULL);
}
