/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Stable addresses and MACs; and the frames whose bytes are fixed by others: magic packet, ARP
 * probe. */
#include "tests/unit/net_sample.h"
#include "netconf/arp.h"
#include "netconf/pool.h"
#include "netconf/wol.h"

static void test_next_free_address(void **state)
{
	static const struct {
		const char *net;
		uint32_t first;
		const char *taken[3];
		const char *want; /* NULL: none left */
	} cases[] = {
		{"10.80.1.0/24", 10, {NULL}, "10.80.1.10"},
		{"10.80.1.0/24", 10, {"10.80.1.10", "10.80.1.11"}, "10.80.1.12"},
		{"10.80.1.0/24", 10, {"10.80.1.11"}, "10.80.1.10"},
		{"10.80.1.7/24", 10, {NULL}, "10.80.1.10"}, /* host bits do not matter */
		{"10.80.1.0/24", 0, {NULL}, "10.80.1.1"},   /* never the network itself */
		{"10.80.1.0/30", 1, {"10.80.1.1"}, "10.80.1.2"},
		{"10.80.1.0/30", 1, {"10.80.1.1", "10.80.1.2"}, NULL}, /* .3 is the broadcast */
		{"10.80.1.0/24", 255, {NULL}, NULL},
		{"10.80.1.0/24", 254, {NULL}, "10.80.1.254"},
		{"10.80.1.0/31", 0, {NULL}, NULL},
		{"10.80.0.0/16", 255, {NULL}, "10.80.0.255"},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		auto_error struct error *err = NULL;
		struct ip4s taken = {0};
		struct ip4 got = {0};
		char text[IP4_TEXT];
		int r = 0;

		for (size_t k = 0; k < 3 && cases[i].taken[k]; k++)
			vec_push(&taken, ip(cases[i].taken[k]));
		r = pool_address(net(cases[i].net), cases[i].first, &taken, &got, &err);
		vec_done(&taken);
		if (cases[i].want) {
			assert_int_equal(r, 0);
			assert_string_equal(ip4_format(got, text), cases[i].want);
		} else {
			assert_true(r == -ENOSPC || r == -EINVAL);
			assert_non_null(strstr(err->text, "10.80.1.0"));
		}
	}
}

static void test_macs_are_stable_and_spread(void **state)
{
	struct mac first = pool_mac("north", "alice", 1, 0),
		   again = pool_mac("north", "alice", 1, 0);
	struct mac others[] = {
		pool_mac("south", "alice", 1, 0),
		pool_mac("north", "bob", 1, 0),
		pool_mac("north", "alice", 2, 0),
		pool_mac("north", "alice", 1, 1),
		pool_mac("northalice", "", 1, 0),
	};
	char text[MAC_TEXT];

	(void)state;
	assert_int_equal(mac_cmp(&first, &again), 0);
	/* a changed formula would give every VM of every lab a new MAC */
	assert_string_equal(mac_format(&first, text), "52:4e:43:57:88:38");
	for (size_t i = 0; i < ARRAY_LEN(others); i++) {
		assert_memory_equal(others[i].b, first.b, 3);
		assert_int_not_equal(mac_cmp(&first, &others[i]), 0);
	}
}

static void test_taken_mac_gives_the_next(void **state)
{
	struct mac first = pool_mac("north", "alice", 1, 0),
		   second = pool_mac("north", "alice", 1, 1), got;
	struct macs taken = {0};

	(void)state;
	got = pool_free_mac("north", "alice", 1, &taken);
	assert_int_equal(mac_cmp(&got, &first), 0);
	vec_push(&taken, first);
	got = pool_free_mac("north", "alice", 1, &taken);
	assert_int_equal(mac_cmp(&got, &second), 0);
	vec_done(&taken);
}

static void test_magic_packet(void **state)
{
	struct mac mac = hw("52:54:00:ab:cd:01");
	uint8_t packet[WOL_PACKET];

	(void)state;
	wol_packet(&mac, packet);
	assert_int_equal(sizeof(packet), 102);
	for (int i = 0; i < 6; i++)
		assert_int_equal(packet[i], 0xff);
	for (int i = 1; i <= 16; i++)
		assert_memory_equal(packet + 6 * i, mac.b, 6);
}

static void test_wol_from_an_address_that_is_not_ours(void **state)
{
	struct mac mac = hw("52:54:00:ab:cd:01");
	auto_error struct error *err = NULL;

	(void)state;
	assert_int_equal(wol_send(ip("192.0.2.1"), ip("192.0.2.255"), &mac, &err), -EADDRNOTAVAIL);
	assert_non_null(strstr(err->text, "192.0.2.1"));
	assert_int_equal(wol_send(ip("127.0.0.1"), ip("127.255.255.255"), &mac, NULL), 0);
}

static void test_arp_probe(void **state)
{
	static const uint8_t want[ARP_FRAME] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x52, 0x54, 0,
		0xab, 0xcd, 1, 8, 6, 0, 1, 8, 0, 6, 4, 0, 1, 0x52, 0x54, 0, 0xab, 0xcd, 1, 0, 0, 0,
		0, 0, 0, 0, 0, 0, 0, 10, 71, 0, 11};
	struct mac mac = hw("52:54:00:ab:cd:01");
	struct arp_conflict claim;
	uint8_t frame[ARP_FRAME];

	(void)state;
	arp_probe(&mac, ip("10.71.0.11"), frame);
	assert_memory_equal(frame, want, sizeof(want));
	/* another's probe is a claim to what it probes for */
	assert_true(arp_claim(frame, sizeof(frame), &claim));
	assert_int_equal(claim.address.host, ip("10.71.0.11").host);
	/* an answer is a claim to its sender's address */
	frame[21] = 2;
	frame[28] = 10, frame[29] = 71, frame[31] = 12;
	assert_true(arp_claim(frame, sizeof(frame), &claim));
	assert_int_equal(claim.address.host, ip("10.71.0.12").host);
	assert_int_equal(mac_cmp(&claim.mac, &mac), 0);
	assert_false(arp_claim(frame, sizeof(frame) - 1, &claim));
	frame[12] = 0x86; /* not ARP */
	assert_false(arp_claim(frame, sizeof(frame), &claim));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_next_free_address),
		cmocka_unit_test(test_macs_are_stable_and_spread),
		cmocka_unit_test(test_taken_mac_gives_the_next),
		cmocka_unit_test(test_magic_packet),
		cmocka_unit_test(test_wol_from_an_address_that_is_not_ours),
		cmocka_unit_test(test_arp_probe),
	};

	return cmocka_run_group_tests_name("netconf pool, wol, arp", tests, NULL, NULL);
}
