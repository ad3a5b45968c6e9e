/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Revisions in the database: what is published, going back, numbers that never return, what may be
 * signed, and the step from the schema that knew no publications. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "controller/store/cluster.h"
#include "controller/store/image.h"
#include "controller/store/migrations.h"
#include "controller/store/pc.h"
#include "controller/store/publish.h"
#include "controller/store/store.h"
#include "lib/clock.h"
#include "lib/file.h"

enum { NOW = 1800000000 };

static int setup(void **state)
{
	struct store *store = NULL;

	clock_fix((int64_t)NOW * 1000);
	assert_int_equal(store_open(":memory:", &store, NULL), 0);
	*state = store;
	return 0;
}

static int teardown(void **state)
{
	store_close(*state);
	clock_fix(-1);
	return 0;
}

/* Revision 7 has the digest 777... */
static const char *digest_of(uint64_t revision)
{
	static char text[65];

	memset(text, '0' + (int)revision, 64);
	return text;
}

static void add(struct store *store, const char *name, uint64_t revision)
{
	struct image image = {.name = (char *)name,
		.revision = revision,
		.digest = (char *)digest_of(revision),
		.size = 512,
		.created = NOW};

	assert_int_equal(store_image_insert(store, &image, NULL), 0);
}

static uint64_t published(struct store *store)
{
	struct image image = {0};
	int r = store_image_published(store, "mpi", &image, NULL);
	uint64_t revision = r < 0 ? 0 : image.revision;

	image_done(&image);
	return revision;
}

static enum image_state state_of(struct store *store, uint64_t revision)
{
	struct image image = {0};

	assert_int_equal(store_image_get(store, "mpi", revision, &image, NULL), 0);
	enum image_state state = image.state;
	image_done(&image);
	return state;
}

/* 0: may not be signed. */
static uint64_t sequence_of(struct store *store, uint64_t revision)
{
	auto_publication struct publication p = {0};

	if (store_publication(store, digest_of(revision), &p, NULL) < 0)
		return 0;
	assert_string_equal(p.name, "mpi");
	assert_int_equal(p.revision, revision);
	assert_string_equal(p.digest, digest_of(revision));
	return p.sequence;
}

static void add_cluster(struct store *store, const char *name, uint64_t revision)
{
	struct cluster cluster = {.name = (char *)name,
		.owner = (char *)"alice",
		.home = (char *)"north",
		.image = (char *)digest_of(revision),
		.image_name = (char *)"mpi",
		.revision = revision,
		.n = 1,
		.cpus = 1,
		.memory_mib = 64,
		.policy = (char *)"spread",
		.reason = (char *)""};

	assert_int_equal(store_cluster_insert(store, &cluster, NULL), 0);
}

static void a_new_revision_is_a_draft(void **state)
{
	struct store *store = *state;
	auto_error struct error *err = NULL;
	struct image image = {0};

	assert_int_equal(store_image_published(store, "mpi", &image, NULL), -ENOENT);
	add(store, "mpi", 1);
	assert_int_equal(state_of(store, 1), IMAGE_DRAFT);
	assert_int_equal(store_image_published(store, "mpi", &image, &err), -ENOENT);
	assert_non_null(strstr(err->text, "image publish mpi 1"));
	assert_int_equal(sequence_of(store, 1), 0);
	assert_int_equal(store_image_publish(store, "mpi", 1, NULL), 0);
	assert_int_equal(published(store), 1);
	add(store, "mpi", 2);
	assert_int_equal(published(store), 1);
	assert_int_equal(store_image_get(store, "mpi", 0, &image, NULL), 0);
	assert_int_equal(image.revision, 1); /* what is in use, not what is newest */
	image_done(&image);
	assert_int_equal(store_image_publish(store, "mpi", 3, NULL), -ENOENT);
	assert_int_equal(published(store), 1);
}

static void the_sequence_only_grows(void **state)
{
	struct store *store = *state;
	uint64_t last = 0;

	add(store, "mpi", 1);
	add(store, "mpi", 2);
	for (int i = 0; i < 6; i++) {
		uint64_t revision = 1 + (uint64_t)(i & 1);

		clock_fix((int64_t)(NOW - 1000 * i) * 1000); /* the clock may be set back */
		assert_int_equal(store_image_publish(store, "mpi", revision, NULL), 0);
		assert_true(sequence_of(store, revision) > last);
		last = sequence_of(store, revision);
		assert_int_equal(store_image_publish(store, "mpi", revision, NULL), 0);
		assert_int_equal(sequence_of(store, revision), last); /* once is enough */
		assert_int_equal(sequence_of(store, 3 - revision), 0);
	}
	assert_true(last >= NOW);
	assert_int_equal(store_image_delete(store, "mpi", 0, true, NULL), 0);
	add(store, "mpi", 3);
	assert_int_equal(store_image_publish(store, "mpi", 3, NULL), 0);
	assert_true(sequence_of(store, 3) > last); /* also over a deletion */
}

static void going_back(void **state)
{
	struct store *store = *state;
	auto_error struct error *err = NULL;

	for (uint64_t i = 1; i <= 4; i++) {
		add(store, "mpi", i);
		if (i != 3) /* 3 stays a draft */
			assert_int_equal(store_image_publish(store, "mpi", i, NULL), 0);
	}
	assert_int_equal(store_image_rollback(store, "mpi", 0, NULL), 0);
	assert_int_equal(published(store), 2);
	assert_int_equal(state_of(store, 4), IMAGE_FORMER);
	assert_int_equal(state_of(store, 3), IMAGE_DRAFT);
	assert_int_equal(store_image_rollback(store, "mpi", 4, &err), -EINVAL);
	assert_string_equal(err->field, "revision");
	assert_int_equal(store_image_rollback(store, "mpi", 1, NULL), 0);
	assert_int_equal(store_image_rollback(store, "mpi", 1, NULL), 0);
	assert_int_equal(published(store), 1);
	assert_int_equal(store_image_rollback(store, "mpi", 0, NULL), -ENOENT);
	assert_int_equal(store_image_publish(store, "mpi", 4, NULL), 0);
	assert_int_equal(store_image_delete(store, "mpi", 2, false, NULL), 0);
	assert_int_equal(store_image_rollback(store, "mpi", 0, NULL), 0);
	assert_int_equal(published(store), 1);
}

static void deleting(void **state)
{
	struct store *store = *state;
	auto_error struct error *err = NULL, *why = NULL;
	const struct pc pc = {.name = (char *)"pc1", .mac = {{2, 0, 0, 0, 0, 1}}, .address = {0x0a47000b}};
	uint64_t next = 0, generation = 0, after = 0;

	add(store, "mpi", 1);
	add(store, "mpi", 2);
	assert_int_equal(store_image_publish(store, "mpi", 2, NULL), 0);
	add_cluster(store, "alice", 1);
	assert_int_equal(store_image_delete(store, "mpi", 1, true, &err), -EBUSY);
	assert_non_null(strstr(err->text, "cluster alice uses revision 1"));
	assert_int_equal(store_image_delete(store, "mpi", 2, false, &why), -EBUSY);
	assert_non_null(strstr(why->text, "--force"));
	assert_int_equal(store_pc_insert(store, &pc, NULL), 0);
	assert_int_equal(store_pc_set_state(store, "pc1", PC_HOST, 0, NULL, NULL), 0);
	assert_int_equal(store_pc_bump(store, "pc1", &generation, NULL), 0);
	assert_int_equal(store_image_delete(store, "mpi", 2, true, NULL), 0);
	assert_int_equal(store_pc_bump(store, "pc1", &after, NULL), 0);
	assert_int_equal(after, generation + 2); /* hosts that fetched it ahead are told */
	assert_int_equal(published(store), 0); /* nothing takes its place by itself */
	assert_int_equal(store_image_next_revision(store, "mpi", &next, NULL), 0);
	assert_int_equal(next, 3); /* 2 was somebody else's */
}

/* A deployment keeps its revision: its hosts may still fetch it, under the newest number. */
static void what_is_used_may_be_signed(void **state)
{
	struct store *store = *state;

	add(store, "mpi", 1);
	add(store, "mpi", 2);
	assert_int_equal(store_image_publish(store, "mpi", 1, NULL), 0);
	uint64_t before = sequence_of(store, 1);
	add_cluster(store, "alice", 1);
	clock_fix((int64_t)(NOW + 60) * 1000);
	assert_int_equal(store_image_publish(store, "mpi", 2, NULL), 0);
	assert_true(sequence_of(store, 1) > before);
	assert_int_equal(sequence_of(store, 1), sequence_of(store, 2));
	assert_int_equal(store_cluster_set_state(store, "alice", CLUSTER_CLOSED, NULL, NULL), 0);
	assert_int_equal(sequence_of(store, 1), 0);
	assert_true(sequence_of(store, 2) > 0);
}

static void run_sql(sqlite3 *db, const char *sql)
{
	char *text = NULL;

	if (sqlite3_exec(db, sql, NULL, NULL, &text) != SQLITE_OK)
		fail_msg("%s", text);
}

/* A database of the first schema: what was newest counts as published. */
static void the_first_schema_is_brought_on(void **state)
{
	char dir[] = "/tmp/nightclass-store-XXXXXX";
	struct store *store = NULL;
	sqlite3 *db = NULL;

	(void)state;
	assert_non_null(mkdtemp(dir));
	auto_free char *path = xasprintf("%s/db", dir);
	assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
	run_sql(db, migrations[0]);
	for (uint64_t i = 1; i <= 3; i++) {
		auto_free char *row =
			xasprintf("INSERT INTO image VALUES('%s', %d, '%s', 512, 10, %d)",
				i == 3 ? "other" : "mpi", (int)i, digest_of(i), NOW - (int)i);
		run_sql(db, row);
	}
	run_sql(db, "PRAGMA user_version = 1");
	sqlite3_close(db);
	assert_int_equal(store_open(path, &store, NULL), 0);
	assert_int_equal(state_of(store, 1), IMAGE_DRAFT);
	assert_int_equal(state_of(store, 2), IMAGE_PUBLISHED);
	assert_int_equal(sequence_of(store, 2), NOW - 2);
	struct image image = {0};
	assert_int_equal(store_image_published(store, "other", &image, NULL), 0);
	image_done(&image);
	store_close(store);
	assert_int_equal(file_remove_tree(dir, NULL), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(a_new_revision_is_a_draft, setup, teardown),
		cmocka_unit_test_setup_teardown(the_sequence_only_grows, setup, teardown),
		cmocka_unit_test_setup_teardown(going_back, setup, teardown),
		cmocka_unit_test_setup_teardown(deleting, setup, teardown),
		cmocka_unit_test_setup_teardown(what_is_used_may_be_signed, setup, teardown),
		cmocka_unit_test(the_first_schema_is_brought_on),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
