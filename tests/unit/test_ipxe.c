/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The iPXE scripts: the four texts against golden files (REGEN=1 rewrites them), and a table of
 * what must never reach a script. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include "boot/ipxe.h"

#define CA "1111111111111111111111111111111111111111111111111111111111111111"
#define ROOT "abcdef0123456789abcdef0123456789abcdef0123456789abcdef0123456789"

static const struct ipxe_server server = {{0x0a470001}, 8080, 8443};
static const struct mac mac = {{0x52, 0x54, 0x00, 0xab, 0xcd, 0x01}};

static char *read_all(const char *path)
{
	auto_fclose FILE *f = fopen(path, "re");
	auto_buf struct buf b = {0};
	char block[4096];
	size_t n;

	if (!f)
		return NULL;
	while ((n = fread(block, 1, sizeof(block), f)) > 0)
		buf_add(&b, block, n);
	return buf_take(&b);
}

static void same_as_golden(const char *name, const char *text)
{
	auto_free char *path = xasprintf("tests/golden/ipxe/%s", name);
	auto_free char *golden = NULL;

	if (getenv("REGEN")) {
		auto_fclose FILE *f = fopen(path, "we");
		assert_non_null(f);
		assert_int_equal(fputs(text, f) < 0, 0);
	}
	golden = read_all(path);
	if (!golden)
		fail_msg("no golden file %s", path);
	assert_string_equal(text, golden);
}

static struct ipxe_boot host(void)
{
	return (struct ipxe_boot){.kind = IPXE_HOST,
		.server = server,
		.mac = mac,
		.name = "north-01",
		.ca_sha256 = CA,
		.root_sha256 = ROOT,
		.backstop_s = 36000};
}

static void check_golden(const struct ipxe_boot *boot, const char *name)
{
	auto_free char *text = NULL;
	auto_error struct error *err = NULL;

	assert_int_equal(ipxe_script(boot, &text, &err), 0);
	assert_null(err);
	same_as_golden(name, text);
}

static void test_start(void **state)
{
	auto_free char *text = ipxe_start_script(&server);

	(void)state;
	same_as_golden("start.ipxe", text);
}

static void test_host(void **state)
{
	struct ipxe_boot boot = host();

	(void)state;
	check_golden(&boot, "host.ipxe");
	boot.backstop_s = 0;
	check_golden(&boot, "host-no-backstop.ipxe");
	boot.scratch_label = "night-scratch";
	boot.disks_sha256 = CA;
	check_golden(&boot, "host-scratch.ipxe");
	boot = host();
	boot.cast_sha256 = CA;
	boot.cast_port = 7867;
	check_golden(&boot, "host-cast.ipxe");
}

static void test_local(void **state)
{
	struct ipxe_boot boot = {
		.kind = IPXE_LOCAL, .server = server, .mac = mac, .name = "north-01"};

	(void)state;
	check_golden(&boot, "local.ipxe");
}

static void test_wait(void **state)
{
	struct ipxe_boot boot = {.kind = IPXE_WAIT,
		.server = server,
		.mac = mac,
		.name = "north-01",
		.ahead = 12,
		.wait_s = 3};

	(void)state;
	check_golden(&boot, "wait.ipxe");
	boot.ahead = 0;
	boot.wait_s = 1;
	check_golden(&boot, "wait-next.ipxe");
}

/* A reason is shown, but nothing in it is ever run. */
static void test_refuse(void **state)
{
	struct ipxe_boot boot = {.kind = IPXE_REFUSE,
		.server = server,
		.mac = mac,
		.reason =
			"two PCs use this MAC; ${net0/ip} && reboot || shell\nboot #x \"y\" 1\\2"};
	auto_free char *text = NULL;

	(void)state;
	check_golden(&boot, "refuse.ipxe");
	assert_int_equal(ipxe_script(&boot, &text, NULL), 0);
	assert_null(strstr(text, "${net0"));
	assert_null(strstr(text, "&& reboot"));
	assert_null(strstr(text, "\nboot"));
}

static void test_bad_members(void **state)
{
	static const struct {
		const char *name, *ca, *root, *field;
	} bad[] = {
		{NULL, CA, ROOT, "name"},
		{"", CA, ROOT, "name"},
		{"North", CA, ROOT, "name"},
		{"a b", CA, ROOT, "name"},
		{"a\nshell", CA, ROOT, "name"},
		{"${uuid}", CA, ROOT, "name"},
		{"pc-01", NULL, ROOT, "ca_sha256"},
		{"pc-01", "12", ROOT, "ca_sha256"},
		{"pc-01", CA "0", ROOT, "ca_sha256"},
		{"pc-01", CA, NULL, "root_sha256"},
		{"pc-01", CA, "ABCDEF0123456789abcdef0123456789abcdef0123456789abcdef0123456789",
			"root_sha256"},
		{"pc-01", CA, "abcdef0123456789abcdef0123456789abcdef0123456789abcdef01234567 x",
			"root_sha256"},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		struct ipxe_boot boot = host();
		auto_error struct error *err = NULL;
		char *text = NULL;

		boot.name = bad[i].name;
		boot.ca_sha256 = bad[i].ca;
		boot.root_sha256 = bad[i].root;
		assert_int_equal(ipxe_script(&boot, &text, &err), -EINVAL);
		assert_null(text);
		assert_string_equal(err->field, bad[i].field);
	}
}

static void test_bad_scratch(void **state)
{
	static const struct {
		const char *label, *digest, *field;
	} bad[] = {
		{"a b", CA, "scratch_label"},
		{"x init=/bin/sh", CA, "scratch_label"},
		{"night", NULL, "disks_sha256"},
		{"night", "abc", "disks_sha256"},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		struct ipxe_boot boot = host();
		auto_error struct error *err = NULL;
		char *text = NULL;

		boot.scratch_label = bad[i].label;
		boot.disks_sha256 = bad[i].digest;
		assert_int_equal(ipxe_script(&boot, &text, &err), -EINVAL);
		assert_string_equal(err->field, bad[i].field);
	}
}

static void test_bad_cast(void **state)
{
	static const struct {
		const char *digest;
		uint16_t port;
	} bad[] = {{"abc", 7867}, {CA " init=/bin/sh", 7867}, {CA, 0}};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		struct ipxe_boot boot = host();
		auto_error struct error *err = NULL;
		char *text = NULL;

		boot.cast_sha256 = bad[i].digest;
		boot.cast_port = bad[i].port;
		assert_int_equal(ipxe_script(&boot, &text, &err), -EINVAL);
		assert_string_equal(err->field, "cast_sha256");
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_start),
		cmocka_unit_test(test_host),
		cmocka_unit_test(test_local),
		cmocka_unit_test(test_wait),
		cmocka_unit_test(test_refuse),
		cmocka_unit_test(test_bad_members),
		cmocka_unit_test(test_bad_scratch),
		cmocka_unit_test(test_bad_cast),
	};

	return cmocka_run_group_tests_name("ipxe", tests, NULL, NULL);
}
