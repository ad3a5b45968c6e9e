/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The NoCloud seed as this agent takes it: what boot/hostd/seed.c writes, and nothing else. */
#ifndef GUEST_SEED_READ_H
#define GUEST_SEED_READ_H

#include <stdbool.h>
#include "lib/error.h"
#include "lib/hostlist.h"
#include "lib/str.h"
#include "lib/vec.h"

struct seed_file {
	char *path, *owner, *permissions, *content;
	bool defer;
};
VEC_OF(seed_files, struct seed_file);

struct seed_user {
	char *name, *shell;
	bool lock_passwd;
	struct strings ssh_authorized_keys;
};
VEC_OF(seed_users, struct seed_user);

struct seed {
	char *instance_id;
	char *hostname;
	struct seed_users users;
	struct seed_files files;
	char *host_key, *host_key_pub; /* or NULL */
	struct mac mac;
	struct prefix4 address;
	bool has_gateway;
	struct ip4 gateway;
	uint64_t mtu; /* 0: as it is */
};

/* Reads meta-data, user-data and network-config in `dir`. -EINVAL names file and member. Freed by
 * seed_done. */
int seed_read(const char *dir, struct seed *ret_seed, struct error **err);
void seed_done(struct seed *seed);

#endif
