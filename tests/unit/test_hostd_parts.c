/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The host agent's small pure parts: command line, options, back-off, what is kept, hand-back,
 * screen, report, the guest's line, key and certificate request, the CA by digest. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <gnutls/x509.h>
#include <sys/stat.h>
#include "boot/hostd/backoff.h"
#include "boot/hostd/bootargs.h"
#include "boot/hostd/console.h"
#include "boot/hostd/enrol.h"
#include "boot/hostd/guestlink.h"
#include "boot/hostd/handback.h"
#include "boot/hostd/keep.h"
#include "boot/hostd/kvm.h"
#include "boot/hostd/pin.h"
#include "boot/hostd/report.h"
#include "boot/hostd/vm.h"
#include "lib/file.h"

#define HEX "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"

static char *scratch;

static int setup(void **state)
{
	char template[] = "/tmp/test_hostd_parts.XXXXXX";
	(void)state;
	scratch = xstrdup(mkdtemp(template));
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	file_remove_tree(scratch, NULL);
	free(scratch);
	return 0;
}

/* ---- command line and options ---- */

static const struct {
	const char *cmdline, *field; /* field NULL: it is good */
} cmdlines[] = {
	{"", NULL},
	{"quiet root=/dev/sda1 BOOTIF=eth0 nightclass.root=http://x/y\n", NULL},
	{"nightclass.url=https://10.71.0.1:8443 nightclass.ca=sha256:" HEX
	 " BOOTIF=01-52-54-00-ab-cd-01",
		NULL},
	{"nightclass.url=http://10.71.0.1:8443", "nightclass.url"},
	{"nightclass.url=https://10.71.0.1:8443/x", "nightclass.url"},
	{"nightclass.url=https://u@10.71.0.1", "nightclass.url"},
	{"nightclass.url=https://10.71.0.1:0", "nightclass.url"},
	{"nightclass.url=https://", "nightclass.url"},
	{"nightclass.ca=" HEX, "nightclass.ca"},
	{"nightclass.ca=sha256:AA", "nightclass.ca"},
	{"BOOTIF=01-52-54-00-ab-cd", "BOOTIF"},
	{"nightclass.scratch=night-scratch nightclass.disks=http://x/y", NULL},
	{"nightclass.scratch=", "nightclass.scratch"},
	{"nightclass.scratch=../sda", "nightclass.scratch"},
	{"nightclass.scratch=nightclass-scratch", "nightclass.scratch"},
};

static void test_bootargs(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cmdlines); i++) {
		struct bootargs args = {0};
		auto_error struct error *err = NULL;
		int r = bootargs_parse(cmdlines[i].cmdline, &args, &err);
		if (cmdlines[i].field ? r != -EINVAL || strcmp(err->field, cmdlines[i].field) != 0
				      : r != 0)
			fail_msg("%s: %d", cmdlines[i].cmdline, r);
		if (i == 2) {
			assert_string_equal(args.url, "https://10.71.0.1:8443");
			assert_string_equal(args.ca, HEX);
			assert_int_equal(args.mac.b[5], 1);
		}
		bootargs_done(&args);
	}
}

static int load(
	const char *cmdline, const char *override, struct hostd_options *ret, struct error **err)
{
	struct strings words = {0};
	auto_free char *path = xasprintf("%s/cmdline", scratch);
	assert_int_equal(file_write(path, cmdline, strlen(cmdline), 0644, NULL), 0);
	vec_push(&words, xasprintf("cmdline=%s", path));
	if (override)
		vec_push(&words, xstrdup(override));
	int r = options_load(NULL, &words, ret, err);
	strings_done(&words);
	return r;
}

static void test_options(void **state)
{
	static const char good[] =
		"nightclass.url=https://10.71.0.1:8443 nightclass.ca=sha256:" HEX;
	static const char *const bad[] = {
		"accel=xen", "report_s=0s", "url=ftp://x", "nosuch=1", "log_level=loud", "x"};
	struct hostd_options o;
	(void)state;
	assert_int_equal(load(good, NULL, &o, NULL), 0);
	assert_string_equal(o.libvirt_uri, "qemu:///system");
	assert_string_equal(o.ca, HEX);
	assert_int_equal(o.report_s, 10);
	options_done(&o);
	assert_int_equal(load(good, "url=https://10.9.9.9", &o, NULL), 0); /* -o wins */
	assert_string_equal(o.url, "https://10.9.9.9");
	options_done(&o);
	assert_true(load("", NULL, &o, NULL) < 0);
	for (size_t i = 0; i < ARRAY_LEN(bad); i++)
		if (load(good, bad[i], &o, NULL) >= 0)
			fail_msg("-o %s: taken", bad[i]);
}

static void test_backoff(void **state)
{
	(void)state;
	for (unsigned n = 1; n < 100; n++)
		for (uint32_t random = 0; random < 4000000000U; random += 499999999U) {
			int64_t whole = n > 5 ? 30000 : 1000 << (n - 1), ms = backoff_ms(n, random);
			assert_true(ms >= whole / 2 && ms <= whole);
		}
	assert_int_not_equal(backoff_ms(3, 1), backoff_ms(3, 1000));
}

/* ---- what is kept ---- */

static void test_keep(void **state)
{
	struct keep keep = {.boot_id = xstrdup("boot-1"),
			    .boot_ms = 12,
			    .deadline_ms = 34,
			    .leaving_ms = -1},
		    back;
	(void)state;
	assert_int_equal(keep_load(scratch, "boot-1", &back, NULL), -ENOENT);
	assert_int_equal(keep_save(scratch, &keep, NULL), 0);
	assert_int_equal(keep_load(scratch, "boot-2", &back, NULL), -ENOENT); /* another boot's */
	assert_int_equal(keep_load(scratch, "boot-1", &back, NULL), 0);
	assert_true(back.deadline_ms == 34 && back.boot_ms == 12 && back.leaving_ms == -1 &&
		    !back.has_goal);
	keep_done(&back);
	keep.has_goal = true;
	keep.goal = (struct proto_goal){
		.version = 1, .generation = 7, .pc = xstrdup("pc-01"), .lease_s = 9};
	keep.leaving_ms = 30;
	assert_int_equal(keep_save(scratch, &keep, NULL), 0);
	assert_int_equal(keep_load(scratch, "boot-1", &back, NULL), 0);
	assert_true(back.has_goal && back.goal.generation == 7 && back.leaving_ms == 30);
	keep_done(&back);
	keep_done(&keep);
	auto_free char *path = xasprintf("%s/keep.json", scratch);
	assert_int_equal(file_write(path, "{\"boot_id\":", 11, 0600, NULL), 0);
	int r = keep_load(scratch, "boot-1", &back, NULL);
	assert_true(r < 0 && r != -ENOENT);
}

/* ---- hand-back ---- */

static const struct {
	const char *name;
	enum handback_stage stage;
	struct handback_seen seen;
	enum handback_stage then;
	int64_t next_ms;
} stages[] = {
	{"not called", HANDBACK_NONE, {0}, HANDBACK_NONE, -1},
	{"called", HANDBACK_NONE, {.called = true}, HANDBACK_EMPTYING, -1},
	{"VMs left", HANDBACK_EMPTYING,
		{.called = true, .began_ms = 1000, .grace_ms = 60000, .now_ms = 90999},
		HANDBACK_EMPTYING, 91000},
	{"empty", HANDBACK_EMPTYING,
		{.called = true,
			.empty = true,
			.began_ms = 1000,
			.grace_ms = 60000,
			.now_ms = 1001},
		HANDBACK_REPORTING, 91000},
	{"given up", HANDBACK_EMPTYING,
		{.called = true, .began_ms = 1000, .grace_ms = 60000, .now_ms = 91000},
		HANDBACK_REPORTING, 91000},
	{"report under way", HANDBACK_REPORTING, {.called = true, .empty_ms = 2000, .now_ms = 6999},
		HANDBACK_REPORTING, 7000},
	{"report delivered", HANDBACK_REPORTING,
		{.called = true, .empty_ms = 2000, .reported = true, .now_ms = 2001},
		HANDBACK_REBOOT, 7000},
	{"controller dead", HANDBACK_REPORTING, {.called = true, .empty_ms = 2000, .now_ms = 7000},
		HANDBACK_REBOOT, 7000},
	{"never back", HANDBACK_REBOOT, {0}, HANDBACK_REBOOT, -1},
};

static void test_handback(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(stages); i++) {
		int64_t next_ms;
		enum handback_stage then =
			handback_next(stages[i].stage, &stages[i].seen, &next_ms);
		if (then != stages[i].then || next_ms != stages[i].next_ms)
			fail_msg("%s: %s, %lld", stages[i].name, handback_names[then],
				(long long)next_ms);
	}
}

static void test_reboot_command(void **state)
{
	(void)state;
	auto_free char *program = xasprintf("%s/reboot", scratch),
		       *mark = xasprintf("%s/done", scratch);
	auto_free char *text = xasprintf("#!/bin/sh\n: >%s\n", mark);
	assert_true(handback_reboot(program, NULL) < 0);
	assert_int_equal(file_write(program, text, strlen(text), 0755, NULL), 0);
	assert_int_equal(handback_reboot(program, NULL), 0);
	assert_int_equal(access(mark, F_OK), 0);
}

/* ---- screen and report ---- */

static void test_screen(void **state)
{
	struct proto_goal goal = {.until = (char[]){"2026-11-22T06:30:00Z"}};
	const struct {
		struct console_view view;
		const char *says;
	} cases[] = {
		{{0}, "asking the lab server"},
		{{.problem = "this PC is not expected"}, "Trouble: this PC is not expected"},
		{{.pc = "pc-01"}, "PC pc-01 waits for work"},
		{{.pc = "pc-01"}, "\nIts own disk is not touched. Switching it off does no harm"},
		{{.pc = "pc-01", .scratch = "night"},
			"\nOf its own disk only the partition night is touched. Switching"},
		{{.pc = "pc-01", .goal = &goal},
			"computes for the lab until 2026-11-22T06:30:00Z (0 of 0"},
		{{.pc = "pc-01", .goal = &goal, .leaving = true}, "pc-01 is being given back"},
	};
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		auto_free char *text = console_text(&cases[i].view);
		if (!strstr(text, cases[i].says))
			fail_msg("no \"%s\" in: %s", cases[i].says, text);
	}
	auto_free char *path = xasprintf("%s/screen", scratch), *text = NULL;
	console_show(path, "nobody\n"); /* no screen: no error, and none is made */
	assert_int_not_equal(access(path, F_OK), 0);
	assert_int_equal(file_write(path, "", 0, 0644, NULL), 0);
	console_show(path, "somebody\n");
	assert_int_equal(file_read(path, 100, &text, NULL, NULL), 0);
	assert_string_equal(text, "somebody\n");
}

static struct proto_vm vm_of(const char *id)
{
	return (struct proto_vm){.id = xstrdup(id),
		.image = xstrdup(HEX),
		.context = {.instance_id = xasprintf("%s-x", id)}};
}

struct state_case {
	const char *name;
	struct vm_track track; /* id NULL: none */
	const char *instance;  /* NULL: the goal's */
	bool no_image, silent;
	enum proto_vm_state state;
	const char *reason; /* a part of it */
};

static void test_vm_states(void **state)
{
	char id[] = "a-001", why[] = "Cannot get interface MTU";
	const struct state_case cases[] = {
		{.name = "nothing", .state = VM_WAITING},
		{.name = "no image",
			.no_image = true,
			.state = VM_WAITING,
			.reason = "being fetched"},
		{.name = "libvirt silent",
			.silent = true,
			.state = VM_WAITING,
			.reason = "does not answer"},
		{"starting", {.id = id, .busy = true, .starting = true, .files = true},
			.state = VM_STARTING},
		{"runs", {.id = id, .domain = true, .running = true}, .state = VM_RUNNING},
		{"ready", {.id = id, .domain = true, .running = true, .ready_ms = 5},
			.state = VM_READY},
		{"ready, libvirt silent",
			{.id = id, .domain = true, .running = true, .ready_ms = 5}, .silent = true,
			.state = VM_READY},
		{"paused", {.id = id, .domain = true}, .state = VM_FAILED, .reason = "memory full"},
		{"failed, tries left", {.id = id, .files = true, .failures = 2, .reason = why},
			.state = VM_STARTING, .reason = "MTU"},
		{"failed", {.id = id, .files = true, .failures = 3, .reason = why},
			.state = VM_FAILED, .reason = "MTU"},
		{"older", {.id = id, .domain = true, .running = true}, .instance = "old",
			.state = VM_WAITING, .reason = "earlier VM"},
	};
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		char buffer[REASON_MAX], uuid_of[64];
		const char *reason;
		struct proto_vms one = {0};
		struct vm_tracks tracks = {0};
		struct image_track image = {.digest = (char[]){HEX}, .whole = true};
		struct host_seen seen = {.domains_known = !cases[i].silent};
		vec_push(&one, vm_of(id));
		if (cases[i].track.id) {
			vec_push(&tracks, cases[i].track);
			snprintf(uuid_of, sizeof(uuid_of), "a-001-%s",
				cases[i].instance ? cases[i].instance : "x");
			vm_uuid(uuid_of, tracks.at[0].uuid);
		}
		seen.vms = tracks;
		if (!cases[i].no_image)
			seen.images = (struct image_tracks){&image, 1, 1};
		enum proto_vm_state s = report_vm_state(&one.at[0], &seen, buffer, &reason);
		if (s != cases[i].state ||
			(cases[i].reason ? !reason || !strstr(reason, cases[i].reason)
					 : reason != NULL))
			fail_msg("%s: %s, %s", cases[i].name, proto_vm_state_names[s], reason);
		vec_done(&tracks);
		proto_vms_done(&one);
	}
}

static void test_report(void **state)
{
	const struct proto_facts facts = {.boot_id = (char[]){"b"},
		.mac = {{0x52, 0, 0, 0, 0, 1}},
		.firmware = (char[]){"bios"},
		.model = (char[]){"Model \xc3\xa9"},
		.cpus = 2,
		.memory_mib = 100};
	struct proto_goal goal = {.generation = 5};
	struct host_seen seen = {.domains_known = true};
	struct report_view view = {.facts = &facts,
		.goal = &goal,
		.seen = &seen,
		.problem = "two\nlines \xff",
		.load_permille = 7};
	struct proto_report back = {0};
	(void)state;
	vec_push(&goal.vms, vm_of("a-001"));
	vec_push(&seen.vms,
		((struct vm_track){.id = xstrdup("a-009"), .domain = true, .running = true}));
	vec_push(&seen.images,
		((struct image_track){.digest = xstrdup(HEX), .have = 5, .total = 10}));
	auto_free char *text = report_text(&view), *before = report_signature(&view);
	auto_error struct error *err = NULL;
	if (proto_report_read(text, strlen(text), &back, &err) < 0)
		fail_msg("%s", err->text);
	assert_int_equal(back.generation, 5);
	assert_int_equal(back.role, ROLE_HOST);
	assert_int_equal(back.vms.n, 2);
	assert_int_equal(back.vms.at[0].state, VM_WAITING);
	assert_int_equal(back.vms.at[1].state, VM_STOPPING);
	assert_int_equal(back.images.at[0].have, 5);
	assert_string_equal(back.problem, "two lines ?");
	proto_report_done(&back);
	/* load and bytes under way are no news; a whole image is */
	view.load_permille = 999;
	seen.images.at[0].have = 6;
	auto_free char *same = report_signature(&view);
	assert_string_equal(same, before);
	seen.images.at[0].have = 10;
	auto_free char *other = report_signature(&view);
	assert_string_not_equal(other, before);
	view.leaving = true;
	auto_free char *last = report_text(&view);
	assert_int_equal(proto_report_read(last, strlen(last), &back, NULL), 0);
	assert_int_equal(back.role, ROLE_DESKTOP);
	assert_int_equal(back.vms.n, 1); /* what is still here */
	proto_report_done(&back);
	proto_vms_done(&goal.vms);
	host_seen_done(&seen);
}

/* A partition may hold more images than a report may name. */
static void test_report_of_many_images(void **state)
{
	const struct proto_facts facts = {
		.boot_id = (char[]){"b"}, .mac = {{0x52, 0, 0, 0, 0, 1}}, .firmware = (char[]){"bios"}};
	struct proto_goal goal = {.generation = 5};
	struct host_seen seen = {.domains_known = true};
	struct report_view view = {.facts = &facts, .goal = &goal, .seen = &seen};
	struct proto_report back = {0};
	auto_error struct error *err = NULL;
	(void)state;
	for (unsigned i = 0; i < PROTO_IMAGES_MAX + 6; i++)
		vec_push(&seen.images, ((struct image_track){.digest = xasprintf("%064x", i)}));
	vec_push(&goal.images, ((struct proto_image){.name = xstrdup("next"),
				       .digest = xasprintf("%064x", PROTO_IMAGES_MAX + 3)}));
	auto_free char *text = report_text(&view);
	if (proto_report_read(text, strlen(text), &back, &err) < 0)
		fail_msg("%s", err->text);
	assert_int_equal(back.images.n, PROTO_IMAGES_MAX);
	assert_string_equal(back.images.at[0].digest, goal.images.at[0].digest);
	assert_string_equal(back.images.at[1].digest, seen.images.at[0].digest);
	proto_report_done(&back);
	proto_goal_done(&goal);
	host_seen_done(&seen);
}

static void test_clip(void **state)
{
	char big[2000];
	(void)state;
	for (size_t i = 0; i + 1 < sizeof(big); i += 2)
		memcpy(big + i, "\xc3\xa9", 2);
	for (size_t from = 0; from < 2; from++) {
		big[sizeof(big) - 1] = '\0';
		auto_free char *text = xasprintf("%.*s%s", (int)from, "x", big);
		auto_free char *clipped = report_clip(text);
		assert_true(strlen(clipped) < REASON_MAX && strlen(clipped) > REASON_MAX - 10);
		assert_true(text_ok(clipped, REASON_MAX));
	}
}

/* ---- the guest's line ---- */

static void test_guest_line(void **state)
{
	static const struct {
		const char *text;
		bool good;
	} lines[] = {
		{"{\"ready\":true,\"hostname\":\"alice-003\",\"boot_ms\":5}", true},
		{"{\"ready\":false,\"hostname\":\"alice-003\",\"boot_ms\":5,\"load_permille\":12}",
			true},
		{"{\"ready\":1,\"hostname\":\"alice-003\",\"boot_ms\":5}", false},
		{"{\"ready\":true,\"hostname\":\"../x\",\"boot_ms\":5}", false},
		{"{\"ready\":true,\"hostname\":\"a\",\"boot_ms\":5,\"x\":1}", false},
		{"{\"ready\":true,\"ready\":true,\"hostname\":\"a\",\"boot_ms\":5}", false},
		{"[]", false},
		{"", false},
	};
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(lines); i++) {
		struct guest_line line = {0};
		int r = guest_line_read(lines[i].text, strlen(lines[i].text), &line, NULL);
		if ((r == 0) != lines[i].good)
			fail_msg("%s: %d", lines[i].text, r);
		guest_line_done(&line);
	}
}

/* ---- key, request, CA ---- */

static void test_request(void **state)
{
	auto_free char *key = NULL, *pem = NULL;
	gnutls_x509_crq_t request;
	char name[64];
	size_t len = sizeof(name);
	unsigned bits;
	(void)state;
	assert_int_equal(enrol_make_key(&key, NULL), 0);
	assert_int_equal(enrol_make_request(key, "boot-1", &pem, NULL), 0);
	gnutls_datum_t in = {(unsigned char *)pem, (unsigned)strlen(pem)};
	assert_int_equal(gnutls_x509_crq_init(&request), 0);
	assert_int_equal(gnutls_x509_crq_import(request, &in, GNUTLS_X509_FMT_PEM), 0);
	assert_int_equal(gnutls_x509_crq_verify(request, 0), 0);
	assert_int_equal(gnutls_x509_crq_get_pk_algorithm(request, &bits), GNUTLS_PK_ECDSA);
	assert_int_equal(bits, 256);
	assert_int_equal(gnutls_x509_crq_get_dn_by_oid(
				 request, GNUTLS_OID_X520_COMMON_NAME, 0, 0, name, &len),
		0);
	assert_string_equal(name, "boot-1");
	gnutls_x509_crq_deinit(request);
	assert_true(enrol_make_request("no key", "boot-1", &pem, NULL) < 0);
}

static void test_pin(void **state)
{
	static const char leaf[] = "leaf", ca[] = "not really DER, but bytes with a digest";
	const struct pin_der chain[] = {{leaf, sizeof(leaf)}, {ca, sizeof(ca)}};
	char digest[SHA256_TEXT];
	struct sha256 d = sha256_of(ca, sizeof(ca));
	(void)state;
	sha256_format(&d, digest);
	auto_free char *pem = pin_pick(chain, 2, digest);
	assert_true(str_starts(pem, "-----BEGIN CERTIFICATE-----\n"));
	assert_null(pin_pick(chain, 1, digest));
	assert_null(pin_pick(chain, 2, HEX));
}

static void test_identity_of_another_boot(void **state)
{
	static const char text[] =
		"{\"boot_id\":\"boot-1\",\"pc\":\"pc-01\",\"api\":\"https://10.71.0.1:8443\"}";
	struct identity identity = {0};
	(void)state;
	auto_free char *path = xasprintf("%s/identity.json", scratch);
	assert_true(identity_load(scratch, "boot-1", &identity, NULL) < 0);
	assert_int_equal(file_write(path, text, strlen(text), 0600, NULL), 0);
	assert_int_equal(identity_load(scratch, "boot-2", &identity, NULL), -ENOENT);
	assert_int_equal(identity_load(scratch, "boot-1", &identity, NULL), 0);
	assert_string_equal(identity.pc, "pc-01");
	identity_done(&identity);
}

static void test_last_words(void **state)
{
	static const struct {
		const char *console, *last;
	} cases[] = {
		{"", NULL},
		{"\r\n \n", NULL},
		{"one\r\ntwo \033\r\n\n", "two"},
		{"why\r\n\033[0m\033[2;5H\r\n", "why"},
		{"[\033[0;32m  OK  \033[0m] \xe2\x80\xae sshd\033[", "[  OK  ] ??? sshd"},
		{"[    1.0] Kernel panic", "[    1.0] Kernel panic"},
		{"first\r   login: ", "login:"},
	};
	char long_line[3000];
	(void)state;
	auto_free char *folder = xasprintf("%s/a-001", scratch);
	auto_free char *path = xasprintf("%s/console.log", folder);
	assert_null(vm_last_words(scratch, "a-001"));
	assert_int_equal(mkdir(folder, 0700), 0);
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		const char *text = cases[i].console;
		assert_int_equal(file_write(path, text, strlen(text), 0600, NULL), 0);
		auto_free char *last = vm_last_words(scratch, "a-001");
		if (cases[i].last)
			assert_string_equal(last, cases[i].last);
		else
			assert_null(last);
	}
	memset(long_line, 'x', sizeof(long_line));
	assert_int_equal(file_write(path, long_line, sizeof(long_line), 0600, NULL), 0);
	auto_free char *last = vm_last_words(scratch, "a-001");
	assert_int_equal(strlen(last), 1024);
	unlink(path);
	assert_int_equal(symlink("/etc/passwd", path), 0);
	assert_null(vm_last_words(scratch, "a-001"));
}

/* The probe's own guest comes to its end where virtualisation works: software emulation does. */
static void test_kvm_probe(void **state)
{
	(void)state;
	auto_error struct error *err = NULL, *why = NULL;
	if (access("/usr/bin/qemu-system-x86_64", X_OK) < 0)
		skip();
	if (!kvm_probe("tcg", scratch, &err))
		fail_msg("%s", err->text);
	assert_false(kvm_probe("nosuch", scratch, &why));
	assert_non_null(why);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(test_bootargs),
		TEST(test_options),
		TEST(test_backoff),
		TEST(test_keep),
		TEST(test_handback),
		TEST(test_reboot_command),
		TEST(test_screen),
		TEST(test_vm_states),
		TEST(test_report),
		TEST(test_report_of_many_images),
		TEST(test_clip),
		TEST(test_guest_line),
		TEST(test_request),
		TEST(test_pin),
		TEST(test_identity_of_another_boot),
		TEST(test_last_words),
		TEST(test_kvm_probe),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
