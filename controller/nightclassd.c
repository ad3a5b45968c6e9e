/* SPDX-License-Identifier: GPL-2.0-or-later */
/* nightclassd: the controller of one lab. Options, configuration, parts, loop, parts closed again;
 * nothing else.
 *
 * It stays in the foreground, logs to standard error and holds no privilege: what needs one is
 * asked of nightclass-netd. SIGTERM and SIGINT end it cleanly, and being killed costs nothing that
 * was acknowledged. */
#include <getopt.h>
#include <signal.h>

#include "controller/controller.h"
#include "lib/clock.h"
#include "lib/log.h"

static const char usage[] =
	"usage: nightclassd [-c FILE]\n"
	"The controller of one lab: REST API, page, boot scripts, nights.\n"
	"  -c, --config FILE   configuration, /etc/nightclass/nightclass.conf without it\n"
	"      --version       prints the version\n"
	"      --help          prints this\n";

int main(int argc, char **argv)
{
	static const struct option options[] = {{"config", required_argument, NULL, 'c'},
		{"version", no_argument, NULL, 'V'}, {"help", no_argument, NULL, 'h'}, {0}};
	const char *config = "/etc/nightclass/nightclass.conf";
	auto_error struct error *err = NULL;
	struct controller controller;
	int option;

	while ((option = getopt_long(argc, argv, "c:", options, NULL)) >= 0) {
		switch (option) {
		case 'c':
			config = optarg;
			break;
		case 'V':
			puts("nightclassd " NIGHTCLASS_VERSION);
			return 0;
		case 'h':
			fputs(usage, stdout);
			return 0;
		default:
			fputs(usage, stderr);
			return 2;
		}
	}
	if (optind != argc) {
		fputs(usage, stderr);
		return 2;
	}
	signal(SIGPIPE, SIG_IGN);
	clock_init();
	log_init("nightclassd", LOG_LEVEL_INFO);
	int r = controller_init(&controller, config, &err);
	if (r < 0) {
		log_error("start: %s", error_text(err, r));
		return 1;
	}
	log_notice("lab %s: ready", controller.config.lab);
	r = loop_run(controller.loop);
	controller_done(&controller);
	return r;
}
