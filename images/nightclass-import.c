/* SPDX-License-Identifier: GPL-2.0-or-later */
/* nightclass-import: one image file into a chunk store, as a jailed child of nightclassd or by
 * hand.
 *
 * Standard output is for the program that started it, one JSON object per line: progress
 * {"done":bytes,"total":bytes} about a hundred times, then either
 * {"digest":...,"size":...,"stored":...} and exit 0, or
 * {"error":{"code":"EINVAL","field":...,"text":...}} and exit 1. Wrong usage is exit 2 with a line
 * on standard error.
 *
 * The order is options, jail, work: nothing of the foreign file is read before the jail is closed
 * behind us. A killed import leaves scratch and chunks without a manifest, which the next one
 * removes.
 */
#include <getopt.h>
#include <signal.h>

#include "images/import.h"
#include "images/jail.h"
#include "lib/clock.h"
#include "lib/file.h"
#include "lib/json.h"
#include "lib/log.h"
#include "lib/str.h"

static const char usage[] =
	"usage: nightclass-import --store DIR [--format raw|qcow2] --name NAME --revision N\n"
	"                         [--kernel FILE [--initrd FILE] [--cmdline TEXT]] [--no-sync] "
	"FILE\n"
	"Takes the disk image FILE into the chunk store DIR. Without --format the file's magic "
	"decides.\n";

static void print_line(json_t *object)
{
	auto_free char *text = json_text(object);

	printf("%s\n", text);
	fflush(stdout);
	json_decref(object);
}

/* At most about a hundred lines: one for each further percent. */
static void print_progress(uint64_t done, uint64_t total, void *arg)
{
	uint64_t *next = arg;

	if (done < *next && done != total)
		return;
	*next = done + total / 100 + 1;
	print_line(json_pack("{s:I, s:I}", "done", (json_int_t)done, "total", (json_int_t)total));
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

/* 0: go on; else the exit status plus one. */
static int options_read(int argc, char **argv, struct import *import)
{
	static const struct option options[] = {{"store", 1, NULL, 's'}, {"format", 1, NULL, 'f'},
		{"name", 1, NULL, 'n'}, {"revision", 1, NULL, 'r'}, {"kernel", 1, NULL, 'k'},
		{"initrd", 1, NULL, 'i'}, {"cmdline", 1, NULL, 'c'}, {"no-sync", 0, NULL, 'y'},
		{"version", 0, NULL, 'V'}, {"help", 0, NULL, 'h'}, {0}};
	int option, bad = 0;

	while ((option = getopt_long(argc, argv, "", options, NULL)) >= 0)
		switch (option) {
		case 's':
			import->store = optarg;
			break;
		case 'f':
			bad |= image_format_parse(optarg, &import->format) < 0;
			break;
		case 'n':
			import->name = optarg;
			break;
		case 'r':
			bad |= uint_parse(optarg, 1, (1ULL << 53) - 1, &import->revision) < 0;
			break;
		case 'k':
			import->kernel = optarg;
			break;
		case 'i':
			import->initrd = optarg;
			break;
		case 'c':
			import->cmdline = optarg;
			break;
		case 'y':
			import->no_sync = true;
			break;
		case 'V':
			return puts("nightclass-import " NIGHTCLASS_VERSION), 1;
		case 'h':
			return fputs(usage, stdout), 1;
		default:
			bad = 1;
		}
	if (bad || optind + 1 != argc || !import->store || !import->name || import->revision == 0)
		return fputs(usage, stderr), 3;
	import->path = argv[optind];
	return 0;
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
	struct import import = {.progress = print_progress};
	struct import_result result;
	auto_error struct error *err = NULL;
	uint64_t next_progress = 0;
	int r = options_read(argc, argv, &import);

	if (r > 0)
		return r - 1;
	clock_init();
	log_init("nightclass-import", LOG_LEVEL_NOTICE);
	signal(SIGXFSZ, SIG_IGN);
	import.arg = &next_progress;
	r = jail_close(&import, &err);
	if (r == 0)
		r = import_image(&import, &result, &err);
	return r < 0 ? print_error(r, err) : print_result(&result);
}
