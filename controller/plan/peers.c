/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Four of those who have it.
 *
 * A PC's port is as fast as anybody's, so what matters is that the load spreads: with the same four
 * for everybody the last of thirty PCs would wait for the ninth part of a port. The PCs of a lab
 * have addresses in a row, so the row of holders is entered at a place that follows from the
 * asker's own address: the next PC begins with the next holder. That needs no memory, and the same
 * goal asked for twice names the same peers.
 */
#include "controller/plan/peers.h"

size_t plan_peers(const struct addresses *holders, struct ip4 asker, struct ip4 ret_peers[PEERS_NAMED])
{
	size_t n = 0;
	for (size_t i = 0; i < holders->n && n < PEERS_NAMED; i++) {
		struct ip4 holder = holders->at[(asker.host + i) % holders->n];
		if (holder.host != asker.host)
			ret_peers[n++] = holder;
	}
	return n;
}
