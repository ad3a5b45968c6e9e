/* SPDX-License-Identifier: GPL-2.0-or-later */
/* nightclass.conf: one table of keys, from which reading, `nightclass config check` and the manual
 * come.
 *
 * Everything is checked here, once: what stands in struct config afterwards is usable as it is.
 * Defaults that follow from other keys (boot_dir under state_dir) are filled in after the file was
 * read. */
#include "controller/config.h"

#include "controller/plan/join.h"
#include "images/chain.h"
#include "images/serve.h"
#include "lib/address.h"
#include "lib/log.h"

static int set_text(void *out, const char *value)
{
	char **text = out;
	free(*text);
	*text = xstrdup(value);
	return 0;
}

int config_probe_check(const char *probe, struct error **err)
{
	uint64_t port = 0;
	bool ok = strcmp(probe, "ping") == 0 || strcmp(probe, "agent") == 0 ||
		  strcmp(probe, "none") == 0 ||
		  (str_starts(probe, "tcp:") && uint_parse(probe + 4, 1, 65535, &port) == 0);
	if (!ok)
		return error_make(err, -EINVAL,
			"\"%s\" is no probe; write ping, tcp:PORT, agent or none", probe);
	if (port == SERVE_PORT || port == CHAIN_PORT)
		return error_make(err, -EINVAL,
			"\"%s\" is a port on which hosts answer, too; name one that only the "
			"desktop has",
			probe);
	return 0;
}

static int set_probe(const char *value, void *out, struct error **err)
{
	int r = config_probe_check(value, err);
	return r < 0 ? r : set_text(out, value);
}

static int set_listen(const char *value, void *out, struct error **err)
{
	auto_free char *copy = xstrdup(value);
	char *rest = copy, *item = NULL;
	struct ip4 address;
	size_t n = 0;
	while ((item = strsep(&rest, ","))) {
		item += strspn(item, " ");
		item[strcspn(item, " ")] = '\0';
		if (strcmp(item, "0.0.0.0") != 0 && ip4_parse(item, &address) < 0)
			return error_make(err, -EINVAL, "\"%s\" is no IPv4 address", item);
		n++;
	}
	if (n > 8)
		return error_make(err, -EINVAL, "at most 8 addresses");
	return set_text(out, value);
}

static int set_log_level(const char *value, void *out, struct error **err)
{
	enum log_level level;
	if (log_level_parse(value, &level) < 0)
		return error_make(err, -EINVAL,
			"\"%s\" is no log level; write error, warning, notice, info or debug",
			value);
	return set_text(out, value);
}

static int set_connections(const char *value, void *out, struct error **err)
{
	uint64_t n = 0;
	if (uint_parse(value, 1, 100000, &n) < 0)
		return error_make(err, -EINVAL, "\"%s\" is not a number from 1 to 100000", value);
	*(uint32_t *)out = (uint32_t)n;
	return 0;
}

/* What ext4 has room for, and what needs no quoting on a kernel's command line. */
static int set_label(const char *value, void *out, struct error **err)
{
	if (!name_ok(value) || strlen(value) > 16)
		return error_make(err, -EINVAL,
			"\"%s\" is no label: 1 to 16 letters, digits and dashes, as ext4 has them",
			value);
	return set_text(out, value);
}

static int set_preload(const char *value, void *out, struct error **err)
{
	auto_free char *copy = xstrdup(value);
	char *rest = copy, *word = NULL;
	bool none = strcmp(value, "none") == 0;
	while ((word = strsep(&rest, ", ")))
		if (*word && (!name_ok(word) || (strcmp(word, "none") == 0 && !none)))
			return error_make(err, -EINVAL,
				"\"%s\" is no name of an image; write names and recent, or none "
				"alone",
				word);
	return set_text(out, value);
}

static int set_group(const char *value, void *out, struct error **err)
{
	struct ip4 group;
	if (strcmp(value, "none") != 0 && (ip4_parse(value, &group) < 0 || group.host >> 24 != 239))
		return error_make(err, -EINVAL,
			"\"%s\" is no multicast address of a site; write 239.A.B.C, or none", value);
	return set_text(out, value);
}

static int set_addresses(const char *value, void *out, struct error **err)
{
	int r = address_list_check(value, err);
	return r < 0 ? r : set_text(out, value);
}

#define KEY(sect, name, setter, member, req, def, text)                                            \
	{                                                                                          \
		.section = (sect), .key = (name), .set = (setter),                                 \
		.offset = offsetof(struct config, member), .required = (req), .fallback = (def),   \
		.help = (text)                                                                     \
	}
#define LAB(name, setter, member, req, def, text) KEY("lab", name, setter, member, req, def, text)
#define SELF(name, setter, def, text) KEY("controller", #name, setter, name, false, def, text)

const struct conf_key config_keys[] = {
	LAB("name", conf_set_name, lab, true, NULL, "name of this lab"),
	LAB("lan_address", conf_set_prefix4, lan_address, true, NULL,
		"the lab server's address on the PCs' segment, with prefix length"),
	LAB("uplink_address", conf_set_ip4, uplink_address, false, NULL,
		"address towards other labs' servers; without it this lab cannot be joined"),
	LAB("cluster_net", conf_set_prefix4, cluster_net, false, "10.80.0.0/12",
		"pool from which clusters and joins take subnets; the same in all labs"),
	LAB("desktop_probe", set_probe, desktop_probe, false, "ping",
		"how a desktop shows that it is back: ping, tcp:PORT, agent or none"),
	LAB("scratch_label", set_label, scratch_label, false, NULL,
		"label of an ext4 partition on the PCs' own disks that may keep images; without it "
		"no disk is ever looked at"),
	LAB("preload", set_preload, preload, false, "recent",
		"images that idle hosts fetch ahead: names, recent, or none"),
	SELF(state_dir, conf_set_path, "/var/lib/nightclass", "database, keys, images, uploads"),
	SELF(boot_dir, conf_set_path, NULL, "host image files; state_dir/boot without it"),
	SELF(api_port, conf_set_port, "8443", "HTTPS port of API, page and agents"),
	SELF(boot_port, conf_set_port, "8080", "plain HTTP port of the boot path"),
	SELF(listen, set_listen, "0.0.0.0", "addresses to listen on, separated by commas"),
	SELF(netd_socket, conf_set_path, "/run/nightclass/netd.sock", "socket of nightclass-netd"),
	SELF(log_level, set_log_level, "info", "error, warning, notice, info or debug"),
	SELF(wake_timeout, conf_set_duration, "5m",
		"how long a PC may take from the magic packet to its boot"),
	SELF(host_boot_timeout, conf_set_duration, "10m",
		"how long a host may take from its boot script to us"),
	SELF(return_timeout, conf_set_duration, "10m",
		"how long a PC may take back to its desktop"),
	SELF(grace, conf_set_duration, "60s",
		"how long a VM may take to shut down before it is destroyed"),
	SELF(boot_lease, conf_set_duration, "2m", "how long PXE answers outlive this controller"),
	SELF(boot_slots, set_connections, "16",
		"PCs that may load the host image at once, and magic packets a second"),
	SELF(boot_slot_time, conf_set_duration, "2m",
		"how long a PC may keep such a slot before another gets it"),
	SELF(connections, set_connections, "4096", "connections at once, in all"),
	SELF(connections_per_address, set_connections, "64",
		"connections at once from one address"),
	SELF(cast_group, set_group, "239.255.78.67",
		"multicast address to which images are sent; none: they come along a "
		"chain of hosts"),
	SELF(cast_port, conf_set_port, "7867", "UDP port of it"),
	SELF(cast_rate, set_connections, "900",
		"Mbit/s that sending images may take: a little below the slower of the server's port "
		"and the PCs'"),
	SELF(import_urls_allowed, set_addresses, NULL,
		"hosts and prefixes that images may be loaded from though they are not public"),
	SELF(import_url_max, conf_set_size, "64GiB", "how much is loaded from one URL at most"),
	SELF(import_reader, conf_set_path, "/run/nightclass-reader.sock",
		"socket of the service that reads foreign images under a user of its own"),
};
const size_t config_n_keys = ARRAY_LEN(config_keys);

/* What the helper and the planners would refuse later: netconf/netd_conf.c, plan/join.c. */
static int check_networks(const struct config *config, struct error **err)
{
	const struct prefix4 lan = config->lan_address;
	if (lan.address.host == prefix4_network(lan).address.host || lan.len > 30 || lan.len < 8)
		return error_field(err, -EINVAL, "lan_address",
			"\"lan_address\" must be the lab server's address like 10.71.0.1/24, not a "
			"network");
	if (config->cluster_net.len > JOIN_SUBNET_LEN)
		return error_field(err, -EINVAL, "cluster_net",
			"\"cluster_net\" must be /%d or larger: a lab's VMs have a /%d of it",
			JOIN_SUBNET_LEN, JOIN_SUBNET_LEN);
	return 0;
}

int config_load(const char *path, struct config *ret_config, struct error **err)
{
	struct config config = {0};
	int r = conf_load(path, config_keys, config_n_keys, &config, err);
	if (r >= 0) {
		r = check_networks(&config, err);
		if (r < 0)
			r = error_wrap(err, r, "%s", path);
	}
	if (r < 0) {
		config_done(&config);
		return r;
	}
	if (!config.boot_dir)
		config.boot_dir = xasprintf("%s/boot", config.state_dir);
	*ret_config = config;
	return 0;
}

void config_done(struct config *config)
{
	free(config->lab);
	free(config->desktop_probe);
	free(config->scratch_label);
	free(config->preload);
	free(config->state_dir);
	free(config->boot_dir);
	free(config->netd_socket);
	free(config->log_level);
	free(config->listen);
	free(config->import_urls_allowed);
	free(config->import_reader);
	free(config->cast_group);
	*config = (struct config){0};
}
