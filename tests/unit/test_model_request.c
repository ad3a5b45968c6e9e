/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Requests of people and of other controllers: what is taken, and which field is named when it is not. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "controller/model/request.h"

enum what { NIGHT, CLUSTER, JOIN, RUN, PEER_JOIN };
struct row {
	enum what what;
	const char *body, *field; /* at fault; NULL: taken */
};
#define DIGEST "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

static const struct row rows[] = {
	{NIGHT, "{\"for_s\":60}", NULL},
	{NIGHT, "{\"ends\":\"2026-11-21T06:00:00Z\",\"pcs\":\"pc[1-3]\"}", NULL},
	{NIGHT, "{}", "ends"},
	{NIGHT, "{\"for_s\":60,\"ends\":\"2026-11-21T06:00:00Z\"}", "ends"},
	{NIGHT, "{\"ends\":\"tomorrow\"}", "ends"},
	{NIGHT, "{\"begins\":\"2026-13-01T00:00:00Z\",\"for_s\":5}", "begins"},
	{NIGHT, "{\"for_s\":0}", "for_s"},
	{NIGHT, "{\"for_s\":60,\"pcs\":\"pc[1-\"}", "pcs"},
	{NIGHT, "{\"for_s\":60,\"until\":1}", "until"},
	{CLUSTER, "{\"name\":\"alice\",\"n\":8}", NULL},
	{CLUSTER, "{\"name\":\"alice\",\"n\":2,\"policy\":\"pack\",\"cpus\":2,"
		  "\"memory_mib\":512,\"image\":\"mpi\"}", NULL},
	{CLUSTER, "{\"name\":\"alice\"}", "n"},
	{CLUSTER, "{\"name\":\"Alice\",\"n\":1}", "name"},
	{CLUSTER, "{\"name\":\"a-name-that-leaves-no-room-for-the-number-of-a-vm-at-all-----x\",\"n\":1}", "name"},
	{CLUSTER, "{\"name\":\"alice\",\"n\":0}", "n"},
	{CLUSTER, "{\"name\":\"alice\",\"n\":\"8\"}", "n"},
	{CLUSTER, "{\"name\":\"alice\",\"n\":1,\"policy\":\"random\"}", "policy"},
	{CLUSTER, "{\"name\":\"alice\",\"n\":1,\"memory_mib\":8}", "memory_mib"},
	{CLUSTER, "{\"name\":\"alice\",\"n\":1,\"role\":\"admin\"}", "role"},
	{JOIN, "{\"labs\":[\"north\",\"south\"]}", NULL},
	{JOIN, "{\"labs\":[\"north\"]}", "labs"},
	{JOIN, "{\"labs\":[\"north\",\"So uth\"]}", "labs[1]"},
	{RUN, "{\"cluster\":\"alice\",\"ranks\":4,\"program\":\"" DIGEST "\",\"name\":\"a.out\","
	      "\"args\":[\"1\"]}", NULL},
	{RUN, "{\"cluster\":\"alice\",\"ranks\":4,\"program\":\"" DIGEST "\",\"name\":\"../x\"}", "name"},
	{RUN, "{\"cluster\":\"alice\",\"ranks\":4,\"program\":\"" DIGEST "\",\"name\":\"-x\"}", "name"},
	{RUN, "{\"cluster\":\"alice\",\"ranks\":0,\"program\":\"" DIGEST "\",\"name\":\"x\"}", "ranks"},
	{RUN, "{\"cluster\":\"alice\",\"ranks\":1,\"program\":\"abc\",\"name\":\"x\"}", "program"},
	{PEER_JOIN, "{\"coordinator\":\"north\",\"state\":\"prepared\",\"net\":\"10.80.0.0/23\",\"expires_s\":60,"
		    "\"members\":[{\"lab\":\"north\",\"uplink\":\"10.70.0.1\",\"cluster_net\":\"10.80.0.0/24\"}]}",
		NULL},
	{PEER_JOIN, "{\"coordinator\":\"north\",\"state\":\"withdrawn\",\"net\":\"10.80.0.0/23\",\"expires_s\":60,"
		    "\"members\":[]}", "state"},
	{PEER_JOIN, "{\"coordinator\":\"north\",\"state\":\"prepared\",\"net\":\"10.80.0.0/23\",\"expires_s\":60,"
		    "\"members\":[{\"lab\":\"north\",\"uplink\":\"x\",\"cluster_net\":\"10.80.0.0/24\"}]}",
		"members[0].uplink"},
};

static int read_row(enum what what, const json_t *body, struct error **err)
{
	struct request_night night = {0};
	struct request_cluster cluster = {0};
	struct request_join join = {0};
	struct request_run run = {0};
	struct join peer = {0};
	int r = 0;
	switch (what) {
	case NIGHT:
		r = request_night_read(body, &night, err);
		request_night_done(&night);
		break;
	case CLUSTER:
		r = request_cluster_read(body, &cluster, err);
		request_cluster_done(&cluster);
		break;
	case JOIN:
		r = request_join_read(body, &join, err);
		request_join_done(&join);
		break;
	case RUN:
		r = request_run_read(body, &run, err);
		request_run_done(&run);
		break;
	case PEER_JOIN:
		r = request_peer_join_read(body, "j1", 1000, &peer, err);
		join_done(&peer);
		break;
	}
	return r;
}

static void test_rows(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		auto_json json_t *body = NULL;
		auto_error struct error *err = NULL;
		print_message("%s\n", rows[i].body);
		assert_int_equal(json_parse_object(rows[i].body, strlen(rows[i].body), &body, NULL), 0);
		assert_int_equal(read_row(rows[i].what, body, &err), rows[i].field ? -EINVAL : 0);
		if (rows[i].field)
			assert_string_equal(err->field, rows[i].field);
	}
}

/* What one controller writes, the other reads, and leases travel as seconds from now. */
static void test_there_and_back(void **state)
{
	(void)state;
	struct join_member member = {.lab = (char *)"north"};
	struct join join = {.id = (char *)"j1", .coordinator = (char *)"north", .members = {&member, 1, 1}}, back;
	ip4_parse("10.70.0.1", &member.uplink);
	prefix4_parse("10.80.0.0/24", &member.cluster_net);
	prefix4_parse("10.80.0.0/23", &join.net);
	auto_json json_t *json = request_peer_join_write(&join, JOIN_COMMITTED, 600);
	assert_int_equal(request_peer_join_read(json, "j1", 5000, &back, NULL), 0);
	assert_int_equal(back.expires, 5600);
	assert_int_equal(back.state, JOIN_COMMITTED);
	assert_int_equal(back.members.at[0].uplink.host, member.uplink.host);
	join_done(&back);
	auto_json json_t *ended = request_peer_join_write(&join, JOIN_COMMITTED, -5);
	assert_int_equal(request_peer_join_read(ended, "j1", 5000, &back, NULL), 0);
	assert_int_equal(back.expires, 5001);
	join_done(&back);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_rows),
		cmocka_unit_test(test_there_and_back),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
