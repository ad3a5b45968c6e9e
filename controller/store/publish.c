/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Publishing: rows that say which revision of an image was made the one to use, and when.
 *
 * A row is an act, not a state: going back to an older revision is one more row with a higher
 * number. Rows are never removed, so the number of a name only grows, also when all its images were
 * deleted and others imported. It is at least the time in seconds: after a database had to be put
 * back from a backup, the next number is still above those that hosts have seen since; what is
 * published already gets such a number by being published again.
 *
 * What is signed for a host carries the newest number of the name, whichever revision it is for. So
 * a cluster keeps its revision when another is published, and its hosts can still fetch it under
 * the new number; once that cluster is closed nothing signs the old revision again, and what was
 * signed before has a number that every host that saw the new one refuses. */
#include "controller/store/publish.h"

#include "controller/store/image.h"
#include "controller/store/pc.h"
#include "controller/store/store.h"
#include "lib/clock.h"

struct act {
	uint64_t sequence, revision; /* 0: none */
	int64_t published;
};

static int newest_act(
	struct store *store, const char *name, struct act *ret_act, struct error **err)
{
	sqlite3_stmt *stmt = NULL;
	int r = store_query(store, &stmt, err,
		"SELECT sequence, revision, published FROM publication WHERE name = ?"
		" ORDER BY sequence DESC LIMIT 1",
		"s", name);
	if (r < 0)
		return r;
	*ret_act = (struct act){0};
	r = store_step(store, stmt, err);
	if (r > 0)
		*ret_act = (struct act){(uint64_t)sqlite3_column_int64(stmt, 0),
			(uint64_t)sqlite3_column_int64(stmt, 1), sqlite3_column_int64(stmt, 2)};
	store_finish(store, stmt);
	return r < 0 ? r : 0;
}

int store_image_published(
	struct store *store, const char *name, struct image *ret_image, struct error **err)
{
	struct image image = {0};
	int r = store_image_get(store, name, 0, &image, err);
	if (r < 0)
		return r;
	if (image.state != IMAGE_PUBLISHED) {
		r = error_make(err, -ENOENT,
			"no revision of image %s is published; `nightclass image publish %s %d` "
			"makes its newest the one to use",
			name, name, (int)image.revision);
		image_done(&image);
		return r;
	}
	*ret_image = image;
	return 0;
}

static int add_act(
	struct store *store, const struct image *image, const struct act *last, struct error **err)
{
	auto_free char *subject = xasprintf("image/%s", image->name);
	int64_t now = clock_wall(), next = (int64_t)last->sequence + 1;
	int r = store_exec(store, NULL, err,
		"INSERT INTO publication(name, sequence, revision, digest, published)"
		" VALUES(?,?,?,?,?)",
		"siisi", image->name, now > next ? now : next, (int64_t)image->revision,
		image->digest, now);
	if (r >= 0) /* what hosts fetch ahead is the published revision: their goals change */
		r = store_pc_bump_hosts(store, err);
	if (r < 0)
		return r;
	if (last->revision > image->revision)
		return store_event(store, "image.published", subject, NULL, err,
			"image %s went back from revision %d to revision %d", image->name,
			(int)last->revision, (int)image->revision);
	return store_event(store, "image.published", subject, NULL, err,
		"image %s revision %d is published", image->name, (int)image->revision);
}

static int publish(
	struct store *store, const char *name, uint64_t revision, bool again, struct error **err)
{
	struct image image = {0};
	struct act last = {0};
	int r = store_begin(store, err);
	if (r < 0)
		return r;
	r = store_image_get(store, name, revision, &image, err);
	if (r >= 0)
		r = newest_act(store, name, &last, err);
	if (r >= 0 && (again || image.state != IMAGE_PUBLISHED))
		r = add_act(store, &image, &last, err);
	image_done(&image);
	return store_end(store, r, err);
}

int store_image_publish(
	struct store *store, const char *name, uint64_t revision, struct error **err)
{
	return publish(store, name, revision, false, err);
}

int store_image_publish_again(
	struct store *store, const char *name, uint64_t revision, struct error **err)
{
	return publish(store, name, revision, true, err);
}

/* The newest revision below `below` that was published once and is still there. */
static int former_below(struct store *store, const char *name, uint64_t below,
	uint64_t *ret_revision, struct error **err)
{
	int64_t found = 0;
	int r = store_number(store, &found, err,
		"SELECT max(i.revision) FROM image i JOIN publication p"
		" ON p.name = i.name AND p.revision = i.revision"
		" WHERE i.name = ? AND i.revision < ?",
		"si", name, (int64_t)below);
	if (r >= 0 && found == 0)
		r = error_make(err, -ENOENT,
			"image %s has no revision below %d that was published before; name one",
			name, (int)below);
	if (r >= 0)
		*ret_revision = (uint64_t)found;
	return r;
}

int store_image_rollback(
	struct store *store, const char *name, uint64_t revision, struct error **err)
{
	struct image now = {0};
	int r = store_image_published(store, name, &now, err);
	if (r >= 0 && revision > now.revision)
		r = error_field(err, -EINVAL, "revision",
			"revision %d of image %s is newer than the published %d; use publish",
			(int)revision, name, (int)now.revision);
	if (r >= 0 && revision == 0)
		r = former_below(store, name, now.revision, &revision, err);
	if (r >= 0)
		r = store_image_publish(store, name, revision, err);
	image_done(&now);
	return r;
}

static int in_use(struct store *store, const char *digest, struct error **err)
{
	sqlite3_stmt *stmt = NULL;
	int r = store_query(store, &stmt, err,
		"SELECT 1 FROM cluster WHERE image = ? AND state NOT IN ('closed','failed')"
		" LIMIT 1",
		"s", digest);
	if (r < 0)
		return r;
	r = store_step(store, stmt, err);
	store_finish(store, stmt);
	return r;
}

int store_publication(struct store *store, const char *digest, struct publication *ret_publication,
	struct error **err)
{
	struct image image = {0};
	struct act last = {0};
	int r = store_image_by_digest(store, digest, &image, err);
	if (r < 0)
		return r;
	bool good = image.state == IMAGE_PUBLISHED;
	r = good ? 1 : in_use(store, digest, err);
	if (r == 0)
		r = error_make(err, -ENOENT,
			"revision %d of image %s is not published and no cluster uses it",
			(int)image.revision, image.name);
	if (r >= 0)
		r = newest_act(store, image.name, &last, err);
	if (r >= 0)
		*ret_publication = (struct publication){.name = TAKE_PTR(image.name),
			.revision = image.revision,
			.digest = TAKE_PTR(image.digest),
			.sequence = last.sequence,
			.published = (uint64_t)last.published};
	image_done(&image);
	return r < 0 ? r : 0;
}
