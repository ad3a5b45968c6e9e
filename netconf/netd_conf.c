/* SPDX-License-Identifier: GPL-2.0-or-later */
/* netd's configuration file. What stands in it is trusted as far as the administrator is, but it
 * flows into dnsmasq's configuration and nft's text, so interface names and paths are held to
 * characters that mean nothing there; a slip is told with the key's name at the start, not as a
 * riddle from dnsmasq later.
 *
 * The table is the only list of keys. Must not look at the network: an interface that comes up
 * later than netd is no error here.
 */
#include <pwd.h>

#include "netconf/netd_conf.h"

#define KEY(name, setter, member, req, value, text)                                                \
	{                                                                                          \
		.section = "netd", .key = (name), .set = (setter),                                 \
		.offset = offsetof(struct netd_conf, member), .required = (req),                   \
		.fallback = (value), .help = (text)                                                \
	}

static const struct conf_key keys[] = {
	KEY("lan_interface", conf_set_string, site.lan_interface, true, NULL,
		"interface of the PCs' segment"),
	KEY("uplink_interface", conf_set_string, site.uplink_interface, false, NULL,
		"interface towards the other labs and the world"),
	KEY("lan_address", conf_set_prefix4, site.lan_address, true, NULL,
		"the lab server's address on the PCs' segment"),
	KEY("mode", conf_set_string, mode, false, "dhcp",
		"dhcp: we serve addresses; proxy: the school does, we add boot answers; none"),
	KEY("socket", conf_set_path, socket, false, "/run/nightclass/netd.sock",
		"where requests come in"),
	KEY("state_dir", conf_set_path, site.state_dir, false, "/var/lib/nightclass-netd",
		"leases and dnsmasq's files"),
	KEY("tftp_root", conf_set_path, site.tftp_root, false, "/usr/lib/ipxe",
		"has undionly.kpxe and snponly.efi, which PCs get copies of"),
	KEY("allowed_user", conf_set_string, allowed_user, false, "nightclass",
		"user (name or number) whose requests are taken, besides root"),
	KEY("dhcp_range", conf_set_string, dhcp_range, false, NULL,
		"FIRST-LAST: addresses for PCs without a reservation; absent: they get none"),
	KEY("router", conf_set_ip4, site.router, false, NULL,
		"default gateway told to PCs; absent: lan_address"),
	KEY("dns", conf_set_ip4, site.dns, false, NULL, "DNS server told to PCs; absent: none"),
	KEY("log_level", conf_set_string, level, false, "info",
		"error, warning, notice, info or debug"),
};

static bool interface_ok(const char *name)
{
	size_t len = strlen(name);

	return len > 0 && len < NET_LABEL_SIZE && name[0] != '.' && name[0] != '-' &&
	       strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-") ==
		       len;
}

static const char path_rule[] = "must be an absolute path without blanks, quotes, commas or '#'.";

static bool path_ok(const char *path)
{
	return path[0] == '/' && text_ok(path, 4000) && !strpbrk(path, "#\"\\, ");
}

static int read_mode(struct netd_conf *conf, struct error **err)
{
	for (int i = 0; net_mode_names[i]; i++) {
		if (strcmp(net_mode_names[i], conf->mode) != 0)
			continue;
		conf->site.mode = (enum net_mode)i;
		return 0;
	}
	return error_field(err, -EINVAL, "mode", "\"mode\" must be dhcp, proxy or none.");
}

static int read_range(struct netd_conf *conf, struct error **err)
{
	struct net_site *site = &conf->site;
	char *dash = conf->dhcp_range ? strchr(conf->dhcp_range, '-') : NULL;
	auto_free char *first =
		dash ? xstrndup(conf->dhcp_range, (size_t)(dash - conf->dhcp_range)) : NULL;

	if (!conf->dhcp_range)
		return 0;
	if (!dash || ip4_parse(first, &site->range_first) < 0 ||
		ip4_parse(dash + 1, &site->range_last) < 0 ||
		!prefix4_contains(prefix4_network(site->lan_address), site->range_first) ||
		!prefix4_contains(prefix4_network(site->lan_address), site->range_last) ||
		site->range_first.host > site->range_last.host)
		return error_field(err, -EINVAL, "dhcp_range",
			"\"dhcp_range\" must be FIRST-LAST, both inside lan_address's network.");
	return 0;
}

static int read_user(struct netd_conf *conf, struct error **err)
{
	const struct passwd *user = NULL;
	uint64_t uid = 0;

	if (uint_parse(conf->allowed_user, 0, UINT32_MAX - 1, &uid) == 0) {
		conf->allowed_uid = (uid_t)uid;
		return 0;
	}
	user = getpwnam(conf->allowed_user);
	if (!user)
		return error_field(err, -EINVAL, "allowed_user",
			"\"allowed_user\": there is no user \"%s\" on this machine.",
			conf->allowed_user);
	conf->allowed_uid = user->pw_uid;
	return 0;
}

static int judge(struct netd_conf *conf, struct error **err)
{
	struct net_site *site = &conf->site;
	int r = read_mode(conf, err);

	if (r == 0)
		r = read_range(conf, err);
	if (r == 0)
		r = read_user(conf, err);
	if (r < 0)
		return r;
	if (!interface_ok(site->lan_interface))
		return error_field(
			err, -EINVAL, "lan_interface", "\"lan_interface\" is no interface name.");
	if (site->uplink_interface && !interface_ok(site->uplink_interface))
		return error_field(err, -EINVAL, "uplink_interface",
			"\"uplink_interface\" is no interface name.");
	if (prefix4_equal(site->lan_address, prefix4_network(site->lan_address)) ||
		site->lan_address.len > 30 || site->lan_address.len < 8)
		return error_field(err, -EINVAL, "lan_address",
			"\"lan_address\" must be the lab server's address like 10.71.0.1/24, not a "
			"network.");
	if (!path_ok(site->state_dir))
		return error_field(err, -EINVAL, "state_dir", "\"state_dir\" %s", path_rule);
	if (!path_ok(site->tftp_root))
		return error_field(err, -EINVAL, "tftp_root", "\"tftp_root\" %s", path_rule);
	if (log_level_parse(conf->level, &conf->log_level) < 0)
		return error_field(err, -EINVAL, "log_level",
			"\"log_level\" must be error, warning, notice, info or debug.");
	return 0;
}

static int finish(int r, struct netd_conf *conf, struct netd_conf *ret_conf, const char *origin,
	struct error **err)
{
	if (r == 0) {
		r = judge(conf, err);
		if (r < 0)
			r = error_wrap(err, r, "%s", origin);
	}
	if (r < 0)
		netd_conf_done(conf);
	else
		*ret_conf = *conf;
	return r;
}

int netd_conf_load(const char *path, struct netd_conf *ret_conf, struct error **err)
{
	struct netd_conf conf = {0};

	return finish(
		conf_load(path, keys, ARRAY_LEN(keys), &conf, err), &conf, ret_conf, path, err);
}

int netd_conf_parse(const char *text, struct netd_conf *ret_conf, struct error **err)
{
	struct netd_conf conf = {0};

	return finish(conf_parse(text, "netd.conf", keys, ARRAY_LEN(keys), &conf, err), &conf,
		ret_conf, "netd.conf", err);
}

void netd_conf_done(struct netd_conf *conf)
{
	free(conf->site.lan_interface);
	free(conf->site.uplink_interface);
	free(conf->site.tftp_root);
	free(conf->site.state_dir);
	free(conf->socket);
	free(conf->mode);
	free(conf->dhcp_range);
	free(conf->allowed_user);
	free(conf->level);
	memset(conf, 0, sizeof(*conf));
}
