/* SPDX-License-Identifier: GPL-2.0-or-later */
/* nightclass.conf as a struct; the table of its keys is in config.c. */
#ifndef CONTROLLER_CONFIG_H
#define CONTROLLER_CONFIG_H

#include <stdbool.h>
#include "lib/conf.h"
#include "lib/str.h"

struct config {
	char *lab;		      /* [lab] name */
	struct prefix4 lan_address;   /* of the lab server on the PCs' segment */
	struct ip4 uplink_address;    /* towards other lab servers; host 0: none, no joins */
	struct prefix4 cluster_net;   /* pool of cluster subnets, the same in all labs */
	char *desktop_probe;	      /* "ping", "tcp:PORT", "agent", "none" */
	char *scratch_label;	      /* of the file system lent on the PCs' own disks; NULL: none, ever */
	char *preload;		      /* plan/preload.h: names, "recent", or "none" */
	char *state_dir, *boot_dir, *netd_socket, *log_level;
	char *listen;		      /* addresses, comma-separated */
	uint16_t api_port, boot_port;
	uint32_t connections, connections_per_address; /* at once: in all, and from one address */
	uint32_t boot_slots; /* PCs that may load the host image at once */
	int64_t boot_slot_time; /* seconds after which a slot ends by itself */
	int64_t wake_timeout, host_boot_timeout, return_timeout, grace, boot_lease; /* seconds */
	char *cast_group;   /* multicast address of images, or "none" */
	uint16_t cast_port;
	uint32_t cast_rate; /* Mbit/s */
	char *import_urls_allowed; /* or NULL */
	uint64_t import_url_max;   /* bytes */
	char *import_reader;
};

int config_load(const char *path, struct config *ret_config, struct error **err);
void config_done(struct config *config);
/* Is it a probe that tells a desktop from a host? -EINVAL says why not. */
int config_probe_check(const char *probe, struct error **err);
/* The table, for `nightclass config check` and the manual. */
extern const struct conf_key config_keys[];
extern const size_t config_n_keys;

#endif
