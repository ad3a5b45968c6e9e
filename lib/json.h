/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Strict JSON over jansson: duplicate keys, trailing bytes, unknown members, wrong types are errors that
 * name the field ("vms[2].mac"). A table of fields reads an object into a struct; absent optional members
 * leave a `has` flag false. The same tables write a struct back. */
#ifndef LIB_JSON_H
#define LIB_JSON_H

#include <jansson.h>
#include <stdbool.h>
#include "lib/error.h"

/* Bytes -> value (objects only), JSON_REJECT_DUPLICATES, depth and size bounded. The caller owns the result. */
int json_parse_object(const char *bytes, size_t len, json_t **ret_object, struct error **err);
/* Compact text of a value; caller frees. */
char *json_text(const json_t *value);

enum json_kind {
	JSON_KIND_STRING,  /* char *, at most `max` bytes (0: 4096), printable one-line UTF-8 */
	JSON_KIND_TEXT,	   /* char *, at most `max` bytes (0: 65536), any valid UTF-8 but NUL */
	JSON_KIND_NAME,	   /* char *, name_ok() */
	JSON_KIND_SHA256,  /* char *, 64 hex digits */
	JSON_KIND_MAC,	   /* struct mac */
	JSON_KIND_IP4,	   /* struct ip4 */
	JSON_KIND_PREFIX4, /* struct prefix4 */
	JSON_KIND_UINT,	   /* uint64_t, min..max (max 0: JSON's 2^53) */
	JSON_KIND_INT,	   /* int64_t, any */
	JSON_KIND_BOOL,	   /* bool */
	JSON_KIND_ENUM,	   /* int, index of the text in `names` (NULL-terminated) */
	JSON_KIND_OBJECT,  /* struct at offset, read by `fields`; required members inside apply when present */
	JSON_KIND_ARRAY,   /* a VEC_OF at offset whose elements are structs of `size` bytes read by `fields` */
	JSON_KIND_STRINGS, /* a VEC_OF(…, char *) of STRINGs */
	JSON_KIND_ANY,	   /* json_t *, a new reference, unchecked */
};

struct json_field {
	const char *name;
	enum json_kind kind;
	size_t offset;
	bool required;
	size_t has_offset; /* of a bool set true when present; NO_HAS: none */
	uint64_t min, max; /* UINT: value; STRING/TEXT: max bytes; ARRAY/STRINGS: max elements (0: 1024) */
	const char *const *names;
	const struct json_field *fields; /* OBJECT, ARRAY */
	size_t n_fields, size;		 /* ARRAY: size of one element */
};
#define NO_HAS ((size_t)-1)
/* Rows: FIELD(struct pc, mac, JSON_KIND_MAC, true) ; FIELD_HAS(...) also sets has_<member>. */
#define FIELD(type, member, k, req)                                                                \
	{.name = #member, .kind = (k), .offset = offsetof(type, member), .required = (req),        \
		.has_offset = NO_HAS}
#define FIELD_HAS(type, member, k)                                                                 \
	{.name = #member, .kind = (k), .offset = offsetof(type, member), .required = false,        \
		.has_offset = offsetof(type, has_##member)}
#define FIELD_MAX(type, member, k, req, limit)                                                     \
	{.name = #member, .kind = (k), .offset = offsetof(type, member), .required = (req),        \
		.has_offset = NO_HAS, .max = (limit)}
#define FIELD_UINT(type, member, req, least, most)                                                 \
	{.name = #member, .kind = JSON_KIND_UINT, .offset = offsetof(type, member),                \
		.required = (req), .has_offset = NO_HAS, .min = (least), .max = (most)}
#define FIELD_ENUM(type, member, req, texts)                                                       \
	{.name = #member, .kind = JSON_KIND_ENUM, .offset = offsetof(type, member),                \
		.required = (req), .has_offset = NO_HAS, .names = (texts)}
#define FIELD_ARRAY(type, member, req, element, rows)                                              \
	{.name = #member, .kind = JSON_KIND_ARRAY, .offset = offsetof(type, member),               \
		.required = (req), .has_offset = NO_HAS, .fields = (rows),                         \
		.n_fields = ARRAY_LEN(rows), .size = sizeof(element)}
#define FIELD_OBJECT(type, member, req, rows)                                                      \
	{.name = #member, .kind = JSON_KIND_OBJECT, .offset = offsetof(type, member),              \
		.required = (req), .has_offset = NO_HAS, .fields = (rows),                         \
		.n_fields = ARRAY_LEN(rows)}

/* Reads `object` into the zeroed struct at `base`. On failure what was read is freed and the struct is
 * zeroed again. -EINVAL names the field. */
int json_read(const json_t *object, const struct json_field *fields, size_t n, void *base, struct error **err);
/* The inverse: a new object; absent strings (NULL) and has-flags that are false are left out. */
json_t *json_write(const struct json_field *fields, size_t n, const void *base);
/* Frees what json_read allocated inside the struct and zeroes it. */
void json_done(const struct json_field *fields, size_t n, void *base);

static inline void cleanup_json(json_t **value)
{
	json_decref(*value);
}
#define auto_json __attribute__((cleanup(cleanup_json)))

#endif
