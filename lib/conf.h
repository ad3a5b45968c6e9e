/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Configuration files: `[section]`, `key = value`, `#` comments. Strict: an unknown section or key, a
 * key given twice or a bad value is an error that names file and line. A table describes the keys;
 * `config check` and the manual page come from the same table. */
#ifndef LIB_CONF_H
#define LIB_CONF_H

#include <stdbool.h>
#include "lib/error.h"

/* Parses `value` into `out` (= base + offset of the row). Text errors need not name key or line. */
typedef int conf_set_fn(const char *value, void *out, struct error **err);

struct conf_key {
	const char *section, *key;
	conf_set_fn *set;
	size_t offset;
	bool required;
	const char *fallback; /* value when absent, NULL: left as it is */
	const char *help;     /* one line, for `config check` and the manual */
};

/* Ready-made setters: out is char * (freed and replaced), bool, uint32_t, uint16_t (port), uint64_t
 * bytes, int64_t seconds, struct mac, struct ip4, struct prefix4. */
conf_set_fn conf_set_string, conf_set_name, conf_set_bool, conf_set_uint32, conf_set_port, conf_set_size,
	conf_set_duration, conf_set_mac, conf_set_ip4, conf_set_prefix4, conf_set_path;

/* Reads the file at `path` into the struct at `base` by the table of `n` rows. */
int conf_load(const char *path, const struct conf_key *keys, size_t n, void *base, struct error **err);
/* The same from memory; `origin` stands in error texts. */
int conf_parse(const char *text, const char *origin, const struct conf_key *keys, size_t n, void *base,
	struct error **err);

#endif
