/* SPDX-License-Identifier: GPL-2.0-or-later */
/* nightclass-hostd: the agent on a PC that is a hypervisor host for the night.
 *
 * Options, log, loop, host, run, and the reverse. Foreground only; the init of the host image
 * starts it again when it ends. It asks the controller, it is not asked; only neighbours that want
 * chunks of images may call (sharing.c).
 */
#include <getopt.h>
#include <sys/stat.h>
#include "boot/hostd/hostd.h"
#include "lib/clock.h"
#include "lib/file.h"
#include "lib/log.h"

static int usage(void)
{
	auto_free char *keys = options_help();
	printf("Usage: nightclass-hostd [-c FILE] [-o KEY=VALUE]...\n"
	       "Runs the VMs of one PC for the night, as the controller named on the kernel "
	       "command "
	       "line wants them.\n\n"
	       "Keys (section [hostd] of FILE):\n%s",
		keys);
	return EXIT_SUCCESS;
}

static int run(const struct hostd_options *options)
{
	auto_error struct error *err = NULL;
	struct loop *loop = NULL;
	struct hostd *hostd = NULL;
	int code = EXIT_FAILURE;
	int r = file_mkdirs(options->run_dir, 0700, &err);
	if (r == 0)
		r = loop_new(&loop, &err);
	if (r == 0)
		r = hostd_new(loop, options, &vm_libvirt, &hostd, &err);
	if (r == 0)
		code = loop_run(loop);
	else
		log_error("host: cannot start: %s", error_text(err, r));
	hostd_stop(hostd);
	if (hostd_stuck(hostd))
		_exit(code); /* all that is kept is kept already */
	loop_free(loop);
	hostd_free(hostd);
	return code;
}

int main(int argc, char **argv)
{
	static const struct option longs[] = {{"help", no_argument, NULL, 'h'},
		{"version", no_argument, NULL, 'V'}, {NULL, 0, NULL, 0}};
	auto_error struct error *err = NULL;
	struct hostd_options options;
	struct strings overrides = {0};
	const char *file = NULL;
	int c;
	while ((c = getopt_long(argc, argv, "c:o:hV", longs, NULL)) != -1) {
		if (c == 'h')
			return usage();
		if (c == 'V')
			return puts("nightclass-hostd " NIGHTCLASS_VERSION) < 0;
		if (c != 'c' && c != 'o')
			return 2;
		if (c == 'c')
			file = optarg;
		else
			vec_push(&overrides, xstrdup(optarg));
	}
	clock_init();
	log_init("nightclass-hostd", LOG_LEVEL_INFO);
	/* It is the PC's console in a classroom: somebody who presses Scroll Lock must not stop the host. */
	log_never_wait();
	int r = options_load(file, &overrides, &options, &err);
	strings_done(&overrides);
	if (r < 0 || optind < argc) {
		log_error("options: %s", r < 0 ? error_text(err, r) : "no arguments are taken");
		return 2;
	}
	enum log_level level = LOG_LEVEL_INFO;
	if (log_level_parse(options.log_level, &level) == 0)
		log_init("nightclass-hostd", level);
	int code = run(&options);
	options_done(&options);
	return code;
}
