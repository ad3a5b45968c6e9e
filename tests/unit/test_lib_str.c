/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The small grammars: every row is a text and what becomes of it. Accepted rows are written back
 * and have to give the same value again, refused rows have to leave the result untouched.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "lib/str.h"

static void test_mac(void **state)
{
	static const struct {
		const char *text, *back; /* back NULL: refused */
	} rows[] = {
		{"52:54:00:12:34:56", "52:54:00:12:34:56"},
		{"52-54-00-AB-cd-EF", "52:54:00:ab:cd:ef"},
		{"52:54:00:12:34-56", NULL},
		{"52:54:00:12:34", NULL},
		{"52:54:00:12:34:56 ", NULL},
		{" 52:54:00:12:34:56", NULL},
		{"5254.0012.3456", NULL},
		{"525400123456", NULL},
		{"52:54:00:12:34:5g", NULL},
		{"00:00:00:00:00:00", NULL},
		{"ff:ff:ff:ff:ff:ff", NULL},
		{"01:00:5e:00:00:01", NULL},
		{"52:54:00:12:34:56:78", NULL},
		{"", NULL},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct mac mac = {{9, 9, 9, 9, 9, 9}};
		char text[MAC_TEXT];
		int r = mac_parse(rows[i].text, &mac);

		assert_int_equal(r, rows[i].back ? 0 : -EINVAL);
		assert_string_equal(
			mac_format(&mac, text), rows[i].back ? rows[i].back : "09:09:09:09:09:09");
	}
}

static void test_ip4(void **state)
{
	static const struct {
		const char *text;
		uint32_t host; /* 0: refused */
	} rows[] = {
		{"10.0.0.1", 0x0a000001},
		{"255.255.255.255", 0xffffffff},
		{"0.0.0.1", 1},
		{"0.0.0.0", 0},
		{"10.0.0.256", 0},
		{"010.0.0.1", 0},
		{"10.0.0", 0},
		{"10.0.0.1.", 0},
		{"10.0.0.1/24", 0},
		{"10.0.0.1\n", 0},
		{"+10.0.0.1", 0},
		{"10..0.1", 0},
		{"10.0.0.99999999999999999999", 0},
		{"", 0},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct ip4 address = {77};
		char text[IP4_TEXT];
		int r = ip4_parse(rows[i].text, &address);

		assert_int_equal(r, rows[i].host ? 0 : -EINVAL);
		assert_int_equal(address.host, rows[i].host ? rows[i].host : 77);
		if (rows[i].host)
			assert_string_equal(ip4_format(address, text), rows[i].text);
	}
}

static void test_prefix4(void **state)
{
	static const char *const good[] = {
		"10.0.0.1/24", "10.0.0.0/8", "1.2.3.4/0", "255.255.255.255/32"};
	static const char *const bad[] = {"10.0.0.0", "10.0.0.0/", "10.0.0.0/33", "10.0.0.0/024",
		"10.0.0.0/-1", "0.0.0.0/0", "10.0.0.0/24 ", "/24"};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(good); i++) {
		struct prefix4 prefix;
		char text[PREFIX4_TEXT];

		assert_int_equal(prefix4_parse(good[i], &prefix), 0);
		assert_string_equal(prefix4_format(prefix, text), good[i]);
	}
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		struct prefix4 prefix = {{1}, 2};

		assert_int_equal(prefix4_parse(bad[i], &prefix), -EINVAL);
		assert_int_equal(prefix.len, 2);
	}
}

static struct prefix4 p4(const char *text)
{
	struct prefix4 prefix = {.len = 0};

	assert_int_equal(prefix4_parse(text, &prefix), 0);
	return prefix;
}

static void test_prefix4_sets(void **state)
{
	static const struct {
		const char *a, *b;
		bool overlaps;
	} rows[] = {
		{"10.0.0.0/24", "10.0.0.128/25", true},
		{"10.0.0.128/25", "10.0.0.0/24", true},
		{"10.0.0.0/24", "10.0.1.0/24", false},
		{"10.0.0.0/23", "10.0.1.7/32", true},
		{"192.168.0.0/16", "10.0.0.0/8", false},
		{"1.0.0.0/0", "10.0.0.0/8", true},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++)
		assert_int_equal(prefix4_overlaps(p4(rows[i].a), p4(rows[i].b)), rows[i].overlaps);
	assert_int_equal(prefix4_mask(0), 0);
	assert_int_equal(prefix4_mask(24), 0xffffff00);
	assert_int_equal(prefix4_mask(32), 0xffffffff);
	assert_int_equal(prefix4_network(p4("10.1.2.3/16")).address.host, 0x0a010000);
	assert_true(prefix4_contains(p4("10.1.2.3/24"), (struct ip4){0x0a0102ff}));
	assert_false(prefix4_contains(p4("10.1.2.3/24"), (struct ip4){0x0a010300}));
}

static void test_sizes(void **state)
{
	static const struct {
		const char *text;
		int r;
		uint64_t bytes;
	} rows[] = {
		{"0", 0, 0},
		{"4096", 0, 4096},
		{"10KiB", 0, 10240},
		{"512MiB", 0, 512ULL << 20},
		{"4GiB", 0, 4ULL << 30},
		{"16777215TiB", 0, 16777215ULL << 40},
		{"16777216TiB", -EINVAL, 7},
		{"18446744073709551615", 0, UINT64_MAX},
		{"18446744073709551616", -EINVAL, 7},
		{"4G", -EINVAL, 7},
		{"4GB", -EINVAL, 7},
		{"4k", -EINVAL, 7},
		{"4 GiB", -EINVAL, 7},
		{"-4", -EINVAL, 7},
		{"04", -EINVAL, 7},
		{"GiB", -EINVAL, 7},
		{"", -EINVAL, 7},
	};
	static const struct {
		uint64_t bytes;
		const char *text;
	} shown[] = {{0, "0 B"}, {1023, "1023 B"}, {1024, "1.0 KiB"}, {4ULL << 30, "4.0 GiB"},
		{(1ULL << 20) - 1, "1.0 MiB"}, {UINT64_MAX, "16.0 EiB"}};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		uint64_t bytes = 7;

		assert_int_equal(size_parse(rows[i].text, &bytes), rows[i].r);
		assert_true(bytes == rows[i].bytes);
	}
	for (size_t i = 0; i < ARRAY_LEN(shown); i++) {
		auto_free char *text = size_format(shown[i].bytes);

		assert_string_equal(text, shown[i].text);
	}
}

static void test_durations(void **state)
{
	static const struct {
		const char *text;
		int64_t seconds; /* -1: refused */
	} rows[] = {{"90s", 90}, {"15m", 900}, {"8h", 28800}, {"2d", 172800}, {"30d", 2592000},
		{"0s", 0}, {"31d", -1}, {"721h", -1}, {"90", -1}, {"90 s", -1}, {"s", -1},
		{"1h30m", -1}, {"-1s", -1}, {"1S", -1}, {"09s", -1}, {"", -1},
		{"99999999999999999999d", -1}};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		int64_t seconds = -1;

		assert_int_equal(
			duration_parse(rows[i].text, &seconds), rows[i].seconds < 0 ? -EINVAL : 0);
		assert_int_equal(seconds, rows[i].seconds);
	}
}

static void test_uint(void **state)
{
	uint64_t value = 5;

	(void)state;
	assert_int_equal(uint_parse("0", 0, 9, &value), 0);
	assert_int_equal(value, 0);
	assert_int_equal(uint_parse("18446744073709551615", 0, UINT64_MAX, &value), 0);
	assert_true(value == UINT64_MAX);
	value = 5;
	assert_int_equal(uint_parse("10", 0, 9, &value), -EINVAL);
	assert_int_equal(uint_parse("2", 3, 9, &value), -EINVAL);
	assert_int_equal(uint_parse("05", 0, 9, &value), -EINVAL);
	assert_int_equal(uint_parse("5 ", 0, 9, &value), -EINVAL);
	assert_int_equal(uint_parse("0x5", 0, 9, &value), -EINVAL);
	assert_int_equal(uint_parse("", 0, 9, &value), -EINVAL);
	assert_int_equal(value, 5);
}

static void test_names(void **state)
{
	static const struct {
		const char *text;
		bool ok;
	} rows[] = {{"a", true}, {"pc-01", true}, {"lab2", true},
		{"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", true},
		{"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", false},
		{"", false}, {"-a", false}, {"a-", false}, {"1a", false}, {"A", false},
		{"a.b", false}, {"a b", false}, {"a\n", false}, {"a_b", false}, {"\xc3\xa4", false},
		{"../a", false}};
	const char *hex = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++)
		assert_int_equal(name_ok(rows[i].text), rows[i].ok);
	assert_true(sha256_hex_ok(hex));
	assert_false(sha256_hex_ok(hex + 1));
	assert_false(
		sha256_hex_ok("0123456789ABCDEF0123456789abcdef0123456789abcdef0123456789abcdef"));
	assert_false(
		sha256_hex_ok("0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef0"));
	assert_true(str_starts("join-ab", "join-"));
	assert_false(str_starts("joi", "join-"));
}

static void test_texts(void **state)
{
	static const struct {
		const char *text;
		size_t max;
		bool ok;
	} rows[] = {
		{"", 0, true},
		{"Raum 12, hinten", 15, true},
		{"Raum 12, hinten", 14, false},
		{"M\xc3\xbcnchen \xe2\x82\xac \xf0\x9f\x98\x80", 99, true},
		{"a\tb", 99, false},
		{"a\nb", 99, false},
		{"a\x1b[2J", 99, false},
		{"a\x7f", 99, false},
		{"\xc2\x85", 99, false},     /* next line, a C1 control */
		{"\xe2\x80\xa8", 99, false}, /* line separator */
		{"\xc0\xaf", 99, false},     /* '/' in two bytes */
		{"\xe0\x80\xaf", 99, false},
		{"\xed\xa0\x80", 99, false},	 /* surrogate */
		{"\xf4\x90\x80\x80", 99, false}, /* above U+10FFFF */
		{"\xff", 99, false},
		{"\x80", 99, false},
		{"\xc3", 99, false}, /* cut */
		{"\xf0\x9f\x98", 99, false},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++)
		assert_int_equal(text_ok(rows[i].text, rows[i].max), rows[i].ok);
}

static void test_buf(void **state)
{
	struct buf b = {0};
	char *text = buf_take(&b);

	(void)state;
	assert_string_equal(text, "");
	free(text);
	for (int i = 0; i < 1000; i++) {
		buf_addf(&b, "%d,", i);
		buf_adds(&b, "ab");
		buf_add(&b, "xyz", 1);
	}
	assert_int_equal(strlen(b.text), b.len);
	assert_memory_equal(b.text, "0,abx1,abx", 10);
	text = buf_take(&b);
	assert_null(b.text);
	assert_string_equal(text + strlen(text) - 7, "999,abx");
	free(text);
	buf_add(&b, NULL, 0);
	assert_string_equal(b.text, "");
	buf_done(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_mac),
		cmocka_unit_test(test_ip4),
		cmocka_unit_test(test_prefix4),
		cmocka_unit_test(test_prefix4_sets),
		cmocka_unit_test(test_sizes),
		cmocka_unit_test(test_durations),
		cmocka_unit_test(test_uint),
		cmocka_unit_test(test_names),
		cmocka_unit_test(test_texts),
		cmocka_unit_test(test_buf),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
