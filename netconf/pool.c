/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Addresses that stay the same: a VM gets the lowest free address of its lab's cluster subnet, and
 * a MAC that follows from its lab, cluster and number. Equal MACs over the nights keep switch
 * tables, host keys and licences calm; the digest spreads them so that two labs which never heard
 * of each other rarely meet on one. Rarely is not never: 24 bits give two of 500 VMs the same MAC
 * in less than 1 % of labs, so the caller passes what is taken and gets the next of the row.
 *
 * Pure: the callers know what is taken. Must not remember anything itself.
 */
#include "lib/hash.h"
#include "netconf/pool.h"

static bool is_taken(const struct ip4s *taken, struct ip4 address)
{
	vec_each (struct ip4, other, taken)
		if (ip4_equal(*other, address))
			return true;
	return false;
}

int pool_address(struct prefix4 net, uint32_t first, const struct ip4s *taken,
	struct ip4 *ret_address, struct error **err)
{
	struct prefix4 base = prefix4_network(net);
	uint32_t last = ~prefix4_mask(net.len); /* the broadcast address's host part */
	char text[PREFIX4_TEXT];

	if (net.len > 30)
		return error_make(err, -EINVAL, "The prefix %s has no room for hosts.",
			prefix4_format(net, text));
	for (uint32_t part = first ? first : 1; part < last; part++) {
		struct ip4 address = {base.address.host + part};

		if (is_taken(taken, address))
			continue;
		*ret_address = address;
		return 0;
	}
	return error_make(err, -ENOSPC,
		"Every address of %s from host %u on is taken; use a wider prefix.",
		prefix4_format(base, text), first);
}

struct mac pool_mac(const char *lab, const char *cluster, uint32_t number, uint32_t attempt)
{
	auto_buf struct buf key = {0};
	struct sha256 digest;

	/* names hold no '/', so the key cannot be read two ways */
	buf_addf(&key, "%s/%s/%u/%u", lab, cluster, number, attempt);
	digest = sha256_of(key.text, key.len);
	return (struct mac){{POOL_MAC_PREFIX, digest.b[0], digest.b[1], digest.b[2]}};
}

struct mac pool_free_mac(
	const char *lab, const char *cluster, uint32_t number, const struct macs *taken)
{
	for (uint32_t attempt = 0;; attempt++) {
		struct mac mac = pool_mac(lab, cluster, number, attempt);
		bool free_mac = true;

		vec_each (struct mac, other, taken)
			free_mac = free_mac && mac_cmp(other, &mac) != 0;
		if (free_mac)
			return mac;
	}
}
