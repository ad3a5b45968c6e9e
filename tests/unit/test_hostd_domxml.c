/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The domain XML against golden files (REGEN=1 rewrites them), and what is escaped. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include "boot/hostd/domxml.h"
#include "lib/file.h"

static const struct domxml direct = {
	.id = "alice-003",
	.uuid = "01020304-0000-8000-8000-000000000000",
	.kvm = false,
	.cpus = 2,
	.memory_mib = 512,
	.mac = {{0x52, 0x4e, 0x43, 0x01, 0x02, 0x03}},
	.mtu = 1400,
	.bridge = "br0",
	.disk = "/vm/alice-003/disk.qcow2",
	.base = "/images/aa/disk.raw",
	.seed = "/vm/alice-003/seed.iso",
	.kernel = "/images/aa/kernel",
	.initrd = "/images/aa/initrd",
	.cmdline = "root=/dev/vda quiet",
	.channel = "/vm/alice-003/guest.sock",
	.console_log = "/vm/alice-003/console.log",
};

static void same_as_golden(const char *name, const char *text)
{
	auto_free char *path = xasprintf("tests/golden/hostd/%s", name);
	auto_free char *golden = NULL;
	if (getenv("REGEN"))
		assert_int_equal(file_write(path, text, strlen(text), 0644, NULL), 0);
	if (file_read(path, 1 << 20, &golden, NULL, NULL) < 0)
		fail_msg("no golden file %s", path);
	assert_string_equal(text, golden);
}

static void test_direct_boot(void **state)
{
	(void)state;
	auto_free char *xml = domxml_render(&direct);
	same_as_golden("direct-tcg.xml", xml);
}

static void test_disk_boot(void **state)
{
	struct domxml d = direct;
	(void)state;
	d.kvm = true;
	d.mtu = 0;
	d.kernel = d.initrd = d.cmdline = NULL;
	auto_free char *xml = domxml_render(&d);
	same_as_golden("disk-kvm.xml", xml);
}

/* Asked for by a word, not by a part of one. */
static void test_screen(void **state)
{
	static const char *const without[] = {
		"nightclass.screen=no quiet", "xnightclass.screen", "quiet", NULL};
	struct domxml d = direct;
	(void)state;
	d.cmdline = "root=/dev/vda nightclass.screens nightclass.screen";
	auto_free char *xml = domxml_render(&d);
	same_as_golden("screen-tcg.xml", xml);
	for (size_t i = 0; i < ARRAY_LEN(without); i++) {
		d.cmdline = without[i];
		auto_free char *plain = domxml_render(&d);
		assert_null(strstr(plain, "<graphics"));
	}
}

static void test_disk_that_is_still_coming(void **state)
{
	struct domxml d = direct;
	(void)state;
	d.base_socket = "/vm/base-0123456789abcdef.sock";
	auto_free char *xml = domxml_render(&d);
	same_as_golden("lazy-tcg.xml", xml);
}

static void test_escaping(void **state)
{
	struct domxml d = direct;
	(void)state;
	d.cmdline = "a=\"<&'>\"";
	auto_free char *xml = domxml_render(&d);
	assert_non_null(strstr(xml, "<cmdline>a=&quot;&lt;&amp;&apos;&gt;&quot;</cmdline>"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_direct_boot),
		cmocka_unit_test(test_disk_boot),
		cmocka_unit_test(test_disk_that_is_still_coming),
		cmocka_unit_test(test_screen),
		cmocka_unit_test(test_escaping),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
