/* SPDX-License-Identifier: GPL-2.0-or-later */
/* netd's face: typed requests on a unix socket, one JSON object per line each way. */
#ifndef NETCONF_NETD_H
#define NETCONF_NETD_H

#include "lib/loop.h"
#include "netconf/apply.h"
#include "netconf/netd_conf.h"

struct netd;

/* Listens at conf->socket (its folder is made; a dead socket file is replaced, a living one is
 * -EADDRINUSE). Peers other than root, our own user and conf->allowed_uid are refused with EPERM.
 * `conf` and `apply` must outlive it. */
int netd_new(struct loop *loop, const struct netd_conf *conf, struct apply *apply,
	struct netd **ret_netd, struct error **err);
/* Closes all connections and removes the socket file. */
void netd_free(struct netd *netd);

#endif
