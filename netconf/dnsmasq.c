/* SPDX-License-Identifier: GPL-2.0-or-later */
/* dnsmasq's configuration. Two shapes:
 *
 * - own DHCP: each known PC has a reservation; an unknown one gets an address from the small range
 * of netd.conf, or no answer at all when there is none, and never a boot file. `no-ping` because
 * dnsmasq's ping check answers one DISCOVER in three seconds and drops the rest of a boot storm;
 * addresses that are taken by somebody else are found by our own ARP probe instead (netconf/arp.h).
 * - proxy beside the school's DHCP server: dnsmasq only adds boot answers for known MACs. There is
 * no dhcp-range with addresses in this shape, so there is none that it could hand out.
 *
 * The firmware gets iPXE by TFTP (undionly.kpxe for BIOS, snponly.efi for UEFI 7 and 9), iPXE itself
 * (it sends option 175) gets the script's absolute URL. Without a boot lease these lines are not
 * there: the PC gets its address and falls through to its disk. The root of TFTP is a folder of our own
 * with these two files (netconf/loaders.h).
 *
 * Nothing of the machine's own is read: no /etc/hosts, no resolv.conf, no configuration folder, no
 * scripts, no DHCPv6. Pure; must not decide anything by time.
 */
#include "netconf/dnsmasq.h"

#define LOADER_BIOS "undionly.kpxe"
#define LOADER_UEFI "snponly.efi"

const char *const dnsmasq_loaders[] = {LOADER_BIOS, LOADER_UEFI, NULL};

static char *state_file(const struct net_site *site, const char *name)
{
	return xasprintf("%s/dnsmasq.%s", site->state_dir, name);
}

char *dnsmasq_conf_path(const struct net_site *site)
{
	return state_file(site, "conf");
}

char *dnsmasq_names_path(const struct net_site *site)
{
	return state_file(site, "names");
}

char *dnsmasq_lease_path(const struct net_site *site)
{
	return state_file(site, "leases");
}

char *dnsmasq_pid_path(const struct net_site *site)
{
	return state_file(site, "pid");
}

char *dnsmasq_tftp_path(const struct net_site *site)
{
	return state_file(site, "tftp");
}

static void add_file(struct buf *b, const char *key, char *path)
{
	buf_addf(b, "%s=%s\n", key, path);
	free(path);
}

static void add_address(struct buf *b, const char *before, struct ip4 address, const char *after)
{
	char text[IP4_TEXT];

	buf_addf(b, "%s%s%s", before, ip4_format(address, text), after);
}

/* DNS of VM names, on the LAN alone and only when there are names. PCs are not told to use us for
 * DNS (see add_own_dhcp): their desktop's names would not resolve here. */
static void add_dns(struct buf *b, const struct net_site *site, const struct net_goal *goal)
{
	if (!goal->names.n || site->mode != NET_MODE_DHCP) {
		buf_adds(b, "port=0\n");
		return;
	}
	buf_adds(b, "port=53\ndomain-needed\n");
	add_file(b, "addn-hosts", dnsmasq_names_path(site));
	if (site->dns.host)
		add_address(b, "server=", site->dns, "\n");
}

static void add_own_dhcp(struct buf *b, const struct net_site *site)
{
	struct prefix4 net = prefix4_network(site->lan_address);
	char base[IP4_TEXT], mask[IP4_TEXT], first[IP4_TEXT], last[IP4_TEXT];

	ip4_format(net.address, base);
	ip4_format((struct ip4){prefix4_mask(net.len)}, mask);
	buf_addf(b, "dhcp-authoritative\ndhcp-range=%s,static,%s,12h\n", base, mask);
	if (site->range_first.host)
		buf_addf(b, "dhcp-range=tag:!known,%s,%s,%s,1h\n",
			ip4_format(site->range_first, first), ip4_format(site->range_last, last),
			mask);
	else
		buf_adds(b, "dhcp-ignore=tag:!known\n");
	add_address(b, "dhcp-option=option:router,",
		site->router.host ? site->router : site->lan_address.address, "\n");
	if (site->dns.host)
		add_address(b, "dhcp-option=option:dns-server,", site->dns, "\n");
	else
		buf_adds(b,
			"dhcp-option=option:dns-server\n"); /* no value: the option is not sent */
}

static void add_hosts(struct buf *b, const struct net_site *site, const struct net_hosts *hosts)
{
	char mac[MAC_TEXT], address[IP4_TEXT];

	vec_each (struct net_host, host, hosts) {
		mac_format(&host->mac, mac);
		if (site->mode == NET_MODE_PROXY)
			buf_addf(b, "dhcp-host=%s,set:pc\n", mac);
		else
			buf_addf(b, "dhcp-host=%s,set:pc,%s,%s\n", mac,
				ip4_format(host->address, address), host->name);
	}
}

static void add_boot(struct buf *b, const struct net_site *site, const char *url)
{
	char server[IP4_TEXT];

	ip4_format(site->lan_address.address, server);
	buf_addf(b, "enable-tftp=%s\n", site->lan_interface);
	add_file(b, "tftp-root", dnsmasq_tftp_path(site));
	buf_adds(b, "tftp-no-fail\n"
		    "dhcp-match=set:ipxe,175\n"
		    "dhcp-match=set:bios,option:client-arch,0\n"
		    "dhcp-match=set:uefi,option:client-arch,7\n"
		    "dhcp-match=set:uefi,option:client-arch,9\n");
	buf_addf(b, "dhcp-boot=tag:pc,tag:ipxe,%s,,%s\n", url, server);
	if (site->mode == NET_MODE_PROXY) {
		buf_adds(b, "pxe-service=tag:pc,tag:!ipxe,x86PC,Nightclass," LOADER_BIOS "\n"
			    "pxe-service=tag:pc,tag:!ipxe,BC_EFI,Nightclass," LOADER_UEFI "\n"
			    "pxe-service=tag:pc,tag:!ipxe,x86-64_EFI,Nightclass," LOADER_UEFI "\n");
		return;
	}
	/* iPXE's own option "no proxy DHCP": it need not wait for another server's boot answer */
	buf_adds(b, "dhcp-option-force=tag:ipxe,encap:175,176,1b\n");
	buf_addf(b, "dhcp-boot=tag:pc,tag:!ipxe,tag:bios," LOADER_BIOS ",,%s\n", server);
	buf_addf(b, "dhcp-boot=tag:pc,tag:!ipxe,tag:uefi," LOADER_UEFI ",,%s\n", server);
}

char *dnsmasq_render(const struct net_site *site, const struct net_goal *goal)
{
	auto_buf struct buf b = {0};
	char base[IP4_TEXT];

	if (site->mode == NET_MODE_NONE)
		return NULL;
	buf_adds(&b, "# Written by nightclass-netd; changes are overwritten.\n");
	buf_addf(&b, "interface=%s\nexcept-interface=lo\nbind-interfaces\n", site->lan_interface);
	/* a PC cannot name itself: it could take a VM's name */
	buf_adds(&b, "no-hosts\nno-resolv\nno-poll\ndhcp-ignore-names\n");
	add_dns(&b, site, goal);
	add_file(&b, "dhcp-leasefile", dnsmasq_lease_path(site));
	add_file(&b, "pid-file", dnsmasq_pid_path(site));
	buf_adds(&b, "no-ping\n");
	if (site->mode == NET_MODE_DHCP)
		add_own_dhcp(&b, site);
	else
		buf_addf(&b, "dhcp-range=%s,proxy\ndhcp-ignore=tag:!known\n",
			ip4_format(prefix4_network(site->lan_address).address, base));
	add_hosts(&b, site, &goal->hosts);
	if (goal->boot_url)
		add_boot(&b, site, goal->boot_url);
	return buf_take(&b);
}

char *dnsmasq_render_names(const struct net_goal *goal)
{
	auto_buf struct buf b = {0};
	char address[IP4_TEXT];

	vec_each (struct net_name, name, &goal->names)
		buf_addf(&b, "%s %s\n", ip4_format(name->address, address), name->name);
	return buf_take(&b);
}
