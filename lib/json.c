/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Strict JSON: the only way by which documents from the network become structs. jansson does the
 * lexing; this file adds what a document that steers machines needs: objects only, a bounded depth
 * (checked by a scan before the parser recurses), duplicate keys refused with the key's name, and
 * table-driven reading where a member that no row names, a wrong type or a value out of bounds is
 * an error with the full path of the field ("vms[2].context.mac"). The same table frees a struct
 * and writes it back, so a document's format stands in one place.
 *
 * json_read is all or nothing: after a failure the struct is zeroed and owns nothing. Unknown
 * members are refused (not skipped): a misspelled optional member would otherwise be silently
 * without effect. Must not log; must not put values (which may be secrets) into error texts, only
 * names and bounds.
 */
#include "lib/json.h"
#include "lib/str.h"
#include "lib/vec.h"

enum {
	DEPTH_MAX = 32,
	BYTES_MAX = 64 << 20,
	STRING_MAX = 4096,
	TEXT_MAX = 65536,
	ELEMENTS_MAX = 1024,
};
static const uint64_t uint_max = 1ULL << 53;

/* The layout that all VEC_OF arrays share. */
struct raw_vec {
	char *at;
	size_t n, cap;
};
struct string_vec {
	char **at;
	size_t n, cap;
};

static bool too_deep(const char *bytes, size_t len)
{
	bool in_string = false;
	int depth = 0;

	for (size_t i = 0; i < len; i++) {
		char c = bytes[i];

		if (in_string && c == '\\')
			i++;
		else if (c == '"')
			in_string = !in_string;
		else if (!in_string && (c == '{' || c == '['))
			depth++;
		else if (!in_string && (c == '}' || c == ']'))
			depth--;
		if (depth > DEPTH_MAX)
			return true;
	}
	return false;
}

/* The string that ends right before `end` (one past its closing quote): jansson stops there when it
 * has seen a key for the second time. Only a key without escapes is named. */
static char *key_before(const char *bytes, size_t len, int end)
{
	size_t close = 0, open = 0;

	if (end < 2 || (size_t)end > len || bytes[end - 1] != '"')
		return NULL;
	close = (size_t)end - 1;
	for (open = close; open > 0 && bytes[open - 1] != '"'; open--)
		if (bytes[open - 1] == '\\' || (unsigned char)bytes[open - 1] < 0x20)
			return NULL;
	if (open == 0)
		return NULL;
	return xstrndup(bytes + open, close - open);
}

static int parse_failed(const char *bytes, size_t len, const json_error_t *why, struct error **err)
{
	auto_free char *key = NULL;

	if (json_error_code(why) == json_error_duplicate_key) {
		key = key_before(bytes, len, why->position);
		return error_field(err, -EINVAL, key,
			"The member \"%s\" stands in the object twice.", key ? key : "?");
	}
	return error_make(err, -EINVAL, "This is not valid JSON: %s (line %d, column %d).",
		why->text, why->line, why->column);
}

int json_parse_object(const char *bytes, size_t len, json_t **ret_object, struct error **err)
{
	json_t *value = NULL;
	json_error_t why;

	if (len > BYTES_MAX)
		return error_make(err, -E2BIG, "The document has more than %d bytes.", BYTES_MAX);
	if (too_deep(bytes, len))
		return error_make(
			err, -EINVAL, "The document is nested deeper than %d.", DEPTH_MAX);
	value = json_loadb(bytes, len, JSON_REJECT_DUPLICATES, &why);
	if (!value)
		return parse_failed(bytes, len, &why, err);
	if (!json_is_object(value)) {
		json_decref(value);
		return error_make(err, -EINVAL, "A JSON object is expected.");
	}
	*ret_object = value;
	return 0;
}

char *json_text(const json_t *value)
{
	char *text = json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY);

	return text ? text : xstrdup("null");
}

static int wrong(const struct json_field *field, struct error **err, const char *what)
{
	return error_field(err, -EINVAL, field->name, "\"%s\" must be %s.", field->name, what);
}

static int read_string(
	const json_t *value, const struct json_field *field, char **ret_text, struct error **err)
{
	bool one_line = field->kind == JSON_KIND_STRING || field->kind == JSON_KIND_STRINGS;
	size_t max = field->kind == JSON_KIND_STRING && field->max ? field->max : STRING_MAX;
	const char *text = json_string_value(value);

	if (field->kind == JSON_KIND_TEXT)
		max = field->max ? field->max : TEXT_MAX;
	if (!text)
		return wrong(field, err, "a string");
	if (json_string_length(value) > max)
		return error_field(err, -EINVAL, field->name, "\"%s\" has more than %zu bytes.",
			field->name, max);
	if (one_line && !text_ok(text, max))
		return wrong(field, err, "one line of printable text");
	if (field->kind == JSON_KIND_NAME && !name_ok(text))
		return wrong(field, err,
			"a name: 1 to 63 of a-z, 0-9 and '-', first a letter, last not '-'");
	if (field->kind == JSON_KIND_SHA256 && !sha256_hex_ok(text))
		return wrong(field, err, "a SHA-256 digest of 64 lower-case hex digits");
	*ret_text = xstrdup(text);
	return 0;
}

static int read_uint(const json_t *value, const struct json_field *field, uint64_t *ret_value,
	struct error **err)
{
	uint64_t max = field->max ? field->max : uint_max;
	json_int_t number = json_integer_value(value);

	if (!json_is_integer(value))
		return wrong(field, err, "a whole number");
	if (number < 0 || (uint64_t)number < field->min || (uint64_t)number > max)
		return error_field(err, -EINVAL, field->name, "\"%s\" must be from %ju to %ju.",
			field->name, (uintmax_t)field->min, (uintmax_t)max);
	*ret_value = (uint64_t)number;
	return 0;
}

static int read_enum(
	const json_t *value, const struct json_field *field, int *ret_index, struct error **err)
{
	auto_buf struct buf known = {0};
	const char *text = json_string_value(value);

	for (int i = 0; field->names[i]; i++) {
		if (text && strcmp(text, field->names[i]) == 0) {
			*ret_index = i;
			return 0;
		}
		buf_addf(&known, "%s%s", i ? ", " : "", field->names[i]);
	}
	return error_field(err, -EINVAL, field->name, "\"%s\" must be one of: %s.", field->name,
		known.text ? known.text : "");
}

static int read_array_size(const json_t *value, const struct json_field *field, struct error **err)
{
	size_t max = field->max ? field->max : ELEMENTS_MAX;

	if (!json_is_array(value))
		return wrong(field, err, "an array");
	if (json_array_size(value) > max)
		return error_field(err, -EINVAL, field->name, "\"%s\" has more than %zu elements.",
			field->name, max);
	return 0;
}

/* Puts "name[i]" in front of the field at fault. */
static int in_element(const struct json_field *field, size_t i, int r, struct error **err)
{
	auto_free char *prefix = xasprintf("%s[%zu]", field->name, i);

	if (err)
		error_in_field(*err, prefix);
	return r;
}

static int read_array(const json_t *value, const struct json_field *field, struct raw_vec *vec,
	struct error **err)
{
	int r = read_array_size(value, field, err);

	if (r < 0)
		return r;
	vec->cap = json_array_size(value);
	if (vec->cap)
		vec->at = xcalloc(vec->cap, field->size);
	for (size_t i = 0; i < vec->cap; i++, vec->n++) {
		const json_t *element = json_array_get(value, i);

		if (json_is_object(element))
			r = json_read(element, field->fields, field->n_fields,
				vec->at + i * field->size, err);
		else
			r = error_make(
				err, -EINVAL, "\"%s[%zu]\" must be an object.", field->name, i);
		if (r < 0)
			return in_element(field, i, r, err);
	}
	return 0;
}

static int read_strings(const json_t *value, const struct json_field *field, struct string_vec *vec,
	struct error **err)
{
	int r = read_array_size(value, field, err);

	if (r < 0)
		return r;
	vec->cap = json_array_size(value);
	if (vec->cap)
		vec->at = xcalloc(vec->cap, sizeof(char *));
	for (size_t i = 0; i < vec->cap; i++, vec->n++) {
		auto_error struct error *why = NULL;

		r = read_string(json_array_get(value, i), field, &vec->at[i], &why);
		if (r < 0) {
			auto_free char *path = xasprintf("%s[%zu]", field->name, i);

			return error_field(err, r, path, "%s", error_text(why, r));
		}
	}
	return 0;
}

static int read_network(
	const json_t *value, const struct json_field *field, void *out, struct error **err)
{
	const char *text = json_string_value(value);

	if (field->kind == JSON_KIND_MAC && (!text || mac_parse(text, out) < 0))
		return wrong(field, err, "a MAC address like 52:54:00:12:34:56, unicast");
	if (field->kind == JSON_KIND_IP4 && (!text || ip4_parse(text, out) < 0))
		return wrong(field, err, "an IPv4 address like 10.0.0.1");
	if (field->kind == JSON_KIND_PREFIX4 && (!text || prefix4_parse(text, out) < 0))
		return wrong(field, err, "an IPv4 prefix like 10.0.0.0/24");
	return 0;
}

static int read_object(
	const json_t *value, const struct json_field *field, void *out, struct error **err)
{
	int r = 0;

	if (!json_is_object(value))
		return wrong(field, err, "an object");
	r = json_read(value, field->fields, field->n_fields, out, err);
	if (r < 0 && err)
		error_in_field(*err, field->name);
	return r;
}

static int read_member(
	const json_t *value, const struct json_field *field, void *out, struct error **err)
{
	switch (field->kind) {
	case JSON_KIND_STRING:
	case JSON_KIND_TEXT:
	case JSON_KIND_NAME:
	case JSON_KIND_SHA256:
		return read_string(value, field, out, err);
	case JSON_KIND_MAC:
	case JSON_KIND_IP4:
	case JSON_KIND_PREFIX4:
		return read_network(value, field, out, err);
	case JSON_KIND_UINT:
		return read_uint(value, field, out, err);
	case JSON_KIND_INT:
		if (!json_is_integer(value))
			return wrong(field, err, "a whole number");
		*(int64_t *)out = json_integer_value(value);
		return 0;
	case JSON_KIND_BOOL:
		if (!json_is_boolean(value))
			return wrong(field, err, "true or false");
		*(bool *)out = json_is_true(value);
		return 0;
	case JSON_KIND_ENUM:
		return read_enum(value, field, out, err);
	case JSON_KIND_OBJECT:
		return read_object(value, field, out, err);
	case JSON_KIND_ARRAY:
		return read_array(value, field, out, err);
	case JSON_KIND_STRINGS:
		return read_strings(value, field, out, err);
	case JSON_KIND_ANY:
		*(json_t **)out = json_incref((json_t *)value);
		return 0;
	}
	abort();
}

static bool known_member(const char *name, const struct json_field *fields, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (strcmp(fields[i].name, name) == 0)
			return true;
	return false;
}

static int read_members(const json_t *object, const struct json_field *fields, size_t n, void *base,
	struct error **err)
{
	for (void *at = json_object_iter((json_t *)object); at;
		at = json_object_iter_next((json_t *)object, at)) {
		const char *name = json_object_iter_key(at);

		if (!known_member(name, fields, n))
			return error_field(err, -EINVAL, name,
				"The member \"%s\" is not known here.",
				text_ok(name, 200) ? name : "?");
	}
	for (size_t i = 0; i < n; i++) {
		const struct json_field *field = &fields[i];
		const json_t *value = json_object_get(object, field->name);
		int r = 0;

		if (!value && field->required)
			return error_field(
				err, -EINVAL, field->name, "\"%s\" is missing.", field->name);
		if (!value)
			continue;
		r = read_member(value, field, (char *)base + field->offset, err);
		if (r < 0)
			return r;
		if (field->has_offset != NO_HAS)
			*(bool *)((char *)base + field->has_offset) = true;
	}
	return 0;
}

int json_read(const json_t *object, const struct json_field *fields, size_t n, void *base,
	struct error **err)
{
	int r = 0;

	if (!json_is_object(object))
		return error_make(err, -EINVAL, "A JSON object is expected.");
	r = read_members(object, fields, n, base, err);
	if (r < 0)
		json_done(fields, n, base);
	return r;
}

static json_t *write_array(const struct json_field *field, const struct raw_vec *vec)
{
	json_t *array = json_array();

	for (size_t i = 0; i < vec->n; i++)
		json_array_append_new(array,
			json_write(field->fields, field->n_fields, vec->at + i * field->size));
	return array;
}

static json_t *write_strings(const struct string_vec *vec)
{
	json_t *array = json_array();

	for (size_t i = 0; i < vec->n; i++)
		json_array_append_new(array, json_string(vec->at[i]));
	return array;
}

/* A zero address is how an absent one stands in a struct; its text would not be read back. */
static json_t *write_network(const struct json_field *field, const void *at)
{
	static const struct mac no_mac;
	char text[PREFIX4_TEXT] = "";

	if (field->kind == JSON_KIND_MAC && mac_cmp(at, &no_mac) != 0)
		mac_format(at, text);
	else if (field->kind == JSON_KIND_IP4 && ((const struct ip4 *)at)->host)
		ip4_format(*(const struct ip4 *)at, text);
	else if (field->kind == JSON_KIND_PREFIX4 && ((const struct prefix4 *)at)->address.host)
		prefix4_format(*(const struct prefix4 *)at, text);
	return *text ? json_string(text) : NULL;
}

/* A new value, or NULL when the member is to be left out. */
static json_t *write_member(const struct json_field *field, const void *at)
{
	switch (field->kind) {
	case JSON_KIND_STRING:
	case JSON_KIND_TEXT:
	case JSON_KIND_NAME:
	case JSON_KIND_SHA256:
		return json_string(*(char *const *)at); /* NULL for NULL */
	case JSON_KIND_MAC:
	case JSON_KIND_IP4:
	case JSON_KIND_PREFIX4:
		return write_network(field, at);
	case JSON_KIND_UINT:
		return json_integer((json_int_t) * (const uint64_t *)at);
	case JSON_KIND_INT:
		return json_integer(*(const int64_t *)at);
	case JSON_KIND_BOOL:
		return json_boolean(*(const bool *)at);
	case JSON_KIND_ENUM:
		return json_string(field->names[*(const int *)at]);
	case JSON_KIND_OBJECT:
		return json_write(field->fields, field->n_fields, at);
	case JSON_KIND_ARRAY:
		return write_array(field, at);
	case JSON_KIND_STRINGS:
		return write_strings(at);
	case JSON_KIND_ANY:
		return json_incref(*(json_t *const *)at);
	}
	abort();
}

json_t *json_write(const struct json_field *fields, size_t n, const void *base)
{
	json_t *object = json_object();

	for (size_t i = 0; i < n; i++) {
		const struct json_field *field = &fields[i];
		json_t *value = NULL;

		if (field->has_offset != NO_HAS &&
			!*(const bool *)((const char *)base + field->has_offset))
			continue;
		value = write_member(field, (const char *)base + field->offset);
		if (value)
			json_object_set_new(object, field->name, value);
	}
	return object;
}

static void member_done(const struct json_field *field, void *at)
{
	struct string_vec *strings = at;
	struct raw_vec *vec = at;

	switch (field->kind) {
	case JSON_KIND_STRING:
	case JSON_KIND_TEXT:
	case JSON_KIND_NAME:
	case JSON_KIND_SHA256:
		free(*(char **)at);
		memset(at, 0, sizeof(char *));
		break;
	case JSON_KIND_MAC:
		memset(at, 0, sizeof(struct mac));
		break;
	case JSON_KIND_IP4:
		memset(at, 0, sizeof(struct ip4));
		break;
	case JSON_KIND_PREFIX4:
		memset(at, 0, sizeof(struct prefix4));
		break;
	case JSON_KIND_UINT:
	case JSON_KIND_INT:
		memset(at, 0, sizeof(uint64_t));
		break;
	case JSON_KIND_BOOL:
		*(bool *)at = false;
		break;
	case JSON_KIND_ENUM:
		*(int *)at = 0;
		break;
	case JSON_KIND_OBJECT:
		json_done(field->fields, field->n_fields, at);
		break;
	case JSON_KIND_ARRAY:
		for (size_t i = 0; i < vec->n; i++)
			json_done(field->fields, field->n_fields, vec->at + i * field->size);
		vec_done(vec);
		break;
	case JSON_KIND_STRINGS:
		for (size_t i = 0; i < strings->n; i++)
			free(strings->at[i]);
		vec_done(strings);
		break;
	case JSON_KIND_ANY:
		json_decref(*(json_t **)at);
		*(json_t **)at = NULL;
		break;
	}
}

void json_done(const struct json_field *fields, size_t n, void *base)
{
	for (size_t i = 0; i < n; i++) {
		member_done(&fields[i], (char *)base + fields[i].offset);
		if (fields[i].has_offset != NO_HAS)
			*(bool *)((char *)base + fields[i].has_offset) = false;
	}
}
