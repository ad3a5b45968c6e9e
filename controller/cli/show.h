/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Answers as people and scripts want them: aligned tables, one record, JSON, or bare names. */
#ifndef CONTROLLER_CLI_SHOW_H
#define CONTROLLER_CLI_SHOW_H

#include "controller/cli/cli.h"

enum show_kind {
	SHOW_TEXT,   /* strings, numbers and yes/no as they are */
	SHOW_STATE,  /* coloured on a terminal */
	SHOW_SIZE,   /* bytes -> "4.0 GiB" */
	SHOW_TIME,   /* "03:14" today, else "21 Nov 03:14" */
	SHOW_AGE,    /* time -> "4m" ago, or "in 4m" */
	SHOW_MS,     /* milliseconds -> "37.2 s" */
	SHOW_DIGEST, /* first 12 digits */
	SHOW_NAMES,  /* array of names (or of objects with id or name) -> hostlist */
	SHOW_COUNT,  /* number of elements */
	SHOW_STATES, /* object of state -> number, or array of objects with a state: "3 host, 1
			exception" */
};

struct show_column {
	const char *title;
	const char *member; /* "vms", "facts.firmware" */
	enum show_kind kind;
};

/* A table of items, or the other forms (`name`: the member called `id`). Columns that are empty in
 * every row are left out. Returns 0. */
int show_items(const struct cli *cli, const json_t *items, const char *id,
	const struct show_column *columns, size_t n);
/* A whole answer {"items": [...]}: JSON prints it as it came. */
int show_list(const struct cli *cli, const json_t *answer, const char *id,
	const struct show_column *columns, size_t n);
/* One document as "title  value" lines. */
int show_one(const struct cli *cli, const json_t *document, const char *id,
	const struct show_column *rows, size_t n);
/* A titled table below show_one; nothing in the other forms or when there are no items. */
void show_part(const struct cli *cli, const char *title, const json_t *items,
	const struct show_column *columns, size_t n);
void show_json(const json_t *value);

/* One value as text ("-" when absent), safe for a terminal; caller frees. */
char *show_value(const json_t *value, enum show_kind kind);
/* A member by a dotted path; NULL when absent. Borrowed. */
const json_t *show_member(const json_t *object, const char *path);
/* String member or "" . Borrowed. */
const char *show_text(const json_t *object, const char *member);
/* Unix seconds from a number or an RFC 3339 text, 0 for neither. */
int64_t show_seconds(const json_t *value);
/* Width on a terminal: characters, not bytes. */
size_t show_width(const char *text);

#endif
