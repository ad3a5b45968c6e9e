/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The group a receiver listens to: on the interface that leads to the sender, frames from the
 * sender's address only. That keeps out accidents, not attackers: they may write any address.
 *
 * Packets are taken off in large portions (UDP_GRO, recvmmsg), with a short sleep between portions
 * rather than a wake-up for each packet: with the socket's buffer of some MiB nothing is lost, and
 * a PC's cores are there for its VMs.
 *
 * A cast may move to another group (cast_send_group.c). Then a receiver listens to both until
 * nothing more comes by the former. */
#include "images/cast_recv_inside.h"

#include <netinet/udp.h>
#include <sys/socket.h>

enum {
	PORTION = 65536,
	PORTIONS = 8,
	SOCKET_BYTES = 8 << 20,
};

static void socket_close(struct recv_socket *s)
{
	if (s->fd >= 0)
		close(s->fd);
	s->fd = -1;
}

void recv_group_init(struct recv_group *group)
{
	*group = (struct recv_group){
		.now.fd = -1, .former.fd = -1, .portions = xcalloc(PORTIONS, PORTION)};
}

void recv_group_leave(struct recv_group *group)
{
	socket_close(&group->now);
	socket_close(&group->former);
}

void recv_group_done(struct recv_group *group)
{
	recv_group_leave(group);
	free(group->portions);
}

static int socket_open(struct recv_socket *s, int unicast, struct ip4 address, uint16_t port)
{
	struct sockaddr_in us, at = {.sin_family = AF_INET,
				       .sin_port = htons(port),
				       .sin_addr.s_addr = htonl(address.host)};
	socklen_t len = sizeof(us);
	int one = 1, bytes = SOCKET_BYTES;

	s->address = address;
	s->fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (s->fd < 0 || getsockname(unicast, (void *)&us, &len) < 0)
		return -errno;
	s->membership = (struct ip_mreqn){.imr_multiaddr = at.sin_addr, .imr_address = us.sin_addr};
	if (setsockopt(s->fd, SOL_SOCKET, SO_RCVBUFFORCE, &bytes, sizeof(bytes)) < 0)
		(void)setsockopt(s->fd, SOL_SOCKET, SO_RCVBUF, &bytes, sizeof(bytes));
	(void)setsockopt(s->fd, SOL_UDP, UDP_GRO, &one, sizeof(one));
	if (setsockopt(s->fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)) < 0 ||
		bind(s->fd, (const void *)&at, sizeof(at)) < 0 ||
		setsockopt(s->fd, IPPROTO_IP, IP_ADD_MEMBERSHIP, &s->membership,
			sizeof(s->membership)) < 0)
		return -errno;
	return 0;
}

int recv_group_join(struct recv_group *group, int unicast, struct ip4 address, uint16_t port)
{
	struct recv_socket s = group->former;
	int r;

	if (s.fd < 0 || s.address.host != address.host) {
		r = socket_open(&s, unicast, address, port);
		if (r < 0) {
			socket_close(&s);
			return r;
		}
		socket_close(&group->former);
	}
	group->former = group->now;
	group->now = s;
	return 0;
}

void recv_group_rejoin(const struct recv_group *group)
{
	const struct recv_socket *s = &group->now;
	const struct ip_mreqn *join = &s->membership;

	(void)setsockopt(s->fd, IPPROTO_IP, IP_DROP_MEMBERSHIP, join, sizeof(*join));
	(void)setsockopt(s->fd, IPPROTO_IP, IP_ADD_MEMBERSHIP, join, sizeof(*join));
}

static size_t segment_of(struct msghdr *message, size_t len)
{
	int size = 0;

	for (struct cmsghdr *c = CMSG_FIRSTHDR(message); c; c = CMSG_NXTHDR(message, c))
		if (c->cmsg_level == SOL_UDP && c->cmsg_type == UDP_GRO)
			memcpy(&size, CMSG_DATA(c), sizeof(size));
	return size > 0 ? (size_t)size : len;
}

/* False: nothing came. *ret_ours: something of the session did. */
static bool drain(const struct recv_group *group, const struct recv_socket *s,
	const struct sockaddr_in *sender, recv_frame_fn *take, void *arg, bool *ret_ours)
{
	struct mmsghdr messages[PORTIONS];
	struct sockaddr_in from[PORTIONS];
	struct iovec parts[PORTIONS];
	char control[PORTIONS][CMSG_SPACE(sizeof(int))];
	int n;

	*ret_ours = false;
	for (unsigned i = 0; i < PORTIONS; i++) {
		parts[i] = (struct iovec){group->portions + (size_t)i * PORTION, PORTION};
		messages[i].msg_hdr = (struct msghdr){.msg_name = &from[i],
			.msg_namelen = sizeof(from[i]),
			.msg_iov = &parts[i],
			.msg_iovlen = 1,
			.msg_control = control[i],
			.msg_controllen = sizeof(control[i])};
	}
	n = s->fd < 0 ? 0 : recvmmsg(s->fd, messages, PORTIONS, MSG_DONTWAIT, NULL);
	for (int i = 0; i < n; i++) {
		size_t len = messages[i].msg_len, step = segment_of(&messages[i].msg_hdr, len);
		const uint8_t *bytes = parts[i].iov_base;

		if (from[i].sin_addr.s_addr != sender->sin_addr.s_addr ||
			from[i].sin_port != sender->sin_port)
			continue;
		for (size_t at = 0; at < len; at += step)
			*ret_ours |= take(bytes + at, len - at < step ? len - at : step, arg);
	}
	return n > 0;
}

/* As soon as something comes by the group, all that ever came by the former is in its socket. */
bool recv_group_drain(
	struct recv_group *group, const struct sockaddr_in *sender, recv_frame_fn *take, void *arg)
{
	bool ours, any = drain(group, &group->former, sender, take, arg, &ours);

	any |= drain(group, &group->now, sender, take, arg, &ours);
	if (!ours || group->former.fd < 0)
		return any;
	while (drain(group, &group->former, sender, take, arg, &ours) && ours)
		;
	socket_close(&group->former);
	return true;
}
