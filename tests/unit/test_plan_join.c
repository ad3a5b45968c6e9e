/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Joins: subnets out of the pool beside everything the members use, and N-1 routes for each. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "controller/plan/join.h"

struct lab_row {
	const char *name, *uplink, *pool, *taken[3];
};
struct row {
	const char *what;
	struct lab_row labs[5];
	const char *net;  /* of the join; NULL: refused */
	const char *last; /* subnet of the last lab */
	int code;
	const char *text; /* part of the refusal */
};

static const struct row rows[] = {
	{"two labs",
		{{"n", "10.70.0.1", "10.80.0.0/12", {"10.71.0.1/24"}},
			{"s", "10.70.0.2", "10.80.0.0/12", {"10.72.0.1/24"}}},
		"10.80.0.0/23", "10.80.1.0/24", 0, NULL},
	{"three labs take four /24s",
		{{"a", "10.70.0.1", "10.80.0.0/12", {0}}, {"b", "10.70.0.2", "10.80.0.0/12", {0}},
			{"c", "10.70.0.3", "10.80.0.0/12", {0}}},
		"10.80.0.0/22", "10.80.2.0/24", 0, NULL},
	{"one lab alone", {{"n", "10.71.0.1", "10.80.0.0/12", {"10.71.0.1/24"}}}, "10.80.0.0/24",
		"10.80.0.0/24", 0, NULL},
	{"equal LANs are no hindrance",
		{{"n", "10.70.0.1", "10.80.0.0/12", {"192.168.1.1/24"}},
			{"s", "10.70.0.2", "10.80.0.0/12", {"192.168.1.1/24"}}},
		"10.80.0.0/23", "10.80.1.0/24", 0, NULL},
	{"a LAN inside the pool is avoided",
		{{"n", "10.70.0.1", "10.80.0.0/12", {"10.80.0.1/24"}},
			{"s", "10.70.0.2", "10.80.0.0/12", {0}}},
		"10.80.2.0/23", "10.80.3.0/24", 0, NULL},
	{"a live join is avoided",
		{{"n", "10.70.0.1", "10.80.0.0/12", {0}},
			{"s", "10.70.0.2", "10.80.0.0/12", {"10.80.0.0/22", "10.80.4.0/24"}}},
		"10.80.6.0/23", "10.80.7.0/24", 0, NULL},
	{"an uplink inside the pool is avoided",
		{{"n", "10.80.0.1", "10.80.0.0/12", {0}}, {"s", "10.80.0.2", "10.80.0.0/12", {0}}},
		"10.80.2.0/23", "10.80.3.0/24", 0, NULL},
	{"a full pool", {{"n", "10.70.0.1", "10.80.0.0/24", {"10.80.0.1/24"}}}, NULL, NULL, -EBUSY,
		"no free /24"},
	{"a pool too small",
		{{"n", "10.70.0.1", "10.80.0.0/24", {0}}, {"s", "10.70.0.2", "10.80.0.0/24", {0}}},
		NULL, NULL, -EBUSY, "too small"},
	{"different pools",
		{{"n", "10.70.0.1", "10.80.0.0/12", {0}}, {"s", "10.70.0.2", "10.96.0.0/12", {0}}},
		NULL, NULL, -EINVAL, "different cluster_net"},
	{"no uplink", {{"n", "10.70.0.1", "10.80.0.0/12", {0}}, {"s", NULL, "10.80.0.0/12", {0}}},
		NULL, NULL, -EINVAL, "no uplink_address"},
	{"one uplink for two",
		{{"n", "10.70.0.1", "10.80.0.0/12", {0}}, {"s", "10.70.0.1", "10.80.0.0/12", {0}}},
		NULL, NULL, -EINVAL, "same uplink"},
	{"a lab twice",
		{{"n", "10.70.0.1", "10.80.0.0/12", {0}}, {"n", "10.70.0.2", "10.80.0.0/12", {0}}},
		NULL, NULL, -EINVAL, "named twice"},
};

static void fill(const struct row *row, struct join_labs *labs)
{
	for (size_t i = 0; i < ARRAY_LEN(row->labs) && row->labs[i].name; i++) {
		struct join_lab *lab = vec_add(labs);
		lab->name = row->labs[i].name;
		if (row->labs[i].uplink)
			assert_int_equal(ip4_parse(row->labs[i].uplink, &lab->uplink), 0);
		assert_int_equal(prefix4_parse(row->labs[i].pool, &lab->pool), 0);
		for (size_t j = 0; j < 3 && row->labs[i].taken[j]; j++)
			assert_int_equal(
				prefix4_parse(row->labs[i].taken[j], vec_add(&lab->taken)), 0);
	}
}

static void test_rows(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct join_labs labs = {0};
		struct join join = {0};
		auto_error struct error *err = NULL;
		char text[PREFIX4_TEXT];
		print_message("%s\n", rows[i].what);
		fill(&rows[i], &labs);
		assert_int_equal(plan_join(&labs, &join, &err), rows[i].code);
		if (rows[i].net) {
			assert_string_equal(prefix4_format(join.net, text), rows[i].net);
			const struct join_member *last = &join.members.at[join.members.n - 1];
			assert_string_equal(prefix4_format(last->cluster_net, text), rows[i].last);
			assert_int_equal(join.members.n, labs.n);
		} else {
			assert_non_null(strstr(err->text, rows[i].text));
		}
		join_labs_done(&labs);
		join_done(&join);
	}
}

static void test_share(void **state)
{
	(void)state;
	struct join_labs labs = {0};
	struct join join = {.id = xstrdup("j1")};
	struct join_share share;
	char text[PREFIX4_TEXT];
	fill(&rows[1], &labs);
	assert_int_equal(plan_join(&labs, &join, NULL), 0);
	assert_int_equal(plan_join_share(&join, "b", &share, NULL), 0);
	assert_string_equal(prefix4_format(share.gateway, text), "10.80.1.1/24");
	assert_string_equal(prefix4_format(share.masquerade, text), "10.80.1.0/24");
	assert_string_equal(prefix4_format(share.exempt, text), "10.80.0.0/22");
	assert_int_equal(share.routes.n, 2);
	assert_string_equal(prefix4_format(share.routes.at[0].to, text), "10.80.0.0/24");
	assert_string_equal(ip4_format(share.routes.at[0].via, text), "10.70.0.1");
	assert_string_equal(prefix4_format(share.routes.at[1].to, text), "10.80.2.0/24");
	assert_string_equal(ip4_format(share.routes.at[1].via, text), "10.70.0.3");
	join_share_done(&share);
	assert_int_equal(plan_join_share(&join, "z", &share, NULL), -ENOENT);
	join_labs_done(&labs);
	join_done(&join);
}

static void test_check(void **state)
{
	(void)state;
	struct join_labs labs = {0};
	struct join join = {0};
	struct prefixes taken = {0};
	auto_error struct error *err = NULL;
	fill(&rows[0], &labs);
	assert_int_equal(plan_join(&labs, &join, NULL), 0);
	prefix4_parse("10.71.0.1/24", vec_add(&taken));
	assert_int_equal(plan_join_check(&join, &taken, NULL), 0);
	prefix4_parse("10.80.1.0/25", vec_add(&taken));
	assert_int_equal(plan_join_check(&join, &taken, &err), -EBUSY);
	assert_non_null(strstr(err->text, "10.80.1.0/25"));
	join.members.at[0].cluster_net.address.host += 1 << 16;
	assert_int_equal(plan_join_check(&join, &taken, NULL), -EINVAL);
	vec_done(&taken);
	join_labs_done(&labs);
	join_done(&join);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_rows),
		cmocka_unit_test(test_share),
		cmocka_unit_test(test_check),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
