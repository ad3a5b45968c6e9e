/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Our own check for taken addresses, in place of dnsmasq's ping: before the PCs of a lab are woken,
 * all their reserved addresses are probed together, three rounds within a second, so a boot storm
 * waits for nothing. A probe has sender address zero and thus spoils nobody's ARP cache (RFC 5227);
 * an ARP answer also comes from a machine whose firewall drops pings.
 *
 * A claim is any ARP packet whose sender has one of the addresses, or another's probe for it. The
 * PC that the address is reserved for may well hold it (its desktop is running): its MAC comes in
 * `mine`.
 *
 * Runs in a worker thread: touches nothing but its arguments; time comes from a timerfd, so a
 * shifted test clock neither stretches nor skips it.
 */
#include <arpa/inet.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/timerfd.h>

#include "netconf/arp.h"

enum { PLACE_OPER = 20, PLACE_SENDER_MAC = 22, PLACE_SENDER = 28, PLACE_TARGET = 38 };
static const uint8_t arp_for_ip4[] = {0x08, 0x06, 0, 1, 0x08, 0, 6, 4}; /* from byte 12 on */

static void put_address(uint8_t *at, struct ip4 address)
{
	uint32_t net = htonl(address.host);

	memcpy(at, &net, sizeof(net));
}

static struct ip4 get_address(const uint8_t *at)
{
	uint32_t net = 0;

	memcpy(&net, at, sizeof(net));
	return (struct ip4){ntohl(net)};
}

void arp_probe(const struct mac *from, struct ip4 address, uint8_t ret_frame[ARP_FRAME])
{
	memset(ret_frame, 0, ARP_FRAME);
	memset(ret_frame, 0xff, 6);
	memcpy(ret_frame + 6, from->b, 6);
	memcpy(ret_frame + 12, arp_for_ip4, sizeof(arp_for_ip4));
	ret_frame[PLACE_OPER + 1] = 1; /* request */
	memcpy(ret_frame + PLACE_SENDER_MAC, from->b, 6);
	put_address(ret_frame + PLACE_TARGET, address);
}

bool arp_claim(const uint8_t *frame, size_t len, struct arp_conflict *ret_claim)
{
	struct ip4 sender, target;

	if (len < ARP_FRAME || memcmp(frame + 12, arp_for_ip4, sizeof(arp_for_ip4)) != 0)
		return false;
	sender = get_address(frame + PLACE_SENDER);
	target = get_address(frame + PLACE_TARGET);
	if (!sender.host && !target.host)
		return false;
	ret_claim->address = sender.host ? sender : target;
	memcpy(ret_claim->mac.b, frame + PLACE_SENDER_MAC, 6);
	return true;
}

struct probe {
	int fd, timer;
	struct mac own;
	const struct ip4s *addresses;
	const struct macs *mine;
	struct arp_conflicts *found;
};

static int open_probe(const char *interface, struct probe *p, struct error **err)
{
	struct itimerspec rounds = {
		.it_interval.tv_nsec = ARP_ROUND_MS * 1000000L,
		.it_value.tv_nsec = 1, /* the first at once */
	};
	struct sockaddr_ll at = {.sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_ARP)};
	struct ifreq name = {0};

	snprintf(name.ifr_name, sizeof(name.ifr_name), "%s", interface);
	at.sll_ifindex = (int)if_nametoindex(interface);
	p->fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (p->fd < 0 || !at.sll_ifindex || ioctl(p->fd, SIOCGIFHWADDR, &name) < 0 ||
		bind(p->fd, (struct sockaddr *)&at, sizeof(at)) < 0)
		return error_make(err, -errno, "ARP probes cannot be sent on \"%s\": %s", interface,
			strerror(errno));
	memcpy(p->own.b, name.ifr_hwaddr.sa_data, 6);
	p->timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	if (p->timer < 0 || timerfd_settime(p->timer, 0, &rounds, NULL) < 0)
		return error_make(err, -errno, "No timer for ARP probes: %s", strerror(errno));
	return 0;
}

/* A frame that does not fit into the send queue is left to the next round. */
static void send_round(const struct probe *p)
{
	uint8_t frame[ARP_FRAME];

	vec_each (struct ip4, address, p->addresses) {
		arp_probe(&p->own, *address, frame);
		if (send(p->fd, frame, sizeof(frame), 0) < 0 && errno == ENETDOWN)
			return;
	}
}

static bool is_mine(const struct probe *p, const struct mac *mac)
{
	if (mac_cmp(mac, &p->own) == 0)
		return true;
	vec_each (struct mac, mine, p->mine)
		if (mac_cmp(mac, mine) == 0)
			return true;
	return false;
}

static void note(const struct probe *p, const struct arp_conflict *claim)
{
	bool asked = false;

	vec_each (struct ip4, address, p->addresses)
		asked = asked || ip4_equal(*address, claim->address);
	if (!asked || is_mine(p, &claim->mac))
		return;
	vec_each (struct arp_conflict, known, p->found)
		if (ip4_equal(known->address, claim->address) &&
			mac_cmp(&known->mac, &claim->mac) == 0)
			return;
	vec_push(p->found, *claim);
}

static void receive(const struct probe *p)
{
	uint8_t frame[2048];
	ssize_t n = 0;

	while ((n = recv(p->fd, frame, sizeof(frame), 0)) >= 0) {
		struct arp_conflict claim;

		if (arp_claim(frame, (size_t)n, &claim))
			note(p, &claim);
	}
}

static void probe_all(const struct probe *p)
{
	struct pollfd wait_for[] = {{p->fd, POLLIN, 0}, {p->timer, POLLIN, 0}};
	uint64_t sent = 0;

	while (poll(wait_for, ARRAY_LEN(wait_for), -1) >= 0 || errno == EINTR) {
		uint64_t ticks = 0;

		receive(p);
		if (read(p->timer, &ticks, sizeof(ticks)) != sizeof(ticks))
			continue;
		if (sent++ == ARP_ROUNDS) /* the last round has had its time to be answered */
			return;
		send_round(p);
	}
}

int arp_conflicts(const char *interface, const struct ip4s *addresses, const struct macs *mine,
	struct arp_conflicts *ret_conflicts, struct error **err)
{
	struct probe p = {-1, -1, {{0}}, addresses, mine, ret_conflicts};
	int r = open_probe(interface, &p, err);

	if (r == 0 && addresses->n)
		probe_all(&p);
	if (p.fd >= 0)
		close(p.fd);
	if (p.timer >= 0)
		close(p.timer);
	return r;
}
