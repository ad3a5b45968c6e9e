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

/* Every act of publishing. A name's newest row is what new clusters get, as long as that revision
 * is there. Rows stay when images go: neither a sequence nor a revision number is given twice.
 * Until now the newest revision of a name was the one in use, so that one counts as published. */
static const char publications[] =
	"CREATE TABLE publication ("
	"    name        TEXT NOT NULL,"
	"    sequence    INTEGER NOT NULL," /* grows within a name */
	"    revision    INTEGER NOT NULL,"
	"    digest      TEXT NOT NULL,"    /* SHA-256 of the manifest */
	"    published   INTEGER NOT NULL," /* when */
	"    PRIMARY KEY (name, sequence)"
	") STRICT;"
	"INSERT INTO publication(name, sequence, revision, digest, published)"
	"  SELECT name, max(created, 1), revision, digest, created FROM image i"
	"  WHERE revision = (SELECT max(revision) FROM image WHERE name = i.name);";

/* Images on the PCs' own disks, kept over the day in the partition that the lab lends. */
static const char kept[] =
	"CREATE TABLE kept ("
	"    pc          TEXT NOT NULL REFERENCES pc(name) ON DELETE CASCADE,"
	"    digest      TEXT NOT NULL,"    /* SHA-256 of the manifest */
	"    seen        INTEGER NOT NULL," /* when it last told so */
	"    PRIMARY KEY (pc, digest)"
	") STRICT;";

const char *const migrations[] = {
	(const char *)controller_store_schema_sql,
	publications,
	kept,
};
const size_t n_migrations = ARRAY_LEN(migrations);
