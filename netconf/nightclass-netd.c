/* SPDX-License-Identifier: GPL-2.0-or-later */
/* nightclass-netd: holds the lab server's network privilege (CAP_NET_ADMIN, CAP_NET_RAW, the DHCP
 * port) so that nightclassd needs none. It works in the network namespace it was started in, with
 * every path from its configuration. What it applies has a lease, which it ends by itself, whether
 * nightclassd lives or not.
 *
 * Foreground only. On SIGTERM it takes everything down; started again within a lease it puts it
 * back.
 */
#include <getopt.h>

#include "lib/clock.h"
#include "netconf/netd.h"

static int usage(FILE *out, int code)
{
	fprintf(out, "Usage: nightclass-netd [-c FILE]\n\n"
		     "  -c, --config FILE   configuration (default /etc/nightclass/netd.conf)\n"
		     "      --version       print the version\n"
		     "      --help          print this help\n");
	return code;
}

static int serve(const struct netd_conf *conf, struct error **err)
{
	struct loop *loop = NULL;
	struct apply *apply = NULL;
	struct netd *netd = NULL;
	int r = loop_new(&loop, err);

	if (r == 0)
		r = apply_new(loop, &conf->site, &apply, err);
	if (r == 0)
		r = netd_new(loop, conf, apply, &netd, err);
	if (r == 0)
		r = loop_run(loop);
	netd_free(netd);
	apply_free(apply);
	loop_free(loop);
	return r;
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{"config", required_argument, NULL, 'c'},
		{"version", no_argument, NULL, 'V'},
		{"help", no_argument, NULL, 'h'},
		{0},
	};
	const char *path = "/etc/nightclass/netd.conf";
	auto_error struct error *err = NULL;
	struct netd_conf conf = {0};
	int r = 0;

	for (int c; (c = getopt_long(argc, argv, "c:h", options, NULL)) != -1;) {
		if (c == 'V')
			return printf("nightclass-netd %s\n", NIGHTCLASS_VERSION) < 0;
		if (c == 'h')
			return usage(stdout, 0);
		if (c != 'c')
			return usage(stderr, 2);
		path = optarg;
	}
	if (optind < argc)
		return usage(stderr, 2);
	clock_init();
	log_init("nightclass-netd", LOG_LEVEL_INFO);
	r = netd_conf_load(path, &conf, &err);
	if (r == 0) {
		log_init("nightclass-netd", conf.log_level);
		r = serve(&conf, &err);
	}
	if (r < 0)
		log_error("netd: %s", error_text(err, r));
	netd_conf_done(&conf);
	return r < 0 ? 1 : r;
}
