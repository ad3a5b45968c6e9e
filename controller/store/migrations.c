/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Schema steps in order; the first is schema.sql as it was first released, embedded by the build.
 *
 * A released step is never edited: a change of the schema is a new text at the end, and
 * schema.sql's comments stay the data dictionary of the first. store_open runs all missing steps in
 * one transaction, so a database has the old schema or the new one, also after a power cut in the
 * middle. There is no way down: an older program refuses the newer database by its number. */
#include "controller/store/migrations.h"

#include "embedded.h"
#include "lib/util.h"

const char *const migrations[] = {
	(const char *)controller_store_schema_sql,
};
const size_t n_migrations = ARRAY_LEN(migrations);
