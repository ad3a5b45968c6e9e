/* SPDX-License-Identifier: GPL-2.0-or-later */
/* One value as text.
 *
 * People get units they can read at a glance (4.0 GiB, 37.2 s, "4m ago"), times in their own zone,
 * lists of hosts in the short form. Whatever comes from the network is made safe for a terminal
 * first: control characters (an escape sequence in a reason, say) become '?'. Scripts take -o json,
 * where nothing is touched. Nothing is printed here; tables are in table.c.
 */
#include <time.h>
#include "controller/cli/show.h"
#include "lib/clock.h"
#include "lib/hostlist.h"
#include "lib/str.h"

const json_t *show_member(const json_t *object, const char *path)
{
	while (object && strchr(path, '.')) {
		auto_free char *head = xstrndup(path, strcspn(path, "."));
		object = json_object_get(object, head);
		path += strlen(head) + 1;
	}
	const json_t *value = json_object_get(object, path);
	return json_is_null(value) ? NULL : value;
}

const char *show_text(const json_t *object, const char *member)
{
	const json_t *value = show_member(object, member);
	return json_is_string(value) ? json_string_value(value) : "";
}

int64_t show_seconds(const json_t *value)
{
	int64_t seconds = 0;
	if (json_is_integer(value))
		return json_integer_value(value);
	if (json_is_string(value) && clock_parse(json_string_value(value), &seconds) == 0)
		return seconds;
	return 0;
}

size_t show_width(const char *text)
{
	size_t n = 0;
	for (; *text; text++)
		n += ((unsigned char)*text & 0xc0) != 0x80;
	return n;
}

static char *safe(char *text)
{
	for (unsigned char *c = (unsigned char *)text; *c; c++) {
		if (*c < 0x20 || *c == 0x7f)
			*c = '?';
		/* C1 controls in UTF-8: U+0080..U+009F */
		if (*c == 0xc2 && c[1] >= 0x80 && c[1] < 0xa0)
			*c = c[1] = '?';
	}
	return text;
}

static char *plain(const json_t *value)
{
	if (json_is_string(value))
		return safe(xstrdup(*json_string_value(value) ? json_string_value(value) : "-"));
	if (json_is_integer(value))
		return xasprintf("%lld", (long long)json_integer_value(value));
	if (json_is_real(value))
		return xasprintf("%.1f", json_real_value(value));
	if (json_is_boolean(value))
		return xstrdup(json_is_true(value) ? "yes" : "no");
	char *text = json_text(value);
	return safe(text);
}

static char *time_text(int64_t at)
{
	time_t t = (time_t)at, now = (time_t)clock_wall();
	struct tm then, today;
	char text[40];
	if (at == 0)
		return xstrdup("-");
	localtime_r(&t, &then);
	localtime_r(&now, &today);
	bool same = then.tm_year == today.tm_year && then.tm_yday == today.tm_yday;
	strftime(text, sizeof(text), same ? "%H:%M:%S" : "%d %b %H:%M", &then);
	return xstrdup(text);
}

static char *age_text(int64_t at)
{
	int64_t age = clock_wall() - at;
	const char *in = age < 0 ? "in " : "";
	if (at == 0)
		return xstrdup("-");
	age = age < 0 ? -age : age;
	if (age < 60)
		return xasprintf("%s%ds", in, (int)age);
	if (age < 3600)
		return xasprintf("%s%dm%02ds", in, (int)(age / 60), (int)(age % 60));
	if (age < 86400)
		return xasprintf("%s%dh%02dm", in, (int)(age / 3600), (int)(age / 60 % 60));
	return xasprintf("%s%dd", in, (int)(age / 86400));
}

/* ["pc1","pc2"], [{"id":"a-001"},...] or "pc[1-2]" -> "pc[1-2]". */
static char *names_text(const json_t *value)
{
	struct strings names = {0};
	size_t i;
	json_t *item;
	if (json_is_string(value))
		return plain(value);
	json_array_foreach ((json_t *)value, i, item) {
		const char *name = json_string_value(item);
		if (!name)
			name = *show_text(item, "id") ? show_text(item, "id")
						      : show_text(item, "name");
		vec_push(&names, xstrdup(name));
	}
	char *text = names.n ? safe(hostlist_compress(&names)) : xstrdup("-");
	strings_done(&names);
	return text;
}

static void add_count(struct buf *b, const char *name, long long n)
{
	if (n)
		buf_addf(b, "%s%lld %s", b->len ? ", " : "", n, name);
}

static char *states_text(const json_t *value)
{
	auto_buf struct buf b = {0};
	auto_json json_t *counts = json_object();
	const char *name;
	json_t *item;
	size_t i;
	if (json_is_object(value))
		json_object_foreach ((json_t *)value, name, item)
			json_object_set(counts, name, item);
	json_array_foreach ((json_t *)value, i, item) {
		const char *state = show_text(item, "state");
		json_int_t n = json_integer_value(json_object_get(counts, state));
		json_object_set_new(counts, state, json_integer(n + 1));
	}
	json_object_foreach (counts, name, item)
		if (json_is_integer(item))
			add_count(&b, name, json_integer_value(item));
	return b.len ? safe(buf_take(&b)) : xstrdup("-");
}

static char *milliseconds_text(double ms)
{
	if (ms <= 0)
		return xstrdup("-");
	return ms < 1000 ? xasprintf("%.1f ms", ms) : xasprintf("%.1f s", ms / 1000);
}

char *show_value(const json_t *value, enum show_kind kind)
{
	if (!value || json_is_null(value))
		return xstrdup("-");
	switch (kind) {
	case SHOW_TEXT:
	case SHOW_STATE:
		return plain(value);
	case SHOW_SIZE:
		return size_format((uint64_t)json_integer_value(value));
	case SHOW_TIME:
		return time_text(show_seconds(value));
	case SHOW_AGE:
		return age_text(show_seconds(value));
	case SHOW_MS:
		return milliseconds_text(json_number_value(value));
	case SHOW_DIGEST:
		return safe(xstrndup(json_is_string(value) ? json_string_value(value) : "-", 12));
	case SHOW_NAMES:
		return names_text(value);
	case SHOW_COUNT:
		return xasprintf("%zu", json_array_size(value));
	case SHOW_STATES:
		return states_text(value);
	}
	return xstrdup("-");
}
