/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Image revisions and imports as rows.
 *
 * Which revision of a name is the one to use is publish.c's; here it is only told with each row.
 *
 * A row of image stands for a manifest that is whole in the chunk store; it is written after the
 * manifest, and removed before the chunks are swept, so that no row ever points at nothing. An
 * import is kept as its request: one that the controller was working on when it died is begun anew
 * at the next start, which costs time only, because chunks are content-addressed. */
#include "controller/store/image.h"

#include "controller/store/pc.h"
#include "controller/store/store.h"
#include "lib/clock.h"

/* enum image_state of the row `i`. */
#define STATE                                                                                      \
	"(SELECT CASE WHEN revision = i.revision THEN 1 WHEN EXISTS (SELECT 1 FROM publication"    \
	" WHERE name = i.name AND revision = i.revision) THEN 2 ELSE 0 END FROM publication"       \
	" WHERE name = i.name ORDER BY sequence DESC LIMIT 1)"
#define COLUMNS "name, revision, digest, size, stored, created, " STATE

const char *const import_state_names[] = {"running", "done", "failed", NULL};

static struct image read_row(sqlite3_stmt *stmt)
{
	return (struct image){.name = store_text(stmt, 0),
		.revision = (uint64_t)sqlite3_column_int64(stmt, 1),
		.digest = store_text(stmt, 2),
		.size = (uint64_t)sqlite3_column_int64(stmt, 3),
		.stored = (uint64_t)sqlite3_column_int64(stmt, 4),
		.created = sqlite3_column_int64(stmt, 5),
		.state = (enum image_state)sqlite3_column_int(stmt, 6)};
}

int store_image_get(struct store *store, const char *name, uint64_t revision,
	struct image *ret_image, struct error **err)
{
	sqlite3_stmt *stmt = NULL;
	int r = store_query(store, &stmt, err,
		"SELECT " COLUMNS " FROM image i WHERE name = ?1 AND (?2 = 0 OR revision = ?2)"
		" ORDER BY " STATE " = 1 DESC, revision DESC LIMIT 1",
		"si", name, (int64_t)revision);
	if (r < 0)
		return r;
	r = store_step(store, stmt, err);
	if (r > 0)
		*ret_image = read_row(stmt);
	store_finish(store, stmt);
	if (r == 0 && revision == 0)
		return error_make(err, -ENOENT,
			"no image is named \"%s\"; `nightclass image list` shows those there are",
			name);
	if (r == 0)
		return error_make(err, -ENOENT, "image %s has no revision %d", name, (int)revision);
	return r < 0 ? r : 0;
}

int store_image_by_digest(
	struct store *store, const char *digest, struct image *ret_image, struct error **err)
{
	sqlite3_stmt *stmt = NULL;
	int r = store_query(store, &stmt, err,
		"SELECT " COLUMNS " FROM image i WHERE digest = ? LIMIT 1", "s", digest);
	if (r < 0)
		return r;
	r = store_step(store, stmt, err);
	if (r > 0)
		*ret_image = read_row(stmt);
	store_finish(store, stmt);
	if (r == 0)
		return error_make(err, -ENOENT, "no image has the digest %s", digest);
	return r < 0 ? r : 0;
}

int store_image_list(
	struct store *store, const char *name, struct images *ret_images, struct error **err)
{
	struct images images = {0};
	sqlite3_stmt *stmt = NULL;
	int r = store_query(store, &stmt, err,
		"SELECT " COLUMNS " FROM image i WHERE ?1 IS NULL OR name = ?1"
		" ORDER BY name, revision DESC",
		"s", name);
	if (r < 0)
		return r;
	while ((r = store_step(store, stmt, err)) > 0)
		vec_push(&images, read_row(stmt));
	store_finish(store, stmt);
	if (r < 0) {
		images_done(&images);
		return r;
	}
	*ret_images = images;
	return 0;
}

int store_image_next_revision(
	struct store *store, const char *name, uint64_t *ret_revision, struct error **err)
{
	int64_t next = 0;
	int r = store_number(store, &next, err,
		"SELECT ifnull(max(revision), 0) + 1 FROM"
		" (SELECT revision FROM image WHERE name = ?1"
		" UNION ALL SELECT revision FROM publication WHERE name = ?1)",
		"s", name);
	if (r >= 0)
		*ret_revision = (uint64_t)next;
	return r;
}

int store_image_ever(struct store *store, bool *ret_ever, struct error **err)
{
	int64_t ever = 0;
	int r = store_number(store, &ever, err,
		"SELECT EXISTS (SELECT 1 FROM image)"
		" OR EXISTS (SELECT 1 FROM import WHERE state = 'done')"
		" OR EXISTS (SELECT 1 FROM event WHERE kind = 'image.added')",
		"");
	if (r >= 0)
		*ret_ever = ever != 0;
	return r;
}

int store_image_insert(struct store *store, const struct image *image, struct error **err)
{
	struct image other = {0};
	int r = store_image_get(store, image->name, image->revision, &other, NULL);
	if (r == 0) {
		bool same = strcmp(other.digest, image->digest) == 0;
		image_done(&other);
		if (same)
			return 0;
		return error_field(err, -EEXIST, "revision", "image %s has a revision %d already",
			image->name, (int)image->revision);
	}
	auto_free char *subject = xasprintf("image/%s", image->name);
	r = store_begin(store, err);
	if (r < 0)
		return r;
	r = store_exec(store, NULL, err,
		"INSERT INTO image(name, revision, digest, size, stored, created) "
		"VALUES(?,?,?,?,?,?)",
		"sisiii", image->name, (int64_t)image->revision, image->digest,
		(int64_t)image->size, (int64_t)image->stored, image->created);
	if (r >= 0)
		r = store_event(store, "image.added", subject, NULL, err,
			"image %s revision %d is in the store", image->name, (int)image->revision);
	return store_end(store, r, err);
}

static int check_unused(
	struct store *store, const char *name, uint64_t revision, struct error **err)
{
	sqlite3_stmt *stmt = NULL;
	int r = store_query(store, &stmt, err,
		"SELECT c.name, i.revision FROM cluster c JOIN image i ON i.digest = c.image"
		" WHERE i.name = ?1 AND (?2 = 0 OR i.revision = ?2) AND c.state NOT IN "
		"('closed','failed') LIMIT 1",
		"si", name, (int64_t)revision);
	if (r < 0)
		return r;
	r = store_step(store, stmt, err);
	if (r > 0)
		r = error_make(err, -EBUSY,
			"cluster %s uses revision %d of image %s; it can be removed when the "
			"cluster is closed",
			(const char *)sqlite3_column_text(stmt, 0), sqlite3_column_int(stmt, 1),
			name);
	store_finish(store, stmt);
	return r;
}

/* Revision 0 comes with the published one, if there is any. */
static int check_unpublished(const struct image *image, bool force, struct error **err)
{
	if (image->state != IMAGE_PUBLISHED || force)
		return 0;
	return error_make(err, -EBUSY,
		"revision %d of image %s is published: new clusters are made of it; publish "
		"another one first, or use --force",
		(int)image->revision, image->name);
}

int store_image_delete(
	struct store *store, const char *name, uint64_t revision, bool force, struct error **err)
{
	struct image image = {0};
	int r = store_image_get(store, name, revision, &image, err);
	if (r >= 0)
		r = check_unused(store, name, revision, err);
	if (r >= 0)
		r = check_unpublished(&image, force, err);
	image_done(&image);
	if (r >= 0)
		r = store_begin(store, err);
	if (r < 0)
		return r;
	r = store_exec(store, NULL, err,
		"DELETE FROM image WHERE name = ?1 AND (?2 = 0 OR revision = ?2)", "si", name,
		(int64_t)revision);
	if (r >= 0) /* those that were to have it at hand would ask for it all night */
		r = store_pc_bump_hosts(store, err);
	if (r >= 0) {
		auto_free char *subject = xasprintf("image/%s", name);
		auto_free char *which =
			revision ? xasprintf(" revision %d", (int)revision) : xstrdup("");
		r = store_event(store, "image.removed", subject, NULL, err,
			"image %s%s was removed", name, which);
	}
	return store_end(store, r, err);
}

void import_done(struct import *import)
{
	free(import->name);
	free(import->request);
	free(import->reason);
	free(import->digest);
	*import = (struct import){0};
}

void imports_done(struct imports *imports)
{
	vec_each (struct import, import, imports)
		import_done(import);
	vec_done(imports);
}

static int read_import(sqlite3_stmt *stmt, struct import *ret_import, struct error **err)
{
	int state = name_index(import_state_names, (const char *)sqlite3_column_text(stmt, 3));
	if (state < 0)
		return error_make(err, -EIO, "the row of an import cannot be read");
	*ret_import = (struct import){.id = sqlite3_column_int64(stmt, 0),
		.name = store_text(stmt, 1),
		.request = store_text(stmt, 2),
		.state = (enum import_state)state,
		.reason = store_text(stmt, 4),
		.digest = store_text(stmt, 5),
		.created = sqlite3_column_int64(stmt, 6)};
	return 0;
}

int store_import_insert(struct store *store, const char *name, const char *request, int64_t *ret_id,
	struct error **err)
{
	int r = store_exec(store, NULL, err,
		"INSERT INTO import(name, request, state, created) VALUES(?,?,'running',?)", "ssi",
		name, request, clock_wall());
	if (r >= 0)
		*ret_id = sqlite3_last_insert_rowid(store_db(store));
	return r;
}

int store_import_get(struct store *store, int64_t id, struct import *ret_import, struct error **err)
{
	sqlite3_stmt *stmt = NULL;
	int r = store_query(store, &stmt, err,
		"SELECT id, name, request, state, reason, digest, created FROM import WHERE id = ?",
		"i", id);
	if (r < 0)
		return r;
	r = store_step(store, stmt, err);
	if (r > 0) {
		int read = read_import(stmt, ret_import, err);
		r = read < 0 ? read : 1;
	}
	store_finish(store, stmt);
	if (r == 0)
		return error_make(err, -ENOENT, "there is no import %d", (int)id);
	return r < 0 ? r : 0;
}

int store_import_list(struct store *store, struct imports *ret_imports, struct error **err)
{
	struct imports imports = {0};
	sqlite3_stmt *stmt = NULL;
	int r = store_query(store, &stmt, err,
		"SELECT id, name, request, state, reason, digest, created FROM import ORDER BY id",
		"");
	if (r < 0)
		return r;
	while ((r = store_step(store, stmt, err)) > 0) {
		struct import import;
		r = read_import(stmt, &import, err);
		if (r < 0)
			break;
		vec_push(&imports, import);
	}
	store_finish(store, stmt);
	if (r < 0) {
		imports_done(&imports);
		return r;
	}
	*ret_imports = imports;
	return 0;
}

int store_import_set_state(struct store *store, int64_t id, enum import_state state,
	const char *digest, const char *reason, struct error **err)
{
	struct import import = {0};
	int r = store_import_get(store, id, &import, err);
	if (r < 0)
		return r;
	r = store_begin(store, err);
	if (r >= 0) {
		r = store_exec(store, NULL, err,
			"UPDATE import SET state = ?, digest = ?, reason = ? WHERE id = ?", "sssi",
			import_state_names[state], digest ? digest : "", reason ? reason : "", id);
		if (r >= 0 && state != IMPORT_RUNNING) {
			auto_free char *subject = xasprintf("image/%s", import.name);
			r = store_event(store,
				state == IMPORT_DONE ? "import.done" : "import.failed", subject,
				NULL, err, "import of image %s %s%s%s", import.name,
				state == IMPORT_DONE ? "ended well" : "failed",
				reason && *reason ? ": " : "", reason ? reason : "");
		}
		r = store_end(store, r, err);
	}
	import_done(&import);
	return r;
}
