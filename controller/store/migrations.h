/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The steps from one schema to the next. user_version of a database counts those it has behind it.
 */
#ifndef CONTROLLER_STORE_MIGRATIONS_H
#define CONTROLLER_STORE_MIGRATIONS_H

#include <stddef.h>

extern const char *const migrations[];
extern const size_t n_migrations;

#endif
