/* SPDX-License-Identifier: GPL-2.0-or-later */
/* netd.conf: the fixed facts of this lab server. */
#ifndef NETCONF_NETD_CONF_H
#define NETCONF_NETD_CONF_H

#include <sys/types.h>
#include "lib/conf.h"
#include "lib/log.h"
#include "netconf/net.h"

struct netd_conf {
	struct net_site site;
	char *socket;
	uid_t allowed_uid; /* who may ask, besides root and netd's own user */
	enum log_level log_level;
	char *mode, *dhcp_range, *allowed_user, *level; /* as written */
};

/* Reads and judges the file; an error names file, line or key. Freed by netd_conf_done. */
int netd_conf_load(const char *path, struct netd_conf *ret_conf, struct error **err);
/* The same from memory (for tests); the user is looked up too. */
int netd_conf_parse(const char *text, struct netd_conf *ret_conf, struct error **err);
void netd_conf_done(struct netd_conf *conf);

#endif
