/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What netd writes, against golden files: dnsmasq's configuration in each shape, the nft
 * transaction, the equivalent commands. */
#include "tests/unit/net_sample.h"
#include "lib/hostlist.h"
#include "netconf/commands.h"
#include "netconf/dnsmasq.h"
#include "netconf/nft.h"

#define URL "http://10.71.0.1:8080/boot/start"

static void check_dnsmasq(const struct net_site *site, struct net_goal *goal, const char *golden)
{
	auto_free char *text = dnsmasq_render(site, goal);

	same_as_golden(golden, text);
	net_goal_done(goal);
}

static void test_dnsmasq_shapes(void **state)
{
	struct net_site site = sample_site(NET_MODE_DHCP), proxy = sample_site(NET_MODE_PROXY);
	struct net_goal goal = sample_hosts();

	(void)state;
	check_dnsmasq(&site, &goal, "dnsmasq-dhcp.conf");
	goal = sample_hosts();
	goal.boot_url = xstrdup(URL);
	check_dnsmasq(&site, &goal, "dnsmasq-dhcp-boot.conf");
	goal = sample_hosts();
	check_dnsmasq(&proxy, &goal, "dnsmasq-proxy.conf");
	goal = sample_hosts();
	goal.boot_url = xstrdup(URL);
	check_dnsmasq(&proxy, &goal, "dnsmasq-proxy-boot.conf");
}

static void test_dnsmasq_options(void **state)
{
	struct net_site site = sample_site(NET_MODE_DHCP);
	struct net_goal goal = sample_hosts();
	auto_free char *names = NULL;

	(void)state;
	site.range_first = ip("10.71.0.200");
	site.range_last = ip("10.71.0.250");
	site.router = ip("10.71.0.254");
	site.dns = ip("10.71.0.253");
	vec_push(&goal.names, ((struct net_name){xstrdup("alice-001"), ip("10.80.1.10")}));
	vec_push(&goal.names, ((struct net_name){xstrdup("alice-002"), ip("10.80.1.11")}));
	names = dnsmasq_render_names(&goal);
	assert_string_equal(names, "10.80.1.10 alice-001\n10.80.1.11 alice-002\n");
	check_dnsmasq(&site, &goal, "dnsmasq-dhcp-options.conf");
}

static void test_proxy_has_no_address_to_give(void **state)
{
	struct net_site site = sample_site(NET_MODE_PROXY);
	struct net_goal goal = sample_hosts();
	auto_free char *text = NULL;

	(void)state;
	site.range_first = ip("10.71.0.200"); /* not for this mode, whatever the file says */
	site.range_last = ip("10.71.0.250");
	text = dnsmasq_render(&site, &goal);
	assert_null(strstr(text, "10.71.0.200"));
	assert_null(strstr(text, "10.71.0.11"));
	assert_non_null(strstr(text, "dhcp-range=10.71.0.0,proxy\n"));
	net_goal_done(&goal);
}

static void test_no_dnsmasq(void **state)
{
	struct net_site site = sample_site(NET_MODE_NONE);
	struct net_goal goal = sample_hosts();

	(void)state;
	assert_null(dnsmasq_render(&site, &goal));
	net_goal_done(&goal);
}

static void test_renewal_renders_the_same(void **state)
{
	struct net_site site = sample_site(NET_MODE_DHCP);
	struct net_goal goal = sample_hosts();
	auto_free char *first = NULL, *second = NULL;

	(void)state;
	goal.boot_url = xstrdup(URL);
	goal.boot_expires_ms = 1000;
	first = dnsmasq_render(&site, &goal);
	goal.boot_expires_ms = 99000;
	second = dnsmasq_render(&site, &goal);
	assert_string_equal(first, second);
	net_goal_done(&goal);
}

static void check_nft(const struct net_site *site, struct net_goal *goal, const char *golden)
{
	auto_free char *text = nft_render(site, goal);

	same_as_golden(golden, text);
	net_goal_done(goal);
}

static void test_nft_shapes(void **state)
{
	struct net_site site = sample_site(NET_MODE_DHCP);
	struct net_goal goal = {0};

	(void)state;
	check_nft(&site, &goal, "nft-none.nft");
	add_own(&goal, "lab");
	check_nft(&site, &goal, "nft-own.nft");
	add_join(&goal, "join-ab12");
	check_nft(&site, &goal, "nft-join.nft");
	add_own(&goal, "lab");
	add_join(&goal, "join-ab12");
	site.uplink_interface = NULL;
	check_nft(&site, &goal, "nft-both-no-uplink.nft");
}

static void test_exemptions_stand_before_masquerade(void **state)
{
	struct net_site site = sample_site(NET_MODE_DHCP);
	struct net_goal goal = {0};
	auto_free char *text = NULL;
	const char *exempt = NULL, *masquerade = NULL;

	(void)state;
	add_own(&goal, "lab"); /* knows nothing of the other labs, and comes first */
	add_join(&goal, "join-ab12");
	text = nft_render(&site, &goal);
	exempt = strstr(text, "ip daddr { 10.80.0.0/16 } accept");
	masquerade = strstr(text, "masquerade");
	assert_non_null(exempt);
	assert_true(exempt < masquerade);
	net_goal_done(&goal);
}

static void test_nested_prefixes_in_one_set(void **state)
{
	struct net_site site = sample_site(NET_MODE_DHCP);
	struct net_goal goal = {0};
	auto_free char *text = NULL;

	(void)state;
	add_join(&goal, "join-ab12");
	vec_push(&goal.leases.at[0].exempt, net("10.80.7.0/24")); /* inside 10.80.0.0/16 */
	text = nft_render(&site, &goal);
	assert_non_null(strstr(text, "ip daddr { 10.80.0.0/16 } accept"));
	free(text);
	vec_push(&goal.leases.at[0].exempt, net("10.80.0.0/12")); /* around it */
	text = nft_render(&site, &goal);
	assert_non_null(strstr(text, "ip daddr { 10.80.0.0/12 } accept"));
	net_goal_done(&goal);
}

static void test_commands(void **state)
{
	struct net_site site = sample_site(NET_MODE_DHCP);
	struct net_goal goal = {0};
	struct strings commands = {0};
	auto_buf struct buf b = {0};

	(void)state;
	commands_list(&site, &goal, &commands);
	assert_int_equal(commands.n, 0);
	add_join(&goal, "join-ab12");
	commands_list(&site, &goal, &commands);
	vec_each (char *, command, &commands)
		buf_addf(&b, "%s\n", *command);
	same_as_golden("commands.txt", b.text);
	strings_done(&commands);
	net_goal_done(&goal);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_dnsmasq_shapes),
		cmocka_unit_test(test_dnsmasq_options),
		cmocka_unit_test(test_proxy_has_no_address_to_give),
		cmocka_unit_test(test_no_dnsmasq),
		cmocka_unit_test(test_renewal_renders_the_same),
		cmocka_unit_test(test_nft_shapes),
		cmocka_unit_test(test_exemptions_stand_before_masquerade),
		cmocka_unit_test(test_nested_prefixes_in_one_set),
		cmocka_unit_test(test_commands),
	};

	return cmocka_run_group_tests_name("netconf renderers", tests, NULL, NULL);
}
