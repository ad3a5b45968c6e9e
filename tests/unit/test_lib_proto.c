/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Goal and report: what is written is read back to the same text, bounds hold, and errors name the
 * path.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "lib/proto.h"

static const char digest[] = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

static struct proto_vm vm_of(unsigned number)
{
	struct proto_vm vm = {.id = xasprintf("alice-%03u", number),
		.image = xstrdup(digest),
		.cpus = 2,
		.memory_mib = 512};
	struct proto_context *c = &vm.context;

	c->instance_id = xasprintf("alice-%u-5f0c", number);
	c->hostname = xstrdup(vm.id);
	mac_parse("52:4e:43:00:00:07", &c->mac);
	prefix4_parse("10.80.1.13/24", &c->address);
	ip4_parse("10.80.1.1", &c->gateway);
	prefix4_parse("10.80.0.0/16", &c->cluster_net);
	c->user = xstrdup("night");
	c->user_key = xstrdup("-----BEGIN OPENSSH PRIVATE KEY-----\nabc\n");
	c->user_key_pub = xstrdup("ssh-ed25519 AAAA night");
	c->known_hosts = xstrdup("alice-001 ssh-ed25519 AAAA\n");
	vec_push(&c->hosts, ((struct proto_peer){c->gateway, xstrdup("alice-001")}));
	return vm;
}

static struct proto_goal goal_of(unsigned n_vms)
{
	struct proto_goal goal = {.version = PROTO_VERSION,
		.generation = 9,
		.pc = xstrdup("pc-01"),
		.role = ROLE_HOST,
		.lease_s = 60,
		.until = xstrdup("2026-11-21T06:00:00Z"),
		.grace_s = 60,
		.chunk_url = xstrdup("http://10.71.0.1:8080"),
		.image_key = xstrdup(digest)};

	vec_push(&goal.images, ((struct proto_image){
				       .name = xstrdup("mpi"), .revision = 3, .digest = xstrdup(digest)}));
	vec_push(&goal.images.at[0].peers, xstrdup("http://10.71.0.12:8081"));
	for (unsigned i = 1; i <= n_vms; i++)
		vec_push(&goal.vms, vm_of(i));
	return goal;
}

static void test_goal(void **state)
{
	auto_error struct error *err = NULL;
	struct proto_goal goal = goal_of(2), back;
	auto_free char *text = proto_goal_write(&goal), *again = NULL;

	(void)state;
	assert_int_equal(proto_goal_read(text, strlen(text), &back, &err), 0);
	again = proto_goal_write(&back);
	assert_string_equal(text, again);
	assert_int_equal(back.vms.n, 2);
	assert_string_equal(back.vms.at[1].context.user_key, goal.vms.at[1].context.user_key);
	assert_int_equal(back.vms.at[1].context.gateway.host, 0x0a500101);
	assert_int_equal(proto_goal_read(text, strlen(text) - 1, &back, NULL), -EINVAL);
	proto_goal_done(&back);
	proto_goal_done(&goal);
}

static void test_goal_bounds(void **state)
{
	struct proto_goal goal = goal_of(257), back;
	auto_free char *text = proto_goal_write(&goal), *fewer = NULL;
	auto_error struct error *err = NULL;

	(void)state;
	assert_int_equal(proto_goal_read(text, strlen(text), &back, &err), -EINVAL);
	assert_string_equal(err->field, "vms");
	proto_goal_done(&goal);
	goal = goal_of(256);
	fewer = proto_goal_write(&goal);
	assert_int_equal(proto_goal_read(fewer, strlen(fewer), &back, NULL), 0);
	proto_goal_done(&back);
	proto_goal_done(&goal);
}

/* Changes one thing in a good goal and looks for the field that is blamed. */
static void test_goal_refused(void **state)
{
	static const struct {
		const char *was, *now, *field;
	} rows[] = {
		{"\"version\":1", "\"version\":2", "version"},
		{"\"lease_s\":60", "\"lease_s\":0", "lease_s"},
		{"\"role\":\"host\"", "\"role\":\"root\"", "role"},
		{"52:4e:43:00:00:07", "53:4e:43:00:00:07", "vms[0].context.mac"},
		{"\"name\":\"alice-001\"", "\"name\":\"alice 001\"",
			"vms[0].context.hosts[0].name"},
		{"\"cpus\":2", "\"cpus\":0", "vms[0].cpus"},
		{"\"memory_mib\":512", "\"memory\":512", "vms[0].memory"},
		{"\"user\":\"night\"", "\"user\":\"night\",\"user\":\"root\"", "user"},
		{"\"revision\":3", "\"revision\":\"3\"", "images[0].revision"},
	};
	struct proto_goal goal = goal_of(1), back;
	auto_free char *text = proto_goal_write(&goal);

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		auto_error struct error *err = NULL;
		const char *at = strstr(text, rows[i].was);
		auto_free char *bad = NULL;

		assert_non_null(at);
		bad = xasprintf(
			"%.*s%s%s", (int)(at - text), text, rows[i].now, at + strlen(rows[i].was));
		assert_int_equal(proto_goal_read(bad, strlen(bad), &back, &err), -EINVAL);
		assert_string_equal(err->field, rows[i].field);
	}
	proto_goal_done(&goal);
}

static void test_report(void **state)
{
	struct proto_report report = {.version = PROTO_VERSION,
		.generation = 9,
		.role = ROLE_HOST,
		.facts = {.boot_id = xstrdup("b"),
			.firmware = xstrdup("uefi"),
			.model = xstrdup(""),
			.cpus = 4,
			.memory_mib = 2048,
			.kvm = true,
			.boot_ms = 12000},
		.problem = xstrdup("libvirt is not up"),
		.load_permille = 250};
	struct proto_report back;
	auto_free char *text = NULL, *again = NULL;
	auto_error struct error *err = NULL;

	(void)state;
	mac_parse("52:54:00:00:00:01", &report.facts.mac);
	vec_push(&report.images, ((struct proto_image_seen){xstrdup(digest), 5, 10, xstrdup("cut off"), {0}}));
	vec_push(&report.images.at[0].notes, xstrdup("a neighbour lies"));
	vec_push(&report.vms,
		((struct proto_vm_seen){xstrdup("a-001"), VM_FAILED, xstrdup("no memory"), 0}));
	vec_push(&report.vms, ((struct proto_vm_seen){xstrdup("a-002"), VM_READY, NULL, 900}));
	text = proto_report_write(&report);
	assert_int_equal(proto_report_read(text, strlen(text), &back, &err), 0);
	again = proto_report_write(&back);
	assert_string_equal(text, again);
	assert_string_equal(back.images.at[0].notes.at[0], "a neighbour lies");
	assert_int_equal(back.vms.at[0].state, VM_FAILED);
	assert_null(back.vms.at[1].reason);
	assert_true(back.facts.kvm);
	proto_report_done(&back);
	proto_report_done(&report);
	assert_int_equal(proto_report_read("{\"version\":1}", 13, &back, &err), -EINVAL);
	assert_string_equal(err->field, "generation");
}

static void test_too_big(void **state)
{
	auto_free char *big = xcalloc(1, GOAL_MAX_BYTES + 2);
	struct proto_report report;
	struct proto_goal goal;

	(void)state;
	memset(big, ' ', GOAL_MAX_BYTES + 1);
	assert_int_equal(proto_goal_read(big, GOAL_MAX_BYTES + 1, &goal, NULL), -E2BIG);
	assert_int_equal(proto_report_read(big, REPORT_MAX_BYTES + 1, &report, NULL), -E2BIG);
}

static void test_vms_alone(void **state)
{
	struct proto_goal goal = goal_of(2);
	auto_json json_t *array = proto_vms_write(&goal.vms), *again = NULL,
			 *bad = json_pack("[i]", 1);
	auto_error struct error *err = NULL;
	struct proto_vms vms;

	(void)state;
	assert_int_equal(proto_vms_read(array, &vms, NULL), 0);
	again = proto_vms_write(&vms);
	assert_true(json_equal(array, again));
	proto_vms_done(&vms);
	assert_int_equal(vms.n, 0);
	assert_int_equal(proto_vms_read(bad, &vms, &err), -EINVAL);
	assert_string_equal(err->field, "vms[0]");
	proto_goal_done(&goal);
}

static void test_context_copy(void **state)
{
	struct proto_goal goal = goal_of(1), other = goal_of(0);
	auto_free char *text = proto_goal_write(&goal), *copied = NULL;
	struct proto_vm *vm = vec_add(&other.vms);

	(void)state;
	*vm = (struct proto_vm){
		.id = xstrdup("alice-001"), .image = xstrdup(digest), .cpus = 2, .memory_mib = 512};
	proto_context_copy(&vm->context, &goal.vms.at[0].context);
	proto_goal_done(&goal);
	copied = proto_goal_write(&other);
	assert_string_equal(copied, text);
	proto_goal_done(&other);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_goal),
		cmocka_unit_test(test_goal_bounds),
		cmocka_unit_test(test_goal_refused),
		cmocka_unit_test(test_report),
		cmocka_unit_test(test_too_big),
		cmocka_unit_test(test_vms_alone),
		cmocka_unit_test(test_context_copy),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
