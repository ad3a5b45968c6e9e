/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Values as text: units, times, host lists, and nothing that could steer a terminal. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include "controller/cli/client.h"
#include "controller/cli/show.h"
#include "lib/clock.h"

static void values(void **state)
{
	(void)state;
	static const struct {
		const char *json;
		enum show_kind kind;
		const char *text;
	} cases[] = {
		{"null", SHOW_TEXT, "-"},
		{"\"\"", SHOW_TEXT, "-"},
		{"\"room 4\"", SHOW_TEXT, "room 4"},
		{"7", SHOW_TEXT, "7"},
		{"true", SHOW_STATE, "yes"},
		{"4294967296", SHOW_SIZE, "4.0 GiB"},
		{"37200", SHOW_MS, "37.2 s"},
		{"0.42", SHOW_MS, "0.4 ms"},
		{"0", SHOW_MS, "-"},
		{"\"0123456789abcdef\"", SHOW_DIGEST, "0123456789ab"},
		{"[\"pc1\",\"pc2\",\"pc3\",\"pc7\"]", SHOW_NAMES, "pc[1-3,7]"},
		{"[{\"id\":\"a-001\"},{\"id\":\"a-002\"}]", SHOW_NAMES, "a-[001-002]"},
		{"[]", SHOW_NAMES, "-"},
		{"[1,2,3]", SHOW_COUNT, "3"},
		{"[{\"state\":\"ready\"},{\"state\":\"failed\"},{\"state\":\"ready\"}]",
			SHOW_STATES, "2 ready, 1 failed"},
		{"{\"host\":2,\"desktop\":0}", SHOW_STATES, "2 host"},
		{"1000000", SHOW_AGE, "10s"},
		{"999700", SHOW_AGE, "5m10s"},
		{"1000100", SHOW_AGE, "in 1m30s"},
		{"\"1970-01-12T13:46:40Z\"", SHOW_AGE, "10s"},
		{"0", SHOW_AGE, "-"},
	};
	clock_fix(1000010 * 1000LL);
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		auto_json json_t *value = json_loads(cases[i].json, JSON_DECODE_ANY, NULL);
		auto_free char *text = show_value(value, cases[i].kind);
		assert_string_equal(text, cases[i].text);
	}
	clock_fix(-1);
}

static void a_terminal_is_not_steered(void **state)
{
	(void)state;
	auto_json json_t *value = json_string("a\033[31mb\nc\xc2\x9b"
					      "d");
	auto_free char *text = show_value(value, SHOW_TEXT);
	assert_string_equal(text, "a?[31mb?c??d");
}

static void widths_are_characters(void **state)
{
	(void)state;
	assert_int_equal(show_width("Müller"), 6);
	assert_int_equal(show_width(""), 0);
}

static void members_by_path(void **state)
{
	(void)state;
	auto_json json_t *pc =
		json_loads("{\"facts\":{\"firmware\":\"uefi\"},\"reason\":null}", 0, NULL);
	assert_string_equal(json_string_value(show_member(pc, "facts.firmware")), "uefi");
	assert_null(show_member(pc, "facts.model"));
	assert_null(show_member(pc, "nothing.here"));
	assert_null(show_member(pc, "reason"));
	assert_string_equal(show_text(pc, "reason"), "");
}

static void names_cannot_leave_their_path(void **state)
{
	(void)state;
	auto_free char *plain = client_path("/pcs", "pc-1"),
		       *evil = client_path("/pcs", "../nights?x=1#\n");
	assert_string_equal(plain, "/pcs/pc-1");
	assert_string_equal(evil, "/pcs/..%2Fnights%3Fx%3D1%23%0A");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(values),
		cmocka_unit_test(a_terminal_is_not_steered),
		cmocka_unit_test(widths_are_characters),
		cmocka_unit_test(members_by_path),
		cmocka_unit_test(names_cannot_leave_their_path),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
