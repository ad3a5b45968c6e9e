/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Strict JSON: each refused document names the field at fault, with its path, and leaves nothing
 * behind (the sanitizers see leaks); each accepted one is written back to the same text.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "lib/json.h"
#include "lib/str.h"
#include "lib/vec.h"

struct port {
	struct mac mac;
	struct ip4 ip;
};
VEC_OF(ports, struct port);
VEC_OF(words, char *);

struct box {
	char *name, *note, *script, *digest;
	struct prefix4 net;
	uint64_t cpus;
	int64_t shift;
	bool on, has_on, has_cpus;
	int colour;
	struct port uplink;
	struct ports ports;
	struct words tags;
	json_t *rest;
};

static const char *const colours[] = {"red", "green", NULL};
static const struct json_field port_fields[] = {
	FIELD(struct port, mac, JSON_KIND_MAC, true),
	FIELD(struct port, ip, JSON_KIND_IP4, false),
};
static const struct json_field box_fields[] = {
	FIELD(struct box, name, JSON_KIND_NAME, true),
	FIELD_MAX(struct box, note, JSON_KIND_STRING, false, 8),
	FIELD_MAX(struct box, script, JSON_KIND_TEXT, false, 12),
	FIELD(struct box, digest, JSON_KIND_SHA256, false),
	FIELD(struct box, net, JSON_KIND_PREFIX4, false),
	{.name = "cpus",
		.kind = JSON_KIND_UINT,
		.offset = offsetof(struct box, cpus),
		.has_offset = offsetof(struct box, has_cpus),
		.min = 1,
		.max = 64},
	FIELD(struct box, shift, JSON_KIND_INT, false),
	FIELD_HAS(struct box, on, JSON_KIND_BOOL),
	FIELD_ENUM(struct box, colour, false, colours),
	FIELD_OBJECT(struct box, uplink, false, port_fields),
	FIELD_ARRAY(struct box, ports, false, struct port, port_fields),
	FIELD_MAX(struct box, tags, JSON_KIND_STRINGS, false, 2),
	FIELD(struct box, rest, JSON_KIND_ANY, false),
};

static int read_box(const char *text, struct box *box, struct error **err)
{
	auto_json json_t *object = NULL;
	int r = json_parse_object(text, strlen(text), &object, err);

	return r < 0 ? r : json_read(object, box_fields, ARRAY_LEN(box_fields), box, err);
}

static void test_refused(void **state)
{
	static const struct {
		const char *text, *field; /* field NULL: none is named */
	} rows[] = {
		{"{}", "name"},
		{"{\"name\":\"a\",\"extra\":1}", "extra"},
		{"{\"name\":\"a\",\"name\":\"b\"}", "name"},
		{"{\"name\":\"a\",\"a-member-with-a-rather-long-name\":1,\"a-member-with-a-rather-"
		 "long-name\":2}",
			"a-member-with-a-rather-long-name"},
		{"{\"name\":\"a\",\"uplink\":{\"mac\":1,\"mac\":2}}", "mac"},
		{"{\"name\":\"a\",\"uplink\":{\"mac\":\"x\" , \"mac\"\n : 2}}", "mac"},
		{"{\"name\":\"A\"}", "name"},
		{"{\"name\":null}", "name"},
		{"{\"name\":7}", "name"},
		{"{\"name\":\"a\",\"note\":\"123456789\"}", "note"},
		{"{\"name\":\"a\",\"note\":\"a\\nb\"}", "note"},
		{"{\"name\":\"a\",\"note\":\"a\\u0000b\"}", NULL},
		{"{\"name\":\"a\",\"script\":\"1234567890123\"}", "script"},
		{"{\"name\":\"a\",\"digest\":\"12\"}", "digest"},
		{"{\"name\":\"a\",\"net\":\"10.0.0.0\"}", "net"},
		{"{\"name\":\"a\",\"net\":10}", "net"},
		{"{\"name\":\"a\",\"cpus\":0}", "cpus"},
		{"{\"name\":\"a\",\"cpus\":65}", "cpus"},
		{"{\"name\":\"a\",\"cpus\":-1}", "cpus"},
		{"{\"name\":\"a\",\"cpus\":2.0}", "cpus"},
		{"{\"name\":\"a\",\"cpus\":\"2\"}", "cpus"},
		{"{\"name\":\"a\",\"cpus\":99999999999999999999}", NULL},
		{"{\"name\":\"a\",\"shift\":true}", "shift"},
		{"{\"name\":\"a\",\"on\":1}", "on"},
		{"{\"name\":\"a\",\"colour\":\"blue\"}", "colour"},
		{"{\"name\":\"a\",\"colour\":0}", "colour"},
		{"{\"name\":\"a\",\"uplink\":[]}", "uplink"},
		{"{\"name\":\"a\",\"uplink\":{}}", "uplink.mac"},
		{"{\"name\":\"a\",\"uplink\":{\"mac\":\"52:54:00:00:00:01\",\"x\":0}}", "uplink.x"},
		{"{\"name\":\"a\",\"ports\":{}}", "ports"},
		{"{\"name\":\"a\",\"ports\":[1]}", "ports[0]"},
		{"{\"name\":\"a\",\"ports\":[{\"mac\":\"52:54:00:00:00:01\"},{\"mac\":\"zz\"}]}",
			"ports[1].mac"},
		{"{\"name\":\"a\",\"ports\":[{\"mac\":\"52:54:00:00:00:01\"},{\"ip\":\"1.2.3.4\"}]"
		 "}",
			"ports[1].mac"},
		{"{\"name\":\"a\",\"tags\":[\"a\",\"b\",\"c\"]}", "tags"},
		{"{\"name\":\"a\",\"tags\":[\"a\",2]}", "tags[1]"},
		{"{\"name\":\"a\",\"tags\":[\"a\\tb\"]}", "tags[0]"},
		{"[]", NULL},
		{"7", NULL},
		{"", NULL},
		{"{\"name\":\"a\"}{}", NULL},
		{"{\"name\":\"a\",}", NULL},
		{"{\"name\":\"\xff\"}", NULL},
		{"{'name':'a'}", NULL},
	};
	static const struct box empty;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		auto_error struct error *err = NULL;
		struct box box = {0};

		assert_int_equal(read_box(rows[i].text, &box, &err), -EINVAL);
		assert_non_null(err);
		if (rows[i].field && (!err->field || strcmp(err->field, rows[i].field) != 0))
			fail_msg("%s: field %s, not %s", rows[i].text, err->field, rows[i].field);
		if (!rows[i].field)
			assert_null(err->field);
		assert_memory_equal(&box, &empty, sizeof(box));
		assert_int_equal(read_box(rows[i].text, &box, NULL), -EINVAL);
	}
}

static void test_round_trip(void **state)
{
	const char *text =
		"{\"name\":\"a-1\",\"note\":\"\xc3\xa4 b\",\"script\":\"a\\nb\",\"digest\":"
		"\"0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef\",\"net\":\"10."
		"0.0.1/24\","
		"\"cpus\":64,\"shift\":-5,\"on\":false,\"colour\":\"green\",\"uplink\":{\"mac\":"
		"\"52:54:00:00:00:01\",\"ip\":\"1.2.3.4\"},\"ports\":[{\"mac\":\"52:54:00:00:00:"
		"02\"}],"
		"\"tags\":[\"x\",\"\"],\"rest\":{\"any\":[1,null]}}";
	auto_error struct error *err = NULL;
	struct box box = {0};
	static const struct box empty;
	auto_json json_t *object = NULL;
	auto_free char *back = NULL;

	(void)state;
	assert_int_equal(read_box(text, &box, &err), 0);
	assert_true(box.has_on && !box.on && box.has_cpus);
	assert_int_equal(box.colour, 1);
	assert_int_equal(box.ports.n, 1);
	assert_int_equal(box.ports.at[0].ip.host, 0);
	object = json_write(box_fields, ARRAY_LEN(box_fields), &box);
	back = json_text(object);
	assert_string_equal(back, text);
	json_done(box_fields, ARRAY_LEN(box_fields), &box);
	assert_memory_equal(&box, &empty, sizeof(box));
}

static void test_absent(void **state)
{
	auto_json json_t *object = NULL;
	struct box box = {0};

	(void)state;
	assert_int_equal(read_box("{\"name\":\"a\"}", &box, NULL), 0);
	assert_false(box.has_on || box.has_cpus);
	assert_null(box.note);
	object = json_write(box_fields, ARRAY_LEN(box_fields), &box);
	assert_null(json_object_get(object, "cpus"));
	assert_null(json_object_get(object, "on"));
	assert_null(json_object_get(object, "note"));
	assert_null(json_object_get(object, "net"));
	json_done(box_fields, ARRAY_LEN(box_fields), &box);
}

static void test_depth(void **state)
{
	auto_free char *deep = xcalloc(1, 200001);
	json_t *object = NULL;
	const char *in_string =
		"{\"a\":\"[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[\\\"[[[[[[[[\"}";

	(void)state;
	memset(deep, '[', 200000);
	assert_int_equal(json_parse_object(deep, 200000, &object, NULL), -EINVAL);
	/* the last that is taken and the first that is not */
	for (int depth = 32; depth <= 33; depth++) {
		auto_free char *text = xasprintf("{\"a\":%.*s%.*s}", depth - 1, deep, depth - 1,
			"]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]");

		assert_int_equal(json_parse_object(text, strlen(text), &object, NULL),
			depth == 32 ? 0 : -EINVAL);
		if (depth == 32)
			json_decref(object);
	}
	assert_int_equal(json_parse_object(in_string, strlen(in_string), &object, NULL), 0);
	json_decref(object);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_refused),
		cmocka_unit_test(test_round_trip),
		cmocka_unit_test(test_absent),
		cmocka_unit_test(test_depth),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
