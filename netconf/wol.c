/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Wake-on-LAN. The packet goes out as a UDP broadcast to the discard port, bound to the lab
 * server's own address on the PCs' segment: that picks the right interface without any privilege,
 * so nightclassd sends it itself. A raw Ethernet frame (ether-wake's way) would need CAP_NET_RAW
 * for nothing: NICs look for the byte pattern anywhere in a frame.
 *
 * Must not retry or wait: when to send again is the night's decision.
 */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include "netconf/wol.h"

void wol_packet(const struct mac *mac, uint8_t ret_packet[WOL_PACKET])
{
	memset(ret_packet, 0xff, 6);
	for (size_t i = 0; i < 16; i++)
		memcpy(ret_packet + 6 + i * 6, mac->b, 6);
}

static struct sockaddr_in udp_address(struct ip4 address, uint16_t port)
{
	return (struct sockaddr_in){
		.sin_family = AF_INET,
		.sin_port = htons(port),
		.sin_addr.s_addr = htonl(address.host),
	};
}

int wol_send(struct ip4 from, struct ip4 broadcast, const struct mac *mac, struct error **err)
{
	struct sockaddr_in source = udp_address(from, 0), target = udp_address(broadcast, WOL_PORT);
	char from_text[IP4_TEXT], to_text[IP4_TEXT];
	uint8_t packet[WOL_PACKET];
	auto_close int fd = -1;
	int on = 1;

	ip4_format(from, from_text);
	ip4_format(broadcast, to_text);
	wol_packet(mac, packet);
	fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_BROADCAST, &on, sizeof(on)) < 0)
		return error_make(err, -errno, "No socket for wake-on-LAN: %s", strerror(errno));
	if (bind(fd, (struct sockaddr *)&source, sizeof(source)) < 0)
		return error_make(err, -errno,
			"Wake-on-LAN cannot send from %s: %s. Is lan_address on an interface?",
			from_text, strerror(errno));
	if (sendto(fd, packet, sizeof(packet), 0, (struct sockaddr *)&target, sizeof(target)) < 0)
		return error_make(err, -errno, "Wake-on-LAN to %s: %s", to_text, strerror(errno));
	return 0;
}
