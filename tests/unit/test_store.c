/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The store on a database in memory and in a file: every noun there and back, events with each
 * change of state, transactions that nest, and what a damaged or newer database is answered. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <unistd.h>

#include "controller/store/cluster.h"
#include "controller/store/enrolment.h"
#include "controller/store/event.h"
#include "controller/store/idempotency.h"
#include "controller/store/image.h"
#include "controller/store/join.h"
#include "controller/store/lab.h"
#include "controller/store/night.h"
#include "controller/store/pc.h"
#include "controller/store/run.h"
#include "controller/store/store.h"
#include "controller/store/token.h"
#include "controller/store/vm.h"
#include "lib/clock.h"
#include "lib/file.h"

#define DIGEST "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"

static int setup(void **state)
{
	struct store *store = NULL;
	clock_fix(1800000000000);
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

static void add_pc(struct store *store, const char *name, const char *mac, const char *address)
{
	struct pc pc = {.name = (char *)name};
	assert_int_equal(mac_parse(mac, &pc.mac), 0);
	assert_int_equal(ip4_parse(address, &pc.address), 0);
	assert_int_equal(store_pc_insert(store, &pc, NULL), 0);
}

static void expect_last_event(
	struct store *store, const char *kind, const char *subject, const char *text)
{
	struct events events = {0};
	int64_t last = 0;
	assert_int_equal(store_event_last(store, &last, NULL), 0);
	assert_int_equal(store_event_list(store, last - 1, 10, &events, NULL), 0);
	assert_int_equal(events.n, 1);
	assert_string_equal(events.at[0].kind, kind);
	assert_string_equal(events.at[0].subject, subject);
	assert_string_equal(events.at[0].text, text);
	assert_int_equal(events.at[0].at, clock_wall());
	events_done(&events);
}

static void test_pc(void **state)
{
	struct store *store = *state;
	struct pc pc = {0};
	add_pc(store, "pc1", "52:54:00:00:00:01", "10.71.0.11");
	add_pc(store, "pc2", "52:54:00:00:00:02", "10.71.0.12");
	assert_int_equal(store_pc_get(store, "pc1", &pc, NULL), 0);
	assert_int_equal(pc.state, PC_DESKTOP);
	assert_int_equal(pc.address.host, 0x0a47000b);
	assert_false(pc.has_facts);
	pc_done(&pc);

	clock_fix(1800000060000);
	assert_int_equal(store_pc_set_state(store, "pc1", PC_WAKING, 1800000300, NULL, NULL), 0);
	expect_last_event(store, "pc.state", "pc/pc1", "PC pc1: desktop -> waking");
	assert_int_equal(store_pc_get(store, "pc1", &pc, NULL), 0);
	assert_int_equal(pc.since, 1800000060);
	assert_int_equal(pc.deadline, 1800000300);
	pc_done(&pc);

	uint64_t generation = 0;
	assert_int_equal(store_pc_bump(store, "pc1", &generation, NULL), 0);
	assert_int_equal(store_pc_bump(store, "pc1", &generation, NULL), 0);
	assert_int_equal(generation, 2);

	struct pcs pcs = {0};
	assert_int_equal(
		store_pc_list(store, &(struct pc_filter){.by_state = true, .state = PC_WAKING},
			&pcs, NULL),
		0);
	assert_int_equal(pcs.n, 1);
	pcs_done(&pcs);
	assert_int_equal(
		store_pc_list(store, &(struct pc_filter){.by_night = true}, &pcs, NULL), 0);
	assert_int_equal(pcs.n, 2);
	pcs_done(&pcs);
	assert_int_equal(store_pc_set_state(store, "pc9", PC_WAKING, 0, NULL, NULL), -ENOENT);
}

static void test_pc_taken(void **state)
{
	static const struct {
		const char *name, *mac, *address, *field;
	} cases[] = {
		{"pc1", "52:54:00:00:00:09", "10.71.0.19", "name"},
		{"pc9", "52:54:00:00:00:01", "10.71.0.19", "mac"},
		{"pc9", "52:54:00:00:00:09", "10.71.0.11", "address"},
	};
	struct store *store = *state;
	add_pc(store, "pc1", "52:54:00:00:00:01", "10.71.0.11");
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct error *err = NULL;
		struct pc pc = {.name = (char *)cases[i].name};
		mac_parse(cases[i].mac, &pc.mac);
		ip4_parse(cases[i].address, &pc.address);
		assert_int_equal(store_pc_insert(store, &pc, &err), -EEXIST);
		assert_string_equal(err->field, cases[i].field);
		error_free(err);
	}
}

static void test_pc_session(void **state)
{
	struct store *store = *state;
	struct proto_report report = {.version = 1,
		.generation = 7,
		.facts = {.boot_id = "boot-1",
			.firmware = "uefi",
			.model = "",
			.cpus = 2,
			.memory_mib = 4096,
			.boot_ms = 1234}};
	struct proto_report back = {0};
	struct pc pc = {0};
	add_pc(store, "pc1", "52:54:00:00:00:01", "10.71.0.11");
	mac_parse("52:54:00:00:00:01", &report.facts.mac);
	assert_int_equal(store_pc_set_state(store, "pc1", PC_BOOTING, 0, NULL, NULL), 0);
	assert_int_equal(store_pc_report(store, "pc1", &back, NULL), -ENOENT);
	assert_int_equal(store_enrolment_put(store,
				 &(struct enrolment){.boot_id = "boot-1",
					 .pc = "pc1",
					 .token = "t1",
					 .expires = 1800000100},
				 NULL),
		0);
	assert_int_equal(store_enrolment_use(store, "boot-1", "cert-1", NULL), 0);
	assert_int_equal(store_enrolment_use(store, "boot-1", "cert-2", NULL), -EACCES);
	assert_int_equal(store_pc_set_session(store, "pc1", &report.facts, NULL), 0);
	assert_int_equal(store_pc_set_report(store, "pc1", &report, NULL), 1);
	assert_int_equal(store_pc_report(store, "pc1", &back, NULL), 0);
	assert_int_equal(back.generation, 7);
	proto_report_done(&back);
	assert_int_equal(store_pc_get(store, "pc1", &pc, NULL), 0);
	assert_true(pc.has_facts);
	assert_int_equal(pc.facts.memory_mib, 4096);
	assert_int_equal(pc.applied, 7);
	assert_string_equal(pc.boot_id, "boot-1");
	pc_done(&pc);

	struct enrolment enrolment = {0};
	assert_int_equal(store_enrolment_by_certificate(store, "cert-1", &enrolment, NULL), 0);
	assert_false(enrolment.held);
	enrolment_done(&enrolment);
	assert_int_equal(store_enrolment_by_certificate(store, "", &enrolment, NULL), -ENOENT);
	assert_int_equal(store_enrolment_hold(store, "pc1", "two sessions", NULL), 0);
	expect_last_event(store, "enrol.held", "pc/pc1", "ALARM: PC pc1 is held: two sessions");
	assert_int_equal(store_enrolment_by_token(store, "t1", &enrolment, NULL), 0);
	assert_true(enrolment.held);
	enrolment_done(&enrolment);

	/* back at the desktop: nothing of the session is worth anything */
	assert_int_equal(store_pc_set_state(store, "pc1", PC_DESKTOP, 0, NULL, NULL), 0);
	assert_int_equal(
		store_enrolment_by_certificate(store, "cert-1", &enrolment, NULL), -ENOENT);
	assert_int_equal(store_pc_report(store, "pc1", &back, NULL), -ENOENT);
}

static void add_cluster(struct store *store, const char *name)
{
	struct cluster cluster = {.name = (char *)name,
		.owner = "alice",
		.home = "north",
		.image = DIGEST,
		.image_name = "mpi",
		.revision = 3,
		.n = 2,
		.cpus = 1,
		.memory_mib = 512,
		.policy = "spread",
		.state = CLUSTER_DEPLOYING,
		.created = 1800000000};
	assert_int_equal(store_cluster_insert(store, &cluster, NULL), 0);
}

static void test_cluster_and_vm(void **state)
{
	struct store *store = *state;
	add_cluster(store, "alice");
	struct cluster cluster = {0};
	assert_int_equal(store_cluster_get(store, "alice", &cluster, NULL), 0);
	assert_int_equal(cluster.revision, 3);
	assert_int_equal(cluster.memory_mib, 512);
	assert_null(cluster.join);
	assert_int_equal(cluster.night, 0);
	assert_int_equal(cluster.created, 1800000000);
	cluster_done(&cluster);

	struct vm vm = {.id = "alice-001",
		.cluster = "alice",
		.number = 1,
		.lab = "north",
		.pc = "pc1",
		.context = "{}",
		.wanted = true};
	mac_parse("52:4e:43:00:00:01", &vm.mac);
	prefix4_parse("10.80.1.10/24", &vm.ip);
	assert_int_equal(store_vm_insert(store, &vm, NULL), 0);
	vm.id = "alice-002";
	assert_int_equal(store_vm_insert(store, &vm, NULL), -EEXIST);
	assert_int_equal(store_vm_set_seen(store, "alice-001", VM_READY, NULL, 4200, NULL), 0);
	expect_last_event(store, "vm.state", "vm/alice-001", "VM alice-001: absent -> ready");
	struct vms vms = {0};
	assert_int_equal(
		store_vm_list(store, &(struct vm_filter){.cluster = "alice", .wanted_only = true},
			&vms, NULL),
		0);
	assert_int_equal(vms.n, 1);
	assert_int_equal(vms.at[0].ready_ms, 4200);
	assert_int_equal(vms.at[0].ready_at, clock_wall());
	assert_int_equal(vms.at[0].ip.len, 24);
	vms_done(&vms);
	assert_int_equal(store_vm_set_wanted(store, "alice-001", false, NULL), 0);
	assert_int_equal(store_vm_list(store, &(struct vm_filter){.pc = "pc1", .wanted_only = true},
				 &vms, NULL),
		0);
	assert_int_equal(vms.n, 0);

	int64_t before = 0, after = 0;
	assert_int_equal(store_cluster_set_state(store, "alice", CLUSTER_READY, NULL, NULL), 0);
	assert_int_equal(store_event_last(store, &before, NULL), 0);
	assert_int_equal(store_cluster_set_state(store, "alice", CLUSTER_READY, NULL, NULL), 0);
	assert_int_equal(store_event_last(store, &after, NULL), 0);
	assert_int_equal(before, after);
	assert_int_equal(store_cluster_delete(store, "alice", NULL), 0);
	assert_int_equal(store_vm_get(store, "alice-001", &vm, NULL), -ENOENT);
}

static void test_night_join_run(void **state)
{
	struct store *store = *state;
	struct night night = {.begins = 10, .ends = 20, .state = NIGHT_RUNNING};
	int64_t id = 0;
	vec_push(&night.pcs, xstrdup("pc1"));
	assert_int_equal(store_night_current(store, &night, NULL), -ENOENT);
	assert_int_equal(store_night_insert(store, &night, &id, NULL), 0);
	night_done(&night);
	assert_int_equal(store_night_current(store, &night, NULL), 0);
	assert_int_equal(night.id, id);
	assert_string_equal(night.pcs.at[0], "pc1");
	night_done(&night);
	assert_int_equal(store_night_set_state(store, id, NIGHT_DONE, NULL), 0);
	assert_int_equal(store_night_current(store, &night, NULL), -ENOENT);

	struct join join = {.id = "ab12", .coordinator = "north", .expires = 99};
	prefix4_parse("10.80.0.0/16", &join.net);
	struct join_member *member = vec_add(&join.members);
	member->lab = xstrdup("south");
	ip4_parse("10.70.0.2", &member->uplink);
	prefix4_parse("10.80.2.0/24", &member->cluster_net);
	assert_int_equal(store_join_put(store, &join, NULL), 0);
	join.id = join.coordinator = NULL;
	join_done(&join);
	assert_int_equal(store_join_set_member(store, "ab12", "south", JOIN_COMMITTED, NULL), 0);
	assert_int_equal(store_join_set_state(store, "ab12", JOIN_FAILED, "no road", NULL), 0);
	expect_last_event(
		store, "join.state", "join/ab12", "join ab12: proposed -> failed: no road");
	assert_int_equal(store_join_get(store, "ab12", &join, NULL), 0);
	assert_int_equal(join.members.n, 1);
	assert_int_equal(join.members.at[0].state, JOIN_COMMITTED);
	join_done(&join);
	struct joins joins = {0};
	assert_int_equal(store_join_list(store, true, &joins, NULL), 0);
	assert_int_equal(joins.n, 0);

	struct run run = {.cluster = "alice",
		.owner = "alice",
		.program = DIGEST,
		.name = "matmul",
		.ranks = 4};
	assert_int_equal(store_run_insert(store, &run, &id, NULL), 0);
	assert_int_equal(store_run_set_state(store, id, RUN_DONE, 3, NULL, NULL), 0);
	assert_int_equal(store_run_get(store, id, &run, NULL), 0);
	assert_int_equal(run.exit_code, 3);
	assert_int_equal(run.ended, clock_wall());
	run_done(&run);
}

static void test_image_lab_token(void **state)
{
	struct store *store = *state;
	struct image image = {
		.name = "mpi", .revision = 1, .digest = DIGEST, .size = 5, .stored = 4};
	uint64_t next = 0;
	assert_int_equal(store_image_insert(store, &image, NULL), 0);
	assert_int_equal(store_image_insert(store, &image, NULL), 0);
	assert_int_equal(store_image_next_revision(store, "mpi", &next, NULL), 0);
	assert_int_equal(next, 2);
	add_cluster(store, "alice");
	assert_int_equal(store_image_delete(store, "mpi", 0, false, NULL), -EBUSY);
	assert_int_equal(store_cluster_set_state(store, "alice", CLUSTER_CLOSED, NULL, NULL), 0);
	assert_int_equal(store_image_delete(store, "mpi", 0, false, NULL), 0);

	struct lab lab = {
		.name = "south", .url = "https://10.70.0.2:8443", .ca_pem = "x", .token = "y"};
	struct labs labs = {0};
	uint64_t missed = 0;
	assert_int_equal(store_lab_set_self(store, "north", "https://10.70.0.1:8443", NULL), 0);
	assert_int_equal(store_lab_put(store, &lab, NULL), 0);
	for (int i = 0; i < 3; i++)
		assert_int_equal(store_lab_missed(store, "south", &missed, NULL), 0);
	assert_int_equal(missed, 3);
	expect_last_event(store, "lab.unreachable", "lab/south", "lab south does not answer");
	assert_int_equal(store_lab_set_seen(store, "south", "{}", clock_wall(), NULL), 0);
	expect_last_event(store, "lab.reachable", "lab/south", "lab south answers");
	assert_int_equal(store_lab_list(store, false, &labs, NULL), 0);
	assert_int_equal(labs.n, 1);
	labs_done(&labs);
	assert_int_equal(store_lab_delete(store, "north", NULL), -ENOENT);

	struct token token = {.name = "t", .role = "viewer", .digest = DIGEST};
	assert_int_equal(store_token_insert(store, &token, NULL, NULL), 0);
	struct error *err = NULL;
	assert_int_equal(store_token_insert(store, &token, NULL, &err), -EEXIST);
	assert_string_equal(err->field, "name");
	error_free(err);
	assert_int_equal(store_token_delete(store, "t", NULL), 0);
	assert_int_equal(store_token_by_digest(store, DIGEST, &token, NULL), -ENOENT);
}

static void count_event(int64_t seq, void *arg)
{
	*(int64_t *)arg = seq;
}

static void test_transactions(void **state)
{
	struct store *store = *state;
	int64_t heard = 0, last = 0;
	store_on_event(store, count_event, &heard);
	assert_int_equal(store_begin(store, NULL), 0);
	add_pc(store, "pc1", "52:54:00:00:00:01", "10.71.0.11");
	assert_int_equal(heard, 0); /* not before the commit */
	assert_int_equal(store_commit(store, NULL), 0);
	assert_int_equal(heard, 1);

	/* a part that fails takes the whole with it, and the sequence stays gapless */
	assert_int_equal(store_begin(store, NULL), 0);
	add_pc(store, "pc2", "52:54:00:00:00:02", "10.71.0.12");
	assert_int_equal(store_begin(store, NULL), 0);
	store_rollback(store);
	assert_int_equal(store_commit(store, NULL), -ECANCELED);
	struct pc pc = {0};
	assert_int_equal(store_pc_get(store, "pc2", &pc, NULL), -ENOENT);
	add_pc(store, "pc3", "52:54:00:00:00:03", "10.71.0.13");
	assert_int_equal(store_event_last(store, &last, NULL), 0);
	assert_int_equal(last, 2);
	assert_int_equal(heard, 2);
}

/* A heartbeat that says nothing new costs no commit, and is written with one that comes a second
 * later. */
static void test_heartbeats(void **state)
{
	struct store *store = *state;
	struct proto_report report = {.version = 1,
		.facts = {.boot_id = "b", .firmware = "bios", .model = ""},
		.load_permille = 5};
	struct pc pc = {0};
	add_pc(store, "pc1", "52:54:00:00:00:01", "10.71.0.11");
	mac_parse("52:54:00:00:00:01", &report.facts.mac);
	assert_int_equal(store_pc_set_report(store, "pc1", &report, NULL), 1);
	int writes = sqlite3_total_changes(store_db(store));
	clock_fix(1800000010000);
	report.load_permille = 900;
	for (int i = 0; i < 10; i++)
		assert_int_equal(store_pc_set_report(store, "pc1", &report, NULL), 0);
	assert_int_equal(sqlite3_total_changes(store_db(store)), writes);
	clock_fix(1800000011000);
	assert_int_equal(store_begin(store, NULL), 0);
	assert_int_equal(store_commit(store, NULL), 0);
	assert_int_equal(sqlite3_total_changes(store_db(store)), writes + 1);
	assert_int_equal(store_pc_get(store, "pc1", &pc, NULL), 0);
	assert_int_equal(pc.reported_at, 1800000010);
	pc_done(&pc);
	report.generation = 2;
	assert_int_equal(store_pc_set_report(store, "pc1", &report, NULL), 1);
	assert_int_equal(store_pc_set_report(store, "pc9", &report, NULL), -ENOENT);
}

static void test_idempotency(void **state)
{
	struct store *store = *state;
	int status = 0;
	char *answer = NULL;
	assert_int_equal(store_idempotency_find(store, "k", 1, "r1", &status, &answer, NULL), 0);
	assert_int_equal(store_idempotency_keep(store, "k", 1, "r1", 201, "{}", NULL), 0);
	assert_int_equal(store_idempotency_find(store, "k", 1, "r1", &status, &answer, NULL), 1);
	assert_int_equal(status, 201);
	assert_string_equal(answer, "{}");
	free(answer);
	assert_int_equal(
		store_idempotency_find(store, "k", 1, "r2", &status, &answer, NULL), -EEXIST);
	assert_int_equal(store_idempotency_find(store, "k", 2, "r2", &status, &answer, NULL), 0);
}

static void test_files(void **state)
{
	(void)state;
	char dir[] = "/tmp/nightclass-store-XXXXXX";
	assert_non_null(mkdtemp(dir));
	auto_free char *path = xasprintf("%s/db", dir);
	struct store *store = NULL;
	struct error *err = NULL;
	assert_int_equal(store_open(path, &store, NULL), 0);
	add_pc(store, "pc1", "52:54:00:00:00:01", "10.71.0.11");
	store_close(store);
	assert_int_equal(store_open(path, &store, NULL), 0);
	struct pc pc = {0};
	assert_int_equal(store_pc_get(store, "pc1", &pc, NULL), 0);
	pc_done(&pc);
	assert_int_equal(store_exec(store, NULL, NULL, "PRAGMA user_version = 9999", ""), 0);
	store_close(store);

	assert_int_equal(store_open(path, &store, &err), -EPROTO);
	assert_non_null(strstr(err->text, "newer"));
	error_free(err);
	err = NULL;
	assert_int_equal(
		file_write(path, "this is not a database at all, is it", 36, 0600, NULL), 0);
	assert_int_equal(store_open(path, &store, &err), -EIO);
	assert_non_null(strstr(err->text, "damaged"));
	error_free(err);
	assert_int_equal(file_remove_tree(dir, NULL), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_pc, setup, teardown),
		cmocka_unit_test_setup_teardown(test_pc_taken, setup, teardown),
		cmocka_unit_test_setup_teardown(test_pc_session, setup, teardown),
		cmocka_unit_test_setup_teardown(test_cluster_and_vm, setup, teardown),
		cmocka_unit_test_setup_teardown(test_night_join_run, setup, teardown),
		cmocka_unit_test_setup_teardown(test_image_lab_token, setup, teardown),
		cmocka_unit_test_setup_teardown(test_transactions, setup, teardown),
		cmocka_unit_test_setup_teardown(test_heartbeats, setup, teardown),
		cmocka_unit_test_setup_teardown(test_idempotency, setup, teardown),
		cmocka_unit_test(test_files),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
