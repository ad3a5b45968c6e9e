/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Configuration: every refused file names its line and key; comments, blanks and fallbacks.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "lib/conf.h"
#include "lib/file.h"
#include "lib/str.h"

struct settings {
	char *name, *dir, *title;
	bool on;
	uint32_t count;
	uint16_t port;
	uint64_t size;
	int64_t wait;
	struct mac mac;
	struct ip4 ip;
	struct prefix4 net;
};

#define ROW(sect, member, setter, need, otherwise)                                                 \
	{                                                                                          \
		.section = sect, .key = #member, .set = conf_set_##setter,                         \
		.offset = offsetof(struct settings, member), .required = (need),                   \
		.fallback = (otherwise), .help = "of the test"                                     \
	}
static const struct conf_key keys[] = {
	ROW("lab", name, name, true, NULL),
	ROW("lab", title, string, false, NULL),
	ROW("lab", net, prefix4, false, "10.0.0.0/8"),
	ROW("lab", mac, mac, false, NULL),
	ROW("lab", ip, ip4, false, NULL),
	ROW("controller", dir, path, false, "/var/lib/x"),
	ROW("controller", on, bool, false, NULL),
	ROW("controller", count, uint32, false, "3"),
	ROW("controller", port, port, false, "8443"),
	ROW("controller", size, size, false, NULL),
	ROW("controller", wait, duration, false, "90s"),
};

static int parse(const char *text, struct settings *settings, struct error **err)
{
	return conf_parse(text, "x.conf", keys, ARRAY_LEN(keys), settings, err);
}

static void settings_done(struct settings *settings)
{
	free(settings->name);
	free(settings->dir);
	free(settings->title);
}

static void test_good(void **state)
{
	auto_error struct error *err = NULL;
	struct settings s = {0};

	(void)state;
	assert_int_equal(
		parse("# head\n\n [lab] # room 12\r\nname=north\t# the name\n  title = Raum #12 \n"
		      "net = 10.71.0.1/24\nmac = 52:54:00:00:00:01\nip = 10.71.0.1\n"
		      "[controller]\non = yes\nport = 1\nsize = 4GiB\nwait = 2h\n[lab]",
			&s, &err),
		0);
	assert_string_equal(s.name, "north");
	assert_string_equal(s.title, "Raum");
	assert_string_equal(s.dir, "/var/lib/x");
	assert_true(s.on);
	assert_int_equal(s.port, 1);
	assert_int_equal(s.count, 3);
	assert_true(s.size == 4ULL << 30);
	assert_int_equal(s.wait, 7200);
	assert_int_equal(s.net.len, 24);
	assert_int_equal(s.ip.host, 0x0a470001);
	assert_int_equal(s.mac.b[5], 1);
	settings_done(&s);
}

static void test_refused(void **state)
{
	static const struct {
		const char *text, *field, *line; /* line: how the error begins */
	} rows[] = {
		{"", "lab.name", "x.conf: "},
		{"[lab]\nname = A\n", "lab.name", "x.conf:2: "},
		{"[lab]\nname = a\nname = b\n", "lab.name", "x.conf:3: "},
		{"[lab]\nname = a\n[controller]\n[lab]\nname = a\n", "lab.name", "x.conf:5: "},
		{"[lab]\nnaem = a\n", "lab.naem", "x.conf:2: "},
		{"[lab]\nname = a\nport = 1\n", "lab.port", "x.conf:3: "},
		{"name = a\n", "name", "x.conf:1: "},
		{"\n[labs]\n", "labs", "x.conf:2: "},
		{"[lab\nname = a\n", NULL, "x.conf:1: "},
		{"[lab]\nname\n", NULL, "x.conf:2: "},
		{"[lab]\nname =\n", "lab.name", "x.conf:2: "},
		{"[lab]\nname = a\ntitle = a\x01z\n", NULL, "x.conf:3: "},
		{"[controller]\nport = 0\n", "controller.port", "x.conf:2: "},
		{"[controller]\nport = 65536\n", "controller.port", "x.conf:2: "},
		{"[controller]\non = true\n", "controller.on", "x.conf:2: "},
		{"[controller]\ncount = 4294967296\n", "controller.count", "x.conf:2: "},
		{"[controller]\nsize = 4G\n", "controller.size", "x.conf:2: "},
		{"[controller]\nwait = 90\n", "controller.wait", "x.conf:2: "},
		{"[controller]\ndir = var\n", "controller.dir", "x.conf:2: "},
		{"[lab]\nip = 10.0.0.1/8\n", "lab.ip", "x.conf:2: "},
		{"[lab]\nnet = 10.0.0.1\n", "lab.net", "x.conf:2: "},
		{"[lab]\nmac = 52\n", "lab.mac", "x.conf:2: "},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		auto_error struct error *err = NULL;
		struct settings s = {0};

		assert_int_equal(parse(rows[i].text, &s, &err), -EINVAL);
		if (!str_starts(err->text, rows[i].line))
			fail_msg("%s: %s", rows[i].text, err->text);
		if (rows[i].field)
			assert_string_equal(err->field, rows[i].field);
		else
			assert_null(err->field);
		settings_done(&s);
	}
}

static void test_file(void **state)
{
	char path[] = "/tmp/test-conf-XXXXXX";
	auto_close int fd = mkstemp(path);
	struct settings s = {0};

	(void)state;
	assert_int_equal(fd_write_all(fd, "[lab]\nname = a\n", 15), 0);
	assert_int_equal(conf_load(path, keys, ARRAY_LEN(keys), &s, NULL), 0);
	assert_string_equal(s.name, "a");
	assert_int_equal(fd_write_all(fd, "\0", 1), 0);
	assert_int_equal(conf_load(path, keys, ARRAY_LEN(keys), &s, NULL), -EINVAL);
	unlink(path);
	assert_int_equal(conf_load(path, keys, ARRAY_LEN(keys), &s, NULL), -ENOENT);
	settings_done(&s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_good),
		cmocka_unit_test(test_refused),
		cmocka_unit_test(test_file),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
