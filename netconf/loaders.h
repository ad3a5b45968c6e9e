/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The folder that TFTP gives out: the loaders that dnsmasq's configuration names, and nothing else. */
#ifndef NETCONF_LOADERS_H
#define NETCONF_LOADERS_H

#include "netconf/net.h"

/* Fills dnsmasq_tftp_path(site) with the loaders of site->tftp_root, world-readable; what else lies there is removed.
 * 0; -ENOENT (the text names the file and its package) or another -errno when one cannot be copied: then the folder
 * keeps the copies that it had. */
int loaders_copy(const struct net_site *site, struct error **err);

#endif
