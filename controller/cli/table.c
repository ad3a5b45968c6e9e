/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Tables, records, JSON and names on standard output.
 *
 * A table has a head line in capitals, columns as wide as their widest value, numbers and units to
 * the right, no trailing blanks, and no column that is empty throughout. Colour marks states only,
 * and only on a terminal without NO_COLOR; the word itself is always there, so nothing is said by
 * colour alone.
 */
#include <ctype.h>
#include "controller/cli/show.h"
#include "lib/str.h"

enum { GAP = 2, MAX_COLUMNS = 16 };

/* What a state means at a glance. */
static const char *state_color(const char *state)
{
	static const struct {
		const char *states, *color;
	} rows[] = {
		{" host hosting ready committed running yes done ok ", "\033[32m"},
		{" waking booting draining returning deploying proposed prepared ending closing "
		 "starting "
		 "waiting stopping staging planned ",
			"\033[33m"},
		{" exception failed partly no ", "\033[31m"},
	};
	auto_free char *word = xasprintf(" %s ", state);
	for (size_t i = 0; i < ARRAY_LEN(rows); i++)
		if (strstr(rows[i].states, word))
			return rows[i].color;
	return NULL;
}

static bool right_aligned(enum show_kind kind)
{
	return kind == SHOW_SIZE || kind == SHOW_MS || kind == SHOW_COUNT;
}

/* Prints `text` in `width` characters; the last column of a line is not padded. */
static void put_cell(
	const struct cli *cli, const char *text, enum show_kind kind, size_t width, bool last)
{
	size_t used = show_width(text);
	int pad = used < width ? (int)(width - used) : 0;
	const char *color = cli->color && kind == SHOW_STATE ? state_color(text) : NULL;
	if (right_aligned(kind))
		printf("%*s", pad, "");
	printf("%s%s%s", color ? color : "", text, color ? "\033[0m" : "");
	if (!right_aligned(kind) && !last)
		printf("%*s", pad, "");
	if (!last)
		printf("%*s", GAP, "");
}

static void put_title(const char *title, enum show_kind kind, size_t width, bool last)
{
	auto_free char *upper = xstrdup(title);
	for (char *c = upper; *c; c++)
		*c = (char)toupper((unsigned char)*c);
	static const struct cli no_color;
	put_cell(&no_color, upper, right_aligned(kind) ? SHOW_SIZE : SHOW_TEXT, width, last);
}

/* Widths of the columns; 0 for a column that is "-" in every row. Cells are kept row by row. */
static void measure(const json_t *items, const struct show_column *columns, size_t n, char **cells,
	size_t *widths)
{
	size_t row;
	json_t *item;
	json_array_foreach ((json_t *)items, row, item)
		for (size_t i = 0; i < n; i++) {
			char *cell =
				show_value(show_member(item, columns[i].member), columns[i].kind);
			cells[row * n + i] = cell;
			size_t width = show_width(cell);
			if (strcmp(cell, "-") != 0 && widths[i] < width)
				widths[i] = width;
		}
	for (size_t i = 0; i < n; i++)
		if (widths[i] && widths[i] < strlen(columns[i].title))
			widths[i] = strlen(columns[i].title);
}

static void put_table(
	const struct cli *cli, const json_t *items, const struct show_column *columns, size_t n)
{
	size_t rows = json_array_size(items), widths[MAX_COLUMNS] = {0}, last = 0;
	char **cells = xcalloc(rows * n + 1, sizeof(*cells));
	measure(items, columns, n, cells, widths);
	for (size_t i = 0; i < n; i++)
		last = widths[i] ? i : last;
	for (size_t i = 0; i < n; i++)
		if (widths[i])
			put_title(columns[i].title, columns[i].kind, widths[i], i == last);
	if (rows)
		putchar('\n');
	for (size_t row = 0; row < rows; row++) {
		for (size_t i = 0; i < n; i++) {
			if (widths[i])
				put_cell(cli, cells[row * n + i], columns[i].kind, widths[i],
					i == last);
			free(cells[row * n + i]);
		}
		putchar('\n');
	}
	free(cells);
}

static void put_name(const json_t *item, const char *id)
{
	const json_t *value = show_member(item, id);
	auto_free char *text = value ? show_value(value, SHOW_TEXT) : NULL;
	if (text)
		puts(text);
}

void show_json(const json_t *value)
{
	char *text = json_dumps(value, JSON_INDENT(2) | JSON_ENCODE_ANY);
	puts(text ? text : "null");
	free(text);
}

int show_items(const struct cli *cli, const json_t *items, const char *id,
	const struct show_column *columns, size_t n)
{
	size_t i;
	json_t *item;
	switch (cli->output) {
	case CLI_JSON:
		show_json(items);
		break;
	case CLI_NAME:
		json_array_foreach ((json_t *)items, i, item)
			put_name(item, id);
		break;
	case CLI_TABLE:
		if (json_array_size(items) == 0 && cli->err_is_terminal)
			fputs("none\n", stderr);
		put_table(cli, items, columns, n);
		break;
	}
	return 0;
}

int show_list(const struct cli *cli, const json_t *answer, const char *id,
	const struct show_column *columns, size_t n)
{
	if (cli->output == CLI_JSON) {
		show_json(answer);
		return 0;
	}
	return show_items(cli, json_object_get(answer, "items"), id, columns, n);
}

int show_one(const struct cli *cli, const json_t *document, const char *id,
	const struct show_column *rows, size_t n)
{
	size_t width = 0;
	if (cli->output == CLI_JSON) {
		show_json(document);
		return 0;
	}
	if (cli->output == CLI_NAME) {
		put_name(document, id);
		return 0;
	}
	for (size_t i = 0; i < n; i++)
		width = strlen(rows[i].title) > width ? strlen(rows[i].title) : width;
	for (size_t i = 0; i < n; i++) {
		auto_free char *text =
			show_value(show_member(document, rows[i].member), rows[i].kind);
		if (strcmp(text, "-") == 0)
			continue;
		printf("%-*s", (int)width + GAP, rows[i].title);
		put_cell(cli, text, rows[i].kind == SHOW_STATE ? SHOW_STATE : SHOW_TEXT, 0, true);
		putchar('\n');
	}
	return 0;
}

void show_part(const struct cli *cli, const char *title, const json_t *items,
	const struct show_column *columns, size_t n)
{
	if (cli->output != CLI_TABLE || json_array_size(items) == 0)
		return;
	printf("\n%s\n", title);
	put_table(cli, items, columns, n);
}
