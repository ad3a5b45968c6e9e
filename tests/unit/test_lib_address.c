/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Which addresses a user's URL may lead to. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <arpa/inet.h>
#include <netinet/in.h>
#include "lib/address.h"

static struct sockaddr_storage parsed(const char *text)
{
	struct sockaddr_storage storage = {0};
	struct sockaddr_in *four = (struct sockaddr_in *)&storage;
	struct sockaddr_in6 *six = (struct sockaddr_in6 *)&storage;

	if (inet_pton(AF_INET, text, &four->sin_addr) == 1) {
		four->sin_family = AF_INET;
	} else {
		assert_int_equal(inet_pton(AF_INET6, text, &six->sin6_addr), 1);
		six->sin6_family = AF_INET6;
	}
	return storage;
}

static void special_addresses_are_not_public(void **state)
{
	static const char *const special[] = {"0.0.0.0", "0.1.2.3", "10.0.0.1", "10.255.255.255",
		"100.64.0.1", "100.127.255.255", "127.0.0.1", "127.255.0.1", "169.254.169.254",
		"172.16.0.1", "172.31.255.255", "192.0.0.1", "192.0.2.7", "192.88.99.1",
		"192.168.0.1", "198.18.0.1", "198.19.255.255", "198.51.100.1", "203.0.113.1",
		"224.0.0.1", "239.1.2.3", "240.0.0.1", "255.255.255.255", "::", "::1",
		"::ffff:127.0.0.1", "::ffff:10.0.0.1", "::127.0.0.1", "64:ff9b::7f00:1", "fc00::1",
		"fd12::1", "fe80::1", "ff02::1", "2001:db8::1", "2001::1", "2001:10::1",
		"2002:7f00:1::1", "3fff:1::1", "4000::1"};
	static const char *const good[] = {"1.1.1.1", "9.255.255.255", "11.0.0.0", "100.63.255.255",
		"100.128.0.0", "126.0.0.1", "128.0.0.1", "169.253.1.1", "172.15.1.1", "172.32.0.1",
		"192.167.1.1", "192.169.1.1", "198.17.0.1", "198.20.0.1", "223.255.255.255",
		"::ffff:1.1.1.1", "2606:4700::1", "2a00:1450::1", "2001:4860:4860::8888",
		"2003:1::1"};
	struct sockaddr_storage address;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(special); i++) {
		address = parsed(special[i]);
		if (address_public((const struct sockaddr *)&address))
			fail_msg("%s was taken for public", special[i]);
	}
	for (size_t i = 0; i < ARRAY_LEN(good); i++) {
		address = parsed(good[i]);
		if (!address_public((const struct sockaddr *)&address))
			fail_msg("%s was not taken for public", good[i]);
	}
	address = (struct sockaddr_storage){.ss_family = AF_UNIX};
	assert_false(address_public((const struct sockaddr *)&address));
}

static void own_addresses_are_told(void **state)
{
	static const struct {
		const char *address;
		bool own;
	} cases[] = {{"127.0.0.1", true}, {"::ffff:127.0.0.1", true}, {"1.1.1.1", false},
		{"192.0.2.1", false}, {"2001:4860:4860::8888", false}};
	struct sockaddr_storage address;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		address = parsed(cases[i].address);
		if (address_own((const struct sockaddr *)&address) != cases[i].own)
			fail_msg("%s", cases[i].address);
	}
	address = (struct sockaddr_storage){.ss_family = AF_UNIX};
	assert_false(address_own((const struct sockaddr *)&address));
}

static void the_list_takes_names_and_prefixes(void **state)
{
	static const char list[] = "10.1.0.0/16, 192.168.7.9 images.school.lan,fd00:1::/32";
	static const struct {
		const char *host, *address;
		bool listed;
	} cases[] = {
		{"x", "10.1.255.1", true},
		{"x", "::ffff:10.1.0.1", true},
		{"x", "10.2.0.1", false},
		{"x", "192.168.7.9", true},
		{"x", "192.168.7.8", false},
		{"images.school.lan", "127.0.0.1", true},
		{"Images.School.LAN", "127.0.0.1", true},
		{"school.lan", "127.0.0.1", false},
		{"x", "fd00:1:2::3", true},
		{"x", "fd00:2::3", false},
		{NULL, "127.0.0.1", false},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct sockaddr_storage a = parsed(cases[i].address);

		assert_int_equal(address_listed(list, cases[i].host, (const struct sockaddr *)&a),
			cases[i].listed);
		assert_false(address_listed(NULL, "x", (const struct sockaddr *)&a));
	}
}

static void a_bad_list_is_named(void **state)
{
	static const char *const bad[] = {
		"10.0.0.0/33", "Upper.lan", "http://x", "fd00::/129", "a_b", "10.0.0.1/x", "-x"};

	(void)state;
	assert_int_equal(address_list_check("", NULL), 0);
	assert_int_equal(address_list_check("10.0.0.0/8, a.b, fd00::/8", NULL), 0);
	for (size_t i = 0; i < ARRAY_LEN(bad); i++)
		assert_int_equal(address_list_check(bad[i], NULL), -EINVAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(special_addresses_are_not_public),
		cmocka_unit_test(own_addresses_are_told),
		cmocka_unit_test(the_list_takes_names_and_prefixes),
		cmocka_unit_test(a_bad_list_is_named),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
