/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The VM's network card: address, MTU, default route, up.
 *
 * Done by the kernel's own calls instead of a program: starting `ip` three times costs more than
 * the rest of the agent in a VM that is emulated twice. The card is found by its hardware address,
 * never by its name, which depends on kernel and machine type. Its driver may still be loading, so
 * it is waited for. Loopback is brought up too: a lean init may not have done it.
 */
#include "guest-agent/apply.h"

#include <dirent.h>
#include <net/if.h>
#include <net/route.h>
#include <netinet/in.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include "lib/clock.h"
#include "lib/file.h"

enum { LOOK_AGAIN_MS = 50 };

static void set_address(struct sockaddr *at, uint32_t host)
{
	const struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(host)};
	memcpy(at, &in, sizeof(in));
}

static bool has_mac(const char *name, const struct mac *wanted)
{
	auto_free char *path = xasprintf("/sys/class/net/%s/address", name);
	auto_free char *text = NULL;
	struct mac mac;
	if (file_read(path, 64, &text, NULL, NULL) < 0)
		return false;
	text[strcspn(text, "\n")] = '\0';
	return mac_parse(text, &mac) == 0 && mac_cmp(&mac, wanted) == 0;
}

static bool look_once(const struct mac *mac, char ret_name[IFNAMSIZ])
{
	DIR *dir = opendir("/sys/class/net");
	bool found = false;
	const struct dirent *entry;
	while (dir && !found && (entry = readdir(dir))) {
		found = entry->d_name[0] != '.' && strlen(entry->d_name) < IFNAMSIZ &&
			has_mac(entry->d_name, mac);
		if (found)
			snprintf(ret_name, IFNAMSIZ, "%.15s", entry->d_name);
	}
	if (dir)
		closedir(dir);
	return found;
}

static int bring_up(int fd, const char *name)
{
	struct ifreq request = {0};
	snprintf(request.ifr_name, IFNAMSIZ, "%.15s", name);
	if (ioctl(fd, SIOCGIFFLAGS, &request) < 0)
		return -errno;
	request.ifr_flags |= IFF_UP;
	return ioctl(fd, SIOCSIFFLAGS, &request) < 0 ? -errno : 0;
}

static int set_up(int fd, const char *name, const struct seed *seed)
{
	struct ifreq request = {0};
	snprintf(request.ifr_name, IFNAMSIZ, "%.15s", name);
	if (seed->mtu) {
		request.ifr_mtu = (int)seed->mtu;
		if (ioctl(fd, SIOCSIFMTU, &request) < 0)
			return -errno;
	}
	set_address(&request.ifr_addr, seed->address.address.host);
	if (ioctl(fd, SIOCSIFADDR, &request) < 0)
		return -errno;
	set_address(&request.ifr_netmask, prefix4_mask(seed->address.len));
	if (ioctl(fd, SIOCSIFNETMASK, &request) < 0)
		return -errno;
	return bring_up(fd, name);
}

static int set_route(int fd, const struct seed *seed)
{
	struct rtentry route = {.rt_flags = RTF_UP | RTF_GATEWAY};
	if (!seed->has_gateway)
		return 0;
	set_address(&route.rt_dst, 0);
	set_address(&route.rt_genmask, 0);
	set_address(&route.rt_gateway, seed->gateway.host);
	return ioctl(fd, SIOCADDRT, &route) < 0 && errno != EEXIST ? -errno : 0;
}

int apply_network(const struct seed *seed, int timeout_ms, struct error **err)
{
	int64_t end = clock_mono_ms() + timeout_ms;
	char name[IFNAMSIZ], mac[MAC_TEXT], address[PREFIX4_TEXT];
	bool found;
	while (!(found = look_once(&seed->mac, name)) && clock_mono_ms() < end)
		usleep(LOOK_AGAIN_MS * 1000);
	if (!found)
		return error_make(err, -ENODEV, "no network card has the address %s",
			mac_format(&seed->mac, mac));
	auto_close int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return error_make(err, -errno, "socket: %s", strerror(errno));
	bring_up(fd, "lo"); /* there already, or of no use without a kernel that has it */
	int r = set_up(fd, name, seed);
	if (r == 0)
		r = set_route(fd, seed);
	if (r < 0)
		return error_make(err, r, "%s cannot have %s: %s", name,
			prefix4_format(seed->address, address), strerror(-r));
	return 0;
}
