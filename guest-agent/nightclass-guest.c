/* SPDX-License-Identifier: GPL-2.0-or-later */
/* nightclass-guest: the agent in a VM. Started once by the VM's init; see guest.c for what it does.
 *
 * The options are for tests: a VM starts it without any.
 */
#include <getopt.h>
#include "guest-agent/guest.h"
#include "lib/clock.h"
#include "lib/log.h"

static int usage(void)
{
	puts("Usage: nightclass-guest [options]\n"
	     "Makes this VM what its NoCloud seed disc says, then tells the host that it is "
	     "ready.\n\n"
	     "  --seed-dir DIR   read the seed there instead of from a disc\n"
	     "  --root DIR       write below DIR instead of /\n"
	     "  --port PATH      say ready there instead of on the virtio-serial port\n"
	     "  --services PATH  run this once all is applied "
	     "(/usr/lib/nightclass/start-services)\n"
	     "  --no-network     leave the network card alone\n"
	     "  --no-services    run nothing\n"
	     "  --once           end after the first ready line\n"
	     "  --version, --help");
	return EXIT_SUCCESS;
}

int main(int argc, char **argv)
{
	static const struct option longs[] = {{"seed-dir", required_argument, NULL, 's'},
		{"root", required_argument, NULL, 'r'}, {"port", required_argument, NULL, 'p'},
		{"services", required_argument, NULL, 'S'}, {"no-network", no_argument, NULL, 'n'},
		{"no-services", no_argument, NULL, 'x'}, {"once", no_argument, NULL, '1'},
		{"version", no_argument, NULL, 'V'}, {"help", no_argument, NULL, 'h'},
		{NULL, 0, NULL, 0}};
	struct guest_options o = {
		.root = "/", .services = "/usr/lib/nightclass/start-services", .network = true};
	auto_error struct error *err = NULL;
	int c;
	while ((c = getopt_long(argc, argv, "", longs, NULL)) != -1) {
		switch (c) {
		case 's':
			o.seed_dir = optarg;
			break;
		case 'r':
			o.root = optarg;
			break;
		case 'p':
			o.port = optarg;
			break;
		case 'S':
			o.services = optarg;
			break;
		case 'n':
			o.network = false;
			break;
		case 'x':
			o.services = NULL;
			break;
		case '1':
			o.once = true;
			break;
		case 'V':
			return puts("nightclass-guest " NIGHTCLASS_VERSION) < 0;
		case 'h':
			return usage();
		default:
			return 2;
		}
	}
	clock_init();
	log_init("nightclass-guest", LOG_LEVEL_INFO);
	int r = guest_run(&o, &err);
	if (r < 0)
		log_error("guest: this VM cannot be made ready: %s", error_text(err, r));
	return r < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}
