/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Host lists as people of clusters write them: commas between names, one bracket with numbers and
 * ranges in a name ("pc[1-4,07],srv"). Padding is the number's own spelling: a first number with a
 * leading zero sets the width of its range, so "pc[08-10]" is pc08 pc09 pc10 and "pc[8-10]" is pc8
 * pc9 pc10.
 *
 * Expansion is bounded before it allocates ("pc[1-999999999]" costs nothing but the error), each
 * name has to be a valid name, and a name twice is an error: whoever wrote it meant something else.
 * Compression is the inverse: it only makes ranges that expand to exactly the names given.
 *
 * Must not know what the names stand for; whether a PC exists is the caller's question.
 */
#include "lib/hostlist.h"
#include "lib/str.h"

enum { NUMBER_DIGITS = 9 };

void strings_done(struct strings *strings)
{
	for (size_t i = 0; i < strings->n; i++)
		free(strings->at[i]);
	vec_done(strings);
}

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

static int cmp_text(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

/* 0 when no name stands twice. */
static int check_unique(const struct strings *names, struct error **err)
{
	auto_free char **sorted = xcalloc(names->n, sizeof(char *));

	if (names->n)
		memcpy(sorted, names->at, names->n * sizeof(char *));
	qsort(sorted, names->n, sizeof(char *), cmp_text);
	for (size_t i = 1; i < names->n; i++)
		if (strcmp(sorted[i - 1], sorted[i]) == 0)
			return error_make(
				err, -EINVAL, "The name %s stands in the list twice.", sorted[i]);
	return 0;
}

static int add_name(struct strings *names, size_t max, char *taken, struct error **err)
{
	auto_free char *name = taken;

	if (!name_ok(name))
		return error_make(err, -EINVAL, "\"%.80s\" is not a host name (a-z, 0-9 and '-').",
			text_ok(name, 4096) ? name : "?");
	if (names->n >= max)
		return error_make(err, -E2BIG, "The list has more than %zu names.", max);
	vec_push(names, TAKE_PTR(name));
	return 0;
}

/* Digits at *at, at most nine; the number, and the width that its leading zeros ask for (0: none).
 */
static int read_number(const char **at, const char *end, uint32_t *ret_number, int *ret_width)
{
	const char *p = *at;
	uint32_t number = 0;

	while (p < end && is_digit(*p) && p - *at < NUMBER_DIGITS)
		number = number * 10 + (uint32_t)(*p++ - '0');
	if (p == *at || (p < end && is_digit(*p)))
		return -EINVAL;
	*ret_width = **at == '0' && p - *at > 1 ? (int)(p - *at) : 0;
	*ret_number = number;
	*at = p;
	return 0;
}

/* One "N" or "N-M" of a bracket; *at moves behind it. */
static int read_range(
	const char **at, const char *end, uint32_t *ret_first, uint32_t *ret_last, int *ret_width)
{
	const char *start = NULL;
	int width = 0;

	if (read_number(at, end, ret_first, ret_width) < 0)
		return -EINVAL;
	*ret_last = *ret_first;
	if (*at == end || **at != '-')
		return 0;
	start = ++*at;
	if (read_number(at, end, ret_last, &width) < 0 || *ret_last < *ret_first)
		return -EINVAL;
	/* "08-10" keeps its width, "8-010" and "08-100" say two things at once */
	if ((*ret_width || width) && *at - start != *ret_width)
		return -EINVAL;
	return 0;
}

/* "PREFIX[RANGES]SUFFIX" from text to end, its bracket from open to close. */
static int expand_bracket(const char *text, const char *open, const char *close, const char *end,
	size_t max, struct strings *names, struct error **err)
{
	const char *at = open + 1;

	for (;;) {
		uint32_t first = 0, last = 0;
		int width = 0, r = 0;

		if (read_range(&at, close, &first, &last, &width) < 0)
			return error_make(err, -EINVAL,
				"A number or a range like 1-4 or 08-10 is expected in \"%.*s\".",
				(int)(end - text), text);
		for (uint32_t i = first; i <= last && r == 0; i++)
			r = add_name(names, max,
				xasprintf("%.*s%0*u%.*s", (int)(open - text), text, width, i,
					(int)(end - close - 1), close + 1),
				err);
		if (r < 0)
			return r;
		if (at == close)
			return 0;
		if (*at++ != ',')
			return error_make(err, -EINVAL,
				"A comma is expected between ranges in \"%.*s\".",
				(int)(end - text), text);
	}
}

/* The end of the item that begins at text: the comma outside of brackets, or the end. */
static const char *item_end(const char *text, const char **ret_open, const char **ret_close)
{
	const char *p = text;

	*ret_open = *ret_close = NULL;
	for (; *p && (*p != ',' || (*ret_open && !*ret_close)); p++) {
		if (*p == '[' && !*ret_open)
			*ret_open = p;
		else if (*p == ']' && *ret_open && !*ret_close)
			*ret_close = p;
	}
	return p;
}

int hostlist_expand(const char *text, size_t max, struct strings *ret_names, struct error **err)
{
	struct strings names = {0};
	int r = 0;

	if (!text_ok(text, 1 << 16))
		return error_make(
			err, -EINVAL, "A host list is one line of text like pc[1-4],srv.");
	for (;;) {
		const char *open = NULL, *close = NULL, *end = item_end(text, &open, &close);

		if (open && !close)
			r = error_make(err, -EINVAL, "The bracket of \"%s\" is not closed.", text);
		else if (open)
			r = expand_bracket(text, open, close, end, max, &names, err);
		else
			r = add_name(&names, max, xstrndup(text, (size_t)(end - text)), err);
		if (r < 0 || !*end)
			break;
		text = end + 1;
	}
	if (r == 0)
		r = check_unique(&names, err);
	if (r < 0)
		strings_done(&names);
	else
		*ret_names = names;
	return r;
}

/* A name cut at its last run of digits: "lab1-pc07x" is "lab1-pc", "07", "x". */
struct cut {
	const char *name;
	size_t prefix, digits; /* lengths; digits 0: no number in it, prefix is the whole */
};

static struct cut cut_name(const char *name)
{
	size_t len = strlen(name), end = len, start = 0;

	while (end > 0 && !is_digit(name[end - 1]))
		end--;
	for (start = end; start > 0 && is_digit(name[start - 1]);)
		start--;
	if (end == start || end - start > NUMBER_DIGITS)
		return (struct cut){name, len, 0};
	return (struct cut){name, start, end - start};
}

static const char *suffix(const struct cut *c)
{
	return c->name + c->prefix + c->digits;
}

static int cmp_length(size_t a, size_t b)
{
	return (a > b) - (a < b);
}

/* Names that can share a bracket come together, in the order of their numbers. */
static int cmp_group(const struct cut *a, const struct cut *b)
{
	size_t least = a->prefix < b->prefix ? a->prefix : b->prefix;
	int r = strncmp(a->name, b->name, least);

	if (r == 0)
		r = cmp_length(a->prefix, b->prefix);
	if (r == 0)
		r = cmp_length(a->digits != 0, b->digits != 0);
	return r ? r : strcmp(suffix(a), suffix(b));
}

static int cmp_cut(const void *pa, const void *pb)
{
	const struct cut *a = pa, *b = pb;
	int r = cmp_group(a, b);

	if (r == 0)
		r = cmp_length(a->digits, b->digits);
	return r ? r : strncmp(a->name + a->prefix, b->name + b->prefix, a->digits);
}

static bool padded(const struct cut *c)
{
	return c->digits > 1 && c->name[c->prefix] == '0';
}

/* True when b's number is the one that a range after a expands to. */
static bool follows(const struct cut *a, const struct cut *b)
{
	const char *da = a->name + a->prefix, *db = b->name + b->prefix;
	char next[16];

	snprintf(next, sizeof(next), "%0*lu", padded(a) ? (int)a->digits : 0,
		strtoul(da, NULL, 10) + 1);
	return strlen(next) == b->digits && strncmp(next, db, b->digits) == 0;
}

/* Writes cuts[0..n) of one group as "prefix[ranges]suffix". */
static void write_group(struct buf *b, const struct cut *cuts, size_t n)
{
	bool bracket = n > 1;

	buf_addf(b, "%.*s%s", (int)cuts->prefix, cuts->name, bracket ? "[" : "");
	for (size_t i = 0; i < n; i++) {
		size_t first = i;

		/* a range keeps the width of its first number, so compare each step from there */
		while (i + 1 < n && follows(&cuts[i], &cuts[i + 1]) &&
			(!padded(&cuts[first]) || cuts[first].digits == cuts[i + 1].digits))
			i++;
		buf_addf(b, "%s%.*s", first ? "," : "", (int)cuts[first].digits,
			cuts[first].name + cuts[first].prefix);
		if (i > first)
			buf_addf(b, "-%.*s", (int)cuts[i].digits, cuts[i].name + cuts[i].prefix);
	}
	buf_addf(b, "%s%s", bracket ? "]" : "", suffix(cuts));
}

char *hostlist_compress(const struct strings *names)
{
	auto_free struct cut *cuts = xcalloc(names->n, sizeof(*cuts));
	struct buf b = {0};
	size_t n = 0;

	for (size_t i = 0; i < names->n; i++)
		cuts[i] = cut_name(names->at[i]);
	qsort(cuts, names->n, sizeof(*cuts), cmp_cut);
	for (size_t i = 0; i < names->n; i++)
		if (i == 0 || strcmp(cuts[i].name, cuts[n - 1].name) != 0)
			cuts[n++] = cuts[i];
	for (size_t i = 0; i < n;) {
		size_t end = i + 1;

		while (end < n && cuts[i].digits && cmp_group(&cuts[i], &cuts[end]) == 0)
			end++;
		if (i)
			buf_adds(&b, ",");
		write_group(&b, cuts + i, end - i);
		i = end;
	}
	return buf_take(&b);
}
