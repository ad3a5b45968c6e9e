/* SPDX-License-Identifier: GPL-2.0-or-later */
/* nightclass-download: one file from the web for an import, as a child of nightclassd or by hand.
 *
 * A program of its own, because it talks to strangers: TLS and HTTP are read here, in a process
 * that may write only the folder the file goes to and has little memory, and not in the daemon, nor
 * in the one that reads the image. Standard output is as nightclass-import's:
 * {"phase":"download","done":...,"total":...} lines, at most two a second, then {"size":...} or
 * {"error":{...}}.
 *
 * Ends when nobody reads its lines any more. What it had by then stays for the next one.
 */
#include <getopt.h>
#include <signal.h>
#include <sys/resource.h>

#include "images/download.h"
#include "images/jail.h"
#include "lib/address.h"
#include "lib/clock.h"
#include "lib/json.h"
#include "lib/log.h"
#include "lib/str.h"

enum { TELL_EVERY_MS = 500, TIME_DEFAULT_S = 24 * 3600, MEMORY_MAX = 256 << 20 };

static const char usage[] =
	"usage: nightclass-download --into FILE [--sha256 DIGEST] [--max BYTES] [--time SECONDS]\n"
	"                           [--silence SECONDS] [--allow LIST] [--deny LIST] URL\n"
	"Loads URL into FILE; the same call again goes on where a lost connection ended it.\n"
	"Only addresses of the public Internet are called that are neither ours nor denied, and "
	"those "
	"allowed\n"
	"(names, prefixes).\n";

static void print_line(json_t *object)
{
	auto_free char *text = json_text(object);

	printf("%s\n", text);
	fflush(stdout);
	json_decref(object);
}

static void print_progress(uint64_t done, uint64_t total, void *arg)
{
	int64_t *next = arg, now = clock_real_ms();

	if (now < *next)
		return;
	*next = now + TELL_EVERY_MS;
	print_line(json_pack("{s:s, s:I, s:I}", "phase", "download", "done", (json_int_t)done,
		"total", (json_int_t)total));
}

static int print_error(int code, const struct error *err)
{
	const char *name = strerrorname_np(-code);

	print_line(json_pack("{s:{s:s, s:s*, s:s}}", "error", "code", name ? name : "EIO", "field",
		err ? err->field : NULL, "text", error_text(err, code)));
	return 1;
}

/* False: an option with a bad value. */
static bool option_take(int option, struct download *download, struct sha256 *digest)
{
	uint64_t n = 0;

	switch (option) {
	case 'i':
		download->file = optarg;
		return true;
	case 'd':
		download->sha256 = digest;
		return sha256_hex_ok(optarg) && sha256_parse(optarg, digest) == 0;
	case 'm':
		return uint_parse(optarg, 1, INT64_MAX, &download->max) == 0;
	case 't':
		if (uint_parse(optarg, 1, 30 * 86400, &n) < 0)
			return false;
		download->max_s = (int64_t)n;
		return true;
	case 's':
		if (uint_parse(optarg, 1, 3600, &n) < 0)
			return false;
		download->silence_s = (int)n;
		return true;
	case 'a':
		download->allowed = optarg;
		return address_list_check(optarg, NULL) == 0;
	case 'n':
		download->denied = optarg;
		return address_list_check(optarg, NULL) == 0;
	default:
		return false;
	}
}

/* 0: go on; else the exit status plus one. */
static int options_read(int argc, char **argv, struct download *download, struct sha256 *digest)
{
	static const struct option options[] = {{"into", 1, NULL, 'i'}, {"sha256", 1, NULL, 'd'},
		{"max", 1, NULL, 'm'}, {"time", 1, NULL, 't'}, {"silence", 1, NULL, 's'},
		{"allow", 1, NULL, 'a'}, {"deny", 1, NULL, 'n'}, {"version", 0, NULL, 'V'},
		{"help", 0, NULL, 'h'}, {0}};
	bool good = true;
	int option;

	while ((option = getopt_long(argc, argv, "", options, NULL)) >= 0) {
		if (option == 'V')
			return puts("nightclass-download " NIGHTCLASS_VERSION), 1;
		if (option == 'h')
			return fputs(usage, stdout), 1;
		good &= option_take(option, download, digest);
	}
	if (!good || optind + 1 != argc || !download->file)
		return fputs(usage, stderr), 3;
	download->url = argv[optind];
	return 0;
}

/* The folder to write, and what looking up a name and checking a certificate take. */
static int jail_close(const struct download *download, struct error **err)
{
	static const char *const wanted[] = {"/etc/resolv.conf", "/etc/hosts", "/etc/nsswitch.conf",
		"/etc/host.conf", "/etc/gai.conf", "/etc/ssl", "/etc/ca-certificates",
		"/run/systemd/resolve", "/etc/services", "/etc/localtime"};
	struct jail_path paths[ARRAY_LEN(wanted) + 1] = {{NULL, false}};
	const char *slash = strrchr(download->file, '/'), *missing = NULL;
	auto_free char *folder =
		slash ? xstrndup(download->file, (size_t)(slash - download->file)) : xstrdup(".");
	int r;

	for (size_t i = 0; i < ARRAY_LEN(wanted); i++)
		if (access(wanted[i], R_OK) == 0)
			paths[i].path = wanted[i];
	paths[ARRAY_LEN(wanted)] = (struct jail_path){*folder ? folder : "/", true};
	r = jail_enter_online(paths, ARRAY_LEN(paths), &missing, err);
	if (r == 0 && missing)
		log_warning("download: this system does not offer %s; going on without", missing);
	return r;
}

/* A server that makes us take more than a download needs ends us, and nobody else. */
static void memory_limit(void)
{
#ifndef __SANITIZE_ADDRESS__ /* its shadow is counted as data */
	const struct rlimit limit = {MEMORY_MAX, MEMORY_MAX};

	setrlimit(RLIMIT_DATA, &limit);
#endif
}

int main(int argc, char **argv)
{
	struct sha256 digest;
	int64_t next_line = 0;
	struct download download = {.max = 64ULL << 30,
		.max_s = TIME_DEFAULT_S,
		.progress = print_progress,
		.arg = &next_line};
	auto_error struct error *err = NULL;
	uint64_t size = 0;
	int r = options_read(argc, argv, &download, &digest);

	if (r > 0)
		return r - 1;
	clock_init();
	log_init("nightclass-download", LOG_LEVEL_NOTICE);
	jail_follow_parent();
	memory_limit();
	r = jail_close(&download, &err);
	if (r == 0)
		r = download_run(&download, &size, &err);
	if (r < 0)
		return print_error(r, err);
	print_line(json_pack("{s:I}", "size", (json_int_t)size));
	return 0;
}
