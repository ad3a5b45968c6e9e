/* SPDX-License-Identifier: GPL-2.0-or-later */
/* nightclass-import: one image file into a chunk store, as a jailed child of nightclassd or by
 * hand.
 *
 * Standard output is for the program that started it, one JSON object per line: progress
 * {"phase":...,"done":bytes,"total":bytes} about a hundred times a phase, then either
 * {"digest":...,"size":...,"stored":...} and exit 0, or
 * {"error":{"code":"EINVAL","field":...,"text":...}} and exit 1. A {"warning":text} before them
 * says that the reader has no user of its own. Wrong usage is exit 2 with a line on standard error.
 *
 * Two processes. The reader (images/reader.c) is forked first and sealed before it sees a byte; it
 * alone interprets the foreign file. This one keeps the store, in a jail that holds the store and
 * the files named, and treats what it gets as bytes to hash. With --serve-reader it is only the
 * reader, for a service manager that gives it a socket as standard input and a user of its own.
 *
 * A killed import leaves chunks without a manifest, which the next one removes, or takes up with
 * --resume. When nobody reads the answers any more, the next line ends it.
 */
#include <getopt.h>
#include <signal.h>

#include "images/chunk.h"
#include "images/import.h"
#include "images/jail.h"
#include "images/reader.h"
#include "lib/clock.h"
#include "lib/file.h"
#include "lib/json.h"
#include "lib/log.h"
#include "lib/str.h"

static const char usage[] =
	"usage: nightclass-import --store DIR [--format raw|qcow2|vmdk|ova] --name NAME --revision "
	"N\n"
	"                         [--kernel FILE [--initrd FILE] [--cmdline TEXT]] [--level N]\n"
	"                         [--no-sync] [--resume] [--reader SOCKET] [--uid UID] FILE\n"
	"       nightclass-import --serve-reader\n"
	"Takes the disk image FILE into the chunk store DIR. Without --format the file's magic "
	"decides.\n";

struct options {
	struct import import;
	const char *reader; /* the service's socket, or NULL */
	uint64_t uid;	    /* of the forked reader, when we are root */
	bool serve;
};

struct told {
	char phase[16];
	uint64_t next;
};

static void print_line(json_t *object)
{
	auto_free char *text = json_text(object);

	printf("%s\n", text);
	fflush(stdout);
	json_decref(object);
}

/* At most about a hundred lines a phase: one for each further percent. */
static void print_progress(const char *phase, uint64_t done, uint64_t total, void *arg)
{
	struct told *told = arg;

	if (strcmp(told->phase, phase) != 0) {
		snprintf(told->phase, sizeof(told->phase), "%s", phase);
		told->next = 0;
	}
	if (done < told->next && done != total)
		return;
	told->next = done + total / 100 + 1;
	print_line(json_pack("{s:s, s:I, s:I}", "phase", phase, "done", (json_int_t)done, "total",
		(json_int_t)total));
}

static int print_error(int code, const struct error *err)
{
	const char *name = strerrorname_np(-code);

	print_line(json_pack("{s:{s:s, s:s*, s:s}}", "error", "code", name ? name : "EIO", "field",
		err ? err->field : NULL, "text", error_text(err, code)));
	return 1;
}

static int print_result(const struct import_result *result)
{
	char digest[SHA256_TEXT];

	print_line(json_pack("{s:s, s:I, s:I}", "digest", sha256_format(&result->digest, digest),
		"size", (json_int_t)result->size, "stored", (json_int_t)result->stored));
	return 0;
}

/* False: an option with a bad value. */
static bool option_take(int option, struct options *o)
{
	struct import *import = &o->import;
	uint64_t level;

	switch (option) {
	case 's':
		import->store = optarg;
		return true;
	case 'f':
		return image_format_parse(optarg, &import->format) == 0;
	case 'n':
		import->name = optarg;
		return true;
	case 'r':
		return uint_parse(optarg, 1, (1ULL << 53) - 1, &import->revision) == 0;
	case 'k':
		import->kernel = optarg;
		return true;
	case 'i':
		import->initrd = optarg;
		return true;
	case 'c':
		import->cmdline = optarg;
		return true;
	case 'l':
		if (uint_parse(optarg, 1, CHUNK_LEVEL_MAX, &level) < 0)
			return false;
		import->level = (int)level;
		return true;
	case 'y':
		return import->no_sync = true;
	case 'm':
		return import->resume = true;
	case 'R':
		o->reader = optarg;
		return true;
	case 'u':
		return uint_parse(optarg, 1, UINT32_MAX - 1, &o->uid) == 0;
	case 'S':
		return o->serve = true;
	default:
		return false;
	}
}

/* 0: go on; else the exit status plus one. */
static int options_read(int argc, char **argv, struct options *o)
{
	static const struct option options[] = {{"store", 1, NULL, 's'}, {"format", 1, NULL, 'f'},
		{"name", 1, NULL, 'n'}, {"revision", 1, NULL, 'r'}, {"kernel", 1, NULL, 'k'},
		{"initrd", 1, NULL, 'i'}, {"cmdline", 1, NULL, 'c'}, {"level", 1, NULL, 'l'},
		{"no-sync", 0, NULL, 'y'}, {"resume", 0, NULL, 'm'}, {"reader", 1, NULL, 'R'},
		{"uid", 1, NULL, 'u'}, {"serve-reader", 0, NULL, 'S'}, {"version", 0, NULL, 'V'},
		{"help", 0, NULL, 'h'}, {0}};
	const struct import *import = &o->import;
	bool good = true;
	int option;

	while ((option = getopt_long(argc, argv, "", options, NULL)) >= 0) {
		if (option == 'V')
			return puts("nightclass-import " NIGHTCLASS_VERSION), 1;
		if (option == 'h')
			return fputs(usage, stdout), 1;
		good &= option_take(option, o);
	}
	if (o->serve && good && optind == argc)
		return 0;
	if (!good || o->serve || optind + 1 != argc || !import->store || !import->name ||
		import->revision == 0)
		return fputs(usage, stderr), 3;
	o->import.path = argv[optind];
	return 0;
}

/* The reader is under our uid: its seal is all that keeps it from what is ours. */
static void print_shared(const char *why)
{
	log_warning("import: %s; the reader runs under our own uid", why);
	print_line(json_pack("{s:s}", "warning", why));
}

/* The service's reader where there is one, else our own; started by root, that takes another uid.
 */
static int reader_start(const struct options *o, struct reader *ret_reader, struct error **err)
{
	auto_error struct error *why = NULL;
	int r = o->reader ? reader_connect(o->reader, ret_reader, &why) : -ENOENT;

	if (r == 0)
		return 0;
	if (geteuid() != 0)
		print_shared(o->reader ? error_text(why, r) : "no --reader was given");
	return reader_fork((uid_t)o->uid, ret_reader, err);
}

static int jail_close(const struct import *import, struct error **err)
{
	const struct jail_path paths[] = {{import->store, true}, {import->path, false},
		{import->kernel, false}, {import->initrd, false}};
	const char *missing = NULL;
	int r = file_mkdirs(import->store, 0755, err);

	if (r == 0)
		r = jail_enter(paths, ARRAY_LEN(paths), &missing, err);
	if (r == 0 && missing)
		log_warning("import: this system does not offer %s; going on without", missing);
	return r;
}

int main(int argc, char **argv)
{
	struct told told = {0};
	struct options options = {.import = {.progress = print_progress, .arg = &told}};
	struct reader reader = {.socket = -1};
	struct import_result result;
	auto_error struct error *err = NULL;
	int r = options_read(argc, argv, &options);

	if (r > 0)
		return r - 1;
	clock_init();
	log_init("nightclass-import", LOG_LEVEL_NOTICE);
	signal(SIGXFSZ, SIG_IGN);
	if (options.serve)
		return reader_serve(STDIN_FILENO, 0);
	jail_follow_parent();
	r = reader_start(&options, &reader, &err);
	options.import.reader = &reader;
	if (r == 0)
		r = jail_close(&options.import, &err);
	if (r == 0)
		r = import_image(&options.import, &result, &err);
	reader_done(&reader);
	return r < 0 ? print_error(r, err) : print_result(&result);
}
