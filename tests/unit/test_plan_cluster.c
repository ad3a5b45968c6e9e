/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A cluster over two labs: numbers, addresses, contexts; and keys that OpenSSH itself reads. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "controller/drive/keys.h"
#include "controller/plan/cluster.h"
#include "lib/file.h"
#include "lib/spawn.h"

static struct join_member members[2] = {{.lab = (char *)"n"}, {.lab = (char *)"s"}};
static struct place_pc hosts[] = {{"n", "pc1", 2, 4096, true}, {"s", "pc1", 2, 4096, false}};
static const struct place_pcs pcs = {hosts, 2, 2};
static struct cluster cluster = {.name = (char *)"alice", .image = (char *)
	"0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef", .n = 3, .cpus = 1, .memory_mib = 256,
	.policy = (char *)"spread"};

static struct join net_of_two(void)
{
	struct join join = {.id = (char *)"j1", .members = {members, 2, 2}};
	prefix4_parse("10.80.0.0/23", &join.net);
	prefix4_parse("10.80.0.0/24", &members[0].cluster_net);
	prefix4_parse("10.80.1.0/24", &members[1].cluster_net);
	return join;
}

static void test_addresses(void **state)
{
	(void)state;
	struct join net = net_of_two();
	struct addr_taken taken = {0};
	struct vms vms = {0}, more = {0};
	static const char *const want[] = {"alice-001 n 10.80.0.10/24", "alice-002 n 10.80.0.11/24",
		"alice-003 s 10.80.1.10/24"};
	assert_int_equal(plan_cluster(&cluster, &net, &pcs, &taken, &vms, NULL), 0);
	assert_int_equal(vms.n, 3);
	for (size_t i = 0; i < 3; i++) {
		char ip[PREFIX4_TEXT];
		auto_free char *got =
			xasprintf("%s %s %s", vms.at[i].id, vms.at[i].lab, prefix4_format(vms.at[i].ip, ip));
		assert_string_equal(got, want[i]);
		assert_int_equal(vms.at[i].planned_on_holder, strcmp(vms.at[i].lab, "n") == 0);
		assert_memory_equal(vms.at[i].mac.b, "\x52\x4e\x43", 3);
	}
	/* The same again beside them: every address is another one. */
	assert_int_equal(plan_cluster(&cluster, &net, &pcs, &taken, &more, NULL), 0);
	for (size_t i = 0; i < 3; i++)
		for (size_t j = 0; j < 3; j++) {
			assert_int_not_equal(mac_cmp(&vms.at[i].mac, &more.at[j].mac), 0);
			assert_int_not_equal(vms.at[i].ip.address.host, more.at[j].ip.address.host);
		}
	vms_done(&vms);
	vms_done(&more);
	addr_taken_done(&taken);
}

static void test_contexts(void **state)
{
	(void)state;
	struct join net = net_of_two();
	struct addr_taken taken = {0};
	struct cluster_keys keys;
	struct vms vms = {0};
	assert_int_equal(plan_cluster(&cluster, &net, &pcs, &taken, &vms, NULL), 0);
	keys_make("alice", &vms, &keys);
	plan_contexts(&cluster, &net, &keys, "n0", &vms);
	for (size_t i = 0; i < vms.n; i++) {
		auto_json json_t *array = json_array();
		json_t *document = NULL;
		struct proto_vms one;
		assert_int_equal(json_parse_object(vms.at[i].context, strlen(vms.at[i].context), &document, NULL), 0);
		json_array_append_new(array, document);
		assert_int_equal(proto_vms_read(array, &one, NULL), 0);
		const struct proto_context *context = &one.at[0].context;
		assert_string_equal(context->hostname, vms.at[i].id);
		assert_int_equal(context->hosts.n, 3);
		assert_int_equal(context->gateway.host, (vms.at[i].ip.address.host & 0xffffff00) + 1);
		assert_int_equal(context->cluster_net.len, 23);
		assert_string_equal(context->host_key, keys.hosts.at[i].secret);
		for (size_t j = 0; j < vms.n; j++)
			assert_non_null(strstr(context->known_hosts, keys.hosts.at[j].public));
		proto_vms_done(&one);
	}
	cluster_keys_done(&keys);
	vms_done(&vms);
	addr_taken_done(&taken);
}

/* ssh-keygen reads the secret half and finds the public one in it. */
static void test_keys(void **state)
{
	(void)state;
	char dir[] = "/tmp/test-keys-XXXXXX";
	struct cluster_key key;
	struct spawn_result result;
	assert_non_null(mkdtemp(dir));
	auto_free char *path = xasprintf("%s/key", dir);
	for (int i = 0; i < 8; i++) { /* comments of every length modulo the padding */
		auto_free char *comment = xasprintf("night@%.*s", i + 1, "abcdefghi");
		key_make(comment, &key);
		assert_int_equal(file_write(path, key.secret, strlen(key.secret), 0600, NULL), 0);
		const char *const argv[] = {"ssh-keygen", "-y", "-f", path, NULL};
		struct spawn keygen = {.argv = argv, .timeout_ms = 10000};
		assert_int_equal(spawn_run(&keygen, &result, NULL), 0);
		assert_int_equal(result.status, 0);
		assert_memory_equal(result.out, key.public, strlen(key.public));
		spawn_result_done(&result);
		free(key.secret);
		free(key.public);
	}
	assert_int_equal(file_remove_tree(dir, NULL), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_addresses),
		cmocka_unit_test(test_contexts),
		cmocka_unit_test(test_keys),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
