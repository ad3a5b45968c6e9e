/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The seed disc's whole way: written by the host, read and applied by the guest below a scratch
 * root. And what a guest refuses: texts that are not ours, files where they do not belong, links in
 * its way. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <archive.h>
#include <archive_entry.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include "boot/hostd/guestlink.h"
#include "boot/hostd/seed.h"
#include "guest-agent/apply.h"
#include "guest-agent/guest.h"
#include "guest-agent/port.h"
#include "guest-agent/seed_find.h"
#include "guest-agent/seed_read.h"
#include "lib/file.h"
#include "lib/spawn.h"

#define KEY "-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n-----END OPENSSH PRIVATE KEY-----\n"

static char *scratch; /* a new folder for each test: disc, seed/, root/ */

static char *at(const char *path)
{
	return xasprintf("%s/%s", scratch, path);
}

static void put(const char *path, const char *text)
{
	auto_free char *whole = at(path);
	auto_free char *dir = xstrndup(whole, (size_t)(strrchr(whole, '/') - whole));
	assert_int_equal(file_mkdirs(dir, 0755, NULL), 0);
	assert_int_equal(file_write(whole, text, strlen(text), 0644, NULL), 0);
}

static char *get(const char *path)
{
	auto_free char *whole = at(path);
	char *text = NULL;
	if (file_read(whole, 1 << 20, &text, NULL, NULL) < 0)
		fail_msg("no %s", path);
	return text;
}

static void has(const char *path, const char *wanted, mode_t mode)
{
	auto_free char *whole = at(path);
	auto_free char *text = get(path);
	struct stat st;
	assert_string_equal(text, wanted);
	assert_int_equal(lstat(whole, &st), 0);
	assert_int_equal(st.st_mode & 07777, mode);
}

static int setup(void **state)
{
	char template[] = "/tmp/test_guest_seed.XXXXXX";
	(void)state;
	scratch = xstrdup(mkdtemp(template));
	put("root/etc/passwd",
		"root:x:0:0:root:/root:/bin/sh\nold:x:1000:1000::/home/old:/bin/sh\n");
	put("root/etc/group", "root:x:0:\nold:x:1000:\n");
	put("root/etc/shadow", "root:*:1::::::\n");
	put("root/etc/hosts", "127.0.0.1 localhost\n");
	put("seed/x", "");
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	file_remove_tree(scratch, NULL);
	free(scratch);
	return 0;
}

static struct proto_context context(void)
{
	struct proto_context c = {
		.instance_id = xstrdup("alice-3-5f0c"),
		.hostname = xstrdup("alice-003"),
		.mac = {{0x52, 0x4e, 0x43, 1, 2, 3}},
		.address = {{0x0a50010d}, 24},
		.gateway = {0x0a500101},
		.cluster_net = {{0x0a500000}, 12},
		.mtu = 1400,
		.user = xstrdup("night"),
		.user_key = xstrdup(KEY),
		.user_key_pub = xstrdup("ssh-ed25519 AAAAuser night"),
		.host_key = xstrdup(KEY "host\n"),
		.host_key_pub = xstrdup("ssh-ed25519 AAAAhost alice-003"),
		.known_hosts = xstrdup("alice-003 ssh-ed25519 AAAAhost\n"),
	};
	vec_push(&c.hosts, ((struct proto_peer){{0x0a50010d}, xstrdup("alice-003")}));
	vec_push(&c.hosts, ((struct proto_peer){{0x0a50020a}, xstrdup("alice-004")}));
	return c;
}

static void context_free(struct proto_context *c)
{
	struct proto_vms vms = {0};
	struct proto_vm *vm = vec_add(&vms);
	vm->context = *c;
	proto_vms_done(&vms);
}

struct refused;

/* Disc -> folder, as a mount would show it. */
static void unpack(const char *disc, const char *dir)
{
	struct archive *in = archive_read_new();
	struct archive_entry *entry;
	unsigned files = 0;
	archive_read_support_format_iso9660(in);
	assert_int_equal(archive_read_open_filename(in, disc, 2048), ARCHIVE_OK);
	while (archive_read_next_header(in, &entry) == ARCHIVE_OK) {
		if (archive_entry_filetype(entry) != AE_IFREG)
			continue;
		auto_free char *path = xasprintf("%s/%s", dir, archive_entry_pathname(entry));
		auto_close int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
		assert_true(fd >= 0);
		assert_int_equal(archive_entry_perm(entry), 0400);
		assert_int_equal(archive_read_data_into_fd(in, fd), ARCHIVE_OK);
		files++;
	}
	archive_read_free(in);
	assert_int_equal(files, 3);
}

static void test_whole_way(void **state)
{
	struct proto_context c = context();
	struct seed seed = {0};
	unsigned char descriptor[2048];
	struct stat st;
	(void)state;
	auto_free char *disc = at("disc"), *dir = at("seed"), *root = at("root");
	auto_error struct error *err = NULL;
	assert_int_equal(seed_write(&c, disc, &err), 0);
	assert_int_equal(seed_write(&c, disc, &err), 0); /* again: replaced */
	assert_int_equal(stat(disc, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
	auto_close int fd = open(disc, O_RDONLY | O_CLOEXEC);
	assert_int_equal(pread(fd, descriptor, sizeof(descriptor), 32768), sizeof(descriptor));
	assert_true(seed_is_label(descriptor));
	descriptor[40] = 'x';
	assert_false(seed_is_label(descriptor));

	unpack(disc, dir);
	if (seed_read(dir, &seed, &err) < 0)
		fail_msg("%s", err->text);
	assert_string_equal(seed.instance_id, "alice-3-5f0c");
	assert_string_equal(seed.hostname, "alice-003");
	assert_int_equal(mac_cmp(&seed.mac, &c.mac), 0);
	assert_int_equal(seed.address.address.host, c.address.address.host);
	assert_int_equal(seed.address.len, 24);
	assert_true(seed.has_gateway && seed.gateway.host == c.gateway.host);
	assert_int_equal(seed.mtu, 1400);
	for (int twice = 0; twice < 2; twice++)
		if (apply_files(&seed, root, &err) < 0)
			fail_msg("%s", err->text);
	has("root/etc/hostname", "alice-003\n", 0644);
	has("root/etc/hosts", "127.0.0.1 localhost\n10.80.1.13 alice-003\n10.80.2.10 alice-004\n",
		0644);
	has("root/home/night/.ssh/id_ed25519", KEY, 0600);
	has("root/home/night/.ssh/id_ed25519.pub", "ssh-ed25519 AAAAuser night\n", 0644);
	has("root/home/night/.ssh/authorized_keys", "ssh-ed25519 AAAAuser night\n", 0600);
	has("root/home/night/.ssh/known_hosts", "alice-003 ssh-ed25519 AAAAhost\n", 0644);
	has("root/etc/ssh/ssh_host_ed25519_key", KEY "host\n", 0600);
	has("root/etc/ssh/ssh_host_ed25519_key.pub", "ssh-ed25519 AAAAhost alice-003\n", 0644);
	has("root/etc/passwd",
		"root:x:0:0:root:/root:/bin/sh\nold:x:1000:1000::/home/old:/bin/sh\n"
		"night:x:1001:1001::/home/night:/bin/bash\n",
		0644);
	has("root/etc/shadow", "root:*:1::::::\nnight:*:19000:0:99999:7:::\n", 0640);
	auto_free char *home = at("root/home/night"), *ssh = at("root/home/night/.ssh");
	assert_int_equal(stat(home, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0700);
	assert_int_equal(st.st_uid, geteuid() == 0 ? 1001 : geteuid());
	assert_int_equal(stat(ssh, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0700);
	seed_done(&seed);
	context_free(&c);
}

static void write_seed(const struct proto_context *c, const struct refused *change);

/* A VM that lost power between the three account files. */
static void test_half_made_account(void **state)
{
	struct proto_context c = context();
	struct seed seed = {0};
	(void)state;
	auto_free char *dir = at("seed"), *root = at("root");
	put("root/etc/group", "root:x:0:\nold:x:1000:\nnight:x:1001:\n");
	put("root/etc/shadow", "night:*:19000:0:99999:7:::\n");
	write_seed(&c, NULL);
	assert_int_equal(seed_read(dir, &seed, NULL), 0);
	assert_int_equal(apply_files(&seed, root, NULL), 0);
	has("root/etc/group", "root:x:0:\nold:x:1000:\nnight:x:1001:\n", 0644);
	has("root/etc/shadow", "night:*:19000:0:99999:7:::\n", 0644);
	auto_free char *passwd = get("root/etc/passwd");
	assert_non_null(strstr(passwd, "night:x:1001:1001::/home/night:/bin/bash\n"));
	seed_done(&seed);
	context_free(&c);
}

static void test_least_context(void **state)
{
	struct proto_context c = context();
	struct seed seed = {0};
	(void)state;
	auto_free char *disc = at("disc"), *dir = at("seed"), *root = at("root");
	free(TAKE_PTR(c.user_key));
	free(TAKE_PTR(c.user_key_pub));
	free(TAKE_PTR(c.host_key));
	free(TAKE_PTR(c.host_key_pub));
	free(TAKE_PTR(c.known_hosts));
	c.gateway.host = 0;
	c.mtu = 0;
	assert_int_equal(seed_write(&c, disc, NULL), 0);
	unpack(disc, dir);
	assert_int_equal(seed_read(dir, &seed, NULL), 0);
	assert_false(seed.has_gateway);
	assert_null(seed.host_key);
	assert_int_equal(apply_files(&seed, root, NULL), 0);
	seed_done(&seed);
	context_free(&c);
}

/* The three texts as a stock cloud-init wants them: what its schema asks of the keys that we use.
 */
static void test_cloud_init_sees_its_form(void **state)
{
	struct proto_context c = context();
	(void)state;
	auto_free char *user = seed_user_data(&c), *meta = seed_meta_data(&c),
		       *net = seed_network_config(&c);
	assert_true(str_starts(user, "#cloud-config\n{"));
	auto_json json_t *config =
		json_loads(user + strlen("#cloud-config\n"), JSON_REJECT_DUPLICATES, NULL);
	assert_non_null(config);
	json_t *file;
	size_t i;
	json_array_foreach (json_object_get(config, "write_files"), i, file) {
		const char *path = json_string_value(json_object_get(file, "path"));
		const char *owner = json_string_value(json_object_get(file, "owner"));
		/* before users exist only root's files can be written */
		if (strcmp(owner, "root:root") != 0)
			assert_true(json_is_true(json_object_get(file, "defer")));
		assert_true(path[0] == '/');
		assert_true(json_is_string(
			json_object_get(file, "permissions"))); /* not a number: octal */
	}
	assert_true(json_is_array(json_object_get(
		json_array_get(json_object_get(config, "users"), 0), "ssh_authorized_keys")));
	assert_non_null(json_object_get(json_object_get(config, "ssh_keys"), "ed25519_private"));
	json_t *command = json_array_get(json_object_get(config, "runcmd"), 0);
	assert_int_equal(json_array_size(command), 3);
	auto_json json_t *network = json_loads(net, JSON_REJECT_DUPLICATES, NULL);
	assert_int_equal(json_integer_value(json_object_get(network, "version")), 2);
	auto_json json_t *instance = json_loads(meta, JSON_REJECT_DUPLICATES, NULL);
	assert_non_null(json_object_get(instance, "instance-id"));
	context_free(&c);
}

static char *replaced(const char *text, const char *from, const char *to)
{
	const char *here = strstr(text, from);
	if (!here)
		fail_msg("no %s in the seed", from);
	return xasprintf("%.*s%s%s", (int)(here - text), text, to, here + strlen(from));
}

/* The runcmd of a guest without an agent, run with this machine's shell: its line is one that the
 * host understands. */
static void test_cloud_init_says_ready(void **state)
{
	struct proto_context c = context();
	struct guest_line line = {0};
	struct utsname self;
	(void)state;
	auto_free char *user = seed_user_data(&c), *port = at("port"), *script = at("script");
	auto_free char *call = xasprintf("systemctl() { :; }; . %s", script);
	auto_json json_t *config =
		json_loads(user + strlen("#cloud-config\n"), JSON_REJECT_DUPLICATES, NULL);
	json_t *command = json_array_get(json_object_get(config, "runcmd"), 0);
	assert_string_equal(json_string_value(json_array_get(command, 0)), "sh");
	assert_string_equal(json_string_value(json_array_get(command, 1)), "-c");
	auto_free char *text = replaced(json_string_value(json_array_get(command, 2)),
		"/dev/virtio-ports/org.nightclass.guest.0", port);
	put("script", text);
	const char *const argv[] = {"sh", "-c", call, NULL};
	pid_t pid;
	int status;
	assert_int_equal(spawn_start(argv, NULL, 0, NULL, &pid, NULL), 0);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	auto_free char *said = get("port");
	size_t len = strlen(said);
	assert_int_equal(said[len - 1], '\n');
	assert_int_equal(guest_line_read(said, len - 1, &line, NULL), 0);
	assert_int_equal(uname(&self), 0);
	assert_true(line.ready);
	assert_string_equal(line.hostname, self.nodename);
	guest_line_done(&line);
	context_free(&c);
}

/* One good seed as three texts, then one thing changed. */
struct refused {
	const char *what, *file, *from, *to,
		*word; /* `from` replaced by `to`; the error says `word` */
};
static const struct refused refusals[] = {
	{"no cloud-config line", "user-data", "#cloud-config\n", "", "#cloud-config"},
	{"unknown member", "user-data", "\"hostname\"", "\"bootcmd\": [\"rm\"], \"hostname\"",
		"bootcmd"},
	{"host name", "user-data", "\"alice-003\"", "\"alice 003\"", "hostname"},
	{"password login", "user-data", "\"ssh_pwauth\": false", "\"ssh_pwauth\": true",
		"password"},
	{"a file elsewhere", "user-data", "\"/etc/hosts\"", "\"/etc/sudoers\"", "/etc/sudoers"},
	{"a way up", "user-data", "/home/night/.ssh/known_hosts", "/home/night/../x",
		"/home/night/../x"},
	{"another's home", "user-data", "/home/night/.ssh/known_hosts", "/home/old/x",
		"/home/old/x"},
	{"set-uid", "user-data", "\"0600\"", "\"4755\"", "permissions"},
	{"world-writable", "user-data", "\"0600\"", "\"0666\"", "permissions"},
	{"root as user", "user-data", "\"name\": \"night\"", "\"name\": \"root\"", "root"},
	{"a shell with a colon", "user-data", "\"/bin/bash\"", "\"/bin/sh:x\"", "shell"},
	{"two addresses", "network-config", "\"10.80.1.13/24\"",
		"\"10.80.1.13/24\", \"10.80.1.14/24\"", "addresses"},
	{"dhcp", "network-config", "\"dhcp4\": false", "\"dhcp4\": true", "dhcp4"},
	{"MAC", "network-config", "52:4e:43:01:02:03", "52:4e:43:01:02", "macaddress"},
	{"a route elsewhere", "network-config", "0.0.0.0/0", "10.0.0.0/8", "route"},
	{"trailing bytes", "meta-data", "}", "} {}", "meta-data"},
};

static void write_seed(const struct proto_context *c, const struct refused *change)
{
	const char *names[] = {"meta-data", "user-data", "network-config"};
	char *texts[] = {seed_meta_data(c), seed_user_data(c), seed_network_config(c)};
	for (int i = 0; i < 3; i++) {
		auto_free char *path = xasprintf("seed/%s", names[i]);
		auto_free char *text = change && strcmp(change->file, names[i]) == 0
					       ? replaced(texts[i], change->from, change->to)
					       : xstrdup(texts[i]);
		put(path, text);
		free(texts[i]);
	}
}

static void test_refusals(void **state)
{
	struct proto_context c = context();
	(void)state;
	auto_free char *dir = at("seed"), *root = at("root");
	for (size_t i = 0; i < ARRAY_LEN(refusals); i++) {
		struct seed seed = {0};
		auto_error struct error *err = NULL;
		write_seed(&c, &refusals[i]);
		int r = seed_read(dir, &seed, &err);
		if (r == 0)
			r = apply_files(&seed, root, &err);
		seed_done(&seed);
		if (r >= 0)
			fail_msg("%s: taken", refusals[i].what);
		if (!strstr(err->text, refusals[i].word) &&
			!(err->field && strstr(err->field, refusals[i].word)))
			fail_msg("%s: says \"%s\" (%s)", refusals[i].what, err->text, err->field);
	}
	context_free(&c);
}

static void test_links_are_not_followed(void **state)
{
	struct proto_context c = context();
	struct seed seed = {0};
	(void)state;
	auto_free char *dir = at("seed"), *root = at("root"), *home = at("root/home/night");
	auto_free char *outside = at("outside"), *link = at("root/home/night/.ssh");
	put("outside/x", "");
	assert_int_equal(file_mkdirs(home, 0755, NULL), 0);
	assert_int_equal(symlink(outside, link), 0);
	write_seed(&c, NULL);
	assert_int_equal(seed_read(dir, &seed, NULL), 0);
	assert_true(apply_files(&seed, root, NULL) < 0);
	auto_free char *leaked = at("outside/id_ed25519");
	assert_int_not_equal(access(leaked, F_OK), 0);
	/* a link in place of the file itself is replaced, not written through */
	assert_int_equal(unlink(link), 0);
	assert_int_equal(mkdir(link, 0700), 0);
	auto_free char *target = at("outside/x"), *file = at("root/home/night/.ssh/id_ed25519");
	assert_int_equal(symlink(target, file), 0);
	assert_int_equal(apply_files(&seed, root, NULL), 0);
	has("outside/x", "", 0644);
	has("root/home/night/.ssh/id_ed25519", KEY, 0600);
	seed_done(&seed);
	context_free(&c);
}

static void test_ready_line(void **state)
{
	struct proto_context c = context();
	struct guest_line line = {0};
	(void)state;
	auto_free char *dir = at("seed"), *root = at("root"), *port = at("port");
	auto_free char *program = at("services"), *mark = at("started");
	auto_free char *script =
		xasprintf("#!/bin/sh\n[ -s %s/etc/hostname ] && : >%s\n", root, mark);
	struct guest_options o = {
		.seed_dir = dir, .root = root, .port = port, .services = program, .once = true};
	auto_error struct error *err = NULL;
	put("port", "");
	put("services", script);
	assert_int_equal(chmod(program, 0755), 0);
	write_seed(&c, NULL);
	if (guest_run(&o, &err) < 0)
		fail_msg("%s", err->text);
	assert_int_equal(access(mark, F_OK), 0);
	auto_free char *said = get("port");
	size_t len = strlen(said);
	assert_int_equal(said[len - 1], '\n');
	assert_int_equal(guest_line_read(said, len - 1, &line, NULL), 0);
	assert_true(line.ready);
	assert_string_equal(line.hostname, "alice-003");
	guest_line_done(&line);
	/* services that fail: never ready */
	put("port", "");
	put("services", "#!/bin/sh\nexit 3\n");
	assert_int_equal(chmod(program, 0755), 0);
	assert_true(guest_run(&o, NULL) < 0);
	auto_free char *silent = get("port");
	assert_string_equal(silent, "");
	context_free(&c);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(test_whole_way),
		TEST(test_half_made_account),
		TEST(test_least_context),
		TEST(test_cloud_init_sees_its_form),
		TEST(test_cloud_init_says_ready),
		TEST(test_refusals),
		TEST(test_links_are_not_followed),
		TEST(test_ready_line),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
