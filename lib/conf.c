/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Configuration files, read by the same table that documents them. Lines are `[section]`, `key =
 * value`, blanks and comments (`#` at the start of a line or after a blank). Everything the table
 * does not know is an error with the file's name and the line's number, since a misspelled key that
 * is skipped shows only at night; so is a key given twice, also when its section was opened twice.
 *
 * Values have one spelling each (the parsers of str.c), there is no quoting and no continuation of
 * lines. Must not read other files (no include), must not expand variables, must not log.
 */
#include "lib/conf.h"
#include "lib/file.h"
#include "lib/str.h"

enum { FILE_MAX_BYTES = 1 << 20 };

struct parser {
	const char *origin;
	const struct conf_key *keys;
	size_t n;
	void *base;
	bool *seen; /* one per row */
	const char *section;
	unsigned line;
};

static bool is_blank(char c)
{
	return c == ' ' || c == '\t' || c == '\r';
}

/* Cuts blanks off both ends, in place. */
static char *trim(char *s)
{
	size_t n = 0;

	while (is_blank(*s))
		s++;
	for (n = strlen(s); n > 0 && is_blank(s[n - 1]);)
		n--;
	s[n] = '\0';
	return s;
}

static void cut_comment(char *s)
{
	for (char *p = s; *p; p++) {
		if (*p == '#' && (p == s || is_blank(p[-1]))) {
			*p = '\0';
			return;
		}
	}
}

static int set_value(
	const struct parser *p, const struct conf_key *key, const char *value, struct error **err)
{
	auto_free char *field = xasprintf("%s.%s", key->section, key->key);
	auto_error struct error *why = NULL;
	int r = key->set(value, (char *)p->base + key->offset, &why);

	if (r == 0)
		return 0;
	if (p->line)
		return error_field(err, r, field, "%s:%u: %s: %s", p->origin, p->line, field,
			error_text(why, r));
	return error_field(err, r, field, "%s: %s: %s", p->origin, field, error_text(why, r));
}

static int read_section(struct parser *p, char *line, struct error **err)
{
	size_t len = strlen(line);

	if (line[len - 1] != ']')
		return error_make(
			err, -EINVAL, "%s:%u: A section is written [name].", p->origin, p->line);
	line[len - 1] = '\0';
	for (size_t i = 0; i < p->n; i++) {
		if (strcmp(p->keys[i].section, line + 1) == 0) {
			p->section = p->keys[i].section;
			return 0;
		}
	}
	return error_field(err, -EINVAL, line + 1, "%s:%u: The section [%s] is not known.",
		p->origin, p->line, line + 1);
}

static int read_key(struct parser *p, char *line, struct error **err)
{
	auto_free char *field = NULL;
	char *equal = strchr(line, '='), *key = NULL, *value = NULL;

	if (!equal)
		return error_make(
			err, -EINVAL, "%s:%u: A line is \"key = value\".", p->origin, p->line);
	*equal = '\0';
	key = trim(line);
	value = trim(equal + 1);
	if (!p->section)
		return error_field(err, -EINVAL, key, "%s:%u: \"%s\" stands before any [section].",
			p->origin, p->line, key);
	field = xasprintf("%s.%s", p->section, key);
	for (size_t i = 0; i < p->n; i++) {
		if (strcmp(p->keys[i].section, p->section) != 0 || strcmp(p->keys[i].key, key) != 0)
			continue;
		if (p->seen[i])
			return error_field(err, -EINVAL, field, "%s:%u: %s is given twice.",
				p->origin, p->line, field);
		p->seen[i] = true;
		return set_value(p, &p->keys[i], value, err);
	}
	return error_field(
		err, -EINVAL, field, "%s:%u: The key %s is not known.", p->origin, p->line, field);
}

static int read_line(struct parser *p, char *line, struct error **err)
{
	cut_comment(line);
	line = trim(line);
	if (!*line)
		return 0;
	if (!text_ok(line, FILE_MAX_BYTES))
		return error_make(err, -EINVAL, "%s:%u: The line is not printable UTF-8 text.",
			p->origin, p->line);
	return *line == '[' ? read_section(p, line, err) : read_key(p, line, err);
}

static int set_absent(struct parser *p, struct error **err)
{
	p->line = 0;
	for (size_t i = 0; i < p->n; i++) {
		const struct conf_key *key = &p->keys[i];
		int r = 0;

		if (p->seen[i])
			continue;
		if (key->required) {
			auto_free char *field = xasprintf("%s.%s", key->section, key->key);

			return error_field(err, -EINVAL, field,
				"%s: \"%s\" is missing in [%s] (%s).", p->origin, key->key,
				key->section, key->help ? key->help : "required");
		}
		if (key->fallback)
			r = set_value(p, key, key->fallback, err);
		if (r < 0)
			return r;
	}
	return 0;
}

int conf_parse(const char *text, const char *origin, const struct conf_key *keys, size_t n,
	void *base, struct error **err)
{
	auto_free char *copy = xstrdup(text);
	auto_free bool *seen = xcalloc(n, sizeof(bool));
	struct parser p = {.origin = origin, .keys = keys, .n = n, .base = base, .seen = seen};
	char *rest = copy, *line = NULL;

	while ((line = strsep(&rest, "\n"))) {
		int r = 0;

		p.line++;
		r = read_line(&p, line, err);
		if (r < 0)
			return r;
	}
	return set_absent(&p, err);
}

int conf_load(
	const char *path, const struct conf_key *keys, size_t n, void *base, struct error **err)
{
	auto_free char *text = NULL;
	size_t len = 0;
	int r = file_read(path, FILE_MAX_BYTES, &text, &len, err);

	if (r < 0)
		return r;
	if (strlen(text) != len)
		return error_make(err, -EINVAL, "%s: The file has a NUL byte.", path);
	return conf_parse(text, path, keys, n, base, err);
}

/* Frees the string that was there and puts a copy of value in its place. */
static int replace(const char *value, void *out)
{
	free(*(char **)out);
	*(char **)out = xstrdup(value);
	return 0;
}

int conf_set_string(const char *value, void *out, struct error **err)
{
	if (!*value || !text_ok(value, 4096))
		return error_make(err, -EINVAL, "A text of at most 4096 bytes is expected.");
	return replace(value, out);
}

int conf_set_name(const char *value, void *out, struct error **err)
{
	if (!name_ok(value))
		return error_make(err, -EINVAL,
			"A name is expected: 1 to 63 of a-z, 0-9 and '-', first a letter, last not "
			"'-'.");
	return replace(value, out);
}

int conf_set_path(const char *value, void *out, struct error **err)
{
	if (*value != '/' || !text_ok(value, 4095))
		return error_make(err, -EINVAL, "A path that begins with '/' is expected.");
	return replace(value, out);
}

int conf_set_bool(const char *value, void *out, struct error **err)
{
	if (strcmp(value, "yes") != 0 && strcmp(value, "no") != 0)
		return error_make(err, -EINVAL, "yes or no is expected.");
	*(bool *)out = *value == 'y';
	return 0;
}

int conf_set_uint32(const char *value, void *out, struct error **err)
{
	uint64_t number = 0;

	if (uint_parse(value, 0, UINT32_MAX, &number) < 0)
		return error_make(
			err, -EINVAL, "A whole number from 0 to %u is expected.", UINT32_MAX);
	*(uint32_t *)out = (uint32_t)number;
	return 0;
}

int conf_set_port(const char *value, void *out, struct error **err)
{
	uint64_t number = 0;

	if (uint_parse(value, 1, UINT16_MAX, &number) < 0)
		return error_make(err, -EINVAL, "A port from 1 to 65535 is expected.");
	*(uint16_t *)out = (uint16_t)number;
	return 0;
}

int conf_set_size(const char *value, void *out, struct error **err)
{
	if (size_parse(value, out) < 0)
		return error_make(err, -EINVAL, "A size like 4096, 512MiB or 4GiB is expected.");
	return 0;
}

int conf_set_duration(const char *value, void *out, struct error **err)
{
	if (duration_parse(value, out) < 0)
		return error_make(
			err, -EINVAL, "A time like 90s, 15m, 8h or 2d (at most 30d) is expected.");
	return 0;
}

int conf_set_mac(const char *value, void *out, struct error **err)
{
	if (mac_parse(value, out) < 0)
		return error_make(
			err, -EINVAL, "A MAC address like 52:54:00:12:34:56 is expected.");
	return 0;
}

int conf_set_ip4(const char *value, void *out, struct error **err)
{
	if (ip4_parse(value, out) < 0)
		return error_make(err, -EINVAL, "An IPv4 address like 10.71.0.1 is expected.");
	return 0;
}

int conf_set_prefix4(const char *value, void *out, struct error **err)
{
	if (prefix4_parse(value, out) < 0)
		return error_make(
			err, -EINVAL, "An IPv4 address with length like 10.71.0.1/24 is expected.");
	return 0;
}
