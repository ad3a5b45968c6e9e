/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The whole dnsmasq configuration as text, from site and goal. Pure; golden files hold its every
 * line. */
#ifndef NETCONF_DNSMASQ_H
#define NETCONF_DNSMASQ_H

#include "netconf/net.h"

/* The configuration for site->mode dhcp or proxy; NULL for mode none. Caller frees. Boot answers
 * stand in it only while goal->boot_url is set; expiry times do not show, so a renewed lease
 * renders the same text. */
char *dnsmasq_render(const struct net_site *site, const struct net_goal *goal);

/* The files that the boot answers name, for the firmware to load by TFTP; ends with NULL. */
extern const char *const dnsmasq_loaders[];

/* Files of our own dnsmasq inside site->state_dir, and the folder that it gives out by TFTP; callers free. */
char *dnsmasq_conf_path(const struct net_site *site);
char *dnsmasq_names_path(const struct net_site *site);
char *dnsmasq_lease_path(const struct net_site *site);
char *dnsmasq_pid_path(const struct net_site *site);
char *dnsmasq_tftp_path(const struct net_site *site);
/* The names as an addn-hosts file. Caller frees. */
char *dnsmasq_render_names(const struct net_goal *goal);

#endif
